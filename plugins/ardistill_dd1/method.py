"""DD1 as its paper tells it: collect pairs of noise and tokens, then learn to jump to the end of their trajectories.

1. *Pairs* (section 3.1): the teacher and the flow carry noise to tokens, step by step; one noise has one sequence.
2. *Training* (sections 3.2, 3.3): from a trajectory's state at one of the chosen timesteps, the student predicts its
   end: every token's code by the logits head, under cross-entropy, and its vector by the continuous head, under a
   perceptual distance between decoded images.

Shape legend: B batch, L tokens, V codes, C code width.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError, DataError, MisfitError
from ardistill.perceptual import Distance, perceptual
from ardistill.protocols import ARTeacher, Draw, Jumper, Jumps, Phase, Progress, Role, RunContext
from ardistill.trajectories import Pairing, Pairs
from ardistill_dd1.config import DD1Config
from ardistill_dd1.losses import compared, cross_entropy, token_weights
from ardistill_dd1.order import Epochs
from ardistill_dd1.pairing import flow_matching


@attrs.frozen(eq=False)
class DD1Phase:
    """DD1's one phase."""

    name: str
    images: int
    batch: int
    roles: Mapping[str, Role]
    begin: Callable[[], None]
    losses: Callable[[str, Draw], Mapping[str, Tensor]]

    def role(self, update: int) -> str:
        del update
        (only,) = self.roles
        return only


