"""Runs end to end through the command line, small enough for every change."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ardistill.__main__ import main
from ardistill.evaluation.report import Report
from ardistill.weights import read_weights, write_weights

WEIGHTS = Path(__file__).parents[2] / "plugins" / "ardistill_digits" / "weights"

TINY = [
    "method=dd2",
    "teacher=var",
    "threads=1",
    "method.tuning_samples=100",
    "method.tune_head_images=32",
    "method.tune_images=96",
    "method.tune_batch=32",
    "method.guidance_images=32",
    "method.csd_images=96",
    "method.align_guidance_images=16",
    "method.align_images=48",
    "method.batch=16",
    "eval.n=100",
    "eval.batch=100",
    "eval.every=100",
    "eval.every_n=60",
    "eval.speed.batches=1,8",
    "eval.speed.repeats=2",
    "checkpoint.every=40",
]


def tiny(*words: str) -> list[str]:
    """TINY with some of its words said otherwise."""
    keys = {word.partition("=")[0] for word in words}
    return [*(word for word in TINY if word.partition("=")[0] not in keys), *words]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["run", *TINY, f"out={folder}"]) == 0
    return folder


def same_student(one: Path, other: Path, file: str = "student.safetensors") -> bool:
    a, b = (read_weights(folder / file).tensors for folder in (one, other))
    return a.keys() == b.keys() and all(a[key].equal(b[key]) for key in a)


def test_the_run_folder_holds_what_is_promised(run):
    names = ["config.toml", "student.safetensors", "best.safetensors", "metrics.jsonl", "samples.png"]
    for name in (*names, "report.json", "report.html"):
        assert (run / name).stat().st_size > 0, name
    assert any((run / "tensorboard").iterdir())
    assert any((run / "checkpoints").iterdir())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {record["phase"] for record in records} == {
        "tune-head",
        "tune",
        "guidance",
        "csd",
        "align-guidance",
        "align",
        "eval",
    }
    left = [path.name for path in run.rglob("*") if path.name.endswith(".tmp")]
    assert not left


def test_the_report_has_a_row_for_each_generator(run):
    report = Report.load(run / "report.json")
    passes = {row.name: row.passes for row in report.rows}
    students = {"dd2, 1 pass": 1, "dd2, 2 passes": 2, "dd2, 3 passes": 3, "dd2, 4 passes": 4}
    assert passes == {"teacher": 4, "onestep*": 0, "skip-1": 3, **students}
    for row in report.rows:
        for field in ("fid", "fid_teacher", "isc", "precision", "recall", "accuracy", "nll", "parameters"):
            assert getattr(row, field) is not None, (row.name, field)
        assert row.seconds_per_image
        assert row.speedup
    assert report.row("teacher").gap_real == pytest.approx(100)
    assert report.row("onestep*").gap_teacher == pytest.approx(0)


PHASES = {
    "tune-head": 32,
    "tune": 96,
    "guidance": 32,
    "csd": 96,
    "align-guidance": 16,
    "align": 48,
}


def test_the_report_tells_what_making_the_student_took(run):
    report = Report.load(run / "report.json")
    assert report.phase_seconds.keys() == PHASES.keys()
    assert report.training_seconds == pytest.approx(
        report.seconds["preparing"] + sum(report.phase_seconds.values())
    )
    for phase, images in PHASES.items():
        assert report.throughput[phase] == pytest.approx(images / report.seconds[phase])
    record = json.loads((run / "preparing.json").read_text())
    assert report.seconds["preparing"] == record["seconds"]
    made = record["work"]["teacher samples"]
    assert made["done"] == 100
    assert report.throughput["preparing teacher samples"] == 100 / made["seconds"]


def test_both_lines_are_shown_when_a_run_ends_and_when_it_is_shown_again(run, capsys):
    assert main(["run", f"resume={run}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"prepared in [\d.]+ s: [\d.,]+ teacher samples/s", line) for line in lines)
    (trained,) = [line for line in lines if line.startswith("trained in ")]
    assert re.fullmatch(r"trained in [\d.]+ s: (([\w-]+ [\d.,]+), )+align [\d.,]+ images/s", trained)


@pytest.mark.parametrize("damage", ["[]", '{"seconds": "long"}', "[" * 20_000])
def test_a_damaged_record_of_preparing_costs_a_figure_and_no_run(run, tmp_path, damage):
    folder = interrupted(run, tmp_path / "run")
    (folder / "preparing.json").write_text(damage)
    assert main(["run", f"resume={folder}"]) == 0
    report = Report.load(folder / "report.json")
    assert 0 <= report.seconds["preparing"] < Report.load(run / "report.json").seconds["preparing"] + 5
    assert report.phase_seconds == pytest.approx(Report.load(run / "report.json").phase_seconds, abs=1)


def test_a_resumed_run_keeps_the_time_that_preparing_took_before(run, tmp_path):
    folder = interrupted(run, tmp_path / "run")
    record = json.loads((folder / "preparing.json").read_text())
    record["seconds"] += 1_000
    record["work"]["teacher samples"]["seconds"] += 1_000
    (folder / "preparing.json").write_text(json.dumps(record))
    assert main(["run", f"resume={folder}"]) == 0
    report = Report.load(folder / "report.json")
    assert 1_000 < report.seconds["preparing"] < 1_100
    assert report.throughput["preparing teacher samples"] == pytest.approx(0.1, rel=0.02)


def test_tensorboard_can_read_losses_and_sample_grids(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert "csd/generator/csd" in events.Tags()["scalars"]
    assert "samples" in events.Tags()["images"]


def watched(folder: Path) -> list[dict]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["phase"] == "eval"]


def test_the_student_is_judged_while_it_trains_and_the_best_is_kept(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    records = watched(run)
    assert [record["images"] // 100 for record in records] == [1, 2, 3]
    assert all(record["images"] % 100 < 16 for record in records[1:])
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    report = Report.load(run / "report.json")
    assert seconds[-1] <= sum(report.phase_seconds.values())
    best = read_weights(run / "best.safetensors")
    least = min(records, key=lambda record: record["fid"])
    assert best.about["best"] == {"images": least["images"], "fid": least["fid"], "n": 60}
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("eval/fid")] == [record["images"] for record in records]


def test_the_best_student_is_a_student(run, tmp_path):
    words = [f"student.checkpoint={run / 'best.safetensors'}", "steps=1", "n=60", "speed.repeats=0"]
    out = tmp_path / "best.json"
    assert main(["eval", "teacher=var", "student=dd2", *words, f"out={out}"]) == 0
    assert Report.load(out).rows[-1].name == "dd2, 1 pass"
    assert "<html" in out.with_suffix(".html").read_text()


def test_the_page_shows_what_the_folder_holds(run):
    page = (run / "report.html").read_text()
    for row in Report.load(run / "report.json").rows:
        assert row.name in page
    assert "teacher, same noise" in page


def test_the_picture_is_a_picture(run):
    with Image.open(run / "samples.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("L").getcolors()) > 20


def test_the_written_configuration_repeats_the_run_bit_for_bit(run, tmp_path):
    assert main(["run", "--config", str(run / "config.toml"), f"out={tmp_path / 'again'}"]) == 0
    assert same_student(run, tmp_path / "again")
    ours, theirs = (Report.load(folder / "report.json") for folder in (run, tmp_path / "again"))
    assert [row.fid for row in ours.rows] == [row.fid for row in theirs.rows]


def test_another_seed_gives_another_student(run, tmp_path):
    words = tiny("seed=1", "method.csd_images=32", "eval.steps=1", f"out={tmp_path / 'other'}")
    assert main(["run", *words]) == 0
    assert not same_student(run, tmp_path / "other")


def test_a_run_killed_at_any_moment_goes_on_as_if_nothing_had_happened(run, tmp_path):
    """SIGKILL once there is a checkpoint, and again a little later; then `resume`."""
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "ardistill", "run"]
    words = [*TINY, f"out={folder}"]
    for wanted in (1, 3):
        process = subprocess.Popen([*command, *words], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if _saved(folder) >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        process.wait()
        words = [f"resume={folder}"]
    assert main(["run", f"resume={folder}"]) == 0
    assert same_student(run, folder)
    assert same_student(run, folder, "best.safetensors")
    figures = [[{**record, "seconds": 0} for record in watched(each)] for each in (run, folder)]
    assert figures[0] == figures[1]


def _saved(folder: Path) -> int:
    """How many checkpoints have been written, by the newest one's image count."""
    newest = max((folder / "checkpoints").glob("0*"), default=None, key=lambda path: path.name)
    return 0 if newest is None else int(newest.name.split("-")[0]) // 40


