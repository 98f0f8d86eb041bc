"""Reports side by side: what is shown once, what is refused, means over seeds, table and figure."""

import io

import attrs
import numpy as np
import pytest
from PIL import Image

from ardistill.errors import RunFolderError
from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import Report, Row
from ardistill.evaluation.tables.chart import chart
from ardistill.evaluation.tables.comparison import Entry, compare, counts_passes
from ardistill.evaluation.tables.table import print_comparison

PROTOCOL = Protocol(
    name="digits",
    n=5000,
    labels="balanced",
    seed=0,
    reference="digits/train",
    reference_sha256="ab" * 32,
    reference_n=5000,
    reference_images=5000,
    resize="none",
    features="digits",
    features_digest="cd" * 32,
    guidance={"scale": 0.5, "top_k": 0},
)


def row(name, fid, passes=1, **fields):
    measured = dict.fromkeys(("fid_test", "isc", "precision", "recall", "accuracy"), 0.5)
    measured["protocol"] = PROTOCOL
    times = {
        "seconds_per_image": 0.001 * (1 + passes),
        "latency": 0.01 * (1 + passes),
        "latency_speedup": 2.0,
    }
    return Row(**({"name": name, "passes": passes, "fid": fid} | measured | times | fields))


OTHERS = (row("teacher", 0.4, 4), row("onestep*", 2.6, 0), row("skip-1", 1.0, 3))


def report(method="dd2", seed=0, rows=(), others=OTHERS, seconds=None, protocol=PROTOCOL, **fields):
    settings = {"name": method, "alpha": 1.0}
    sections = {"method": settings, "teacher": {"name": "var", "cfg": "none"}, "data": {"name": "digits"}}
    given = {"config": sections, "command": "", "hardware": {"cpu": "a"}, "floor": 0.31 + seed}
    own = rows or (row(f"{method}, 1 pass", 0.8), row(f"{method}, 2 passes", 0.6, 2))
    by = attrs.evolve(protocol, seed=seed)
    return Report(
        rows=tuple(attrs.evolve(each, protocol=by) for each in (*others, *own)),
        seconds={"preparing": 10.0, "csd": 90.0, "evaluating teacher": 7.0} if seconds is None else seconds,
        **(given | fields),
    )


@pytest.fixture
def entry(tmp_path):
    """Saves a report as a run would, and reads it."""

    def saved(name, **fields):
        path = tmp_path / name / "report.json"
        path.parent.mkdir(exist_ok=True)
        report(**fields).save(path)
        return Entry(path, Report.load(path))

    return saved


def names(lines):
    return [line.name for line in lines]


def test_teacher_and_baselines_once_then_every_run(entry):
    others = (*OTHERS, row("skip-2", 1.5, 2))
    found = compare([entry("a"), entry("b", method="dd1", others=others)])
    students = ["dd2, 1 pass", "dd2, 2 passes", "dd1, 1 pass", "dd1, 2 passes"]
    assert names(found.lines) == ["teacher", "onestep*", "skip-1", "skip-2", *students]
    assert [line.training_seconds for line in found.lines] == [None] * 4 + [100.0] * 4
    assert [line.series for line in found.lines] == [""] * 4 + ["dd2"] * 2 + ["dd1"] * 2
    assert not found.spread
    assert not found.notes


def test_one_run_is_its_report(entry):
    one = entry("a")
    assert tuple(line.row for line in compare([one]).lines) == one.report.rows


def test_a_method_that_occurs_twice_is_told_apart(entry):
    found = compare([entry("a"), entry("b", seed=1), entry("c", method="dd1")])
    assert names(found.lines)[3:] == [
        "dd2, 1 pass [seed 0, a]",
        "dd2, 2 passes [seed 0, a]",
        "dd2, 1 pass [seed 1, b]",
        "dd2, 2 passes [seed 1, b]",
        "dd1, 1 pass",
        "dd1, 2 passes",
    ]


