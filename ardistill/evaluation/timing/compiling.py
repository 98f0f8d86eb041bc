"""The same work through torch.compile, in its default mode.

What is compiled are the networks that a sampler calls, each on its own ("regional compilation"). A whole sampler would
be one graph of all its steps, which takes a minute to compile for 16 tokens already and grows with their number; and
its randomness comes from numpy, which is not to be traced.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

Forward = Callable[..., Any]
Backend = str | Callable[..., Any]
"""As torch.compile takes it."""

_RECOMPILATIONS = 64
"""Of one function, for all networks, batches and lengths; torch's own 8 would leave some of them silently eager."""


def networks(work: Callable[[], object]) -> list[nn.Module]:
    """The modules that `work` calls from outside of any other and that have layers, in order of their first call."""
    inside: list[nn.Module] = []
    found: dict[nn.Module, None] = {}

    def enter(module: nn.Module, _: object) -> None:
        if not inside and next(module.children(), None) is not None:
            found[module] = None
        inside.append(module)

    def leave(*_: object) -> None:
        inside.pop()

    hooks = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
    try:
        work()
    finally:
        for hook in hooks:
            hook.remove()
    return list(found)


@contextmanager
def _swapped(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Within, the modules run these in place of their own `forward`."""
    own = {module: vars(module)["forward"] for module in forwards if "forward" in vars(module)}
    for module, forward in forwards.items():
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module in forwards:
            del vars(module)["forward"]
            if module in own:
                vars(module)["forward"] = own[module]


class Compiler:
    """Compiles every network once, whoever calls it. From `compiling()`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._forwards: dict[nn.Module, Forward] = {}

    def compiled(self, work: Callable[[int], object], batch: int) -> Callable[[int], object] | None:
        """`work` through compiled networks, of any batch; None if it calls no network. `batch` is tried to see which.

        Compiling itself happens in the first calls.
        """
        forwards = {}
        for module in networks(lambda: work(batch)):
            if module not in self._forwards:
                self._forwards[module] = torch.compile(module.forward, backend=self._backend)
            forwards[module] = self._forwards[module]
        if not forwards:
            return None

        def run(batch: int) -> object:
            with _swapped(forwards):
                return work(batch)

        return run


@contextmanager
def compiling(backend: Backend = "inductor") -> Iterator[Compiler]:
    """What was compiled is forgotten when the block ends. Within, what is recompiled too often is an error."""
    import torch._dynamo  # takes seconds

    limits = {"recompile_limit": _RECOMPILATIONS, "fail_on_recompile_limit_hit": True}
    with torch._dynamo.config.patch(limits):
        try:
            yield Compiler(backend)
        finally:
            torch.compiler.reset()
