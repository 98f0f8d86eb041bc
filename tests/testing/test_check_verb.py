"""`plugins check` on bundled plugins and on a distribution of its own, good and bad."""

import sys
from pathlib import Path

import pytest

from ardistill.__main__ import main

MODULE = """
from ardistill.hookspecs import hookimpl
from ardistill.records import MethodOffer, StudentOffer, TeacherOffer, TokenizerOffer, TrajectoryOffer
ardistill_api = 1
BOTH = frozenset({"prefix", "own"})
@hookimpl
def ardistill_teachers():
    yield TeacherOffer("good", "a toy", "kit_offers:good", alignments=BOTH)
    yield TeacherOffer("bad", "a toy whose cursor is off by one", "kit_offers:bad", alignments=BOTH)
@hookimpl
def ardistill_trajectories():
    yield TrajectoryOffer("chance", "not of the draw", "tests.testing.broken:by_chance")
@hookimpl
def ardistill_tokenizers():
    yield TokenizerOffer("absent", "needs a file", "kit_offers:absent")
    yield TokenizerOffer("raising", "can't be made", "kit_offers:raising")
@hookimpl
def ardistill_methods():
    yield MethodOffer("plain", "a method", "kit_offers:method")
@hookimpl
def ardistill_students():
    yield StudentOffer("plain", "its student", "tests.testing.plain:rebuild")
    yield StudentOffer("lost", "nobody's student", "tests.testing.plain:rebuild")
"""
OFFERS = """
from ardistill.errors import WeightsError
from ardistill.testing import toy_teacher
from tests.testing.broken import OffByOne
from tests.testing.plain import PlainMethod
def good(config, weights):
    return toy_teacher()
def bad(config, weights):
    return OffByOne()
def absent(config, weights):
    raise WeightsError("its file is nowhere; give tokenizer.checkpoint=PATH")
def raising(config, weights):
    raise KeyError("sizes")
def method(config, teacher, context):
    return PlainMethod(teacher, context)
"""


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """The distribution `kit-plugins`, installed; another, `kit-broken`, whose module can't be imported."""
    for name, source in (
        ("kit_hooks", MODULE),
        ("kit_offers", OFFERS),
        ("kit_broken", "import nowhere_at_all"),
    ):
        (tmp_path / f"{name}.py").write_text(source)
    for name, module in (("kit-plugins", "kit_hooks"), ("kit-broken", "kit_broken")):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        info.joinpath("entry_points.txt").write_text(f"[ardistill]\nkit = {module}\n")
    monkeypatch.syspath_prepend(tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    for name in ("kit_hooks", "kit_offers", "kit_broken"):
        sys.modules.pop(name, None)


def check(capsys, *words):
    code = main(["plugins", "check", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_plugin_that_conforms(kit, capsys):
    code, out, _ = check(capsys, "teacher:good")
    assert code == 0
    assert "the_cursor_agrees_with_one_pass" in out
    assert out.splitlines()[-1].endswith(" passed")
    assert "failed" not in out
    assert not list(kit.iterdir()), "hypothesis left its notes in the folder"


def test_a_distribution_is_all_that_it_brings(kit, capsys):
    code, out, err = check(capsys, "kit-plugins", "threads=1")
    assert code == 1
    rows = [line.split() for line in out.splitlines()]
    assert ["teacher:bad", "the_cursor_agrees_with_one_pass", "failed"] in rows
    assert ["teacher:good", "the_cursor_agrees_with_one_pass", "passed"] in rows
    assert ["trajectory:chance", "seed_and_index_decide_a_pair", "failed"] in rows
    assert ["tokenizer:absent", "-", "not", "checked"] in rows
    failed = out.partition("\nfailed:\n")[2].partition("\nnot checked:\n")[0]
    assert "teacher:bad: the_cursor_agrees_with_one_pass: expected: At every step" in failed
    assert "tokenizer:raising: KeyError: 'sizes'" in failed
    assert "tokenizer:absent: its file is nowhere; give tokenizer.checkpoint=PATH" in out
    assert "student:lost: no teacher and no method of kit-plugins:kit makes a student=lost by itself" in out
    assert {line[2] for line in rows if line[:1] == ["method:plain"]} >= {"passed"}
    assert ["student:plain", "its_state_rebuilds_it", "passed"] in rows
    assert "checks of teacher:good" in err


def test_a_plugin_that_cannot_be_imported(kit, capsys):
    code, out, _ = check(capsys, "kit-broken")
    assert code == 1
    assert "kit-broken:kit: it fails at import (ModuleNotFoundError" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give what to check, as kind:name (teacher:var) or a distribution's name"),
        (("teacher.cfg=1",), "give what to check, as kind:name (teacher:var) or a distribution's name"),
        (("tokenizer:absent",), "its file is nowhere; give tokenizer.checkpoint=PATH"),
        (("tokenizer:vqgan",), "brings no weights for a VQGAN; give tokenizer.checkpoint=PATH"),
        (("student:lost",), "give teacher=NAME and student.checkpoint=PATH"),
        (("teacher:god",), "unknown teacher 'god'; did you mean good?"),
        (("good",), "no plugin is called 'good'; did you mean teacher:good?"),
        (("nothing-like-it",), "no plugin is called 'nothing-like-it'"),
        (
            ("teacher:good", "method.lr=1"),
            "method= concerns nothing that is checked here; known: captions, data",
        ),
        (("teacher:good", "data=digts"), "unknown dataset 'digts'; did you mean digits?"),
        (
            ("metric:diversity", "metric.per_clas=2"),
            "unknown key metric.per_clas; did you mean metric.per_class?",
        ),
        (("callback:profile", "callback.skip=0"), "callback.skip must be"),
        (
            ("recipe:digits",),
            "nothing of recipe:digits could be checked; recipe:digits: recipes train for minutes",
        ),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(kit, capsys, words, message):
    code, out, err = check(capsys, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["student:exact-dd1", "teacher.trunk.fit_updates=0", "threads=1"],
        ["tokenizer:var"],
        ["method:onestep*", "method.samples=40", "teacher=exact-sparse", "threads=1"],
        ["trajectory:flow-matching", "trajectory.evaluations=4"],
        ["dataset:digits"],
        ["features:exact"],
        ["metric:diversity", "metric.per_class=20", "data=exact-dense"],
        ["callback:profile", "callback.skip=2", "callback.updates=2"],
    ],
)
def test_bundled_plugins_by_words(kit, capsys, words):
    code, out, _ = check(capsys, *words)
    assert code == 0, out


def test_words_reach_what_is_checked(kit, capsys, tmp_path):
    """A student's own file, by the words of `sample`."""
    import ardistill
    from ardistill.launch.parts import save_student
    from ardistill.protocols import Jumps

    student = ardistill.load_teacher("var").jumper(Jumps(starts=(0, 1)), seed=2)
    path = Path(tmp_path) / "student.safetensors"
    save_student(path, student, student.spec)
    code, out, _ = check(capsys, "student:var-dd1", "teacher=var", "threads=1", f"student.checkpoint={path}")
    assert code == 0, out


def test_the_verb_is_told_with_its_parent(capsys):
    assert main(["plugins", "check", "--help"]) == 0
    assert "ardistill plugins check NAME [WORDS]" in capsys.readouterr().out
