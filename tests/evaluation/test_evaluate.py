import attrs
import pytest
import torch

from ardistill.errors import DataError
from ardistill.evaluation.evaluate import evaluate
from ardistill.evaluation.fidelity import features_of, fidelity, frechet
from ardistill.evaluation.likelihood import negative_log_likelihood
from ardistill.evaluation.report import gap_closed
from ardistill.noise import Draw
from ardistill.protocols import Condition
from tests.evaluation.fakes import FakeDataset, FakeFeatures, FakeTeacher, Silence, Z

TEACHER = FakeTeacher()
CANDIDATES = (
    TEACHER.candidate("teacher", standing="teacher", parameters=12),
    TEACHER.candidate("onestep*", mixed=1.0, standing="baseline"),
    TEACHER.candidate("student", mixed=0.2),
)


def run(candidates=CANDIDATES, *, n=400, batch=64, seed=0, repeats=0, **settings):
    progress = settings.pop("progress", Silence())
    return evaluate(
        candidates,
        TEACHER,
        FakeDataset(TEACHER),
        FakeFeatures(),
        n=n,
        batch=batch,
        seed=seed,
        progress=progress,
        repeats=repeats,
        **settings,
    )


def test_rows_hold_what_a_direct_computation_gives():
    result = run()
    assert [row.name for row in result.rows] == ["teacher", "onestep*", "student"]
    labels = torch.arange(400) % Z

    def images(candidate, stream):
        return TEACHER.tokenizer.decode(candidate.generate(labels, Draw(0, f"eval/{stream}", 0, 400)))

    network = FakeFeatures()
    real, held_out = (
        FakeDataset(TEACHER).images(split, Draw(0, f"eval/real/{split}", 0, 400), labels)[0]
        for split in ("train", "test")
    )
    teacher_images = images(CANDIDATES[0], "teacher")
    teacher, baseline, student = result.rows
    for row, candidate in zip(result.rows, CANDIDATES, strict=True):
        mine = images(candidate, row.name)
        scores = fidelity(network, mine, real)
        found = (row.fid, row.isc, row.precision, row.recall)
        assert found == pytest.approx(attrs.astuple(scores), rel=1e-4)
        assert row.fid_test == pytest.approx(fidelity(network, mine, held_out).fid, rel=1e-4)
        yardstick = images(CANDIDATES[0], "teacher-redraw") if row is teacher else mine
        assert row.fid_teacher == pytest.approx(fidelity(network, yardstick, teacher_images).fid, rel=1e-4)
        right = (network(mine)[1].argmax(1) == labels).double().mean().item()
        assert row.accuracy == pytest.approx(right, abs=0.011)  # bytes may turn a near tie
        assert row.gap_real == gap_closed(baseline.fid, row.fid, teacher.fid)
        assert row.gap_teacher == gap_closed(baseline.fid_teacher, row.fid_teacher, teacher.fid_teacher)
    assert result.floor == pytest.approx(
        frechet(*(features_of(network, x) for x in (held_out, real))), rel=1e-4
    )
    assert teacher.parameters == 12
    assert (teacher.gap_real, teacher.gap_teacher, baseline.gap_real, baseline.gap_teacher) == (
        100,
        100,
        0,
        0,
    )
    assert 50 < student.gap_real < 100.1
    assert student.seconds_per_image is None


def test_likelihood_is_of_the_candidates_tokens():
    student = run().rows[2]
    labels = torch.arange(400) % Z
    tokens = TEACHER.sample(labels, Draw(0, "eval/student", 0, 400), mixed=0.2)
    expected = negative_log_likelihood(TEACHER, Condition(labels), tokens).mean().item()
    assert student.nll == pytest.approx(expected, rel=1e-5)


def test_seed_decides_and_nothing_else():
    result = run()
    assert run().rows == result.rows
    assert run(seed=1).rows != result.rows
    alone = run(CANDIDATES[2:]).rows[0]
    others = ("fid_teacher", "gap_real", "gap_teacher")
    assert alone == attrs.evolve(result.rows[2], **dict.fromkeys(others))
    by_sevens = run(batch=7)
    for row, same in zip(result.rows, by_sevens.rows, strict=True):
        assert row.fid == pytest.approx(same.fid, rel=1e-5)
        assert row.nll == pytest.approx(same.nll, rel=1e-6)
        assert row.accuracy == same.accuracy
    for name, images in result.samples.items():
        torch.testing.assert_close(images, by_sevens.samples[name])


