"""What is trained: DD1's and DD2's students of a teacher, by its name here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from overhead_parts.models import Silent, random_pairs

from ardistill.benching.generators import load
from ardistill.config import structure_words
from ardistill.config.bench import BenchMethod, BenchTeacher
from ardistill.plugins import Registry
from ardistill.protocols import ARTeacher, DistillMethod, RunContext

Method = Literal["dd1", "dd2"]
Teacher = Literal["var-d16", "var-d20", "var-d24", "llamagen-b", "llamagen-l", "var", "llamagen"]
RELEASED: Mapping[Teacher, tuple[str, str]] = {
    "var-d16": ("var", "d16"),
    "var-d20": ("var", "d20"),
    "var-d24": ("var", "d24"),
    "llamagen-b": ("llamagen", "c2i-B"),
    "llamagen-l": ("llamagen", "c2i-L"),
}
"""Plugin and preset of those that have random weights; the other two are the bundled ones of the digits."""
_SEED = 0


def teacher_of(
    name: Teacher, device: str, threads: int, registry: Registry
) -> tuple[ARTeacher, torch.device]:
    """On its device; CPU threads are set as it says."""
    plugin, preset = RELEASED.get(name, (name, ""))
    words = [f"teacher={plugin}", f"device={device}", f"threads={threads}", f"seed={_SEED}"]
    if preset:
        words.append(f"teacher.preset={preset}")
    models = load(structure_words(words, BenchTeacher, registry=registry), registry)
    return models.teacher, models.device


def method_of(
    name: Method,
    teacher_name: Teacher,
    batch: int,
    teacher: ARTeacher,
    folder: Path,
    device: torch.device,
    registry: Registry,
) -> tuple[DistillMethod, int]:
    """The method with what its phases draw from, in updates of `batch` images; its files go into `folder`.

    Beside it, how many draws of noise it scores of each token: 0 where it scores none.
    """
    plugin, preset = RELEASED.get(teacher_name, (teacher_name, ""))
    words = [f"teacher={plugin}", f"method={name}", f"seed={_SEED}"]
    words += _dd1(teacher_name, folder / "pairs", batch) if name == "dd1" else _dd2(batch, bool(preset))
    settings = structure_words(words, BenchMethod, registry=registry).method.settings
    if name == "dd1":
        random_pairs(folder / "pairs", teacher, batch)
    context = RunContext(_SEED, folder, device)
    method: DistillMethod = registry.load("method", name)(settings, teacher, context)
    method.prepare(Silent())
    return method, settings.draws if name == "dd2" else 0


def _dd1(teacher_name: Teacher, pairs: Path, batch: int) -> Sequence[str]:
    own = [f"method.preset={teacher_name}"] if teacher_name in RELEASED else []
    amounts = [f"method.pairs={pairs}", f"method.n_pairs={batch}", f"method.batch={batch}"]
    return [*own, *amounts, "method.lpips.weight=0"]


def _dd2(batch: int, released: bool) -> Sequence[str]:
    """The paper's head and draws for all released sizes; of phases with the same losses one each."""
    own = ["method.preset=var-d16"] if released else []
    once = [f"method.{each}_images=0" for each in ("guidance", "align_guidance", "align")]
    return [*own, *once, "method.tuning_samples=1", f"method.tune_batch={batch}", f"method.batch={batch}"]
