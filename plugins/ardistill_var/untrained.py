"""A VAR of a released size with weights drawn from a seed: as slow as the released one, and good for nothing else."""

import attrs
import torch
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer

from ardistill.errors import ConfigError
from ardistill_var.config import PRESETS
from ardistill_var.initialise import initialise
from ardistill_var.loading import PAPER_GUIDANCE, guided
from ardistill_var.settings import VARTeacherSettings
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR


def untrained(settings: VARTeacherSettings, seed: int) -> VARTeacher | None:
    """The teacher of `teacher.preset`, with its tokenizer; None without a preset, or where a checkpoint is given."""
    if not settings.preset or settings.checkpoint is not None:
        return None
    if settings.tokenizer.checkpoint is not None:
        raise ConfigError(
            "teacher.tokenizer.checkpoint comes without the teacher's own weights; give teacher.checkpoint=PATH too, "
            "or neither for random weights"
        )
    config, coding = PRESETS[settings.preset]
    if settings.num_heads is not None or settings.tokenizer.v_patch_nums is not None:
        raise ConfigError(
            "teacher.num_heads and teacher.tokenizer.v_patch_nums tell of weights, and without teacher.checkpoint "
            "teacher.preset says all sizes; leave them out"
        )
    if settings.norm_eps is not None:
        config = attrs.evolve(config, norm_eps=settings.norm_eps)
    with torch.random.fork_rng(devices=[]):  # what modules draw for themselves is drawn over
        model, tokenizer = VAR(config), VARTokenizer(coding)
    initialise(model, seed=seed)
    initialise_tokenizer(tokenizer, seed=seed)
    guidance = guided(settings, PAPER_GUIDANCE)
    return VARTeacher(model, tokenizer, guidance, joint_prefix=settings.prefix == "joint")
