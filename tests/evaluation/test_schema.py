"""docs/report.schema.json: up to date, and it tells a report from what is none."""

import json
import math
from pathlib import Path

import attrs
import pytest
from jsonschema import Draft202012Validator

from ardistill.evaluation import schema
from ardistill.evaluation.report import Report
from ardistill.evaluation.timing.speed import Timing
from tests.evaluation.test_comparison import report, row

FILE = Path(__file__).parents[2] / "docs" / "report.schema.json"
VALIDATOR = Draft202012Validator(schema.schema())


def read(**fields):
    timing = Timing(
        "teacher",
        batch=8,
        decoding=True,
        compiled=False,
        seconds=0.1,
        fastest=0.09,
        slowest=0.12,
        repeats=5,
        **{field.name: None for field in attrs.fields(Timing) if field.name == "peak_bytes"},
    )
    rows = (
        row("dd2, 1 pass", 0.8, seconds_range=(0.1, 0.2), kid=math.nan, parameters=336),
        row("dd2, 2 passes", 0.7, accuracy=None),
    )
    return json.loads(report(rows=rows, speed=(timing,), **fields).text())


def complaints(read):
    return [(list(error.path), error.validator) for error in VALIDATOR.iter_errors(read)]


def test_the_file_is_up_to_date():
    assert FILE.read_text() == schema.text(), (
        "python -m ardistill.evaluation.schema > docs/report.schema.json"
    )


def test_it_is_a_schema_and_describes_every_record():
    made = schema.schema()
    Draft202012Validator.check_schema(made)
    assert made["$id"] == "urn:ardistill:report:1"
    assert set(made["properties"]) == {field.name for field in attrs.fields(Report)}
    assert set(made["$defs"]) == {"Row", "Protocol", "Timing"}
    assert all(record["description"] for record in (made, *made["$defs"].values()))
    assert "protocol" in made["$defs"]["Row"]["required"]
    assert "isc" not in made["$defs"]["Row"]["required"]
    assert made["$defs"]["Protocol"]["properties"]["labels"] == {"enum": ["balanced", "random"]}


def test_a_report_validates():
    assert complaints(read()) == []
    assert complaints(read(floor=None)) == []
    bare = {name: value for name, value in read().items() if name in {"rows", "config", "command"}}
    assert complaints(bare) == [], "what reading does not need may be missing"


def within(read, path):
    for key in path:
        read = read[key]
    return read


@pytest.mark.parametrize(
    "path",
    [
        ["rows"],
        ["config"],
        ["rows", 0, "fid"],
        ["rows", 1, "protocol"],
        ["rows", 0, "protocol", "reference_sha256"],
        ["rows", 0, "protocol", "reference_n"],
        ["speed", 0, "batch"],
    ],
)
def test_a_missing_field_is_none_of_it(path):
    given = read()
    del within(given, path[:-1])[path[-1]]
    assert complaints(given) == [(path[:-1], "required")]


@pytest.mark.parametrize("path", [[], ["rows", 0], ["rows", 0, "protocol"], ["speed", 0]])
def test_an_unknown_field_is_none_of_it(path):
    given = read()
    within(given, path)["fdi"] = 1
    assert complaints(given) == [(path, "additionalProperties")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["rows", 0, "fid"], "0.8"),
        (["rows", 0, "fid"], None),
        (["rows", 0, "passes"], 1.5),
        (["rows", 0, "passes"], True),
        (["rows", 0, "isc"], "high"),
        (["rows", 0, "seconds_range"], [0.1]),
        (["rows", 0, "seconds_range"], [0.1, 0.2, 0.3]),
        (["rows", 0, "protocol", "labels"], "drawn"),
        (["rows", 0, "protocol", "guidance"], []),
        (["speed", 0, "decoding"], 1),
        (["seconds", "csd"], "long"),
        (["versions", "torch"], 2),
        (["format"], 2),
        (["rows"], {}),
    ],
)
def test_a_field_of_another_type_is_none_of_it(path, value):
    given = read()
    within(given, path[:-1])[path[-1]] = value
    assert [found for found, _ in complaints(given)] == [path]


def test_a_type_without_a_schema_is_an_error():
    @attrs.frozen
    class Odd:
        field: set

    with pytest.raises(TypeError, match="has no schema yet"):
        schema._record(Odd, {})