def test_samples_are_a_sheet_or_arrays_and_depend_on_seed_and_index_alone(run, tmp_path):
    assert main(["sample", f"run={run}", f"out={tmp_path / 'a.png'}", "n=20"]) == 0
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.width > sheet.height
    for name, words in {"b": ["batch=7"], "c": ["batch=30"], "d": ["seed=1"]}.items():
        assert (
            main(["sample", f"run={run}", f"out={tmp_path / name}.npz", "n=30", "classes=3,7", *words]) == 0
        )
    b, c, d = (np.load(tmp_path / f"{name}.npz") for name in "bcd")
    assert b["arr_0"].shape == (30, 16, 16, 3)
    assert b["arr_1"].tolist() == [3, 7] * 15
    # Another batch size may round a product differently, by one grey level at most.
    assert np.abs(b["arr_0"].astype(int) - c["arr_0"].astype(int)).max() <= 1
    assert np.abs(b["arr_0"].astype(int) - d["arr_0"].astype(int)).max() > 50


def greys(path):
    return np.load(path)["arr_0"].astype(int)


@pytest.mark.parametrize(
    "word",
    [
        "precision=bf16",
        pytest.param(
            "compile=true",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler"),
            ],
        ),
    ],
)
def test_faster_ways_draw_the_same_images_but_for_rounding(word, run, tmp_path):
    for name, words in {"plain": [], "fast": [word, "batch=8"]}.items():
        assert main(["sample", f"run={run}", f"out={tmp_path / name}.npz", "n=20", *words]) == 0
    plain, fast = greys(tmp_path / "plain.npz"), greys(tmp_path / "fast.npz")
    assert plain.shape == fast.shape
    difference = np.abs(plain - fast)
    assert difference.max() <= 1 if word == "compile=true" else 0 < difference.mean() < 4