def test_a_run_of_a_baseline_takes_that_baselines_place(entry):
    own = (row("teacher", 0.4, 4), row("onestep*", 2.6, 0), row("skip-1", 1.1, 3))
    found = compare([entry("a"), entry("b", method="skip-n", others=own[:2], rows=own[2:])])
    assert names(found.lines) == ["teacher", "onestep*", "dd2, 1 pass", "dd2, 2 passes", "skip-1"]
    assert found.lines[-1].row.fid == 1.1
    assert (found.lines[-1].series, found.lines[-1].training_seconds) == ("skip-1", 100.0)


def test_mean_least_and_most_over_seeds(entry):
    fids = {0: 0.8, 1: 0.5, 2: 1.1}
    several = [
        entry(
            f"s{seed}", seed=seed, rows=(row("dd2, 1 pass", fid, nll=fid + 1),), seconds={"csd": 100 + seed}
        )
        for seed, fid in fids.items()
    ]
    found = compare([*several, entry("other", method="dd1")])
    assert names(found.spread) == ["dd2, 1 pass: mean of 3 seeds", "  least", "  most"]
    assert [line.row.fid for line in found.spread] == pytest.approx([0.8, 0.5, 1.1])
    assert [line.row.nll for line in found.spread] == pytest.approx([1.8, 1.5, 2.1])
    assert [line.training_seconds for line in found.spread] == [101, 100, 102]
    assert found.spread[0].row.fid_teacher is None
    assert found.spread[0].row.protocol == several[0].report.protocol
    assert found.notes == ("teacher and baselines are those of s0, seed 0",)


def test_a_figure_that_one_seed_lacks_has_no_mean(entry):
    several = [
        entry(f"s{seed}", seed=seed, rows=(row("dd2, 1 pass", 0.8, isc=isc, kid=0.1 * seed, ppl=None),))
        for seed, isc in enumerate((2.0, None))
    ]
    mean = compare(several).spread[0].row
    assert (mean.isc, mean.ppl) == (None, None)
    assert mean.kid == pytest.approx(0.05)


def test_runs_of_other_settings_are_no_seeds_of_one_another(entry):
    one = entry("a")
    settings = {**one.config, "method": {"name": "dd2", "alpha": 1.2}}
    assert not compare([one, entry("b", seed=1, config=settings)]).spread


