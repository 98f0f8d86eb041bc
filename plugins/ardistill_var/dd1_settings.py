"""The words of `student=var-dd1`, and what a student of ours carries in its own file. No torch here."""

from collections.abc import Mapping
from pathlib import Path

import attrs

from ardistill.schedules import Jumps
from ardistill_var.config import VARConfig

PRESET_DEPTHS: Mapping[str, int] = {"var-d16-dd1": 16, "var-d20-dd1": 20, "var-d24-dd1": 24}
"""The released students; each is as deep as its teacher."""


@attrs.frozen(kw_only=True)
class VARDD1Settings(Jumps):
    """Where the student's weights are, and how it is sampled.

    `starts` are the scales it jumps from; scales before `split` are read from its logits, later ones are its vectors.
    `recipes` are schedules with a split of their own, as STEPS:SPLIT. The presets are the released students with
    the settings published for them.
    """

    preset: str = ""
    checkpoint: Path | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """The official settings (distilled_decoding VAR/README.md); there the teacher's scales count from 0."""
        d16_recipes = ["pre-trained-5-6:5", "pre-trained-4-6:8", "pre-trained-1-6:9"]
        return {
            "var-d16-dd1": {"starts": [0, 5], "split": 5, "recipes": d16_recipes},
            "var-d20-dd1": {"starts": [0, 4], "split": 4},
            "var-d24-dd1": {"starts": [0, 4], "split": 4},
        }

    @classmethod
    def teacher_words(cls) -> Mapping[str, Mapping[str, object]]:
        """What a preset implies for the teacher: its size, and the released sampler's way to continue a prefix."""
        return {
            preset: {"name": "var", "preset": f"d{depth}", "prefix": "joint"}
            for preset, depth in PRESET_DEPTHS.items()
        }


@attrs.frozen(kw_only=True)
class VARDD1Record(Jumps):
    """What rebuilds a student: the sizes of its network, which are its teacher's."""

    network: VARConfig
