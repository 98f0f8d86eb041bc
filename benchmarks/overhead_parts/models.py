"""What is trained: DD1's and DD2's students of the digits' VAR, and DD1's of a VAR-d16 of random weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from ardistill_dd1.config import DD1Config
from ardistill_dd1.lpips_config import LPIPSConfig
from ardistill_dd1.method import DD1
from ardistill_dd2.config import DD2Config
from ardistill_dd2.method import DD2
from ardistill_var import config as var
from ardistill_var.initialise import initialise as initialise_var
from ardistill_var.loading import PAPER_GUIDANCE
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer
from torch import Tensor

from ardistill.config import load
from ardistill.launch.parts import assemble
from ardistill.noise import Draw
from ardistill.plugins import discover
from ardistill.protocols import ARTeacher, Condition, DistillMethod, Phase, RunContext
from ardistill.trajectories import Pairing, Pairs

Model = Literal["digits-dd1", "digits-dd2", "var-d16-dd1", "tiny"]
_N_PAIRS = 1_000


@attrs.frozen
class Size:
    """Images a step, steps a block, rounds."""

    batch: int
    steps: int
    rounds: int


SIZES: Mapping[Model, Size] = {
    "digits-dd1": Size(128, 10, 21),
    "digits-dd2": Size(48, 24, 21),
    "var-d16-dd1": Size(1, 2, 5),
    "tiny": Size(2, 2, 2),
}


class Silent:
    def advance(self, done: int, total: int, what: str) -> None: ...


class _LastPhase(DD2):
    """DD2 from its last phase on, that of score distillation."""

    def phases(self) -> tuple[Phase, ...]:
        return super().phases()[-1:]


def random_var(model: var.VARConfig, tokenizer: var.VARTokenizerConfig) -> VARTeacher:
    """A VAR of random weights."""
    network, coder = VAR(model), VARTokenizer(tokenizer)
    initialise_var(network, seed=0)
    initialise_tokenizer(coder, seed=1)
    return VARTeacher(network, coder, PAPER_GUIDANCE)


def tiny() -> VARTeacher:
    """To see whether the script runs; it says nothing about cost."""
    sizes: dict[str, Any] = {"patch_nums": (1, 2), "vocab": 16}
    model = var.VARConfig(depth=1, width=16, heads=2, code_width=4, num_classes=3, **sizes)
    tokenizer = var.VARTokenizerConfig(
        z_channels=4, ch=8, ch_mult=(1, 2), num_res_blocks=1, groups=4, in_channels=1, **sizes
    )
    return random_var(model, tokenizer)


def method_of(model: Model, size: Size, images: int, folder: Path, device: torch.device) -> DistillMethod:
    """A method of one phase of so many images, with the files it needs in `folder`."""
    teacher: ARTeacher
    digits = model.startswith("digits")
    if digits:
        registry = discover()
        words = ["method=dd1", "teacher=var", f"device={device}", f"threads={torch.get_num_threads()}"]
        parts = assemble(load(words, registry=registry), registry)
        teacher, context = parts.teacher, RunContext(0, folder, device, parts.own_features)
    else:
        teacher = (tiny() if model == "tiny" else random_var(*var.PRESETS["d16"])).to(device)
        context = RunContext(0, folder, device)
    method: Any
    if model == "digits-dd2":
        method = _LastPhase(
            DD2Config(csd_images=images, batch=size.batch, tuning_samples=1), teacher, context
        )
    else:
        random_pairs(folder / "pairs", teacher, _N_PAIRS)
        lpips = LPIPSConfig() if digits else LPIPSConfig(weight=0.0)
        dd1 = DD1Config(
            pairs=folder / "pairs", n_pairs=_N_PAIRS, images=images, batch=size.batch, lpips=lpips
        )
        method = DD1(dd1, teacher, context)
    return method  # type: ignore[no-any-return]


def random_pairs(folder: Path, teacher: ARTeacher, count: int) -> None:
    """Pairs of noise and random tokens, which cost the training what others do."""

    def tokens(_: None, teacher: ARTeacher, condition: Condition, noise_BLC: Tensor, draw: Draw) -> Tensor:
        del condition, noise_BLC
        return draw.integers("token", len(teacher.tokenizer.codebook), teacher.layout.n_tokens)

    pairing = Pairing("random", None, tokens)
    Pairs.at(folder, teacher, pairing, 0).collect(count, batch=count, progress=Silent())
