"""`ardistill compare` from runs to the picture."""

import pytest
from PIL import Image

from ardistill.__main__ import main

SMALL = ["teacher=var", "threads=1", "method.samples=60", "eval.n=60", "eval.batch=60"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of onestep*, two seeds of skip-n, another schedule, and a run that has not ended."""
    folder = tmp_path_factory.mktemp("compared")
    for name, words in {
        "one": ["method=onestep*"],
        "skip": ["method=skip-n"],
        "again": ["method=skip-n", "seed=1"],
        "other": ["method=skip-n", "eval.n=70"],
    }.items():
        keys = {word.partition("=")[0] for word in words}
        small = [word for word in SMALL if word.partition("=")[0] not in keys]
        assert main(["run", *small, *words, f"out={folder / name}"]) == 0
    (folder / "begun").mkdir()
    (folder / "begun" / "config.toml").write_text((folder / "one" / "config.toml").read_text())
    assert main(["eval", f"run={folder / 'skip'}", "baselines=skip-2", f"out={folder / 'more.json'}"]) == 0
    return folder


def test_runs_and_reports_are_laid_side_by_side(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *(str(runs / name) for name in ("one", "skip", "again"))]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line[: line.index("  ", 3)] for line in lines[1:8]]
    assert heads == [
        "teacher",
        "onestep*",
        "skip-1 [seed 0, skip]",
        "skip-1 [seed 1, again]",
        "skip-1: mean of 2 seeds",
        "  least",
        "  most",
    ]
    assert lines[-1] == "compare.png"
    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.size == (1320, 550)
        assert len(picture.convert("L").getcolors()) > 20
    assert [path.name for path in tmp_path.iterdir()] == ["compare.png"]


def test_a_report_file_stands_for_a_run(runs, tmp_path, capsys):
    words = [
        "compare",
        str(runs / "one" / "report.json"),
        str(runs / "more.json"),
        f"out={tmp_path / 'a.png'}",
    ]
    assert main(words) == 0
    rows = {line.split()[0]: line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:5]}
    assert rows.keys() == {"teacher", "skip-2", "onestep*", "skip-1"}
    assert rows["skip-1"] == "-", "an evaluation alone does not know what training took"
    assert float(rows["onestep*"]) > 0
    assert (tmp_path / "a.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "compare lacks its runs"),
        (["{runs}/one", "{runs}/begun"], "holds no report.json yet; finish it with"),
        (["{runs}/one", "{runs}/nothing"], "is not there; give a run's folder"),
        (["{runs}"], "is not a run folder"),
        (["{runs}/one/samples.png"], "is not a report of ardistill"),
        (["{runs}/one", "{runs}/one/report.json"], "given twice"),
        (["{runs}/skip", "{runs}/other"], "can't be compared: n is 60 in the one and 70 in the other"),
        (["{runs}/one", "out=a.jpg"], "out must end in .png"),
        (["{runs}/one", "otu=a.png"], "did you mean out?"),
        (["{runs}/one", "out={tmp}/nowhere/a.png"], "folder that is not there"),
        (["a" * 300], "File name too long"),
    ],
)
def test_bad_input_is_one_sentence_and_no_picture(words, told, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *(word.format(runs=runs, tmp=tmp_path) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("ardistill: ")
    assert told in captured.err
    assert not list(tmp_path.iterdir())
