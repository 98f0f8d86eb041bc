"""What callbacks are told, and that none of them takes a run along."""

import json

import pytest

from ardistill.__main__ import main
from ardistill.errors import ArdistillError
from ardistill.evaluation.report import Report
from ardistill.launch.callbacks import Callbacks
from ardistill.weights import read_weights
from tests.logged import logged

WORDS = [
    *(
        "run",
        "method=dd1",
        "teacher=var",
        "threads=1",
        "method.n_pairs=64",
        "method.images=128",
        "method.batch=16",
    ),
    *(
        "eval.n=50",
        "eval.batch=50",
        "eval.steps=1",
        "eval.speed.repeats=0",
        "eval.every=64",
        "eval.every_n=50",
    ),
]

PLUGIN = """
import json
from ardistill.hookspecs import hookimpl
from ardistill.records import CallbackOffer
ardistill_api = 1

@hookimpl
def ardistill_callbacks():
    yield CallbackOffer("telling", "writes down what it is told", "plugin_of_telling:Telling")

class Telling:
    def __init__(self, settings, folder):
        self.path = folder / "told.jsonl"
    def tell(self, *what):
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\\n")
    def start(self, images):
        self.tell("start", images)
    def step(self, phase, images, losses):
        self.tell("step", phase, images, sorted(losses))
    def evaluation(self, images, figures):
        self.tell("evaluation", images, figures["fid"])
    def end(self, error):
        self.tell("end", None if error is None else type(error).__name__)
"""


@pytest.fixture
def telling(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "telling-1.dist-info"
    info.mkdir(parents=True)
    (site / "plugin_of_telling.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: telling\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ardistill]\ntelling = plugin_of_telling\n")
    monkeypatch.syspath_prepend(site)


def told(folder):
    return [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]


def test_a_callback_hears_of_start_steps_evaluations_and_the_end(telling, tmp_path):
    run = tmp_path / "run"
    assert main([*WORDS, "callbacks=telling", f"out={run}"]) == 0
    report = Report.load(run / "report.json")
    heard = told(run)
    assert heard[0] == ["start", 0]
    assert heard[-1] == ["end", None]
    steps = [each for each in heard if each[0] == "step"]
    assert [(phase, images) for _, phase, images, _ in steps] == [("train", 16 * n) for n in range(1, 9)]
    assert steps[0][3] == ["ce", "gradient_norm", "lpips"]
    assert [images for what, images, *_ in heard if what == "evaluation"] == [64, 128, 128]
    assert heard[-2] == ["evaluation", 128, report.row("dd1, 1 pass").fid]


class Failing:
    def __init__(self, at):
        self.at, self.heard = at, []

    def __getattr__(self, event):
        def tell(*what):
            self.heard.append(event)
            if event == self.at:
                raise OSError("the disk of the callback is full")

        return tell


@pytest.mark.parametrize("event", ["start", "step", "evaluation", "end"])
def test_one_that_fails_costs_a_warning_and_the_others_hear_on(event):
    failing, other = Failing(event), Failing("never")
    callbacks = Callbacks({"bad": failing, "good": other})
    with (
        logged(
            f"callback bad fails at {event} .OSError: the disk of the callback is full. and is told no more"
        ),
        callbacks.ending(),
    ):
        callbacks.start(0)
        callbacks.step("one", 8, {})
        callbacks.evaluation(8, {})
        callbacks.step("one", 16, {})
    assert other.heard == ["start", "step", "evaluation", "step", "end"]
    assert failing.heard == other.heard[: other.heard.index(event) + 1]


def test_the_end_says_what_ended_the_run_and_the_error_goes_on():
    errors = []

    class Last(Failing):
        def end(self, error):
            errors.append(error)

    with pytest.raises(ArdistillError, match="too bad"), Callbacks({"last": Last("never")}).ending():
        raise ArdistillError("too bad")
    assert str(errors[0]) == "too bad"


def test_profile_leaves_a_trace_and_changes_nothing(tmp_path):
    assert main([*WORDS, f"out={tmp_path / 'plain'}"]) == 0
    words = ["callbacks.profile.skip=2", "callbacks.profile.updates=2"]
    assert main([*WORDS, *words, f"out={tmp_path / 'traced'}"]) == 0
    folder = tmp_path / "traced" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == ["000000000064.json", "000000000064.txt"]
    events = json.loads((folder / "000000000064.json").read_text())["traceEvents"]
    assert any("addmm" in event.get("name", "") for event in events)
    assert "addmm" in (folder / "000000000064.txt").read_text()
    plain, traced = (
        read_weights(tmp_path / name / "student.safetensors").tensors for name in ("plain", "traced")
    )
    assert all(traced[key].equal(value) for key, value in plain.items())


def test_unknown_callbacks_are_refused_before_any_work(tmp_path, capsys):
    assert main([*WORDS, "callbacks=profil", f"out={tmp_path / 'run'}"]) == 2
    assert "unknown callback 'profil'; did you mean profile?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
