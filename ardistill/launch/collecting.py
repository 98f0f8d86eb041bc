"""Collecting pairs: from the words of a command line to a folder of pairs."""

import time
from pathlib import Path

import attrs
import torch

from ardistill.config import NoSettings, Section, TeacherWords
from ardistill.errors import ConfigError, PluginError
from ardistill.launch.parts import load_models
from ardistill.plugins import Registry
from ardistill.protocols import Progress
from ardistill.records import TeacherOffer
from ardistill.trajectories import Pairing, Pairs


@attrs.frozen
class Collected:
    """What a collection came to; `made` counts what this process made of them, in `seconds` of wall time."""

    made: int
    seconds: float
    bytes_each: float


def collect(
    words: TeacherWords,
    trajectory: Section,
    registry: Registry,
    progress: Progress,
    *,
    n: int,
    out: Path,
    seed: int,
    batch: int,
) -> Collected:
    """Sees to it that `out` holds the first `n` pairs. Whatever can be refused is, before anything is written."""
    offer = registry.get("teacher", words.teacher.name)
    assert isinstance(offer, TeacherOffer)
    if "class" not in offer.conditions:
        raise PluginError(f"teacher={offer.name} draws no classes, and pairs are made for class labels")
    pairing = pairing_of(trajectory, registry)
    teacher = load_models(words, registry).teacher
    pairs = Pairs.at(out, teacher, pairing, seed)
    began = time.monotonic()
    try:
        made = pairs.collect(n, batch=batch, progress=progress)
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"batch={batch} pairs at once need more memory than {words.device} has; give a smaller batch="
        ) from error
    seconds = time.monotonic() - began
    return Collected(made, seconds, pairs.bytes_each)


def pairing_of(trajectory: Section, registry: Registry) -> Pairing:
    """The registered trajectory that a configuration names, with its settings."""
    settings = None if isinstance(trajectory.settings, NoSettings) else trajectory.settings
    return Pairing(trajectory.name, settings, registry.load("trajectory", trajectory.name))
