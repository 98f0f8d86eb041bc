"""Telling plugins how a run goes, so that none of them can take the training along."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
from torch import Tensor

from ardistill.config import Sections
from ardistill.plugins import Registry
from ardistill.protocols import Callback
from ardistill.wording import message_of

_log = logging.getLogger("ardistill")


@attrs.define(eq=False)
class Callbacks:
    """Those that still answer, by name. One that raises is named on the log, and left out from then on."""

    _callbacks: dict[str, Callback] = attrs.field(factory=dict)

    @classmethod
    def of(cls, chosen: Sections, folder: Path, registry: Registry) -> "Callbacks":
        """Raises PluginError where one can't be loaded."""
        return cls(
            {
                section.name: registry.load("callback", section.name)(section.settings, folder)
                for section in chosen.chosen
            }
        )

    def start(self, images: int) -> None:
        self._tell("start", lambda each: each.start(images))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Tells the end of the block, however it comes."""
        try:
            yield
        except BaseException as error:
            ended = error
            self._tell("end", lambda each: each.end(ended))
            raise
        self._tell("end", lambda each: each.end(None))

    def step(self, phase: str, images: int, losses: Mapping[str, Tensor]) -> None:
        self._tell("step", lambda each: each.step(phase, images, losses))

    def evaluation(self, images: int, figures: Mapping[str, float]) -> None:
        self._tell("evaluation", lambda each: each.evaluation(images, figures))

    def _tell(self, event: str, tell: Callable[[Callback], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                tell(callback)
            except Exception as error:
                del self._callbacks[name]
                what = f"{type(error).__name__}: {message_of(error)}"
                _log.warning("callback %s fails at %s (%s) and is told no more", name, event, what)
