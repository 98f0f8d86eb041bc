"""Strict loading: everything or nothing, of every device and dtype, one tensor at a time."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import nn

from ardistill.errors import MisfitError, WeightsError
from ardistill.weights import Weights, load_strict, progress, read_weights, reporting, write_weights
from tests.weights.making import raw, same, save


class Net(nn.Module):
    """Tied weights, a frozen parameter, a mask with infinities, a float16 and an integer tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.tied = nn.Linear(3, 4, bias=False)
        self.tied.weight = self.inner[0].weight
        self.frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.short = nn.Parameter(torch.zeros(2, 2, dtype=torch.float16))
        self.register_buffer("mask", torch.zeros(3, 3))
        self.register_buffer("count", torch.tensor(0))


def weights_of(tmp_path, **changes) -> Weights:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        key: torch.randn(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for key, value in Net().state_dict().items()
    }
    tensors["tied.weight"] = tensors["inner.0.weight"]
    tensors["mask"] = torch.zeros(3, 3).masked_fill(torch.eye(3).bool(), -math.inf)
    tensors |= changes
    tensors = {key: value for key, value in tensors.items() if value is not None}
    return read_weights(save(tmp_path / "net.pth", tensors))


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def on_meta() -> Net:
    with torch.device("meta"):
        return Net()


@pytest.mark.parametrize("make", [Net, on_meta])
def test_everything_is_loaded_in_the_modules_own_dtypes(tmp_path, make):
    module, weights = make(), weights_of(tmp_path)
    dtypes = {key: value.dtype for key, value in module.state_dict().items()}
    load_strict(module, weights, "a net")
    assert same(module.state_dict(), {key: value.to(dtypes[key]) for key, value in weights.tensors.items()})
    assert module.tied.weight is module.inner[0].weight
    assert {key: value.requires_grad for key, value in module.named_parameters()} == {
        "inner.0.weight": True,
        "inner.0.bias": True,
        "inner.1.weight": True,
        "inner.1.bias": True,
        "frozen": False,
        "short": True,
    }
    assert [key for key, _ in module.named_buffers()] == ["mask", "count"]
    module.inner(torch.zeros(1, 3)).sum().backward()
    assert module.inner[0].bias.grad is not None


def test_tensors_that_are_there_are_filled_in_place(tmp_path):
    module = Net()
    place = module.inner[0].weight.data_ptr()
    load_strict(module, weights_of(tmp_path), "a net")
    assert module.inner[0].weight.data_ptr() == place


@pytest.mark.parametrize("make", [Net, on_meta])
@pytest.mark.parametrize("safe", [False, True])
def test_the_file_may_go_away(tmp_path, make, safe):
    """What still lay in the file would change with it."""
    module, weights = make(), weights_of(tmp_path)
    if safe:
        write_weights(weights.path, weights.tensors, {})
        weights = read_weights(weights.path)
    load_strict(module, weights, "a net")
    before = snapshot(module)
    with weights.path.open("r+b") as file:
        file.write(b"\xaa" * weights.path.stat().st_size)
    assert same(module.state_dict(), before)
    changed = [key for key, value in weights.tensors.items() if (raw(value) == 0xAA).all()]
    assert len(changed) == len(weights.tensors)  # so they were read from there


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frozen": None}, "does not fit a net: frozen is missing; look elsewhere"),
        ({"more": torch.zeros(2)}, "more is unexpected"),
        ({"frozen": torch.zeros(3)}, r"frozen is float \[3\] instead of float \[2\]"),
        ({"count": torch.tensor(1.0)}, r"count is float \[\] instead of integer \[\]"),
        ({"count": torch.tensor(True)}, r"count is bool \[\] instead of integer \[\]"),
        ({"count": torch.tensor(1j)}, r"count is complex \[\] instead of integer \[\]"),
        ({"k" * 5000: torch.zeros(1)}, r": k{80}\.\.\. is unexpected;"),
        ({"k\x1b[2J": torch.zeros(1)}, r": k\\x1b\[2J is unexpected;"),
        ({f"k{n}": torch.zeros(1) for n in range(15)}, "k9 is unexpected and 5 more; look elsewhere"),
    ],
)
def test_a_misfit_is_named_and_changes_nothing(tmp_path, changes, said):
    module = Net()
    before = snapshot(module)
    with pytest.raises(MisfitError, match=said):
        load_strict(module, weights_of(tmp_path, **changes), "a net", hint="; look elsewhere")
    assert same(module.state_dict(), before)


