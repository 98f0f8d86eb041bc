"""What making a student costs: seconds over all sessions, and how much a second."""

import json

import attrs
import pytest

from ardistill.evaluation.protocol import Protocol
from ardistill.evaluation.report import Report, Row
from ardistill.evaluation.tables.table import cost_lines, duration
from ardistill.launch.cost import Cost, Preparing
from ardistill.training.loop import images_taken


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Silence:
    def __init__(self):
        self.told = []

    def advance(self, done, total, what):
        self.told.append((done, total, what))


@attrs.frozen
class Phase:
    name: str
    images: int
    batch: int = 10


def prepare(path, steps, clock=None):
    """A session: (seconds passed, done, what) of each report; None for `what` is time after the last."""
    clock, progress = clock or Clock(), Silence()
    with Preparing(path, progress, clock) as preparing:
        for seconds, done, what in steps:
            clock.now += seconds
            if what is not None:
                preparing.advance(done, 1_000, what)
    return preparing, progress.told


def test_seconds_and_rates_of_one_session(tmp_path):
    preparing, told = prepare(
        tmp_path / "p.json", [(1, 50, "pairs"), (1, 100, "pairs"), (4, 20, "codes"), (0.5, 0, None)]
    )
    assert preparing.seconds == 6.5
    assert preparing.rates() == {"pairs": 50, "codes": 5}
    assert told == [(50, 1_000, "pairs"), (100, 1_000, "pairs"), (20, 1_000, "codes")]


def test_a_session_that_finds_all_done_adds_its_own_seconds_only(tmp_path):
    prepare(tmp_path / "p.json", [(10, 100, "pairs")])
    preparing, _ = prepare(tmp_path / "p.json", [(0.25, 0, None)])
    assert preparing.seconds == 10.25
    assert preparing.rates() == {"pairs": 10}


def test_sessions_that_share_the_work_add_up(tmp_path):
    prepare(tmp_path / "p.json", [(10, 400, "pairs")])
    preparing, _ = prepare(tmp_path / "p.json", [(5, 500, "pairs"), (25, 1_000, "pairs")])
    assert preparing.seconds == 40
    assert preparing.rates() == {"pairs": 25}


def test_what_is_made_anew_has_its_own_rate_and_costs_its_time(tmp_path):
    prepare(tmp_path / "p.json", [(10, 1_000, "pairs")])
    preparing, _ = prepare(tmp_path / "p.json", [(1, 500, "pairs"), (1, 1_000, "pairs")])
    assert preparing.seconds == 12
    assert preparing.rates() == {"pairs": 500}


def test_a_kill_loses_two_seconds_at_most(tmp_path):
    """The record is written while the work goes on; a kill runs no handler."""
    clock = Clock()
    preparing = Preparing(tmp_path / "p.json", Silence(), clock)
    for done in range(1, 31):
        clock.now += 0.7
        preparing.advance(done, 100, "pairs")
    record = json.loads((tmp_path / "p.json").read_text())
    assert 21 - 2.1 <= record["seconds"] <= 21.01


def test_an_interruption_keeps_the_record(tmp_path):
    clock = Clock()

    def interrupted():
        with Preparing(tmp_path / "p.json", Silence(), clock):
            clock.now += 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert prepare(tmp_path / "p.json", [])[0].seconds == 1


def test_costs_go_by_the_reports_names():
    phases = (Phase("fit", 95), Phase("never", 10))
    cost = Cost.of(2.5, {"pairs": 40.0}, {"fit": 4.0, "never": 0.0}, phases)
    assert cost.seconds == {"preparing": 2.5, "fit": 4.0, "never": 0.0}
    assert cost.throughput == {"preparing pairs": 40.0, "fit": 25.0}
    assert images_taken(phases[0]) == 100, "the last batch is whole"


def report(seconds, throughput=None):
    scores = dict.fromkeys(("fid", "fid_test", "isc", "precision", "recall", "accuracy"), 0.5)
    protocol = Protocol("digits", 5, "balanced", 0, "digits/train", "00", 5, "none", "digits", "11", {})
    rows = (Row(name="teacher", passes=4, protocol=protocol, **scores),)
    told = {} if throughput is None else throughput
    return Report(rows, {}, "", seconds=seconds, throughput=told)


def test_training_seconds_are_all_but_evaluating():
    made = report({"preparing": 2.0, "fit": 3.0, "csd": 5.0, "evaluating teacher": 100.0})
    assert made.training_seconds == 10
    assert made.phase_seconds == {"fit": 3.0, "csd": 5.0}
    assert report({"evaluating teacher": 1.0}).training_seconds is None
    assert report({"preparing": 2.0, "evaluating teacher": 1.0}).training_seconds == 2


def test_a_report_from_before_there_was_throughput_is_read(tmp_path):
    read = json.loads(report({"fit": 3.0}).text())
    del read["throughput"]
    (tmp_path / "old.json").write_text(json.dumps(read))
    old = Report.load(tmp_path / "old.json")
    assert (old.throughput, old.training_seconds) == ({}, 3)
    assert cost_lines(old) == ["trained in 3.0 s"]


def test_lines_for_the_end_of_a_run():
    made = report(
        {"preparing": 9.84, "tune": 30.0, "csd": 53.2, "evaluating teacher": 1.0},
        {"preparing teacher samples": 1224.4, "tune": 1230.0, "csd": 5.64},
    )
    assert cost_lines(made) == [
        "prepared in 9.8 s: 1,224 teacher samples/s",
        "trained in 1 m 23 s: tune 1,230, csd 5.6 images/s",
    ]
    assert cost_lines(report({"preparing": 1e-5, "evaluating teacher": 1.0})) == []


DURATIONS = {
    0: "0.0 s",
    59.94: "59.9 s",
    59.96: "1 m 00 s",
    3599.4: "59 m 59 s",
    3600: "1 h 00 m",
    90061: "25 h 01 m",
}


@pytest.mark.parametrize(("seconds", "told"), DURATIONS.items())
def test_durations(seconds, told):
    assert duration(seconds) == told
