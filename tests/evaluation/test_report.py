import io
import json
import math
import re
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ardistill.errors import RunFolderError
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import Report, Row, gap_closed, hardware, versions
from ardistill.evaluation.tables.table import COLUMNS, LONGEST_NAME, cost_lines, print_table
from ardistill.evaluation.timing.speed import Timing

finite = st.floats(allow_nan=False, allow_infinity=False)
protocols = st.builds(
    Protocol,
    n=st.integers(1),
    seed=st.integers(0),
    reference_n=st.none() | st.integers(0),
    reference_images=st.none() | st.integers(0),
    guidance=st.dictionaries(st.text(), finite),
    held_out=st.none() | st.text(),
)
PROTOCOL = Protocol(
    name="digits",
    n=5,
    labels="balanced",
    seed=0,
    reference="digits/train",
    reference_sha256="00",
    reference_n=5,
    reference_images=5,
    resize="none",
    features="digits",
    features_digest="11",
    guidance={},
)
OPTIONAL = [field.name for field in attrs.fields(Row) if field.type == float | None]
rows = st.builds(
    Row,
    name=st.text(),
    passes=st.integers(0, 99),
    fid=finite,
    protocol=protocols,
    **dict.fromkeys(OPTIONAL, st.none() | finite),
    parameters=st.none() | st.integers(0),
    seconds_range=st.none() | st.tuples(finite, finite),
)
timings = st.builds(
    Timing, peak_bytes=st.none() | st.integers(0), **dict.fromkeys(("seconds", "fastest", "slowest"), finite)
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
reports = st.builds(
    Report,
    rows=st.lists(rows, max_size=3).map(tuple),
    floor=st.none() | finite,
    speed=st.lists(timings, max_size=2).map(tuple),
    config=st.dictionaries(st.text(), plain),
    command=st.text(),
    seconds=st.dictionaries(st.text(), finite),
    format=st.just(1),
)


def row(**fields):
    given = dict.fromkeys(("fid", "fid_test", "isc", "precision", "recall", "accuracy"), 0.5)
    return Row(**({"name": "student", "passes": 1, "protocol": PROTOCOL} | given | fields))


@given(reports)
def test_round_trip(tmp_path_factory, report):
    path = tmp_path_factory.mktemp("report") / "report.json"
    report.save(path)
    assert Report.load(path) == report
    assert [entry.name for entry in path.parent.iterdir()] == ["report.json"], "nothing is left aside"


def test_json_is_strict_and_complete(tmp_path):
    config = {
        "lr": math.inf,
        "out": Path("runs/a"),
        "betas": (0.9, 0.95),
        "nested": {"ema": math.nan, "on": True},
    }
    report = Report([row(nll=math.nan)], config=config, command="ardistill run")
    assert (report.n, report.seed, report.protocol) == (5, 0, PROTOCOL)
    read = json.loads(report.text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["config"] == {
        "lr": None,
        "out": "runs/a",
        "betas": [0.9, 0.95],
        "nested": {"ema": None, "on": True},
    }
    assert read["rows"][0] == attrs.asdict(row())
    assert set(read) == {field.name for field in attrs.fields(Report)}
    assert read["versions"] == versions()
    assert set(read["versions"]) == {"python", "torch", "ardistill"}
    assert read["hardware"] == hardware()
    assert read["hardware"]["device"] == "cpu"
    assert read["hardware"]["cores"] >= 1
    assert len(read["hardware"]["cpu"]) > 2


NO_REPORTS = [
    "",
    "[1]",
    '{"rows": []}',
    '{"rows": [{"name": 3}]}',
    '{"rows": [], "config": {}, "command": "", "format": 2}',
]


@pytest.mark.parametrize("text", NO_REPORTS)
def test_what_is_no_report(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(RunFolderError, match="is not a report of ardistill"):
        Report.load(path)
    with pytest.raises(RunFolderError):
        Report.load(tmp_path / "absent.json")


def test_gap_closed():
    assert gap_closed(5.0, 2.0, 1.0) == pytest.approx(75)
    assert gap_closed(5.0, 5.0, 1.0) == 0
    assert gap_closed(5.0, 1.0, 1.0) == 100
    assert gap_closed(5.0, 7.0, 1.0) == pytest.approx(-50)
    assert gap_closed(1.0, 0.5, 1.0) is None
    assert gap_closed(1.0, 1.5, 2.0) is None
    for missing in range(3):
        assert gap_closed(*(None if place == missing else 5.0 - place for place in range(3))) is None


class Terminal(io.StringIO):
    def isatty(self):
        return True


WIDE = row(
    name="student, 2 passes, a long name",
    fid=115.07,
    fid_test=115.6,
    fid_teacher=112.592,
    isc=115.33,
    nll=15.2,
    parameters=336_123_456,
    seconds_per_image=0.000717,
    speedup=11.3,
    latency=0.0123,
    latency_speedup=112.3,
    gap_real=-112.31,
    gap_teacher=100.0,
    accuracy=1.0,
)


def test_table_elsewhere_is_plain_and_fits():
    out = io.StringIO()
    print_table([row(), WIDE], out)
    text = out.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert {len(line) for line in lines[:3]} == {max(map(len, lines[:3]))}, "columns stand under one another"
    assert lines[0].split() == " ".join(column.heading for column in COLUMNS).split()
    short = "student 1 0.500 - 0.500 - - 0.500 0.50 0.50 50.0 - - - - -"
    wide = "1 115.1 -112.3 115.6 112.6 100.0 115.3 0.50 0.50 100.0 15.20 336M 0.717 12.3 112.3x"
    assert lines[1].split() == short.split()
    assert lines[2].split()[-15:] == wide.split()


BOLD = re.compile("\x1b\\[[012]m")
SCHEDULES = ["dd1, 1 pass", "dd1, pre-trained-1-5", "dd1, pre-trained-1-6", "dd1, pre-trained-12-16"]


def printed(rows, monkeypatch=None, columns=None):
    out = io.StringIO()
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        out = Terminal()
    print_table(rows, out)
    return BOLD.sub("", out.getvalue()).splitlines()


def test_names_are_whole_wherever_they_are_printed(monkeypatch):
    rows = [attrs.evolve(WIDE, name=name) for name in SCHEDULES]
    for columns in (None, 200, 110, 80, 60, 40):
        lines = printed(rows, monkeypatch, columns)
        assert [line[: len(name)] for line, name in zip(lines[1:], SCHEDULES, strict=False)] == SCHEDULES
        assert columns is None or max(map(len, lines)) <= columns
        assert "…" not in "".join(lines)
    assert lines[0].split()[:2] == ["pass", "FID"]


def test_a_name_without_end_goes_on_in_further_lines(monkeypatch):
    name = "x" * 100 + "y"
    for columns in (None, 60):
        lines = printed([attrs.evolve(WIDE, name=name)], monkeypatch, columns)
        parts = [line.split()[0] for line in lines[1:] if line.startswith(("x", "y"))]
        assert "".join(parts) == name
        assert columns is not None or max(map(len, parts)) == LONGEST_NAME
        assert columns is None or max(map(len, lines)) <= columns


def test_a_narrow_terminal_leaves_columns_out_one_after_the_other(monkeypatch):
    heads = {width: printed([WIDE], monkeypatch, width)[0].split() for width in range(50, 160)}
    assert heads[159] == " ".join(column.heading for column in COLUMNS).split()
    counts = [len(head) for head in heads.values()]
    assert counts == sorted(counts)
    assert len(set(counts)) > 5
    head, body = printed([WIDE], monkeypatch, 80)[:2]
    assert "prec" not in head
    assert "112.3x" in body


def test_rows_of_several_protocols_are_marked_and_told():
    other = attrs.evolve(PROTOCOL, n=50_000, name="adm, but n, features")
    seed = attrs.evolve(PROTOCOL, seed=1)
    lines = printed([row(), row(protocol=other), row(protocol=seed)])
    assert [line.split()[2:4] for line in lines[1:4]] == [["0.500", mark] for mark in "aba"]
    notes = [line for line in lines if line[:3] in {"a: ", "b: "}]
    assert [note[:13] for note in notes] == ["a: 5 images, ", "b: 50,000 ima"]
    assert notes[1].endswith(f"(measured; protocol adm but for n, features; key {other.key})")
    assert any("other letters do not compare" in line for line in lines)
    assert not [line for line in printed([row(), row(protocol=seed)]) if "compare" in line]


@pytest.mark.parametrize("columns", [None, 100])
def test_nothing_in_a_report_steers_the_terminal(columns, monkeypatch):
    hostile = "a\x1b[31m\nb\x07\u202e"
    bad = attrs.evolve(PROTOCOL, reference=hostile, name=hostile)
    lines = printed([row(name=hostile, protocol=bad), row()], monkeypatch, columns)
    text = "".join(lines)
    assert text.isprintable()
    assert lines[1].startswith(r"a\x1b[31m\nb\x07\u202e ")
    report = Report((row(),), config={}, command="", seconds={hostile: 1.0}, throughput={hostile: 2.0})
    assert all(line.isprintable() for line in cost_lines(report))