def test_global_generators_are_left_alone():
    state = torch.get_rng_state()
    run(n=50)
    assert torch.get_rng_state().equal(state)


def test_samples_show_one_image_of_each_class_line_by_line():
    class Telling(FakeDataset):
        """Every pixel tells the label."""

        def images(self, split, draw, labels_B=None):
            labels = draw.integers("label", Z) if labels_B is None else labels_B
            noise = draw.uniform("x", 1, 4, 4) * 0.1
            return labels.reshape(-1, 1, 1, 1) * 0.5 - 0.5 + noise, labels

    for lines in (1, 3):
        result = evaluate(
            CANDIDATES,
            TEACHER,
            Telling(TEACHER),
            FakeFeatures(),
            n=60,
            batch=4,
            seed=0,
            progress=Silence(),
            repeats=0,
            lines=lines,
        )
        assert list(result.samples) == ["real", "teacher", "onestep*", "student"]
        assert result.columns == ("0", "1", "2")
        shown = ((result.samples["real"].mean((1, 2, 3)) + 0.5) / 0.5).floor().tolist()
        assert shown == [0, 1, 2] * lines
        labels = torch.arange(3 * lines) % Z
        drawn = CANDIDATES[2].generate(labels, Draw(0, "eval/student", 0, 3 * lines))
        torch.testing.assert_close(result.samples["student"], TEACHER.tokenizer.decode(drawn))


def test_few_columns():
    samples = run(columns=2, lines=2).samples
    drawn = CANDIDATES[2].generate(torch.tensor([0, 1, 0, 1]), _Picked((0, 1, 3, 4)))
    torch.testing.assert_close(samples["student"], TEACHER.tokenizer.decode(drawn))
    assert len(samples["real"]) == 4


class _Picked:
    """The draw of chosen images."""

    def __init__(self, indices):
        self.indices = indices

    def uniform(self, name, *shape):
        return torch.cat([Draw(0, "eval/student", i, 1).uniform(name, *shape) for i in self.indices])


def test_speed_is_against_the_teacher():
    rows = run(n=50, repeats=2, speed_batch=8).rows
    assert rows[0].speedup == 1
    for row in rows:
        low, high = row.seconds_range
        assert 0 < low <= row.seconds_per_image <= high
        assert row.speedup == pytest.approx(rows[0].seconds_per_image / row.seconds_per_image)


def test_reports_progress_and_time():
    progress = Silence()
    result = run(n=100, batch=64, progress=progress)
    assert progress.told[:2] == [(64, 100, "evaluating real/train"), (100, 100, "evaluating real/train")]
    assert {what for _, _, what in progress.told} >= {"evaluating student", "evaluating teacher-redraw"}
    assert set(result.seconds) == {
        "real images",
        "teacher",
        "onestep*",
        "student",
        "teacher-redraw",
        "distances",
    }
    assert result.protocol["reference"] == "fakes/train"
    assert result.protocol["guidance"]["scale"] == 0.5


def test_held_out_reference():
    row = run(reference="test").rows[2]
    assert row.fid == row.fid_test
    assert row.fid == run().rows[2].fid_test


@pytest.mark.parametrize(
    "candidates",
    [
        (TEACHER.candidate("a"), TEACHER.candidate("a")),
        (TEACHER.candidate("real"),),
        (TEACHER.candidate("teacher-redraw"),),
        (TEACHER.candidate("a", standing="teacher"), TEACHER.candidate("b", standing="teacher")),
    ],
)
def test_ambiguous_candidates(candidates):
    with pytest.raises(ValueError, match=r"name of its own|at most"):
        run(candidates)


def test_too_few_images_is_told_before_anything_is_drawn():
    progress = Silence()
    with pytest.raises(DataError, match=r"^the images to evaluate number 10, and"):
        run(n=10, progress=progress)
    assert not progress.told


def test_a_generator_that_gives_nan():
    broken = attrs.evolve(
        CANDIDATES[2], generate=lambda labels, draw: torch.full((len(labels), 4, 3), torch.nan)
    )
    with pytest.raises(DataError, match=r"^64 in 64 images hold nan or infinity"):
        run([broken])
