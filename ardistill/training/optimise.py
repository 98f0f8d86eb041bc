"""One role's optimiser: its learning rate, its clipped step, its running average. Progress is counted in images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ardistill.protocols import Role
from ardistill.training.faults import LossError, TrainingError
from ardistill.training.precision import LossScale
from ardistill.training.shards import is_shard, local
from ardistill.training.world import World


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
    ours, theirs = local(average.parameters()), local(module.parameters())
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
    """Adam for one role, with decoupled weight decay and its state as flat tensors; with a `scale` for float16.

    Of sharded weights, which Adam keeps in a group of their own, each process of the `world` moves its shards.
    """

    def __init__(self, role: Role, scale: LossScale | None = None, world: World | None = None) -> None:
        self.role, self.scale, self._world = role, scale, world or World()
        self.parameters = list(role.module.parameters())
        shards = [each for each in self.parameters if is_shard(each)]
        whole = [each for each in self.parameters if not is_shard(each)]
        self.adam = torch.optim.AdamW(
            [{"params": group} for group in (whole, shards) if group],
            lr=role.lr,
            betas=role.betas,
            weight_decay=role.weight_decay,
            fused=True,
        )
        self.updates = 0

    def step(self, images: int, total: int, losses: Mapping[str, Tensor] = MappingProxyType({})) -> Tensor:
        """One update at the phase's progress; returns the gradient's norm before clipping.

        Raises TrainingError before anything moves where that is not finite; with a scale, the update is left out
        instead, and the scale falls. Raises LossError where one of the update's `losses` is not, which are looked at
        here since each look waits for a GPU.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if self.scale is not None and gradients:
            torch._foreach_div_(local(gradients), self.scale.factor)
        norm = self._norm(gradients)
        finite, *each = torch.stack([norm, *losses.values()]).isfinite().tolist()
        if not all(each):
            raise LossError("a loss is not finite")
        if self.scale is not None:
            self.scale.judge(finite)
        elif not finite:
            raise TrainingError(f"the gradient of {self._not_finite()} is not finite")
        if finite:
            self._move(gradients, norm, images, total)
        self.forget()
        return norm

    def _norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Of the whole gradient: the squares of the processes' shards add up."""
        norm = nn.utils.get_total_norm([each for each in gradients if not is_shard(each)])
        if not any(is_shard(each) for each in self.parameters):
            return norm
        shards = local(each for each in gradients if is_shard(each))
        square = nn.utils.get_total_norm(shards).to(self.parameters[0].device, torch.float64).square()
        self._world.add_up([square])
        return (norm.to(square) ** 2 + square).sqrt().float()

    def _move(self, gradients: Sequence[Tensor], norm: Tensor, images: int, total: int) -> None:
        for group in self.adam.param_groups:
            group["lr"] = learning_rate(self.role, images, total)
        if gradients:  # clipped as by nn.utils.clip_grads_with_norm_
            torch._foreach_mul_(local(gradients), (self.role.clip / (norm + 1e-6)).clamp(max=1))
        self.adam.step()
        if self.role.average is not None:
            update_average(self.role.average, self.role.module, ema_decay(self.updates, self.role.ema_cap))
        self.updates += 1

    def _not_finite(self) -> str:
        """The first weight whose gradient is not; together they may overflow where each is finite."""
        named = dict(self.role.module.named_parameters())
        grads = [weight.grad for weight in named.values()]
        bad = (
            i for i, each in enumerate(grads) if each is not None and not local([each])[0].isfinite().all()
        )
        (first,) = self._world.agree([-next(bad, len(named))])  # which may lie in another process's shard
        return [*named, "all weights together"][-first]

    def forget(self) -> None:
        """Drops the gradients."""
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Flat names -> tensors, e.g. "3.exp_avg", and "scale.factor" where there is one."""
        scale = {} if self.scale is None else self.scale.state()
        return {
            f"{index}.{key}": value
            for index, parameter in enumerate(self.parameters)
            for key, value in self.adam.state.get(parameter, {}).items()
        } | {f"scale.{key}": value for key, value in scale.items()}

    def room(self, name: str, like: Tensor) -> Tensor:
        """A tensor for what `state` gave under that name, of `like`'s size and dtype, sharded where the weight is."""
        index, _, key = name.partition(".")
        if index == "scale" or key == "step":
            return torch.zeros_like(like)
        return torch.zeros_like(self.parameters[int(index)], dtype=like.dtype)

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """What `state` gave. A run may go on in another precision: then there is no scale, or it starts anew."""
        entries: dict[str, dict[str, Tensor]] = {}
        for name, value in state.items():
            index, _, key = name.partition(".")
            entries.setdefault(index, {})[key] = value
        scale = entries.pop("scale", None)
        if self.scale is not None and scale is not None:
            self.scale.load(scale)
        places = {
            id(each): place
            for place, each in enumerate(chain(*(g["params"] for g in self.adam.param_groups)))
        }
        numbered = {places[id(self.parameters[int(index)])]: entry for index, entry in entries.items()}
        self.adam.load_state_dict({"state": numbered, "param_groups": self.adam.state_dict()["param_groups"]})
        self.updates = updates
