"""LlamaGen's network against numbers recorded upstream."""

import attrs
import pytest
import torch
from ardistill_llamagen.conditions import attention_mask
from ardistill_llamagen.config import PRESETS
from ardistill_llamagen.rotary import freqs_cis, rotate
from ardistill_llamagen.transformer import GPT
from torch.nn import functional as F

from ardistill.protocols import Condition
from tests.golden import Fixture, check_full_keys, close, load
from tests.llamagen.models import golden_config, golden_model, small_teacher


@pytest.fixture(scope="module")
def c2i() -> Fixture:
    return load("llamagen_c2i")


@pytest.fixture(scope="module")
def t2i() -> Fixture:
    return load("llamagen_t2i")


def caption(golden: Fixture, *, masked: bool) -> Condition:
    return Condition(features_BTE=golden["caption"], mask_BT=golden["emb_mask"].bool() if masked else None)


@torch.no_grad()
def test_classes(c2i: Fixture) -> None:
    model, condition, tokens = golden_model(c2i), Condition(c2i["label"]), c2i["idx"]
    logits = model(tokens, condition)
    close(logits, c2i["train_logits"])
    close(F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).view(1), c2i["train_loss"])
    close(model(tokens, condition, torch.ones(2, dtype=torch.bool)), c2i["train_logits_null"])
    close(model.logits(model.hidden(tokens, condition)), c2i["eval_logits"])


@torch.no_grad()
def test_captions(t2i: Fixture) -> None:
    model, tokens = golden_model(t2i), t2i["idx"]
    close(model(tokens, caption(t2i, masked=False)), t2i["train_logits_nomask"])
    logits = model(tokens, caption(t2i, masked=True))
    close(logits, t2i["train_logits"])
    loss = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
    close(loss[t2i["train_valid"].bool()].mean().view(1), t2i["train_loss_valid"])
    close(model.logits(model.hidden(tokens, caption(t2i, masked=False))), t2i["eval_logits"])


def test_the_mask_is_upstreams(t2i: Fixture) -> None:
    want = t2i["train_mask"].bool()
    mask = attention_mask(t2i["emb_mask"].bool(), 0, want.shape[-1], torch.device("cpu"))
    assert mask is not None
    assert torch.equal(mask, want)


@pytest.mark.parametrize("name", ["llamagen_c2i", "llamagen_t2i"])
def test_rotary_table(name: str) -> None:
    golden = load(name)
    close(freqs_cis(golden_config(golden.config)), golden["freqs_cis"])


def test_rotation_turns_neighbouring_channels() -> None:
    """As complex numbers; and a condition's queries and keys vanish."""
    model = small_teacher().model
    x = torch.randn(2, 10, 2, 16, generator=torch.Generator().manual_seed(0))
    got = rotate(x, model.rotary.rows(0, 10))
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    turned = turned * torch.view_as_complex(freqs_cis(model.config))[:, None]
    torch.testing.assert_close(got, torch.view_as_real(turned).flatten(-2))
    assert got[:, 0].abs().max() == 0
    assert got[:, 1:].square().sum(-1).sub(x[:, 1:].square().sum(-1)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "preset", "block_size"),
    [
        ("llamagen_c2i_B_256", "c2i-B", 256),
        ("llamagen_c2i_L_384", "c2i-L", 576),
        ("llamagen_c2i_XL_256", "c2i-XL", 256),
        ("llamagen_t2i_XL_256", "t2i-XL", 256),
    ],
)
def test_released_keys(name: str, preset: str, block_size: int) -> None:
    with torch.device("meta"):
        model = GPT(attrs.evolve(PRESETS[preset], block_size=block_size))
    check_full_keys(name, model)
    assert model.rotary.cos_Nd.device.type == "cpu"  # no file holds it, so nobody would fill it


@pytest.mark.parametrize(("preset", "millions"), [("c2i-XXL", 1410.97), ("c2i-3B", 3096.66)])
def test_published_sizes(preset: str, millions: float) -> None:
    with torch.device("meta"):
        model = GPT(PRESETS[preset])
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