@pytest.mark.slow
def test_where_nothing_compiles_sample_says_so(run, tmp_path, capsys):
    from torch._inductor import config

    torch.compiler.reset()
    with config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}):
        assert main(["sample", f"run={run}", f"out={tmp_path / 'a.npz'}", "n=4", "compile=true"]) == 2
    assert "leave compile=true out" in capsys.readouterr().err
    assert not (tmp_path / "a.npz").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has it")
def test_sample_refuses_a_precision_that_the_device_has_not(run, tmp_path, capsys):
    assert main(["sample", f"run={run}", f"out={tmp_path / 'a.png'}", "precision=fp16"]) == 2
    assert "give fp32 or bf16" in capsys.readouterr().err


def test_eval_judges_other_schedules_and_leaves_the_runs_report_alone(run, tmp_path, capsys):
    before = (run / "report.json").read_bytes()
    out = tmp_path / "more.json"
    assert main(["eval", f"run={run}", "steps=1,pre-trained-2-3", "n=120", "seed=4", f"out={out}"]) == 2
    assert "steps=pre-trained-2-3" in capsys.readouterr().err
    assert main(["eval", f"run={run}", "every=5", f"out={out}"]) == 2
    assert "give eval.every to `run`" in capsys.readouterr().err
    words = ["steps=1,2", "n=120", "seed=4", "labels=random", "ppl.n=20", "speed.repeats=0", f"out={out}"]
    assert main(["eval", f"run={run}", *words]) == 0
    report = Report.load(out)
    assert [row.name for row in report.rows][3:] == ["dd2, 1 pass", "dd2, 2 passes"]
    assert (report.n, report.seed, report.protocol.labels) == (120, 4, "random")
    assert [row.ppl is not None for row in report.rows] == [False, False, False, True, False]
    assert report.config["eval"]["n"] == 120
    assert report.config["method"]["batch"] == 16
    assert report.speed == ()
    assert (run / "report.json").read_bytes() == before


