"""The digest of weights is that of every number in them, of nothing else, and takes no copy of them all."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from ardistill.trajectories.digest import contents_digest
from tests.var.models import small_teacher

CODES = torch.zeros(2, 3)


def digest(thing, without=None):
    return contents_digest(thing, CODES, without=without)


def test_equal_weights_have_equal_digests_and_any_other_number_another():
    one, other = small_teacher(), small_teacher()
    assert digest(one) == digest(other)
    for key, value in list(other.state_dict().items())[::5]:
        if value.is_floating_point():
            flat = value.view(-1)
            kept = flat[-1].clone()
            flat[-1] += 1
            assert digest(one) != digest(other), key
            flat[-1] = kept
    assert digest(one) == digest(other)


def test_names_shapes_and_dtypes_count():
    weights = torch.zeros(2, 4)
    others = [
        {"a": weights},
        {"b": weights},
        {"a": weights.view(4, 2)},
        {"a": weights.half()},
        {"a": weights.bfloat16()},
        {"a": torch.zeros(2, 2), "b": torch.zeros(4)},
        {"a": torch.zeros(0, 4)},
        {"a": torch.tensor(0.0)},
    ]
    assert len({digest(nn.ParameterDict(tensors)) for tensors in others}) == len(others)


def test_order_layout_and_ties_of_memory_do_not_count():
    rows = torch.arange(6.0).view(2, 3)
    one = nn.ParameterDict({"a": rows, "b": rows})
    columns = rows.T.contiguous().T
    assert not columns.is_contiguous()
    other = nn.ParameterDict()
    other["b"] = columns
    other["a"] = rows.clone()
    assert digest(one) == digest(other)


def test_a_teachers_digest_is_not_of_its_tokenizer():
    one, other = small_teacher(), small_teacher()
    other.tokenizer.quantize.embedding.weight[0, 0] += 1
    assert digest(one) != digest(other)
    assert digest(one, without=one.tokenizer) == digest(other, without=other.tokenizer)
    other.model.head.bias[0] += 1
    assert digest(one, without=one.tokenizer) != digest(other, without=other.tokenizer)


def test_of_what_is_no_module_the_codebook_is_known():
    assert contents_digest(object(), CODES) == contents_digest(object(), CODES.clone())
    assert contents_digest(object(), CODES) != contents_digest(object(), CODES + 1)


def status() -> dict[str, int]:
    """Memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text()
    return {name: int(kib) << 10 for name, kib in re.findall(r"(VmHWM|VmRSS):\s+(\d+)", lines)}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
def test_no_second_copy_is_made_of_the_weights():
    module = nn.ParameterList([torch.full((1 << 19,), float(n)) for n in range(60)])  # 2 MiB each
    before = digest(module)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    start = status()
    assert digest(module) == before
    assert status()["VmHWM"] - start["VmRSS"] < 60 << 20