@given(
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2]),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0]),
    st.integers(0, 11),
    st.booleans(),
)
def test_numbers_that_are_none_are_found_wherever_they_are(tmp_path_factory, dtype, number, place, on_cpu):
    value = torch.arange(12.0).sub(6)
    value[place] = number
    module = nn.Linear(3, 4, bias=False, device=None if on_cpu else "meta")
    before = snapshot(module) if on_cpu else {}
    path = save(tmp_path_factory.mktemp("nan") / "file.pth", {"weight": value.to(dtype).reshape(4, 3)})
    if number == 0.0:
        load_strict(module, read_weights(path), "a layer")
        assert module.weight.flatten()[place] == 0
        return
    with pytest.raises(
        WeightsError, match="holds NaN in weight" if math.isnan(number) else "an infinity in weight"
    ):
        load_strict(module, read_weights(path), "a layer")
    assert module.weight.is_meta or same(module.state_dict(), before)


@pytest.mark.parametrize("make", [Net, on_meta])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frozen", torch.tensor([0.0, 1e300], dtype=torch.float64)),
        ("frozen", torch.tensor([-1e39, 0.0], dtype=torch.float64)),
        ("short", torch.full((2, 2), 70000.0)),
        ("short", torch.full((2, 2), -1e30, dtype=torch.bfloat16)),
    ],
)
def test_numbers_that_the_module_can_not_hold_are_refused(tmp_path, make, key, value):
    """They would become infinite."""
    module = make()
    own = str(module.state_dict()[key].dtype).removeprefix("torch.")
    with pytest.raises(WeightsError, match=rf"holds numbers in {key} that are too large for {own}; it was"):
        load_strict(module, weights_of(tmp_path, **{key: value}), "a net")
    load_strict(module, weights_of(tmp_path, **{key: value.clamp(-60000, 60000)}), "a net")


def test_a_mask_may_hold_infinities_but_no_nan(tmp_path):
    with pytest.raises(WeightsError, match="NaN in mask"):
        load_strict(Net(), weights_of(tmp_path, mask=torch.full((3, 3), math.nan)), "a net")


def test_an_empty_tensor_is_loaded(tmp_path):
    path = save(tmp_path / "file.pth", {"weight": torch.zeros(0, 3)})
    load_strict(nn.Embedding(0, 3), read_weights(path), "no rows")


def test_derived_tensors_may_be_missing_and_are_loaded_where_they_are_not(tmp_path):
    module = Net()
    module.mask.fill_(5)
    load_strict(module, weights_of(tmp_path, mask=None), "a net", derived=["mask"])
    assert (module.mask == 5).all()
    load_strict(module, weights_of(tmp_path), "a net", derived=["mask"])
    assert module.mask[0, 0] == -math.inf


def test_what_is_left_on_meta_is_a_defect(tmp_path):
    with pytest.raises(AssertionError, match="a net has tensors without data after loading: mask"):
        load_strict(on_meta(), weights_of(tmp_path, mask=None), "a net", derived=["mask"])


class Told:
    def __init__(self) -> None:
        self.calls: list[tuple[int, int, str]] = []

    def advance(self, done: int, total: int, what: str) -> None:
        self.calls.append((done, total, what))


def test_progress_is_told_of_large_files_only_and_only_when_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_BYTES", 3 << 20)
    rows = 1 << 18
    large = nn.ParameterDict({name: torch.zeros(rows, 2) for name in "ab"})
    small = nn.ParameterDict({"a": torch.zeros(rows, 2)})
    told = Told()
    for module in (large, small):
        weights = read_weights(save(tmp_path / "file.pth", module.state_dict()))
        with reporting(told):
            load_strict(module, weights, "a net")
            write_weights(tmp_path / "out", weights.tensors, {})
        load_strict(module, weights, "a net")
    assert told.calls == [
        (2, 4, "loading file.pth, MiB"),
        (4, 4, "loading file.pth, MiB"),
        (2, 4, "writing out, MiB"),
        (4, 4, "writing out, MiB"),
    ]
