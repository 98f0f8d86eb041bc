"""Teacher and tokenizer from weights files: their sizes come from the file's own words, else from its shapes."""

import math
from collections.abc import Mapping

import attrs
import cattrs
import torch
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.protocols import Guidance, WeightsFinder
from ardistill.weights import Weights, bundled_or, children, deduced, described, load_strict, read_weights
from ardistill_var.config import PATCH_NUMS_256, VARConfig, VARTokenizerConfig
from ardistill_var.settings import VARTeacherSettings, VARTokenizerSettings
from ardistill_var.teacher import VARTeacher
from ardistill_var.tokenizer import VARTokenizer
from ardistill_var.transformer import VAR

PAPER_GUIDANCE = Guidance(scale=2.0, top_k=900, top_p=0.95)


def load_teacher(settings: VARTeacherSettings, weights: WeightsFinder) -> VARTeacher:
    """The teacher that `teacher=var` names, with its tokenizer, on the CPU."""
    file = read_weights(bundled_or(settings.checkpoint, weights("var/teacher"), "VAR", "teacher.checkpoint"))
    config = described(file, VARConfig, "var-teacher") or deduced(teacher_config, file, "a VAR transformer")
    model = VAR(config)
    load_strict(model, file, f"a VAR of depth {config.depth}")
    tokenizer = _tokenizer(settings.tokenizer, weights, config.patch_nums)
    return VARTeacher(model, tokenizer, _guidance(settings, file))


def load_tokenizer(settings: VARTokenizerSettings, weights: WeightsFinder) -> VARTokenizer:
    """The tokenizer that `tokenizer=var` names, on the CPU."""
    return _tokenizer(settings, weights, None)


def _tokenizer(
    settings: VARTokenizerSettings, weights: WeightsFinder, patch_nums: tuple[int, ...] | None
) -> VARTokenizer:
    path = bundled_or(
        settings.checkpoint, weights("var/tokenizer"), "VAR's tokenizer", "teacher.tokenizer.checkpoint"
    )
    file = read_weights(path)
    config = described(file, VARTokenizerConfig, "var-tokenizer")
    if config is None:
        config = deduced(tokenizer_config, file, "VAR's tokenizer")
        if patch_nums is not None:
            config = attrs.evolve(config, patch_nums=patch_nums)
    tokenizer = VARTokenizer(config)
    load_strict(tokenizer, file, "this VAR tokenizer")
    return tokenizer


def _guidance(settings: VARTeacherSettings, file: Weights) -> Guidance:
    stored = file.about.get("guidance")
    try:
        base = PAPER_GUIDANCE if stored is None else cattrs.structure(stored, Guidance)
    except Exception as error:  # cattrs raises groups of what went wrong
        raise WeightsError(f"{file.path} describes its sampling in words this version can't read") from error
    return Guidance(
        scale=base.scale if settings.cfg is None else settings.cfg,
        top_k=base.top_k if settings.top_k is None else settings.top_k,
        top_p=base.top_p if settings.top_p is None else settings.top_p,
    )


def teacher_config(tensors: Mapping[str, Tensor]) -> VARConfig:
    """The sizes of a bare VAR state dict, from its shapes. Raises KeyError where it is none."""
    shared = "shared_ada_lin.1.weight" in tensors
    scales = torch.bincount(tensors["lvl_1L"].flatten().to(torch.int64)).tolist()
    l2_norm = "blocks.0.attn.scale_mul_1H11" in tensors
    width = tensors["pos_start"].shape[-1]
    depth = children(tensors, "blocks.")
    return VARConfig(
        depth=depth,
        width=width,
        heads=tensors["blocks.0.attn.scale_mul_1H11"].shape[1] if l2_norm else depth,
        mlp_ratio=tensors["blocks.0.ffn.fc1.weight"].shape[0] / width,
        patch_nums=tuple(math.isqrt(count) for count in scales),
        vocab=tensors["head.weight"].shape[0],
        code_width=tensors["word_embed.weight"].shape[1],
        num_classes=tensors["class_emb.weight"].shape[0] - 1,
        shared_aln=shared,
        attn_l2_norm=l2_norm,
    )


def tokenizer_config(tensors: Mapping[str, Tensor]) -> VARTokenizerConfig:
    """The sizes of a bare VAR tokenizer state dict; its scales are the released ones for their number."""
    ch = tensors["encoder.conv_in.weight"].shape[0]
    levels = children(tensors, "encoder.down.")
    outs = [tensors[f"encoder.down.{level}.block.0.conv2.weight"].shape[0] for level in range(levels)]
    n_scales = tensors["quantize.ema_vocab_hit_SV"].shape[0]
    known = {len(PATCH_NUMS_256): PATCH_NUMS_256}
    patch_nums = known.get(n_scales, tuple(range(1, n_scales + 1)))
    return VARTokenizerConfig(
        patch_nums=patch_nums,
        vocab=tensors["quantize.embedding.weight"].shape[0],
        z_channels=tensors["quantize.embedding.weight"].shape[1],
        ch=ch,
        ch_mult=tuple(out // ch for out in outs),
        num_res_blocks=children(tensors, "encoder.down.0.block."),
        in_channels=tensors["encoder.conv_in.weight"].shape[1],
        share_quant_resi=children(tensors, "quantize.quant_resi.qresi_ls."),
    )
