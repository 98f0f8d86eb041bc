"""`ardistill bench`, through the command line, on the digits and on sizes of no weights."""

import json
import math

import ardistill_llamagen.config as llamagen
import ardistill_var.config as var
import attrs
import jsonschema
import pytest
import torch
from ardistill_llamagen.settings import LlamaGenTeacherSettings, LlamaGenTokenizerSettings
from ardistill_llamagen.untrained import untrained as untrained_llamagen
from ardistill_var.settings import VARTeacherSettings
from ardistill_var.untrained import untrained as untrained_var

from ardistill.__main__ import main
from ardistill.benching import schema
from ardistill.benching.result import Result
from ardistill.errors import RunFolderError
from ardistill.protocols import Condition
from ardistill.sampling import teacher_tokens
from ardistill.weights import write_weights

QUICK = ["threads=1", "repeats=1", "budget=30", "batches=1,2"]
SIZES = {"patch_nums": (1, 2), "vocab": 16}
VAR = (
    var.VARConfig(depth=1, width=16, heads=2, code_width=4, num_classes=3, **SIZES),
    var.VARTokenizerConfig(
        z_channels=4, ch=8, ch_mult=(1, 2), num_res_blocks=1, groups=4, in_channels=1, **SIZES
    ),
)
GPT = llamagen.GPTConfig(dim=16, n_layer=1, n_head=2, vocab_size=16384, block_size=4, num_classes=3)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A released size that is small enough for a test."""
    monkeypatch.setitem(var.PRESETS, "tiny", VAR)
    monkeypatch.setitem(llamagen.PRESETS, "tiny", GPT)


@pytest.fixture
def bench(tmp_path, capsys):
    def run(*words):
        out = tmp_path / "bench.json"
        said = {word.partition("=")[0] for word in words}
        quick = [word for word in QUICK if word.partition("=")[0] not in said]
        assert main(["bench", *quick, *words, f"out={out}"]) == 0
        return Result.load(out), capsys.readouterr().out

    return run


def refused(capsys, *words):
    assert main(["bench", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


def test_teacher_and_student_in_one_run(bench, tmp_path):
    words = (
        "teacher=var",
        "method=dd2",
        "steps=1,2",
        "compare.whole=10",
        "compare.tokens=1e-9",
        "compare.of=theirs",
    )
    result, said = bench(*words)
    names = ["teacher", "dd2, 1 pass", "dd2, 2 passes"]
    assert [each.name for each in result.timed] == names
    assert [(row.batch, row.name) for row in result.rows] == [(b, name) for b in (1, 2) for name in names]
    assert [each.passes for each in result.timed] == [4, 1, 2]
    assert [each.weights for each in result.timed] == ["given", *["untrained, as dd2 begins"] * 2]
    assert result.left_out == ()
    teacher = result.rows[0]
    for row in result.rows:
        assert row.repeats == 1
        assert row.whole.seconds == pytest.approx(row.draw.seconds + row.tokens.seconds + row.decode.seconds)
        beside = teacher if row.batch == 1 else result.rows[3]
        assert row.speedup == pytest.approx(beside.whole.seconds / row.whole.seconds)
        cost = next(each for each in result.timed if each.name == row.name)
        reached = cost.tokens_flops / row.tokens.seconds / result.ceiling.flops
        assert row.tokens.ceiling == pytest.approx(reached)
        reading = cost.weight_bytes / result.ceiling.bytes
        assert row.weights_read == pytest.approx(reading / (row.tokens.seconds * row.batch))
    assert result.ratio(teacher) == pytest.approx(
        {"tokens": 1e-9 / teacher.tokens.seconds, "whole": 10 / teacher.whole.seconds}
    )
    assert result.ratio(result.rows[3]) == {}, "of another batch"
    assert "given, not measured here: theirs, in batches of 1: tokens 1e-09 s, whole 10 s an image" in said
    assert f"  whole: teacher, eager: {10 / teacher.whole.seconds:.3g}x as fast" in said
    assert said.startswith(
        "teacher=var and the student of method=dd2: eager in fp32, batches of 1, 2, 1 times each."
    )
    assert "At most 30 s once loaded" in said
    assert f"weights {result.timed[1].weights}" in said
    assert result.command.startswith("python -m ardistill bench threads=1")
    assert result.config["teacher"]["name"] == "var"
    assert {"python", "torch", "ardistill"} <= set(result.versions)
    told = json.loads((tmp_path / "bench.json").read_text())
    jsonschema.validate(told, schema.schema())
    told["rows"][0]["fps"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, schema.schema())


def test_the_schema_is_written_down(request):
    path = request.config.rootpath / "docs" / "bench.schema.json"
    assert path.read_text() == schema.text(), (
        "out of date; run: python -m ardistill.benching.schema > docs/bench.schema.json"
    )


def test_a_trained_student(bench, tmp_path):
    folder = tmp_path / "run"
    less = ["threads=1", "method.samples=60", "eval.n=60", "eval.batch=60", "eval.speed.repeats=0"]
    assert main(["run", "method=onestep*", "teacher=var", *less, f"out={folder}"]) == 0
    result, _ = bench(
        "teacher=var", "student=onestep*", f"student.checkpoint={folder / 'student.safetensors'}"
    )
    assert [(each.name, each.weights) for each in result.timed] == [
        ("teacher", "given"),
        ("onestep*", "given"),
    ]
    assert result.timed[1].parameters == result.timed[1].tokens_flops == 0, "it looks up a table"
    assert result.rows[1].tokens.ceiling is None


@pytest.mark.parametrize("name", ["var", "llamagen"])
def test_a_size_without_weights_has_random_ones(bench, name):
    result, said = bench(f"teacher={name}", "teacher.preset=tiny", "method=dd2", "seed=3")
    assert [each.weights for each in result.timed] == ["random, seed 3", "untrained, as dd2 begins"]
    assert "weights random, seed 3" in said
    assert len(result.rows) == 4


@pytest.mark.parametrize(
    ("make", "settings"),
    [(untrained_var, VARTeacherSettings), (untrained_llamagen, LlamaGenTeacherSettings)],
)
def test_random_weights_are_of_the_seed(make, settings):
    before = torch.random.get_rng_state()
    one, same, other = (make(settings(preset="tiny", cfg=3.0), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator was drawn from"
    assert one.guidance.scale == 3.0
    states = [each.state_dict() for each in (one, same, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])
    assert all(each.isfinite().all() for each in one.parameters())
    uniform_BL = torch.rand(2, one.layout.n_tokens)
    tokens_BL = teacher_tokens(one, Condition(torch.tensor([0, 2])), uniform_BL)
    images = one.tokenizer.decode(one.tokenizer.codebook[tokens_BL])
    assert images.shape == (2, *one.tokenizer.image_shape)
    assert make(settings(), 0) is None, "no size is named"


def test_a_size_is_that_of_the_words():
    larger = untrained_llamagen(LlamaGenTeacherSettings(preset="tiny", block_size=9), 0)
    assert (larger.layout.n_tokens, larger.tokenizer.image_shape) == (9, (3, 48, 48))
    coding = LlamaGenTokenizerSettings(image_size=64)
    assert (
        untrained_llamagen(LlamaGenTeacherSettings(preset="tiny", tokenizer=coding), 0).layout.n_tokens == 16
    )
    eps = untrained_var(VARTeacherSettings(preset="tiny", norm_eps=0.5), 0)
    assert eps.constants["norm_eps"] == 0.5


def test_weights_that_are_given_are_taken(bench, tmp_path):
    teacher = untrained_var(VARTeacherSettings(preset="tiny"), 0)
    files = {}
    for kind, module in (("teacher", teacher.model), ("tokenizer", teacher.tokenizer)):
        files[kind] = tmp_path / f"{kind}.safetensors"
        about = {"kind": f"var-{kind}", "config": attrs.asdict(module.config)}
        write_weights(files[kind], module.state_dict(), about)
    words = [f"teacher.checkpoint={files['teacher']}", f"teacher.tokenizer.checkpoint={files['tokenizer']}"]
    result, _ = bench("teacher=var", "teacher.preset=tiny", *words)
    assert result.timed[0].weights == "given"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "bench needs teacher=NAME"),
        (["teacher=var", "method=dd2", "student=dd2"], "give either, not both"),
        (["teacher=var", "steps=1"], "give method=NAME or student=NAME too"),
        (["teacher=var", "method=dd2", "steps=9"], "this student takes 1 to 4 steps"),
        (["teacher=var", "method=dd2", "steps=1,1"], "steps must name each schedule once"),
        (["teacher=var", "modes=graph", "device=cpu"], "modes=graph is of CUDA, and this is a CPU"),
        (["teacher=var", "precision=fp16", "device=cpu"], "precision=fp16 is for a GPU"),
        (["teacher=var", "modes=quick"], "one of eager, compiled, graph, compiled-graph"),
        (["teacher=var", "modes=eager,eager"], "each mode once"),
        (["teacher=var", "modes="], "each mode once"),
        (["teacher=var", "batches=8,1"], "each larger than the last"),
        (["teacher=var", "budget=0"], "budget must be more than 0"),
        (["teacher=var", "compare.whole=0"], "compare.whole must be more than 0"),
        (["teacher=var", "out=a.txt"], "out must end in .json"),
        (["teacher=var", "out=nowhere/a.json"], "make nowhere first"),
        (["teacher=var", "method.preset=quick"], "method is missing"),
        (["run=DIR", "teacher=var"], "give either run= or teacher="),
        (["teacher=var", "teacher.preset=d17"], "did you mean d16"),
        (["teacher=exact-dense", "data=exact-dense", "method=nothing"], "unknown method 'nothing'"),
        (
            ["teacher=var", "teacher.preset=tiny", "teacher.tokenizer.checkpoint=a.pth"],
            "comes without the teacher's own weights",
        ),
        (["teacher=var", "teacher.preset=tiny", "teacher.num_heads=2"], "says all sizes; leave them out"),
        (["teacher=llamagen", "teacher.preset=tiny", "teacher.block_size=5"], "must be a square"),
        (["teacher=var", "data=exact-sparse"], "give teacher.checkpoint=PATH"),
    ],
)
def test_what_can_not_be_is_one_sentence(capsys, words, said):
    assert said in refused(capsys, *QUICK[:2], *words)


def test_captions_are_no_classes(capsys, monkeypatch):
    text = llamagen.GPTConfig(
        dim=16,
        n_layer=1,
        n_head=2,
        block_size=4,
        num_classes=0,
        model_type="t2i",
        cls_token_num=3,
        caption_dim=8,
    )
    monkeypatch.setitem(llamagen.PRESETS, "tiny-text", text)
    said = refused(capsys, *QUICK, "teacher=llamagen", "teacher.preset=tiny-text")
    assert "draws captions here, and bench draws classes" in said


PLUGIN = """
from ardistill.errors import WeightsError
from ardistill.hookspecs import hookimpl
from ardistill.records import TeacherOffer

