import attrs
import pytest
import torch

from ardistill.errors import DataError
from ardistill.evaluation.evaluate import evaluate
from ardistill.evaluation.extraction import features_of
from ardistill.evaluation.fidelity import fidelity, frechet
from ardistill.evaluation.judge import Judge, Rules
from ardistill.evaluation.likelihood import negative_log_likelihood
from ardistill.evaluation.references.opening import Reference
from ardistill.evaluation.report import gap_closed
from ardistill.noise import Draw
from ardistill.protocols import Condition
from tests.evaluation.fakes import FakeDataset, FakeFeatures, FakeTeacher, FakeTokenizer, Silence, Z

TEACHER = FakeTeacher()
CANDIDATES = (
    TEACHER.candidate("teacher", standing="teacher", parameters=12),
    TEACHER.candidate("onestep*", mixed=1.0, standing="baseline"),
    TEACHER.candidate("student", mixed=0.2),
)


def judge(*, progress=None, reference=None, data=None, network=None, **rules):
    rules = Rules(**{"n": 400, "batch": 64, "kid_subsets": 3, **rules})
    data, network = data or FakeDataset(TEACHER), network or FakeFeatures()
    return Judge.of(TEACHER, data, network, rules, reference, progress or Silence())


def run(candidates=CANDIDATES, **settings):
    return evaluate(candidates, judge(**settings))


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
        assert found == pytest.approx((scores.fid, scores.isc, scores.precision, scores.recall), rel=1e-4)
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
    assert teacher.tokens_tv < student.tokens_tv < baseline.tokens_tv
    assert teacher.joint_tv < student.joint_tv < baseline.joint_tv


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
    others = ("fid_teacher", "tokens_tv", "gap_real", "gap_teacher")
    assert alone == attrs.evolve(result.rows[2], **dict.fromkeys(others))
    by_sevens = run(batch=7)
    for row, same in zip(result.rows, by_sevens.rows, strict=True):
        assert row.fid == pytest.approx(same.fid, rel=1e-5)
        assert row.nll == pytest.approx(same.nll, rel=1e-6)
        assert (row.accuracy, row.tokens_tv) == (same.accuracy, same.tokens_tv)


def test_global_generators_are_left_alone():
    state = torch.get_rng_state()
    run(n=50)
    assert torch.get_rng_state().equal(state)


def test_real_images_are_the_same_for_every_seed():
    one, other = judge(seed=0), judge(seed=5)
    assert one.reference.features_NF.equal(other.reference.features_NF)
    assert one.floor == other.floor


def test_random_labels_are_drawn_and_told():
    seen = []

    def generate(labels, draw):
        seen.append(labels)
        return CANDIDATES[2].generate(labels, draw)

    watched = [attrs.evolve(CANDIDATES[2], generate=generate)]
    row = run(watched, labels="random", n=300).rows[0]
    labels = torch.cat(seen)
    assert row.protocol.labels == "random"
    assert not labels.equal(torch.arange(300) % Z)
    assert labels.unique().tolist() == [0, 1, 2]
    assert row.accuracy == pytest.approx(run(labels="random", n=300).rows[2].accuracy)
    seen.clear()
    run(watched, labels="balanced", n=300)
    assert torch.cat(seen).equal(torch.arange(300) % Z)


