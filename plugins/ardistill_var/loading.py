"""The teacher from weights files: its sizes come from the file's own words, else from its shapes."""

from collections.abc import Mapping
from functools import partial

import attrs
import cattrs
import torch
from torch import Tensor

from ardistill.errors import MisfitError, WeightsError
from ardistill.protocols import Guidance, WeightsFinder
from ardistill.weights import Weights, bundled_or, children, described, load_strict, read_weights
from ardistill_var.config import PRESETS, VARConfig
from ardistill_var.contents import TEACHER, agree, check_structure, read_sizes, scales_of
from ardistill_var.settings import VARTeacherSettings
from ardistill_var.structure import STRUCTURAL
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer_loading import load_tokenizer
from ardistill_var.transformer import VAR

__all__ = ["PAPER_GUIDANCE", "config_of", "load_teacher", "load_tokenizer", "teacher_config"]

PAPER_GUIDANCE = Guidance(scale=2.0, top_k=900, top_p=0.95)


def load_teacher(settings: VARTeacherSettings, weights: WeightsFinder) -> VARTeacher:
    """The teacher that `teacher=var` names, with its tokenizer, on the CPU."""
    file = read_weights(bundled_or(settings.checkpoint, weights("var/teacher"), "VAR", "teacher.checkpoint"))
    config = config_of(settings, file)
    with torch.device("meta"):
        model = VAR(config)
    what = f"a VAR of depth {config.depth}"
    check_structure(model, file, what)
    load_strict(model, file, what, derived=STRUCTURAL)
    tokenizer = load_tokenizer(
        settings.tokenizer, weights, patch_nums=config.patch_nums, section="teacher.tokenizer"
    )
    guidance = _guidance(settings, file)
    return VARTeacher(model, tokenizer, guidance, joint_prefix=settings.prefix == "joint")


def config_of(settings: VARTeacherSettings, file: Weights) -> VARConfig:
    """The sizes that the file tells, with what the words add to them. Raises where the two contradict."""
    config = described(file, VARConfig, "var-teacher")
    if config is None:
        read = partial(teacher_config, scales=settings.tokenizer.v_patch_nums, num_heads=settings.num_heads)
        config = read_sizes(read, file, TEACHER, "teacher.checkpoint")
    agree("teacher.num_heads", settings.num_heads, config.n_heads)
    agree("teacher.tokenizer.v_patch_nums", settings.tokenizer.v_patch_nums, config.patch_nums)
    if settings.preset:
        _check_preset(settings.preset, config, file)
    return config if settings.norm_eps is None else attrs.evolve(config, norm_eps=settings.norm_eps)


def _check_preset(preset: str, config: VARConfig, file: Weights) -> None:
    fitting = [name for name, (released, _) in PRESETS.items() if released.same_network(config)]
    if preset not in fitting:
        name = fitting[0] if fitting else ""
        held = (
            f"{name}'s weights" if name else f"the weights of a VAR of depth {config.depth}, no released one"
        )
        choose = (
            f"give teacher.preset={name} or leave it out" if name else f"leave teacher.preset={preset} out"
        )
        raise MisfitError(f"{file.where} holds {held}, not {preset}'s; {choose}")


def _guidance(settings: VARTeacherSettings, file: Weights) -> Guidance:
    stored = file.about.get("guidance")
    try:
        base = PAPER_GUIDANCE if stored is None else cattrs.structure(dict(stored), Guidance)
    except Exception as error:  # cattrs raises groups of what went wrong
        raise WeightsError(f"{file.where} describes its sampling in words this version can't read") from error
    return guided(settings, base)


def guided(settings: VARTeacherSettings, base: Guidance) -> Guidance:
    """How the teacher samples: the settings' words, else `base`."""
    return Guidance(
        scale=base.scale if settings.cfg is None else settings.cfg,
        top_k=base.top_k if settings.top_k is None else settings.top_k,
        top_p=base.top_p if settings.top_p is None else settings.top_p,
    )


def teacher_config(
    tensors: Mapping[str, Tensor], *, scales: tuple[int, ...] | None = None, num_heads: int | None = None
) -> VARConfig:
    """The sizes of a bare state dict of VAR or its DD1 student. Raises KeyError where it is none.

    `scales` serve where the file does not list them, `num_heads` (default: the depth, as released) where it has no
    temperatures per head.
    """
    l2_norm = "blocks.0.attn.scale_mul_1H11" in tensors
    width = tensors["pos_start"].shape[-1]
    depth = children(tensors, "blocks.")
    return VARConfig(
        depth=depth,
        width=width,
        heads=tensors["blocks.0.attn.scale_mul_1H11"].shape[1] if l2_norm else num_heads or depth,
        mlp_ratio=tensors["blocks.0.ffn.fc1.weight"].shape[0] / width,
        patch_nums=scales_of(tensors, scales),
        vocab=tensors["head.weight"].shape[0],
        code_width=tensors["word_embed.weight"].shape[1],
        num_classes=tensors["class_emb.weight"].shape[0] - 1,
        shared_aln="shared_ada_lin.1.weight" in tensors,
        attn_l2_norm=l2_norm,
    )
