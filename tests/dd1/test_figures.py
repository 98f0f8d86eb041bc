"""The paper's figures 7 and 8 as one command each, small."""

import json

import pytest
from PIL import Image

from tests.scripts import loaded

TINY = [
    "threads=1",
    "method.images=128",
    "method.batch=32",
    "method.lpips.weight=0",
    "eval.n=100",
    "eval.batch=100",
    "eval.baselines=onestep*",
]


@pytest.fixture(scope="module")
def script():
    yield from loaded("dd1")


@pytest.mark.slow
def test_a_figure_is_drawn_and_gone_on_with(script, tmp_path, capfd):
    words = ["figure=8", "at=40,80", f"out={tmp_path}", *TINY]
    assert script.main(words) == 0
    record = json.loads((tmp_path / "figure8.json").read_text())
    assert [point["pairs"] for point in record["points"]] == [40, 80]
    assert {row["name"] for row in record["points"][0]["rows"]} >= {"teacher", "dd1, 1 pass", "dd1, 2 passes"}
    picture = Image.open(tmp_path / "figure8.png").convert("RGB")
    assert len(picture.getcolors(1 << 20)) > 10
    assert (tmp_path / "40" / "report.json").is_file()
    kept = (tmp_path / "40" / "report.json").stat().st_mtime_ns
    (tmp_path / "80" / "report.json").unlink()  # as if it had been interrupted
    capfd.readouterr()
    assert script.main(words) == 0
    assert (tmp_path / "40" / "report.json").stat().st_mtime_ns == kept
    assert (tmp_path / "80" / "report.json").is_file()
    again = json.loads((tmp_path / "figure8.json").read_text())["points"]
    assert [[row["fid"] for row in point["rows"]] for point in again] == [
        [row["fid"] for row in point["rows"]] for point in record["points"]
    ]


def test_the_points(script):
    sweep = script.Sweep
    told = script.structure_words(["figure=7"], sweep)
    assert script.points(told) == (1, 2, 3)
    assert script.words_of(told, 2) == ["method.starts=0,2"]
    told = script.structure_words(["figure=8", "at=5,7"], sweep)
    assert script.points(told) == (5, 7)
    assert script.words_of(told, 5) == ["method.n_pairs=5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["figure=9"], "figure"),
        (["figure=7", "at=4"], "at=4 is no intermediate timestep; expected 1..3"),
        (["figure=7", "at=0"], "at=0 is no intermediate timestep"),
        ([], "figure"),
        (["figure=7", "teacher=nobody"], "nobody"),
    ],
)
def test_bad_words_are_one_sentence(script, words, said, capsys):
    assert script.main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
