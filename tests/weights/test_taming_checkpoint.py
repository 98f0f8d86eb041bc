"""taming's own checkpoints, with the losses of its training in them."""

import logging
import subprocess
import sys

import pytest
import torch
from ardistill_vqgan.config import TamingConfig, TamingSettings
from ardistill_vqgan.loading import load_taming
from ardistill_vqgan.taming import TamingVQGAN

from ardistill.errors import MisfitError
from tests.weights.making import same, save, save_lightning

CONFIG = TamingConfig(
    vocab=16, code_width=4, resolution=32, attn_resolutions=(8,), ch=32, ch_mult=(1, 2, 4), z_channels=8
)
LOSSES = {"loss.logvar": torch.zeros(1), "loss.discriminator.main.0.weight": torch.full((2, 2), float("nan"))}


def nothing(name: str) -> None:
    """No weights are bundled."""


@pytest.mark.parametrize("old", [False, True])
def test_losses_are_left_out_and_that_is_said_once_a_file(tmp_path, caplog, old):
    tensors = TamingVQGAN(CONFIG).state_dict()
    path = save_lightning(tmp_path / "last.ckpt", {**tensors, **LOSSES}, old=old)
    settings = TamingSettings(checkpoint=path, resolution=32)
    with caplog.at_level(logging.INFO, "ardistill"):
        for _ in range(2):
            assert same(load_taming(settings, nothing).state_dict(), tensors)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out 2 tensors named loss.*, which only training needs"
    ]


def test_one_is_not_several(tmp_path, caplog):
    tensors = {**TamingVQGAN(CONFIG).state_dict(), "loss.logvar": torch.zeros(1)}
    path = save(tmp_path / "last.ckpt", tensors)
    load_taming(TamingSettings(checkpoint=path, resolution=32), nothing)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out 1 tensor named loss.*, which only training needs"
    ]


def test_nothing_random_is_drawn_and_all_tensors_are_there(tmp_path):
    path = save(tmp_path / "vqgan.pth", TamingVQGAN(CONFIG).state_dict())
    before = torch.get_rng_state()
    loaded = load_taming(TamingSettings(checkpoint=path, resolution=32), nothing)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_nothing_is_said_where_nothing_is_left_out(tmp_path, caplog):
    path = save(tmp_path / "vqgan.pth", TamingVQGAN(CONFIG).state_dict())
    load_taming(TamingSettings(checkpoint=path, resolution=32), nothing)
    assert not caplog.records


def test_without_any_set_up_it_is_one_plain_line_on_stderr(tmp_path):
    path = save_lightning(tmp_path / "last.ckpt", {**TamingVQGAN(CONFIG).state_dict(), **LOSSES})
    code = (
        "import sys; from pathlib import Path; from ardistill_vqgan.config import TamingSettings;"
        "from ardistill_vqgan.loading import load_taming;"
        "load_taming(TamingSettings(checkpoint=Path(sys.argv[1]), resolution=32), lambda name: None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == f"{path}: left out 2 tensors named loss.*, which only training needs\n"


def test_other_keys_too_many_are_a_misfit(tmp_path):
    path = save(tmp_path / "vqgan.pth", {**TamingVQGAN(CONFIG).state_dict(), "lossy": torch.zeros(1)})
    with pytest.raises(MisfitError, match="lossy is unexpected"):
        load_taming(TamingSettings(checkpoint=path, resolution=32), nothing)
