"""The configuration of a run."""

import re
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge, le

from ardistill.config.judging import EvalConfig
from ardistill.config.launching import HERE, LAUNCHERS, HereConfig
from ardistill.config.section import Section, Sections, section_of, sections_of
from ardistill.config.training import TrainConfig


@attrs.frozen
class CheckpointConfig:
    every: int = attrs.field(default=20_000, validator=ge(1))
    """Images between two checkpoints."""
    keep: int = attrs.field(default=2, validator=ge(1))
    """How many of the latest are kept."""
    permanent: int = attrs.field(default=0, validator=ge(0))
    """The first one at or after each multiple of so many images is kept for good; 0 is none."""
    asynchronous: bool = True
    """Saving goes on beside the next steps, unless a copy of the states takes too much memory; false never copies."""


@attrs.frozen(kw_only=True)
class TeacherWords:
    """A teacher, the data whose bundled weights serve where no checkpoint is given, and where they work."""

    teacher: Section = attrs.field(metadata=section_of("teacher"))
    data: Section = attrs.field(metadata=section_of("dataset", default="digits"))
    device: str = attrs.field(default="auto")
    threads: int = attrs.field(default=0, validator=[ge(0), le(4096)])
    """CPU threads; 0 is one for each core."""

    @device.validator
    def _known(self, _: "attrs.Attribute[Any]", device: str) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:(0|[1-9]\d{0,2}))?", device, re.ASCII):
            raise ValueError(f"device must be auto, cpu, cuda or cuda:N, not {device!r}")


@attrs.frozen(kw_only=True)
class StudentWords(TeacherWords):
    """A teacher and a student made of it."""

    student: Section = attrs.field(metadata=section_of("student"))


@attrs.frozen(kw_only=True)
class RunConfig(TeacherWords):
    """What `ardistill run` takes. `quick` applies the preset "quick" of every section that has one."""

    method: Section = attrs.field(metadata=section_of("method"))
    eval: EvalConfig = attrs.field(factory=EvalConfig)
    checkpoint: CheckpointConfig = attrs.field(factory=CheckpointConfig)
    train: TrainConfig = attrs.field(factory=TrainConfig)
    launcher: Section = attrs.field(
        factory=lambda: Section(HERE, HereConfig()),
        metadata=section_of("launcher", default=HERE, family=LAUNCHERS),
    )
    """Where it runs: here, or in a job of a plugin's launcher."""
    callbacks: Sections = attrs.field(factory=Sections, metadata=sections_of("callback"))
    """Plugins that are told how the run goes: callbacks=profile; settings are callbacks.NAME.WORD=..."""
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**63 - 1)])
    out: Path | None = None
    """The run folder; a new one under runs/ where none is given."""
    quick: bool = False
