"""One role's optimiser: its learning rate, its clipped step, its running average. Progress is counted in images."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ardistill.protocols import Role
from ardistill.training.faults import TrainingError
from ardistill.training.precision import LossScale


def learning_rate(role: Role, images: int, total: int) -> float:
    """The rate after `images` of a phase's `total`: linear from `lr_start` over `warmup` images, then half a cosine."""
    if images < role.warmup:
        return role.lr_start + (role.lr - role.lr_start) * (images + 1) / role.warmup
    done = (images - role.warmup) / max(1, total - role.warmup)
    return role.lr * (role.decay + (1 - role.decay) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def ema_decay(update: int, cap: float) -> float:
    """min(cap, (i + 1) / (i + 10)) for the i-th update (DD2, appendix C): short memory first, long memory later."""
    return min(cap, (update + 1) / (update + 10))


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Moves the average by (1 - decay) (module - average), over parameters; buffers are copied."""
    ours: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(module.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for buffer, source in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(source)


@contextmanager
def training_only(module: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Gradients reach `module` and no other of `modules`, whatever the losses touch."""
    for other in modules.values():
        other.requires_grad_(False)
    module.requires_grad_(True)
    yield
    module.requires_grad_(False)


class Optimiser:
    """Adam for one role, with decoupled weight decay and its state as flat tensors; with a `scale` for float16."""

    def __init__(self, role: Role, scale: LossScale | None = None) -> None:
        self.role, self.scale = role, scale
        self.parameters = list(role.module.parameters())
        self.adam = torch.optim.AdamW(
            self.parameters, lr=role.lr, betas=role.betas, weight_decay=role.weight_decay, fused=True
        )
        self.updates = 0

    def step(self, images: int, total: int) -> Tensor:
        """One update at the phase's progress; returns the gradient's norm before clipping.

        Raises TrainingError before anything moves where that is not finite; with a scale, the update is left out
        instead, and the scale falls.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.scale is not None and gradients:
            torch._foreach_div_(gradients, self.scale.factor)
        norm = nn.utils.get_total_norm(gradients)
        finite = bool(torch.isfinite(norm))
        if self.scale is not None:
            self.scale.judge(finite)
        elif not finite:
            raise TrainingError(f"the gradient of {self._not_finite()} is not finite")
        if finite:
            self._move(norm, images, total)
        self.forget()
        return norm

    def _move(self, norm: Tensor, images: int, total: int) -> None:
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.role, images, total)
        nn.utils.clip_grads_with_norm_(self.parameters, self.role.clip, norm)
        self.adam.step()
        if self.role.average is not None:
            update_average(self.role.average, self.role.module, ema_decay(self.updates, self.role.ema_cap))
        self.updates += 1

    def _not_finite(self) -> str:
        """The first weight whose gradient is not; together they may overflow where each is finite."""
        for name, parameter in self.role.module.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                return name
        return "all weights together"

    def forget(self) -> None:
        """Drops the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Flat names -> tensors, e.g. "3.exp_avg", and "scale.factor" where there is one."""
        scale = {} if self.scale is None else self.scale.state()
        return {
            f"{index}.{key}": value
            for index, entry in self.adam.state_dict()["state"].items()
            for key, value in entry.items()
        } | {f"scale.{key}": value for key, value in scale.items()}

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """What `state` gave. A run may go on in another precision: then there is no scale, or it starts anew."""
        entries: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            index, _, key = name.partition(".")
            entries.setdefault(index, {})[key] = value
        scale = entries.pop("scale", None)
        if self.scale is not None and scale is not None:
            self.scale.load(scale)
        numbered = {int(index): entry for index, entry in entries.items()}
        self.adam.load_state_dict({"state": numbered, "param_groups": self.adam.state_dict()["param_groups"]})
        self.updates = updates
