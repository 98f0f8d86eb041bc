"""The same work through torch.compile.

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

from ardistill.forwards import Forward, packable, swapped
from ardistill.wording import printable

Backend = str | Callable[..., Any]
"""As torch.compile takes it."""

_CONSTANT = {"freezing": True}
_FASTEST: Mapping[str, str | int | bool] = {
    "max_autotune": True,
    "max_autotune_gemm_backends": "ATEN,CPP",
    "autotune_num_choices_displayed": 0,
    "max_autotune_report_choices_stats": False,
}
"""Settings of inductor; the last two keep it quiet. Trying templates takes seconds for every shape of a product."""

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


class Compiler:
    """Compiles every network once, whoever calls it. From `compiling()`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._forwards: dict[nn.Module, Forward] = {}

    def forwards(self, work: Callable[[], object]) -> Mapping[nn.Module, Forward]:
        """What the networks that `work` calls run when compiled; it is tried to see which they are.

        Compiling itself happens in the first calls.
        """
        found = networks(work)
        for module in found:
            if module not in self._forwards:
                self._forwards[module] = self._compile(module)
        return {module: self._forwards[module] for module in found}

    def _compile(self, module: nn.Module) -> Forward:
        """To be compiled when it is called."""
        if self._backend != "inductor" or not any(map(packable, module.modules())):
            return torch.compile(module.forward, backend=self._backend)
        from torch._inductor import config

        known = config.get_config_copy()
        options: dict[str, str | int | bool | Callable[..., Any]] = {
            name: value for name, value in _FASTEST.items() if name in known
        }
        return torch.compile(module.forward, options=options)

    def compiled(self, work: Callable[[int], object], batch: int) -> Callable[[int], object] | None:
        """`work` through its `forwards`, of any batch; None if it calls no network. `batch` is tried to see."""
        forwards = self.forwards(lambda: work(batch))
        if not forwards:
            return None

        def run(batch: int) -> object:
            with swapped(forwards):
                return work(batch)

        return run


@contextmanager
def compiling(device: torch.device, backend: Backend = "inductor") -> Iterator[Compiler]:
    """What was compiled is forgotten when the block ends. Within, what is recompiled too often is an error.

    Weights must not change meanwhile, and are used without gradients.
    """
    import torch._dynamo  # takes seconds
    from torch._inductor import config

    limits = {"recompile_limit": _RECOMPILATIONS, "fail_on_recompile_limit_hit": True}
    on_cpu = _CONSTANT if device.type == "cpu" else {}
    with torch._dynamo.config.patch(limits), config.patch(on_cpu):
        try:
            yield Compiler(backend)
        finally:
            torch.compiler.reset()


def reason(error: Exception) -> str:
    """The first line of the cause, and the second where the first only leads to it ("backend raised:")."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return printable(" ".join(lines[: 2 if lines[0].endswith(":") else 1]))
