"""A LlamaGen of a released size with weights drawn from a seed: as slow as that one, and good for nothing else."""

import attrs
import torch
from ardistill_vqgan.quantizer_training import initialise as initialise_tokenizer

from ardistill.errors import ConfigError
from ardistill_llamagen.config import PRESETS
from ardistill_llamagen.initialise import initialise
from ardistill_llamagen.loading import PAPER_GUIDANCE, guided, told
from ardistill_llamagen.settings import LlamaGenTeacherSettings
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer import LlamaGenTokenizer
from ardistill_llamagen.tokenizer_config import VQ_16
from ardistill_llamagen.transformer import GPT


def untrained(settings: LlamaGenTeacherSettings, seed: int) -> LlamaGenTeacher | None:
    """The teacher of `teacher.preset` with VQ-16; None without a preset, or where a checkpoint is given.

    `teacher.block_size` or `teacher.tokenizer.image_size` say how large its images are, else they have 256 pixels a
    side.
    """
    if not settings.preset or settings.checkpoint is not None:
        return None
    if settings.tokenizer.checkpoint is not None:
        raise ConfigError(
            "teacher.tokenizer.checkpoint comes without the teacher's own weights; give teacher.checkpoint=PATH too, "
            "or neither for random weights"
        )
    config = told(PRESETS[settings.preset], settings)
    coding = attrs.evolve(VQ_16, image_size=config.side * VQ_16.backbone.downsample)
    if settings.tokenizer.image_size is not None:
        coding = attrs.evolve(coding, image_size=settings.tokenizer.image_size)
        if settings.block_size is None:
            config = attrs.evolve(config, block_size=coding.side**2)
    config = attrs.evolve(config, code_width=coding.codebook_embed_dim)
    with torch.random.fork_rng(devices=[]):  # what modules draw for themselves is drawn over
        model, tokenizer = GPT(config), LlamaGenTokenizer(coding)
    initialise(model, seed=seed)
    initialise_tokenizer(tokenizer, seed=seed)
    interval = -1 if settings.cfg_interval is None else settings.cfg_interval
    return LlamaGenTeacher(model, tokenizer, guided(settings, PAPER_GUIDANCE), interval)
