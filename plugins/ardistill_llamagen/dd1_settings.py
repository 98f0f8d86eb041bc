"""The words of `student=llamagen-dd1`, and what a student of ours carries in its own file. No torch here."""

from collections.abc import Mapping
from pathlib import Path

import attrs

from ardistill.schedules import Jumps
from ardistill_llamagen.config import GPTConfig

PRESET_TEACHERS: Mapping[str, str] = {"llamagen-b-dd1": "c2i-B", "llamagen-l-dd1": "c2i-L"}
"""The released students, and their teachers as `teacher.preset` names them; each is of its teacher's size."""


@attrs.frozen(kw_only=True)
class LlamaGenDD1Settings(Jumps):
    """Where the student's weights are, and how it is sampled.

    `starts` are the tokens it jumps from; tokens before `split` are read from its logits, later ones are its vectors.
    `recipes` are schedules with a split of their own, as STEPS:SPLIT. The presets are the released students with the
    settings published for them.
    """

    preset: str = ""
    checkpoint: Path | None = None

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, object]]:
        """The official settings (distilled_decoding LlamaGen/README.md)."""
        l_recipes = ["pre-trained-61-81:180", "pre-trained-41-81:180", "pre-trained-1-81:220"]
        return {
            "llamagen-b-dd1": {"starts": [0, 80], "split": 80},
            "llamagen-l-dd1": {"starts": [0, 80], "split": 130, "recipes": l_recipes},
        }

    @classmethod
    def teacher_words(cls) -> Mapping[str, Mapping[str, object]]:
        """What a preset implies for the teacher."""
        return {
            preset: {"name": "llamagen", "preset": teacher} for preset, teacher in PRESET_TEACHERS.items()
        }


@attrs.frozen(kw_only=True)
class LlamaGenDD1Record(Jumps):
    """What rebuilds a student: the sizes of its network and its jumps."""

    network: GPTConfig
