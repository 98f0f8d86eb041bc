"""What trainers save is what is read: any tensors, any wrapping, any format, whatever the file is called."""

import argparse
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import save as safetensors_bytes

from ardistill.weights import Weights, read_weights, write_weights
from tests.weights.making import TENSORS, safetensors, same, save, save_lightning

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8]
OUTER = ["trainer", "ema_parameters", "ema", "var_wo_ddp", "model", "module", "state_dict"]
BESIDE = {
    "epoch": 3,
    "steps": 500,
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}},
    "args": argparse.Namespace(gpt_model="GPT-B", image_size=256),
    "history": [1.5, "x", None],
}


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    seed = draw(st.integers(0, 2**31))
    n_bytes = dtype.itemsize * torch.Size(shape).numel()
    noise = torch.randint(
        0, 256, (n_bytes,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    made = noise.view(dtype).reshape(shape)  # NaN and infinities among them
    return made.t() if len(shape) == 2 and draw(st.booleans()) else made


state_dicts = st.dictionaries(st.text(min_size=1, max_size=8), tensors(), min_size=1, max_size=5)


@given(state_dicts, st.lists(st.sampled_from(OUTER), max_size=3), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_any_tensors_in_any_wrapping_come_back(tmp_path_factory, made, wrapping, beside, old):
    path = tmp_path_factory.mktemp("round") / "file.pth"
    content = made
    for key in reversed(wrapping):
        content = {**(BESIDE if beside else {}), key: content}
    read = read_weights(save(path, content, old=old))
    assert same(read.tensors, made)
    assert read.wrapping == tuple(wrapping)
    assert read.path == path


@given(state_dicts)
@settings(max_examples=60)
def test_what_is_written_is_read_and_is_as_safetensors_has_it(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("round") / "file.safetensors"
    write_weights(path, made, {"kind": "toy", "n": 3})
    read = read_weights(path)
    assert same(read.tensors, made)
    assert read.about == {"kind": "toy", "n": 3}
    plain = {key: value.contiguous().clone() for key, value in made.items()}
    assert path.read_bytes() == safetensors_bytes(plain, {"ardistill": '{"kind": "toy", "n": 3}'})


def test_shared_and_strided_tensors_are_written_whole(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    made = {"whole": base, "again": base, "part": base[1:, ::2], "turned": base.t()}
    write_weights(tmp_path / "file", made, {})
    assert same(read_weights(tmp_path / "file").tensors, made)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = safetensors(tmp_path / "file.safetensors")
    with pytest.raises(ValueError, match=r"complex128 is none of safetensors'"):
        write_weights(path, {"a": torch.zeros(2, dtype=torch.complex128)}, {})
    assert same(read_weights(path).tensors, TENSORS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors", "file"])
@pytest.mark.parametrize("make", [safetensors, lambda path: save(path, TENSORS)])
def test_the_content_counts_and_not_the_name(tmp_path, make, name):
    assert same(read_weights(str(make(tmp_path / name))).tensors, TENSORS)


@pytest.mark.parametrize(
    ("content", "ema", "raw"),
    [
        ({"trainer": {"ema_parameters": 1, "var_wo_ddp": 2}}, "trainer.ema_parameters", "trainer.var_wo_ddp"),
        ({"model": 2, "ema": 1, "steps": 7}, "ema", "model"),
        ({"module": {"state_dict": 2}, "ema": {"model": 1}}, "ema.model", "module.state_dict"),
    ],
)
def test_averaged_weights_are_taken_unless_the_others_are_asked_for(tmp_path, content, ema, raw):
    path = save(tmp_path / "file.pth", _filled(content))
    for prefer, wrapping, value in (("ema", ema, 1), ("raw", raw, 2)):
        read = read_weights(path, prefer=prefer)
        assert float(read.tensors["w"]) == value
        assert ".".join(read.wrapping) == wrapping
    assert read_weights(path).wrapping == tuple(ema.split("."))


@pytest.mark.parametrize("prefer", ["ema", "raw"])
@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_the_bookkeeping_of_averages_is_not_taken_for_weights(tmp_path, prefer, wrapper):
    counters = {"decay": torch.tensor(0.9), "num_updates": torch.tensor(7)}
    path = save(tmp_path / "file.pth", {"ema": counters, wrapper: TENSORS})
    read = read_weights(path, prefer=prefer)
    assert read.wrapping == (wrapper,)
    assert same(read.tensors, TENSORS)
    alone = save(tmp_path / "alone.pth", {"ema": counters, "model": None})
    assert same(read_weights(alone).tensors, counters)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_averages_may_lack_tensors_and_have_other_prefixes(tmp_path, prefix):
    averaged = {"a.weight": TENSORS["a.weight"] + 1}
    path = save(tmp_path / "file.pth", {"ema": {prefix + "a.weight": averaged["a.weight"]}, "model": TENSORS})
    assert same(read_weights(path).tensors, averaged)


def test_averages_in_an_unknown_place_are_not_passed_over_in_silence(tmp_path):
    ema = {"decay": torch.tensor(0.9), "shadow": TENSORS}
    with pytest.raises(ValueError, match="'shadow' is a dict among the tensors"):
        read_weights(save(tmp_path / "file.pth", {"ema": ema, "model": TENSORS}))


def _filled(content):
    """Numbers that stand for a state dict become one."""
    return {
        key: value
        if key == "steps"
        else _filled(value)
        if isinstance(value, dict)
        else {"w": torch.tensor(value)}
        for key, value in content.items()
    }


def test_where_nothing_is_averaged_there_is_nothing_to_prefer(tmp_path):
    path = save(tmp_path / "file.pth", {"model": TENSORS, "ema": None, "ema_parameters": {}})
    assert read_weights(path).wrapping == read_weights(path, prefer="raw").wrapping == ("model",)
    averaged = save(tmp_path / "averaged.pth", {"ema": TENSORS})
    with pytest.raises(ValueError, match="averaged"):
        read_weights(averaged, prefer="raw")


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_orig_mod._orig_mod.",
    ],
)
def test_prefixes_of_ddp_and_compile_are_taken_off(tmp_path, prefix):
    path = save(tmp_path / "file.pth", {"model": {prefix + key: value for key, value in TENSORS.items()}})
    assert same(read_weights(path).tensors, TENSORS)


def test_a_prefix_that_only_some_keys_have_is_part_of_them(tmp_path):
    some = {"module.a": torch.zeros(1), "b": torch.zeros(1), "x_orig_mod.c": torch.zeros(1)}
    assert same(read_weights(save(tmp_path / "file.pth", some)).tensors, some)
    inner = {"blocks.0._orig_mod.w": torch.zeros(1), "head": torch.zeros(1)}
    assert read_weights(save(tmp_path / "file.pth", inner)).tensors.keys() == {"blocks.0.w", "head"}


def test_keys_of_our_own_files_stay_as_they_are(tmp_path):
    own = {"module.a": torch.zeros(1), "module.b": torch.ones(1)}
    write_weights(tmp_path / "own", own, {"kind": "student"})
    assert same(read_weights(tmp_path / "own").tensors, own)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("module", ["pytorch_lightning.callbacks.model_checkpoint", "lightning.callbacks"])
def test_lightning_is_read_without_lightning(tmp_path, old, module):
    path = save_lightning(tmp_path / "last.ckpt", TENSORS, old=old, module=module)
    before = set(torch.serialization.get_safe_globals())
    read = read_weights(path)
    assert same(read.tensors, TENSORS)
    assert read.wrapping == ("state_dict",)
    assert set(torch.serialization.get_safe_globals()) == before  # nothing stays allowed


def test_parameters_are_read_as_tensors(tmp_path):
    read = read_weights(save(tmp_path / "file.pth", {"w": torch.nn.Parameter(torch.ones(2))}))
    assert type(read.tensors["w"]) is torch.Tensor
    assert not read.tensors["w"].requires_grad


def test_without_leaves_keys_out_by_prefix():
    weights = Weights({"loss.a": torch.zeros(1), "b": torch.zeros(1), "lossy": torch.zeros(1)}, {}, Path("x"))
    assert list(weights.without("loss.").tensors) == ["b", "lossy"]
    assert list(weights.without("loss.", "b").tensors) == ["lossy"]
    assert list(weights.without().tensors) == list(weights.tensors)