def write_teacher_with_nan(path: Path) -> None:
    teacher = read_weights(WEIGHTS / "var-teacher.safetensors")
    bias = teacher.tensors["head.bias"].clone()
    bias[3] = float("nan")
    write_weights(path, {**teacher.tensors, "head.bias": bias}, teacher.about)


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "method=dd3", "teacher=var"], "dd2"),
        (["run", "method=dd2", "teacher=vra"], "var"),
        (["run", "teacher=var"], "method"),
        (["run", "method=dd2", "teacher=exact-sparse", "out={tmp}/x"], "choose a pair that fits"),
        (["run", "method=dd2", "teacher=var", "data=", "out={tmp}/x"], "data is missing"),
        (["run", *tiny("eval.steps=1,1", "out={tmp}/x")], "twice"),
        (["run", *tiny("eval.steps=" + "1" * 5000, "out={tmp}/x")], "not a schedule"),
        (["run", *tiny("threads=99999999999", "out={tmp}/x")], "threads"),
        (["run", *tiny("teacher.checkpoint=" + "a" * 300, "out={tmp}/x")], "no weights file"),
        (["run", *tiny("out={tmp}/" + "a" * 300)], "can't be made a run folder"),
        (["run", "resume=" + "a" * 300], "File name too long"),
        (["run", *tiny("teacher.checkpoint={tmp}/nan.safetensors", "out={tmp}/x")], "NaN"),
        (["sample", "run={run}", "out={tmp}/folder.png"], "directory"),
        (["run", *tiny("method.alhpa=1", "out={tmp}/x")], "method.alpha"),
        (["run", *tiny("method.alpha=nan", "out={tmp}/x")], "nan"),
        (["run", *tiny("quick=flase", "out={tmp}/x")], "false"),
        (["run", *tiny("method.score_form=sib", "out={tmp}/x")], "sid"),
        (["run", *tiny("eval.n=0", "out={tmp}/x")], "at least 1"),
        (["run", *tiny("method.head.width=-3", "out={tmp}/x")], "at least 1"),
        (["run", *tiny("eval.n=12", "out={tmp}/x")], "48"),
        (
            ["run", *tiny("eval.baselines=skip-4", "out={tmp}/x")],
            "skip-4 needs a teacher of more than 4 steps",
        ),
        (["run", *tiny("eval.baselines=onestep", "out={tmp}/x")], "eval.baselines: 'onestep' is no baseline"),
        (["run", *tiny("eval.steps=9", "out={tmp}/x")], "steps=9"),
        (["run", *tiny("device=cuda:77", "out={tmp}/x")], "device=cpu"),
        (["run", *tiny("teacher.checkpoint={tmp}/none.pth", "out={tmp}/x")], "no weights file"),
        (["run", *tiny("teacher.checkpoint={tmp}", "out={tmp}/x")], "no weights file"),
        (["run", *tiny("teacher.checkpoint={tmp}/page.pth", "out={tmp}/x")], "can't be read as weights"),
        (["run", *tiny("teacher.checkpoint={tmp}/other.safetensors", "out={tmp}/x")], "var-teacher"),
        (["run", *tiny("out={tmp}/full")], "not empty"),
        (["run", *tiny("out={tmp}/page.pth")], "not empty"),
        (["run", *tiny("out={tmp}/page.pth/below")], "can't be made a run folder"),
        (["run", "resume={tmp}/full"], "not a run folder"),
        (["run", "resume={tmp}/nowhere"], "not a run folder"),
        (["run", "resume={run}", "seed=1"], "no other words"),
        (["run", "--config", "{tmp}/none.toml"], "none.toml"),
        (["run", "--config", "{tmp}/page.pth"], "page.pth"),
        (["sample", "run={tmp}/full", "out={tmp}/a.png"], "not a run folder"),
        (["sample", "run={run}", "out={tmp}/a.jpeg"], ".png"),
        (["sample", "run={run}", "out={tmp}/nowhere/a.png"], "folder that is not there"),
        (["sample", "run={run}", "out={tmp}/a.png", "classes=11"], "0..9"),
        (["sample", "run={run}", "out={tmp}/a.png", "classes=-1"], "0..9"),
        (["sample", "run={run}", "out={tmp}/a.png", "n=0"], "at least 1"),
        (["sample", "run={run}", "out={tmp}/a.png", "steps=7"], "steps=7"),
        (["eval", "run={run}", "n=-5"], "-5"),
        (["eval", "run={run}", "out={tmp}/a.txt"], ".json"),
        (["smaple"], "sample"),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_half_written(words, said, run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    (tmp_path / "page.pth").write_text("<!doctype html><title>404</title>")
    (tmp_path / "other.safetensors").write_bytes((WEIGHTS / "features.safetensors").read_bytes())
    (tmp_path / "folder.png").mkdir()
    write_teacher_with_nan(tmp_path / "nan.safetensors")
    before = snapshot(tmp_path)
    assert main([word.format(tmp=tmp_path, run=run) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("ardistill: ")
    assert said in lines[0]
    assert snapshot(tmp_path) == before


def test_a_folder_in_use_is_refused(run, tmp_path, capsys):
    from ardistill.launch.folder import locked

    with locked(run):
        assert main(["run", f"resume={run}"]) == 2
    assert "in use" in capsys.readouterr().err


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path, capsys):
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"weights": Bomb()}))
    assert main(["run", *TINY, f"teacher.checkpoint={tmp_path / 'evil.pth'}", f"out={tmp_path / 'x'}"]) == 2
    assert "can't be read as weights" in capsys.readouterr().err
    assert not (tmp_path / "boom").exists()
    assert not (tmp_path / "x").exists()


