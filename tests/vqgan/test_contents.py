"""Files of every family are told apart by their keys, and each loader says what it was given."""

from pathlib import Path

import pytest
import torch
from ardistill_llamagen.config import GPTConfig
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import LlamaGenTokenizerConfig
from ardistill_llamagen.tokenizer_loading import load_tokenizer as load_llamagen
from ardistill_llamagen.transformer import GPT
from ardistill_var.config import VARConfig, VARTokenizerConfig
from ardistill_var.dd1 import VARDD1
from ardistill_var.settings import VARTokenizerSettings
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.tokenizer_loading import load_tokenizer as load_var
from ardistill_var.transformer import VAR
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.contents import KINDS, kind_of
from ardistill_vqgan.loading import load_taming
from ardistill_vqgan.taming import TamingVQGAN

from ardistill.errors import MisfitError
from ardistill.schedules import Jumps

VAR_SIZES = VARConfig(depth=1, width=64, heads=1, patch_nums=(1, 2), vocab=16, code_width=8, num_classes=5)
GPT_SIZES = GPTConfig(dim=32, n_layer=1, n_head=2, vocab_size=16, code_width=4, block_size=4, num_classes=5)
MADE = {
    "VAR's tokenizer": lambda: VARTokenizer(
        VARTokenizerConfig(patch_nums=(1, 2), vocab=16, z_channels=8, ch=32)
    ),
    "taming's VQGAN": lambda: TamingVQGAN(TamingConfig(vocab=16, code_width=4, ch=32, z_channels=8)),
    "LlamaGen's tokenizer": lambda: LlamaGenTokenizer(LlamaGenTokenizerConfig(codebook_size=16, ch=32)),
    "a VAR": lambda: VAR(VAR_SIZES),
    "a LlamaGen": lambda: GPT(GPT_SIZES),
    "a DD1 student of VAR": lambda: VARDD1(VAR_SIZES, Jumps()),
    "a DD1 student of LlamaGen": lambda: LlamaGenDD1(GPT_SIZES, Jumps()),
}
LOADERS = {
    "VAR's tokenizer": (load_var, VARTokenizerSettings, "VAR's vae_ch160v4096z32.pth"),
    "taming's VQGAN": (load_taming, TamingSettings, "taming's last.ckpt"),
    "LlamaGen's tokenizer": (load_llamagen, LlamaGenTokenizerSettings, "LlamaGen's vq_ds16_c2i.pt"),
}


def nothing(name: str) -> None:
    """No weights are bundled."""


def state(name):
    return MADE[name]().state_dict()


def test_every_kind_is_made_here():
    assert {kind.name for kind in KINDS} == set(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_told_by_its_keys(name):
    with torch.device("meta"):
        assert kind_of(state(name)).name == name


def test_other_keys_tell_nothing():
    assert kind_of({}) is None
    assert kind_of({"weight": torch.zeros(1), "blocks.0.weight": torch.zeros(1)}) is None


@pytest.mark.parametrize("held", [*MADE, "something else"])
@pytest.mark.parametrize("expected", LOADERS)
def test_a_tokenizers_loader_says_what_it_was_given(tmp_path: Path, expected, held):
    if held == expected:
        return
    load, settings, file = LOADERS[expected]
    path = tmp_path / "vae.pth"
    torch.save({"k" * 99: torch.zeros(1)} if held == "something else" else state(held), path)
    with pytest.raises(MisfitError) as caught:
        load(settings(checkpoint=path), nothing)
    if held == "something else":
        held = f"something else (its first keys: '{'k' * 59}...)"
    assert str(caught.value) in {
        f"{path} holds {what}, and {expected} is expected; give {file} as tokenizer.checkpoint=PATH"
        for what in (held, f"{held} of depth 1")
    }