def test_a_schedule_that_one_seed_lacks_has_no_mean(entry):
    found = compare([entry("a"), entry("b", seed=1, rows=(row("dd2, 1 pass", 0.9),))])
    assert names(found.spread)[::3] == ["dd2, 1 pass: mean of 2 seeds"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"protocol": {"n": 1000}}, "n is 5000 in the one and 1000 in the other"),
        ({"protocol": {"name": "adm"}}, "protocol is digits in the one and adm"),
        ({"protocol": {"guidance": {"scale": 1.5, "top_k": 0}}}, "guidance.scale is 0.5 .* 1.5"),
        ({"protocol": {"guidance": {"scale": 0.5}}}, "guidance.top_k is 0 in the one and absent"),
        ({"protocol": {"reference_sha256": "77"}}, "reference_sha256 is .* and 77 in the other"),
        ({"protocol": {"labels": "random"}}, "labels is balanced in the one and random"),
        ({"protocol": {"features_digest": "ef"}}, "features_digest is cdcd"),
        ({"config": {"teacher": {"name": "llamagen"}}}, "teacher.name is var in the one and llamagen"),
        ({"config": {"teacher": {"name": "var"}, "data": {"name": "sums"}}}, "data.name is digits"),
        ({"others": (row("teacher", 0.5, 4),)}, "the teacher's FID, of the same seed, is 0.4 .* 0.5"),
        (
            {"seed": 1, "config": {"teacher": {"name": "var", "cfg": 2}}},
            "teacher.cfg is none in the one and 2",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_the_fields_name(entry, fields, told):
    fields = dict(fields)
    protocol = attrs.evolve(PROTOCOL, **fields.pop("protocol", {}))
    with pytest.raises(
        RunFolderError, match=rf"a/report.json and \S*b/report.json can't be compared: {told}"
    ):
        compare([entry("a"), entry("b", protocol=protocol, **fields)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": 1000}, "n is 5000 in 'teacher' and 1000 in 'dd2, 2 passes'; evaluate the run again"),
        ({"guidance": {"scale": 1.5, "top_k": 0}}, "guidance.scale is 0.5 in 'teacher' and 1.5"),
        ({"name": "adm"}, "protocol is digits in 'teacher' and adm"),
    ],
)
def test_rows_of_two_protocols_in_one_report_are_refused(entry, changes, told):
    one, good = entry("a"), entry("b", method="dd1")
    *rows, last = one.report.rows
    last = attrs.evolve(last, protocol=attrs.evolve(last.protocol, **changes))
    attrs.evolve(one.report, rows=(*rows, last)).save(one.path)
    mixed = Entry(one.path, Report.load(one.path))
    for several in ([mixed], [mixed, good], [good, mixed]):
        with pytest.raises(RunFolderError, match=f"a/report.json holds rows that can't be compared: {told}"):
            compare(several)


def test_settings_that_one_configuration_does_not_hold_are_no_difference(entry):
    compare([entry("a"), entry("b", config={"teacher": {"name": "var"}})])


def test_what_the_seed_decides_is_no_difference(entry):
    teacher = (row("teacher", 0.6, 4), *OTHERS[1:])
    found = compare([entry("a"), entry("b", seed=1, others=teacher)])
    assert found.lines[0].row.fid == 0.4
    assert "gaps lie between each run's own teacher and onestep*" in found.notes


def test_a_teacher_that_drew_the_same_is_the_same_however_it_serves_methods(entry):
    served = {"method": {"name": "dd1"}, "teacher": {"name": "var", "cfg": "0"}, "data": {"name": "digits"}}
    compare([entry("a"), entry("b", config=served)])
    rounded = (row("teacher", 0.401, 4), *OTHERS[1:])
    compare([entry("a"), entry("b", others=rounded)])


def test_the_same_run_twice_and_a_report_without_rows_are_refused(entry):
    one = entry("a")
    with pytest.raises(RunFolderError, match="given twice"):
        compare([one, one])
    empty = attrs.evolve(one, report=attrs.evolve(one.report, rows=()))
    with pytest.raises(RunFolderError, match="has no rows"):
        compare([empty])


def test_other_hardware_is_told(entry):
    found = compare([entry("a"), entry("b", method="dd1", hardware={"cpu": "b"})])
    assert "seconds were measured on different machines" in found.notes[0]


def test_the_table_has_every_column_and_what_training_took(entry):
    out = io.StringIO()
    several = [entry("a"), entry("b", seed=1, seconds={"evaluating teacher": 3.0})]
    print_comparison(compare(several), out)
    lines = out.getvalue().splitlines()
    assert lines[0].split()[-3:] == ["speed", "train", "s"]
    assert lines[1].split()[-1] == "-"
    assert [line.split()[-1] for line in lines[4:8]] == ["100", "100", "-", "-"]
    assert lines[4].startswith("dd2, 1 pass [seed 0, a]  ")
    assert "\x1b" not in out.getvalue()
    assert lines[-1] == "teacher and baselines are those of a, seed 0"


def test_what_reports_and_folders_are_called_steers_no_terminal(entry, monkeypatch):
    hostile = "a\x1b[31m\nb"
    found = compare([entry(hostile, rows=(row(hostile, 0.8),)), entry("b", seed=1)])
    out = io.StringIO()
    print_comparison(found, out)
    assert all(line.isprintable() for line in out.getvalue().splitlines())
    assert r"those of a\x1b[31m\nb, seed 0" in out.getvalue()
    assert pixels(chart(found.lines)).std() > 5


def test_names_of_schedules_are_whole(entry):
    own = tuple(row(f"dd1, pre-trained-1-{last}", 0.8, last) for last in (5, 6))
    out = io.StringIO()
    print_comparison(
        compare([entry("dd1-var-001", rows=own, method="dd1"), entry("b", method="dd1", seed=1)]), out
    )
    lines = out.getvalue().splitlines()
    for last in (5, 6):
        name = f"dd1, pre-trained-1-{last} [seed 0, dd1-var-001]"
        assert sum(line.startswith(f"{name} ") for line in lines) == 1


def test_rare_columns_appear_where_a_row_has_them(entry):
    out = io.StringIO()
    rich = (row("dd2, 1 pass", 0.8, kid=0.00125, tokens_tv=0.25, ppl=18437.6, isc=None, accuracy=None),)
    print_comparison(compare([entry("a", rows=rich)]), out)
    head, teacher, *_, student = out.getvalue().splitlines()[:5]
    assert head.split()[-13:-2] == [
        "rec",
        "KID",
        "TV",
        "PPL",
        "acc",
        "%",
        "NLL",
        "params",
        "ms/img",
        "alone",
        "speed",
    ]
    assert teacher.split()[-11:-7] == ["0.50", "-", "-", "-"]
    assert student.split()[-12:-6] == ["0.50", "0.50", "1.250", "0.250", "18438", "-"]
    assert "KID: times 1000; TV: " in out.getvalue()
    assert "joint" not in out.getvalue()


def pixels(png):
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def coloured(panel):
    """How many pixels are neither black, white nor grey."""
    return int((np.ptp(panel.astype(int), axis=-1) > 60).sum())


def test_the_figure_shows_runs_in_both_panels(entry):
    found = compare(
        [entry("a"), entry("b", method="dd1", rows=(row("dd1, 1 pass", 9.0),), seconds={"fit": 3.0})]
    )
    drawn = pixels(chart(found.lines))
    assert drawn.shape == (550, 1320, 3)
    left, right = drawn[:460, :660], drawn[:460, 660:]
    assert min(coloured(left), coloured(right)) > 300
    lines_only = pixels(chart(found.lines[:3]))
    assert coloured(lines_only[:460, 660:]) < coloured(right), (
        "teacher and baselines have no time of training"
    )
    assert (drawn != pixels(chart([found.lines[0], *found.lines[3:]]))).any()


@pytest.mark.parametrize("seconds", [{}, {"csd": 0.0}, {"csd": 1e5}])
def test_a_figure_without_times_is_a_figure(entry, seconds):
    bare = (row("dd2, 1 pass", 0.8, seconds_per_image=None),)
    assert pixels(chart(compare([entry("a", seconds=seconds, rows=bare)]).lines)).std() > 5


def test_the_figure_joins_passes_alone(entry):
    assert counts_passes("dd1, 1 pass")
    assert counts_passes("a, b, 12 passes")
    assert not any(map(counts_passes, ("dd1, pre-trained-1-5", "teacher", "passes", "dd1, 2 passes at once")))
    fids = (0.3, 3.0, 0.35)
    kinds = ("dd1, 1 pass", "dd1, pre-trained-1-5", "dd1, 9 passes")
    plain = ("dd1, 1 pass", "dd1, 5 passes", "dd1, 9 passes")
    inked = {}
    for names in (kinds, plain):
        own = tuple(row(name, fid, passes) for name, fid, passes in zip(names, fids, (1, 5, 9), strict=True))
        lines = compare([entry("a", method="dd1", rows=own)]).lines
        inked[names] = coloured(pixels(chart(lines))[:460, :660])
    assert inked[kinds] < 0.8 * inked[plain], "a peak of a zigzag is far to go to"


def test_a_name_may_hold_what_typesetting_means_something_by(entry):
    assert pixels(
        chart(compare([entry("a", method=r"a$\frac$", rows=(row(r"a$\frac$, 1 pass", 0.8),))]).lines)
    ).any()