def test_weights_of_another_shape_are_listed(run, tmp_path, capsys):
    teacher = read_weights(WEIGHTS / "var-teacher.safetensors")
    tensors = dict(teacher.tensors)
    tensors["head.bias"] = tensors["head.bias"][:-1]
    del tensors["pos_start"]
    write_weights(tmp_path / "cut.safetensors", tensors, teacher.about)
    assert (
        main(["run", *TINY, f"teacher.checkpoint={tmp_path / 'cut.safetensors'}", f"out={tmp_path / 'x'}"])
        == 2
    )
    said = capsys.readouterr().err
    assert "pos_start is missing" in said
    assert "head.bias is" in said
    assert not (tmp_path / "x").exists()


def interrupted(run: Path, folder: Path) -> Path:
    """A copy of a run as it stood before its end: two checkpoints, no student."""
    shutil.copytree(run, folder)
    for name in ("student.safetensors", "report.json", "samples.png"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    "damage", ["[]", "null", "{", "[" * 20_000, '{"position": {"phase": "csd"}, "sha256": {}}', None, "flip"]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(run, tmp_path, damage):
    folder = interrupted(run, tmp_path / "run")
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: path.name)
    state = newest / "state.json"
    if damage is None:
        (newest / "modules.safetensors").unlink()
    elif damage == "flip":
        state.write_text(state.read_text().replace('"update": ', '"update": 1'))
    else:
        state.write_text(damage)
    assert main(["run", f"resume={folder}"]) == 0
    assert same_student(run, folder)


def test_damaged_tuning_samples_are_drawn_anew_and_come_out_the_same(run, tmp_path):
    folder = interrupted(run, tmp_path / "run")
    whole = (folder / "tuning.safetensors").read_bytes()
    (folder / "tuning.safetensors").write_bytes(whole[:-7])
    shutil.rmtree(folder / "checkpoints")
    assert main(["run", f"resume={folder}"]) == 0
    assert (folder / "tuning.safetensors").read_bytes() == whole
    assert same_student(run, folder)


@pytest.mark.parametrize(
    "change", [("seed = 0", "seed = 5"), ("width = 96", "width = 64"), ("csd_images", "csd_imagse")]
)
def test_a_run_does_not_go_on_under_another_configuration(run, tmp_path, change, capsys):
    folder = interrupted(run, tmp_path / "run")
    config = (folder / "config.toml").read_text()
    assert change[0] in config
    (folder / "config.toml").write_text(config.replace(*change))
    assert main(["run", f"resume={folder}"]) == 2
    said = capsys.readouterr().err
    assert "another configuration" in said or "csd_images" in said
    assert not (folder / "student.safetensors").exists()


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_once_there_is_room(run, tmp_path):
    """The limit on a file's size fails the checkpoint's write as a full disk would."""
    folder = tmp_path / "full"
    command = [sys.executable, "-m", "ardistill", "run"]
    done = subprocess.run(
        [*command, *TINY, f"out={folder}"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("ardistill: a checkpoint can't be written")
    assert main(["run", f"resume={folder}"]) == 0
    assert same_student(run, folder)


def test_a_relative_checkpoint_is_found_from_another_folder(run, tmp_path, monkeypatch):
    for name in ("var-teacher", "var-tokenizer"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    monkeypatch.chdir(tmp_path)
    words = tiny("teacher.checkpoint=var-teacher.safetensors", "eval.steps=1", "out=rel")
    assert main(["run", *words]) == 0
    monkeypatch.chdir("/")
    assert main(["sample", f"run={tmp_path / 'rel'}", f"out={tmp_path / 'a.png'}", "n=4"]) == 0