def test_an_outside_reference_stands_in_for_the_data():
    images = torch.rand(90, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    features = features_of(FakeFeatures(), images)
    known = Reference(
        name="folder x",
        sha256="ab",
        n=90,
        statistics=features.statistics,
        features_NF=features.features_NF,
        kind="folder",
        resize="centre crop",
        skipped=(),
    )
    row = run(reference=known, kid_subsets=2).rows[2]
    labels = torch.arange(400) % Z
    mine = TEACHER.tokenizer.decode(CANDIDATES[2].generate(labels, Draw(0, "eval/student", 0, 400)))
    assert row.fid == pytest.approx(fidelity(FakeFeatures(), mine, features).fid, rel=1e-4)
    assert (row.protocol.reference, row.protocol.reference_sha256) == ("folder x", "ab")
    assert (row.protocol.reference_n, row.protocol.resize) == (90, "centre crop")
    assert row.protocol.reference_images == 90
    alone = run(reference=attrs.evolve(known, features_NF=None)).rows[2]
    assert alone.protocol.reference_images is None
    assert (alone.fid, alone.kid, alone.precision) == (row.fid, None, None)


def test_data_without_held_out_images_has_no_floor():
    class Train(FakeDataset):
        splits = ("train",)

    result = run(data=Train(TEACHER))
    assert result.floor is None
    assert result.rows[0].fid_test is None
    assert result.rows[0].protocol.held_out is None
    assert result.rows[0].fid == run().rows[0].fid


def test_accuracy_needs_a_network_of_the_datas_classes():
    class Others(FakeFeatures):
        def __call__(self, images):
            features, logits = super().__call__(images)
            return features, torch.cat([logits, logits], 1)

    row = run(network=Others()).rows[2]
    assert row.accuracy is None
    assert row.isc is not None


def test_features_of_one_candidate_at_a_time():
    """More candidates take no more memory: a candidate's features are gone when the next one's are made."""
    import gc
    import weakref

    alive, most = weakref.WeakSet(), []

    class Watched(FakeFeatures):
        def __call__(self, images):
            most.append(sum(each.untyped_storage().nbytes() for each in alive))
            return super().__call__(images)

    kept = judge(network=Watched())
    made = type(kept.easel).drawn

    def drawn(easel, candidate, stream):
        gc.collect()
        found = made(easel, candidate, stream)
        alive.add(found.features.features_NF)
        return found

    watching = attrs.evolve(kept, easel=_Watching(kept.easel, drawn))
    evaluate([*CANDIDATES, *(TEACHER.candidate(f"student {i}") for i in range(3))], watching)
    one_set = 400 * 6 * 4
    assert max(most) == 0 or max(most) <= one_set


class _Watching:
    def __init__(self, easel, drawn):
        self._easel, self._drawn = easel, drawn

    def drawn(self, candidate, stream):
        return self._drawn(self._easel, candidate, stream)


def test_reports_progress_and_time():
    progress = Silence()
    result = run(n=100, batch=64, progress=progress)
    assert progress.told[:2] == [(64, 100, "evaluating real/train"), (100, 100, "evaluating real/train")]
    assert {what for _, _, what in progress.told} >= {"evaluating student", "evaluating teacher-redraw"}
    assert set(result.seconds) == {"teacher", "onestep*", "student", "teacher-redraw"}


def test_every_row_carries_its_protocol():
    rows = run(seed=3).rows
    assert len({row.protocol.key for row in rows}) == 1
    told = rows[0].protocol
    assert (told.n, told.seed, told.labels, told.reference, told.held_out) == (
        400,
        3,
        "balanced",
        "fakes/train",
        "fakes/test",
    )
    assert (told.reference_sha256, told.features, told.decoder) == (64 * "0", "fake", "float32")
    assert told.guidance["scale"] == 0.5
    assert told.key == run(seed=4).rows[0].protocol.key
    other = run(n=300).rows[0].protocol
    assert told.key != other.key
    fields = ("n", "reference_n", "reference_images")
    assert told.differences(other) == dict.fromkeys(fields, (400, 300))


def test_the_decoders_precision_is_that_of_its_images():
    class Half(FakeTokenizer):
        def decode(self, latents_BLC):
            return super().decode(latents_BLC).bfloat16()

    class Teacher(FakeTeacher):
        tokenizer = Half()

    teacher = Teacher()
    made = Judge.of(teacher, FakeDataset(teacher), FakeFeatures(), Rules(n=30), None, Silence())
    assert made.protocol.decoder == "bfloat16"
    assert judge(n=30).protocol.decoder == "float32"


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