ardistill_api = 1

@hookimpl
def ardistill_teachers():
    yield TeacherOffer(name="bare", summary="no weights", target="bare_teacher:load")

def load(settings, weights):
    raise WeightsError("this data brings no weights for it; give teacher.checkpoint=PATH")
"""


def test_a_teacher_that_has_no_random_weights(capsys, tmp_path, monkeypatch):
    info = tmp_path / "bare-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bare\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ardistill]\nbare = bare_teacher\n")
    (tmp_path / "bare_teacher.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    assert "(teacher=bare can't be made with random weights instead)" in refused(capsys, "teacher=bare")


def test_half_precision_draws_the_same_images(bench):
    result, said = bench("teacher=var", "method=dd2", "precision=bf16")
    assert result.held == "weights cast to bfloat16, autocast for what is computed"
    assert result.held in said
    whole, _ = bench("teacher=var", "method=dd2")
    for half, full in zip(result.timed, whole.timed, strict=True):
        assert half.tokens_flops == full.tokens_flops
        assert half.weight_bytes == pytest.approx(full.weight_bytes / 2, rel=0.05)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled(bench):
    result, _ = bench("teacher=var", "teacher.preset=tiny", "modes=eager,compiled", "batches=1", "budget=600")
    assert [row.mode for row in result.rows] == ["eager", "compiled"]
    assert all(math.isfinite(row.whole.seconds) for row in result.rows)
    assert result.left_out == ()


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "a.json"
    for text in ("{", "[]", '{"rows": []}'):
        path.write_text(text)
        with pytest.raises(RunFolderError, match="is no result of `ardistill bench`"):
            Result.load(path)
