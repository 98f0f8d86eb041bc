"""With unit codes, the scale on which a tokenizer happens to write its codes does not matter."""

from pathlib import Path

import pytest
import torch
from ardistill_dd2.config import DD2Config, HeadConfig
from ardistill_dd2.method import DD2
from ardistill_exact.teacher import sparse_teacher

from ardistill.noise import Draw
from ardistill.protocols import Condition, RunContext
from tests.dd2.test_gradients import SMALL

SCALE = 3.0


class _ScaledTrunk(torch.nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.inner, self.width = trunk, trunk.width

    def forward(self, latents_BLC, condition):
        return self.inner(latents_BLC / SCALE, condition)


class _Scaled:
    """The same teacher, its codebook written three times as large."""

    def __init__(self, teacher):
        self._teacher = teacher
        self.tokenizer = type("Codes", (), {"codebook": teacher.tokenizer.codebook * SCALE})()

    def __getattr__(self, name):
        return getattr(self._teacher, name)

    def log_probs(self, condition, latents_BLC):
        return self._teacher.log_probs(condition, latents_BLC / SCALE)

    def trunk(self):
        return _ScaledTrunk(self._teacher.trunk())


def losses_and_sample(teacher, tmp_path, unit_codes):
    config = DD2Config(head=HeadConfig(width=16, blocks=1, unit_codes=unit_codes), batch=6, tuning_samples=8)
    method = DD2(config, teacher, RunContext(0, tmp_path, torch.device("cpu")))
    method.prepare(type("Quiet", (), {"advance": lambda *_: None})())
    tune, *_, csd = method.phases()
    draw = Draw(0, "u", 0, 6)
    terms = {**tune.losses("model", draw), **csd.losses("guidance", draw), **csd.losses("generator", draw)}
    sample = method.student().jump(draw.normal("noise", 4, 3), Condition(torch.zeros(6, dtype=torch.long)))
    return {name: float(term.detach()) for name, term in terms.items()}, sample.latents_BLC


@pytest.mark.parametrize("unit_codes", [True, False])
def test_scaled_codes_give_the_same_losses_and_scaled_samples(tmp_path: Path, unit_codes: bool) -> None:
    teacher = sparse_teacher(SMALL, lambda _: None)
    ours, ours_BLC = losses_and_sample(teacher, tmp_path / "a", unit_codes)
    theirs, theirs_BLC = losses_and_sample(_Scaled(teacher), tmp_path / "b", unit_codes)
    same = torch.allclose(theirs_BLC, SCALE * ours_BLC, rtol=1e-4, atol=1e-5)
    assert (ours == pytest.approx(theirs, rel=1e-3)) == unit_codes
    assert same == unit_codes
