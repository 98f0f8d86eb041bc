"""`ardistill table`: measured rows beside published ones, no two protocols in a column without a mark."""

import csv
import doctest
import io
import re

import attrs
import pytest

from ardistill.__main__ import main
from ardistill.evaluation.tables import marks as marking
from ardistill.evaluation.tables import table
from ardistill.evaluation.tables.listing import footnotes, from_papers, markdown, marks, print_listing
from ardistill.evaluation.tables.marks import spelled
from ardistill.evaluation.tables.published import chosen
from tests.evaluation.test_comparison import PROTOCOL, report, row


@pytest.fixture
def runs(tmp_path):
    """Two runs of one protocol and different seeds, and a report of another protocol."""
    rows = (row("dd2, 1 pass", 0.812, parameters=336_123, isc=None),)
    for name, made in {
        "a": report(rows=rows),
        "b": report(rows=rows, seed=1),
        "other": report(rows=rows, protocol=attrs.evolve(PROTOCOL, n=1000, guidance={"scale": 1.5})),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text("")
        made.save(tmp_path / name / "report.json")
    return tmp_path


def told(capsys, *words):
    assert main(["table", *map(str, words)]) == 0
    return capsys.readouterr().out.splitlines()


def distances(lines):
    """By model and method, the cells of FID with their marks."""
    head = lines[0]
    ends = head.index("FID") + 3
    found = {}
    for line in lines[1 : lines.index("")]:
        cell = re.search(r"([\d.]+)( [a-z]+)?$", line[: ends + 1].rstrip())
        found.setdefault(
            (line[: head.index("method")].strip(), line[head.index("method") :][:20].strip()), []
        ).append(cell[0])
    return found


def test_the_published_rows_alone(capsys):
    lines = told(capsys, "model=VAR-d16")
    assert lines[0].split() == [
        "model",
        "method",
        "passes",
        "FID",
        "IS",
        "P",
        "R",
        "params",
        "s/img",
        "source",
    ]
    found = distances(lines)
    assert found["VAR-d16", "teacher"] == ["4.19 a", "4.15 b", "3.30 d", "3.55 e"]
    assert found["VAR-d16", "dd1"] == ["9.94 a", "7.82 a"]
    assert found["VAR-d16", "dd2"] == ["6.21 c"]
    assert found["VAR", "onestep*"] == ["157.5 a"]
    (line,) = (line for line in lines if line.split()[1:3] == ["dd2", "1"])
    assert "6.21 c  213.0  0.84  0.39    329M  0.019  arXiv:2510.21003, table 1" in line
    notes = lines[lines.index("") + 2 :]
    assert [note[:3] for note in notes] == ["a: ", "b: ", "c: ", "d: ", "e: "]
    assert notes[-1] == (
        "e: 50,000 images, 50 per class, reference: ADM's batch of 256 px, evaluator: ADM's, "
        "cfg 1.5, top-k 900, top-p 0.96 (VAR's README)"
    )


def test_every_row_without_words(capsys):
    lines = told(capsys)
    assert lines.index("") == len(chosen()) + 1


def test_measured_rows_come_first_with_marks_of_their_own(runs, capsys):
    lines = told(
        capsys, runs / "a", runs / "b" / "report.json", runs / "other", "model=VAR-d16", "method=dd2"
    )
    found = distances(lines)
    assert found["var, digits", "dd2, 1 pass"] == ["0.812 a", "0.812 a", "0.812 b"], "seeds share a protocol"
    assert found["VAR-d16", "dd2"] == ["6.21 c"]
    assert lines[1].split()[:5] == ["var,", "digits", "teacher", "4", "0.400"]
    assert lines[4].split()[-8:] == ["0.812", "a", "-", "0.50", "0.50", "336k", "0.002", "a"]
    notes = lines[lines.index("") + 2 :]
    assert notes[0].startswith("a: 5,000 images, classes in turn, reference: digits/train (5,000 images), ")
    assert notes[0].endswith(f"(measured; protocol digits; key {PROTOCOL.key})")
    assert "guidance: scale 0.5 top-k 0" in notes[0]
    assert "1,000 images" in notes[1]
    assert "scale 1.5" in notes[1]


def test_protocols_that_differ_in_a_hash_alone_have_marks_of_their_own(runs, capsys):
    other = report(protocol=attrs.evolve(PROTOCOL, features_digest="ef" * 32))
    other.save(runs / "other" / "report.json")
    lines = told(capsys, runs / "a", runs / "other", "model=VAR-d36")
    assert [cell[-1] for cells in distances(lines).values() for cell in cells].count("b") == 5


def test_one_protocol_needs_no_mark():
    rows = from_papers(chosen("VAR-d20", "dd2"))
    out = io.StringIO()
    print_listing(rows, out)
    lines = out.getvalue().splitlines()
    assert distances(lines)["VAR-d20", "dd2"] == ["5.43"]
    assert lines[-1].startswith("cfg 2, top-k 900, top-p 0.95 (DD2, ")
    assert "<sup>" not in markdown(rows)
    assert footnotes(rows) == [rows[0].protocol]


def test_marks_go_on_after_z():
    row = from_papers(chosen("VAR-d20", "dd2"))[0]
    letters = marks(attrs.evolve(row, protocol=str(index)) for index in range(30))
    assert (letters["0"], letters["25"], letters["26"], letters["29"]) == ("a", "z", "aa", "ad")


def test_markdown(runs, tmp_path, capsys):
    out = tmp_path / "table.md"
    lines = told(capsys, runs / "a", "model=VAR", "method=onestep*", f"out={out}")
    assert lines[-1] == str(out)
    written = out.read_text().splitlines()
    cells = [line.split(" | ") for line in written if line.startswith("|")]
    assert {len(line) for line in cells} == {10}
    assert written[-3] == ""
    assert (
        "| VAR | onestep\\* | 1 | 157.5 <sup>b</sup> | - | - | - | - | - | arXiv:2412.17153, table 1 |"
        in written
    )
    assert [line[:5] for line in written[-2:]] == ["- a: ", "- b: "]
    assert not list(tmp_path.glob(".*.tmp"))


def test_csv_holds_the_numbers_and_every_rows_protocol(runs, tmp_path, capsys):
    out = tmp_path / "table.csv"
    told(capsys, runs / "a", "model=VAR-d16", "method=dd1", f"out={out}")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 + 5
    last = rows[-1]
    assert (last["model"], last["method"], last["fid"], last["parameters"], last["mark"]) == (
        "VAR-d16",
        "dd1 pre-trained-5-6",
        "6.54",
        "327000000",
        "b",
    )
    assert last["protocol"].startswith("50,000 images, drawn uniformly")
    assert rows[3]["isc"] == ""
    assert rows[3]["seconds_per_image"] == "0.002"
    assert all(row["protocol"] for row in rows)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=VAR-d17"], "nothing published has model='VAR-d17'; known: VAR-d16"),
        (["method=dd3"], "nothing published has method='dd3'; known: teacher"),
        (["out=a.png"], "out must end in .md or .csv"),
        (["modle=VAR"], "did you mean model?"),
        (["{runs}/nothing"], "is not there; give a run's folder"),
        (["{runs}"], "is not a run folder"),
        (["{runs}/a/config.toml"], "is not a report of ardistill"),
        (["{runs}/a", "out={runs}/nowhere/a.md"], "folder that is not there"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_printed(words, sentence, runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    before = sorted(runs.rglob("*"))
    assert main(["table", *(word.format(runs=runs) for word in words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("ardistill: ")
    assert sentence in captured.err
    assert sorted(runs.rglob("*")) == before


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_narrow_terminal_keeps_every_distance_and_mark(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    print_listing(from_papers(chosen("VAR-d16")), out)
    assert all(len(line) <= 80 for line in out.getvalue().splitlines())
    assert all(cell in out.getvalue() for cell in ("4.19 a", "4.15 b", "6.21 c", "3.30 d", "3.55 e"))


HOSTILE = "a\x1b[31m\nb\x07"


def test_what_a_report_holds_steers_no_terminal(runs, tmp_path, capsys):
    protocol = attrs.evolve(PROTOCOL, reference=HOSTILE, name=HOSTILE)
    config = {"teacher": {"name": HOSTILE}}
    out = tmp_path / "table.md"
    report(rows=(row(HOSTILE, 0.8),), protocol=protocol, config=config).save(runs / "other" / "report.json")
    lines = told(capsys, runs / "other", runs / "a", "model=VAR-d36", f"out={out}")
    assert all(line.isprintable() for line in lines)
    assert sum(r"a\x1b[31m\nb\x07" in line for line in lines) == 4 + 1
    assert all(line.isprintable() for line in out.read_text().splitlines())


def test_a_line_tells_what_a_protocol_differs_in():
    line = spelled(
        attrs.evolve(
            PROTOCOL,
            name="adm, but n, features",
            reference_n=50_000,
            reference_images=10_000,
            held_out="sha256 ab12, 500 images",
        )
    )
    assert "reference: digits/train (50,000 images, P and R against 10,000 of its images), " in line
    assert "held out: sha256 ab12, 500 images" in line
    assert "protocol adm but for n, features; key " in line
    bare = spelled(attrs.evolve(PROTOCOL, reference_n=None, reference_images=None))
    assert "reference: digits/train, features" in bare


@pytest.mark.parametrize("module", [marking, table])
def test_examples_in_the_docstrings(module):
    tried = doctest.testmod(module)
    assert tried.attempted
    assert not tried.failed
