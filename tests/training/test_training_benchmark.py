"""The benchmark of training steps: what it measures of the digits' teachers, what it keeps, what it judges."""

import json
import sys

import attrs
import pytest
import torch

from tests.scripts import BENCHMARKS, loaded


@pytest.fixture(scope="module")
def benchmark():
    """The script, imported as it imports its neighbours."""
    threads = torch.get_num_threads()
    sys.path.insert(0, str(BENCHMARKS))
    yield from loaded("training")
    sys.path.remove(str(BENCHMARKS))
    torch.set_num_threads(threads)
    for name in [name for name in sys.modules if name.split(".")[0] in {"overhead_parts", "training_parts"}]:
        del sys.modules[name]


@pytest.fixture
def ready(benchmark):
    """A digits' VAR with a method of two images an update."""
    from training_parts.subjects import method_of, teacher_of

    registry = benchmark.discover()
    teacher, device = teacher_of("var", "cpu", 1, registry)

    def make(name, folder):
        return method_of(name, "var", 2, teacher, folder, device, registry)[0], teacher

    return make


@pytest.mark.parametrize("teacher", ["var", "llamagen"])
def test_every_role_is_measured_and_the_figures_are_kept(benchmark, teacher, tmp_path, capsys):
    out = tmp_path / "a.json"
    words = ["method=dd1,dd2", f"teacher={teacher}", "batch=2", "accumulate=2", "repeats=2", "threads=1"]
    words += ["device=cpu", "score_images=3", f"out={out}"]
    assert benchmark.main(words) == 0
    said, found = capsys.readouterr().out, benchmark.Result.load(out)
    assert [(row.method, row.phase, row.role) for row in found.rows] == [
        ("dd1", "train", "student"),
        ("dd2", "tune-head", "head"),
        ("dd2", "tune", "model"),
        ("dd2", "csd", "guidance"),
        ("dd2", "csd", "generator"),
    ]
    for row in found.rows:
        assert (row.images, row.repeats, row.bound) == (4, 2, None), "tiny models have no bound"
        assert row.fastest <= row.seconds <= row.slowest
        assert row.passes > 0
        assert row.cpu_passes > 0
        assert row.peak_bytes is None or row.peak_bytes > 1e7
        assert row.role in said
    assert found.scoring.images == 3
    assert f"scoring 3 images ({found.scoring.draws} draws of {found.scoring.tokens} tokens" in said
    record = json.loads(out.read_text())
    assert {"config", "hardware", "versions", "date", "command"} <= set(record)
    assert record["config"]["accumulate"] == 2
    assert record["command"].startswith("python benchmarks/training.py method=dd1,dd2 ")


def test_steps_are_the_engines_and_learn(benchmark, ready, tmp_path):
    """All weights of the roles move, in micro-batches and under checkpointing and bfloat16, too; nobody else's do."""
    from training_parts.stepping import Wanted, rows

    from ardistill.launch.parts import usable

    method, teacher = ready("dd2", tmp_path)
    engine = benchmark.Engine(micro_batch=1, precision="bf16", checkpointing=True)
    before = {name: copied(module) for name, module in method.modules.items()}
    teachers = copied(teacher)
    wanted, told = Wanted(2, 60.0, ("csd",), True), Silent()
    found = list(rows("dd2", method, teacher, engine, wanted, usable("cpu"), told))
    assert [(row.role, row.images, row.bound) for row in found] == [
        ("guidance", 2, 3.5),
        ("generator", 2, 3.5),
    ]
    for name, module in method.modules.items():
        moved = [
            not torch.equal(old, new) for old, new in zip(before[name], module.parameters(), strict=True)
        ]
        assert any(moved), name
    assert all(map(torch.equal, teachers, copied(teacher)))
    assert told.said == {"timing csd"}


def test_images_follow_one_another_and_a_step_is_held_against_as_many_passes(benchmark, ready, tmp_path):
    """Three updates, the first of which does not count, each from the images after those of the one before."""
    from training_parts.stepping import Wanted, rows

    from ardistill.launch.parts import usable

    method, teacher = ready("dd1", tmp_path)
    (phase,), taken, passes = method.phases(), [], []

    def losses(role, draw):
        taken.append(draw.indices().tolist())
        return phase.losses(role, draw)

    class Counting:
        tokenizer, layout, n_classes = teacher.tokenizer, teacher.layout, teacher.n_classes

        def log_probs(self, condition, latents_BLC):
            passes.append(len(latents_BLC))
            return teacher.log_probs(condition, latents_BLC)

    class Told:
        modules = method.modules

        def phases(self):
            return (attrs.evolve(phase, losses=losses),)

    engine = benchmark.Engine(micro_batch=1, prefetch=False)
    (row,) = rows("dd1", Told(), Counting(), engine, Wanted(2, 60.0, (), True), usable("cpu"), Silent())
    assert taken == [[0], [1], [2], [3], [4], [5]]
    assert passes == [1, 1, 1]
    assert row.passes == pytest.approx(row.seconds / row.pass_seconds, rel=0.5)
    assert row.bound is None, "DD1 has none"


def test_a_bound_is_missed_from_above(benchmark, tmp_path):
    from training_parts.result import COLUMNS, MEMORY_BOUND, Row, Scoring, cells

    row = Row("dd2", "csd", "generator", 4, 3, 7.0, 6.0, 9.0, 2.0, 3.5, bound=3.5)
    worse = attrs.evolve(row, passes=3.51)
    assert MEMORY_BOUND == 2**30
    scoring = Scoring(64, 4, 680, 4096, 32, 1.0, MEMORY_BOUND)
    assert (row.missed, worse.missed, attrs.evolve(worse, bound=None).missed) == (False, True, False)
    assert attrs.evolve(row, passes=float("nan")).missed
    assert not attrs.evolve(worse, cpu_passes=3.5).missed, "on a CPU its own time tells"
    assert attrs.evolve(row, cpu_passes=3.6).missed
    assert (scoring.missed, attrs.evolve(scoring, bytes=MEMORY_BOUND + 1).missed) == (False, True)
    assert not attrs.evolve(scoring, bytes=None).missed
    result = benchmark.Result((row,), scoring, {}, "", 1.0, {}, {})
    assert not result.missed
    assert attrs.evolve(result, rows=(row, worse)).missed
    assert attrs.evolve(result, scoring=attrs.evolve(scoring, bytes=2**31)).missed
    assert dict(zip(COLUMNS, cells(worse), strict=True)) == {
        "method": "dd2",
        "phase": "csd",
        "role": "generator",
        "images": "4",
        "s/step": "7",
        "images/s": "0.571",
        "peak GB": "-",
        "guided passes": "3.51",
        "CPU": "-",
        "": "MISSED, at most 3.5",
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=dd3"], "dd3"),
        (["method=dd2,dd2"], "method must name each method once"),
        (["teacher=var-d17"], "var-d17"),
        (["teacher=var", "device=cuda:77"], "cuda:77"),
        (["batch=0"], "batch"),
        (["teacher=var", "device=cpu", "threads=1", "phases=csd,tune2", "method=dd1"], "give phases=train"),
    ],
)
def test_bad_words_are_one_sentence_and_exit_2(benchmark, words, said, capsys):
    assert benchmark.main(words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def copied(module):
    return [each.detach().clone() for each in module.parameters()]


class Silent:
    def __init__(self):
        self.said = set()

    def advance(self, done, total, what):
        self.said.add(what)
