"""VAR against numbers recorded upstream: teacher-forced passes."""

import pytest
import torch
from ardistill_var.config import PRESETS
from ardistill_var.transformer import VAR
from torch import Tensor

from tests.golden import Fixture, check_full_keys, close, load
from tests.var.models import tiny_config


@pytest.fixture(scope="module", params=["var", "var_saln"])
def golden(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


@pytest.fixture(scope="module")
def model(golden: Fixture) -> VAR:
    model = VAR(tiny_config(shared_aln=golden.config["shared_aln"]))
    golden.fill(model)
    return model.eval()


@torch.no_grad()
def test_teacher_forcing(golden: Fixture, model: VAR) -> None:
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda *args: outputs.append(args[2])) for block in model.blocks]
    close(model(golden["tf_x"], golden["label_B"]), golden["tf_logits"])
    for hook in hooks:
        hook.remove()
    for i, output in enumerate(outputs):
        close(output, golden[f"tf_block{i}_out"])


@torch.no_grad()
def test_null_class(golden: Fixture, model: VAR) -> None:
    dropped = torch.ones(len(golden["label_B"]), dtype=torch.bool)
    close(model(golden["tf_x"], golden["label_B"], dropped), golden["tf_logits_null"])


@pytest.mark.parametrize("preset", ["d16", "d20", "d30"])
def test_released_keys(preset: str) -> None:
    with torch.device("meta"):
        model = VAR(PRESETS[preset][0])
    check_full_keys(f"var_{preset}_256", model)


def test_shared_adaln_has_the_published_size() -> None:
    with torch.device("meta"):
        model = VAR(PRESETS["d36"][0])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 2353.89