class DD1:
    """The method behind `method=dd1`."""

    def __init__(self, config: DD1Config, teacher: ARTeacher, context: RunContext) -> None:
        self.config, self.teacher, self.context = config, teacher, context
        network = teacher.jumper(jumps_of(config, teacher.layout.n_steps), context.seed)
        if config.init is not None:
            go_on_from(network, config.init, context)
        self.network, self.average = network, copy.deepcopy(network)
        self.modules: Mapping[str, nn.Module] = {"student": self.network, "average": self.average}
        self.student_spec = cast(Jumper, network).spec
        self.pairs = self._pairs()
        self.epochs = Epochs(config.n_pairs, context.seed)
        self._distance: Distance | None = None
        if (lpips := config.lpips).weight:
            self._distance = perceptual(
                lpips.net, lpips.weights, context.features, context.device, option="method.lpips"
            )
            blank_BCHW = torch.zeros(1, *teacher.tokenizer.image_shape, device=context.device)
            self._distance(blank_BCHW.requires_grad_(), blank_BCHW)  # which refuses what it can't compare
        layout = teacher.layout
        self._weights_L = token_weights(layout, config.balance).to(context.device)
        self._starts = torch.tensor([jump.start for jump in self.student().jumps], device=context.device)
        self._offsets = torch.tensor(
            [layout.offset(int(start)) for start in self._starts], device=context.device
        )
        self._image_weights = torch.stack([self._weights_L[offset:].sum() for offset in self._offsets])

    def _pairs(self) -> Pairs:
        c = self.config
        if c.pairs is None:
            pairing = Pairing("flow-matching", c.trajectory, flow_matching)
            return Pairs.at(self.context.folder / "pairs", self.teacher, pairing, self.context.seed)
        pairs = Pairs.open(c.pairs, self.teacher)
        if (count := pairs.count) < c.n_pairs:
            raise DataError(
                f"{c.pairs} holds {count} pairs, and method.n_pairs={c.n_pairs} are to be learned from; "
                f"collect more with n={c.n_pairs} out={c.pairs}, or give method.n_pairs={count}"
            )
        return pairs

    def prepare(self, progress: Progress) -> None:
        c = self.config
        if c.pairs is None and not c.stream:
            self.pairs.collect(c.n_pairs, batch=c.collect_batch, progress=progress)

    def student(self) -> Jumper:
        return cast(Jumper, self.average)

    def phases(self) -> tuple[Phase, ...]:
        c = self.config
        role = Role(
            module=self.network,
            lr=c.lr,
            warmup=c.warmup_images,
            decay=c.decay,
            betas=c.betas,
            weight_decay=c.weight_decay,
            clip=c.clip,
            average=self.average,
            ema_cap=c.ema_cap,
        )
        return (DD1Phase("train", c.images, c.batch, {"student": role}, lambda: None, self._losses),)

    def _losses(self, role: str, draw: Draw) -> Mapping[str, Tensor]:
        """From one state of each pair, the end of its trajectory."""
        del role
        batch = self.config.collect_batch if self.config.stream else None
        pair = self.pairs.take(self.epochs.pairs(draw.indices()), batch=batch)
        which_B = self._timesteps(draw)
        codes_BLC = self.teacher.tokenizer.codebook[pair.tokens_BL]
        positions_L = torch.arange(self.teacher.layout.n_tokens, device=codes_BLC.device)
        ahead_BL = positions_L >= self._offsets[which_B, None]
        state_BLC = torch.where(ahead_BL.unsqueeze(-1), pair.noise_BLC, codes_BLC)
        made = cast(Jumper, self.network)(state_BLC, pair.condition, self._starts[which_B])
        losses = {}
        if self.config.ce:
            assert made.logits_BLV is not None
            losses["ce"] = self.config.ce * cross_entropy(
                made.logits_BLV,
                pair.tokens_BL,
                ahead_BL * self._weights_L,
                self._image_weights[self._timesteps(draw.update)].mean(),
            )
        if self._distance is not None:
            latents_BLC = torch.where(ahead_BL.unsqueeze(-1), made.latents_BLC, codes_BLC)
            apart = self._apart(self._distance, draw, latents_BLC, codes_BLC)
            losses["lpips"] = self.config.lpips.weight * apart
        return losses

    def _timesteps(self, draw: Draw) -> Tensor:
        """(B,) int64: which of the jumps each pair is learned for."""
        share, later = self.config.from_noise, len(self._starts) - 1
        uniform_B = draw.uniform("timestep")
        if not later:
            return torch.zeros_like(uniform_B, dtype=torch.int64)
        place_B = (uniform_B - share) / (1 - share) * later
        return torch.where(uniform_B < share, 0, 1 + place_B.long().clamp(max=later - 1))

    def _apart(self, distance: Distance, draw: Draw, made_BLC: Tensor, target_BLC: Tensor) -> Tensor:
        """The mean perceptual distance between what two sets of latents decode to, over some of the update's images."""
        tokenizer, share, whole = self.teacher.tokenizer, self.config.lpips.share, draw.update.indices()
        chosen = partial(compared, first=whole[0], n=len(whole), share=share)
        chosen_B = chosen(draw.indices())
        made_BLC, target_BLC = made_BLC[chosen_B], target_BLC[chosen_B]
        if not len(made_BLC):  # a share of few images
            return made_BLC.sum()
        with torch.no_grad():
            target_BCHW = tokenizer.decode(target_BLC)
        distances_B = distance(tokenizer.decode(made_BLC), target_BCHW)
        return distances_B.sum() / chosen(whole).sum() * (len(whole) / len(draw))


def go_on_from(network: nn.Module, path: Path, context: RunContext) -> None:
    """Loads an earlier student's weights. Raises MisfitError where it is of other sizes."""
    if context.read_student is None:
        raise ConfigError(f"method.init={path} can't be read here; start from the teacher")
    earlier = context.read_student(cast(Jumper, network).spec.offer, path)
    try:
        network.load_state_dict(earlier.state_dict())
    except RuntimeError as error:
        raise MisfitError(
            f"{path} holds a student of other sizes than this teacher's own; give the teacher that it was made of"
        ) from error


def jumps_of(config: DD1Config, n_steps: int) -> Jumps:
    """The student's jumps: as configured, else from noise and from a third of the steps, everything read as codes."""
    starts = config.starts or tuple(sorted({0, round(n_steps / 3)}))
    return Jumps(
        starts=starts, split=n_steps if config.split is None else config.split, recipes=config.recipes
    )
