"""`python -m ardistill collect`, from words to a folder."""

import re
import resource
import subprocess
import sys

import pytest
import torch

from ardistill import load_teacher
from ardistill.__main__ import main
from ardistill.trajectories import Pairs
from tests.trajectories.making import contents

WORDS = ["collect", "teacher=exact-sparse", "threads=1", "trajectory=ancestral"]
DIGITS = ["collect", "teacher=var", "threads=1", "trajectory=ancestral"]


def test_collect_says_what_it_made_and_goes_on(tmp_path, capsys):
    out = tmp_path / "below" / "pairs"
    assert main([*WORDS, "n=1500", f"out={out}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{out}: 1500 pairs, 12 bytes each"
    assert re.fullmatch(r"1500 made here in \d+\.\d s, \d+\.\d images/s", said[1])
    assert main([*WORDS, "n=2500", f"out={out}", "batch=333"]) == 0
    assert "1000 made here" in capsys.readouterr().out
    whole = tmp_path / "whole"
    assert main([*WORDS, "n=2500", f"out={whole}"]) == 0
    assert contents(out) == contents(whole)
    capsys.readouterr()
    assert main([*WORDS, "n=2500", f"out={out}"]) == 0
    assert re.search(r"^0 made here in \d+\.\d s$", capsys.readouterr().out, re.MULTILINE)


def test_a_noise_of_its_own_makes_the_tokens_of_flow_matching(tmp_path):
    """The default: tokens are a function of the noise, so another process and batch give the same."""
    assert main(["collect", "teacher=var", "threads=1", "n=12", f"out={tmp_path / 'a'}"]) == 0
    assert main(["collect", "teacher=var", "threads=1", "n=12", "batch=5", f"out={tmp_path / 'b'}"]) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    teacher = load_teacher("var")
    pairs = Pairs.open(tmp_path / "a", teacher)
    assert pairs.origin.trajectory == "flow-matching"
    assert set(pairs.origin.settings) == {"solver", "evaluations"}
    taken = pairs.take(torch.arange(12))
    log_p_BLV = teacher.log_probs(taken.condition, teacher.tokenizer.codebook[taken.tokens_BL])
    assert log_p_BLV.gather(-1, taken.tokens_BL.unsqueeze(-1)).isfinite().all()
    with_settings = ["trajectory.solver=euler", "trajectory.evaluations=3", f"out={tmp_path / 'c'}"]
    assert main(["collect", "teacher=var", "threads=1", "n=12", *with_settings]) == 0
    other = Pairs.open(tmp_path / "c", teacher)
    assert other.origin.settings == {"solver": "euler", "evaluations": 3}
    assert other.take(torch.arange(12)).noise_BLC.equal(taken.noise_BLC)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "digits"
    assert main([*DIGITS, "n=5", f"out={folder}"]) == 0
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["collect"], "teacher is missing"),
        (["collect", "teacher=var", "out={tmp}/x"], "n is missing"),
        (["collect", "teacher=var", "n=3"], "out is missing"),
        ([*DIGITS, "out={tmp}/x", "n=0"], "at least 1"),
        ([*DIGITS, "out={tmp}/x", "n=3", "batch=0"], "more than 0"),
        ([*DIGITS, "out={tmp}/x", "n=3", "seed=-1"], "at least 0"),
        ([*DIGITS, "out={tmp}/x", "n=3", "bacth=5"], "did you mean batch?"),
        ([*DIGITS[:-1], "out={tmp}/x", "n=3", "trajectory=ancestor"], "did you mean ancestral?"),
        ([*DIGITS, "out={tmp}/x", "n=3", "trajectory.solver=heun"], "trajectory.solver"),
        ([*DIGITS[:-1], "out={tmp}/x", "n=3", "trajectory.evaluations=0"], "evaluations"),
        ([*DIGITS[:-1], "out={tmp}/x", "n=3", "trajectory.solver=magic"], "trajectory.solver"),
        ([*DIGITS, "out={tmp}/x", "n=3", "device=cuda:77"], "device=cpu"),
        ([*DIGITS, "out={tmp}/x", "n=3", "teacher.checkpoint={tmp}/none.pth"], "no weights file"),
        ([*DIGITS, "out={tmp}/file", "n=3"], "is a file"),
        ([*DIGITS, "out={tmp}/file/below", "n=3"], "Not a directory"),
        ([*DIGITS, "out={tmp}/" + "a" * 300, "n=3"], "File name too long"),
        ([*DIGITS, "out={tmp}/full", "n=3"], "thesis.txt"),
        ([*DIGITS, "out={tmp}/odd", "n=3"], "pairs.json"),
        ([*DIGITS, "out={pairs}", "n=9", "seed=1"], "seed is 0 there and 1 here"),
        ([*DIGITS, "out={pairs}", "n=9", "teacher.cfg=1.25"], "guidance.scale is 0.0 there and 1.25 here"),
        ([*DIGITS[:-1], "out={pairs}", "n=9"], "trajectory is 'ancestral' there and 'flow-matching' here"),
        ([*WORDS, "out={pairs}", "n=9"], "teacher is 'ardistill_var"),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(words, said, pairs, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "pairs.json").write_text("{")
    (tmp_path / "file").write_text("dear")
    before = sorted(tmp_path.rglob("*")), contents(pairs)
    assert main([word.format(tmp=tmp_path, pairs=pairs) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("ardistill: ")
    assert said in lines[0]
    assert (sorted(tmp_path.rglob("*")), contents(pairs)) == before


def test_a_teacher_of_captions_is_refused(tmp_path, capsys):
    import attrs

    from ardistill.weights import write_weights
    from tests.llamagen.models import small_teacher

    teacher = small_teacher(text=True)
    about = {"kind": "llamagen-teacher", "config": attrs.asdict(teacher.model.config)}
    write_weights(tmp_path / "t2i.safetensors", teacher.model.state_dict(), about)
    about = {"kind": "llamagen-tokenizer", "config": attrs.asdict(teacher.tokenizer.config)}
    write_weights(tmp_path / "vq.safetensors", teacher.tokenizer.state_dict(), about)
    words = [f"teacher.checkpoint={tmp_path / 't2i.safetensors'}"]
    words += [f"teacher.tokenizer.checkpoint={tmp_path / 'vq.safetensors'}"]
    words += ["threads=1", "n=3", f"out={tmp_path / 'x'}"]
    assert main(["collect", "teacher=llamagen", *words]) == 2
    captured = capsys.readouterr()
    assert "this teacher draws captions" in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_one_sentence_and_collection_goes_on_once_there_is_room(tmp_path):
    """The limit on a file's size fails a shard's write as a full disk would."""
    out = tmp_path / "pairs"
    done = subprocess.run(
        [sys.executable, "-m", "ardistill", *WORDS, "n=300", f"out={out}"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"ardistill: pairs can't be written to {out} (File too large)"
    )
    assert sorted(contents(out)) == ["pairs.json"]
    assert main([*WORDS, "n=300", f"out={out}"]) == 0
    assert main([*WORDS, "n=300", f"out={tmp_path / 'whole'}"]) == 0
    assert contents(out) == contents(tmp_path / "whole")
