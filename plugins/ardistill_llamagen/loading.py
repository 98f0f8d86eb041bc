"""The teacher from weights files: its sizes come from the file's own words, else from its shapes."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
import torch
from ardistill_vqgan.contents import LLAMAGEN_TEACHER, check_kind
from torch import Tensor

from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.protocols import Guidance, WeightsFinder
from ardistill.weights import Weights, bundled_or, children, deduced, described, load_strict, read_weights
from ardistill_llamagen.config import PRESETS, RELEASED_HEADS, GPTConfig
from ardistill_llamagen.settings import LlamaGenTeacherSettings
from ardistill_llamagen.teacher import LlamaGenTeacher
from ardistill_llamagen.tokenizer_loading import load_tokenizer
from ardistill_llamagen.transformer import GPT

KIND = "llamagen-teacher"
PAPER_GUIDANCE = Guidance(scale=2.0, top_k=8000, top_p=1.0)

# Last parts of keys that runs upstream may have saved along.
_LEFTOVERS = {"freqs_cis", "causal_mask", "k_cache", "v_cache"}


def load_teacher(settings: LlamaGenTeacherSettings, weights: WeightsFinder) -> LlamaGenTeacher:
    """The teacher that `teacher=llamagen` names, with its tokenizer, on the CPU.

    The tokens of an image, where neither settings nor file tell them, are as many as the tokenizer's.
    """
    path = bundled_or(settings.checkpoint, weights("llamagen/teacher"), "LlamaGen", "teacher.checkpoint")
    file = without_leftovers(read_weights(path))
    stored = described(file, GPTConfig, KIND)
    config = told(stored or deduced_config(file, settings.n_head), settings)
    if settings.preset:
        check_preset(settings.preset, config, path)
    n_tokens = config.block_size if stored or settings.block_size else None
    side = None if n_tokens is None else math.isqrt(n_tokens)
    tokenizer = load_tokenizer(settings.tokenizer, weights, side=side, word="teacher.tokenizer.checkpoint")
    if stored is None:
        if n_tokens is None and settings.tokenizer.image_size is None:
            _mention_size(path, tokenizer.config.image_size)
        code_width = tokenizer.config.codebook_embed_dim
        config = attrs.evolve(config, block_size=n_tokens or tokenizer.n_tokens, code_width=code_width)
    with torch.device("meta"):  # made by loading
        model = GPT(config)
    load_strict(model, file, f"a LlamaGen of width {config.dim} with {config.n_layer} layers")
    guidance, cfg_interval = sampling(settings, file)
    return LlamaGenTeacher(model, tokenizer, guidance, cfg_interval)


def _mention_size(path: Path, assumed: int) -> None:
    """Says which size was taken where nothing tells it, unless the file's name agrees."""
    if str(assumed) not in path.stem:
        logging.getLogger("ardistill").warning(
            "%s does not say its image size; %d pixels are taken, teacher.block_size=N (tokens) gives another",
            path,
            assumed,
        )


def without_leftovers(file: Weights) -> Weights:
    """The file without tensors that follow from the sizes or are a sampler's memory."""
    tensors = {key: value for key, value in file.tensors.items() if key.rpartition(".")[2] not in _LEFTOVERS}
    return attrs.evolve(file, tensors=tensors)


def sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the shapes of a bare state dict tell of its `GPTConfig`. Raises KeyError where it is none of LlamaGen's."""
    vocab_size, dim = tensors["output.weight"].shape
    found: dict[str, Any] = {
        "dim": dim,
        "vocab_size": vocab_size,
        "n_layer": children(tensors, "layers."),
        "ffn_hidden": tensors["layers.0.feed_forward.w1.weight"].shape[0],
    }
    if "cls_embedding.uncond_embedding" in tensors:
        cls_token_num, caption_dim = tensors["cls_embedding.uncond_embedding"].shape
        text = {
            "model_type": "t2i",
            "num_classes": 0,
            "cls_token_num": cls_token_num,
            "caption_dim": caption_dim,
        }
        return found | text
    return found | {"num_classes": tensors["cls_embedding.embedding_table.weight"].shape[0] - 1}


def deduced_config(file: Weights, n_head: int | None = None) -> GPTConfig:
    """The configuration of a file without words of its own; without `n_head`, the heads of the release of its size."""
    check_kind(file, LLAMAGEN_TEACHER, LLAMAGEN_TEACHER.word)
    found = deduced(sizes, file, "a LlamaGen transformer")
    dim, n_layer = found["dim"], found["n_layer"]
    n_head = n_head or RELEASED_HEADS.get((dim, n_layer))
    if n_head is None:
        raise ConfigError(
            f"{file.where} holds a LlamaGen of width {dim} with {n_layer} layers, which was never released, and does "
            "not say how many heads it has; give teacher.n_head=N"
        )
    try:
        return GPTConfig(**found, n_head=n_head)
    except ConfigError:
        raise
    except ValueError as error:
        raise WeightsError(
            f"{file.where} holds a LlamaGen whose tensors have no shapes of a network; it was altered or damaged"
        ) from error


def told(config: GPTConfig, settings: LlamaGenTeacherSettings) -> GPTConfig:
    """The configuration with what the settings say themselves."""
    words = {name: getattr(settings, name) for name in ("n_head", "block_size", "rope_base", "norm_eps")}
    return attrs.evolve(config, **{name: value for name, value in words.items() if value is not None})


def check_preset(preset: str, config: GPTConfig, path: Path) -> None:
    """Raises where the file is not of the released model's sizes, and says whose it is instead."""
    whose = next((name for name, released in PRESETS.items() if released.same_network(config)), None)
    if whose == preset:
        return
    held = f"{whose}'s weights" if whose else f"a {config.model_type} LlamaGen that was never released"
    choose = f"give teacher.preset={whose}" if whose else "leave teacher.preset out"
    raise MisfitError(
        f"{path} holds {held} (width {config.dim}, {config.n_layer} layers, {config.vocab_size} codes), not "
        f"{preset}'s; {choose}, or teacher.checkpoint=PATH of {preset}'s"
    )


def sampling(settings: LlamaGenTeacherSettings, file: Weights) -> tuple[Guidance, int]:
    """How the teacher samples, and where guidance ends: the settings' words, else the file's, else the DD papers'."""
    try:
        stored = file.about.get("guidance")
        base = PAPER_GUIDANCE if stored is None else cattrs.structure(dict(stored), Guidance)
        interval = cattrs.structure(file.about.get("cfg_interval", -1), int)
    except Exception as error:  # cattrs raises groups of what went wrong
        raise WeightsError(f"{file.where} describes its sampling in words this version can't read") from error
    return guided(settings, base), interval if settings.cfg_interval is None else settings.cfg_interval


def guided(settings: LlamaGenTeacherSettings, base: Guidance) -> Guidance:
    """How the teacher samples: the settings' words, else `base`."""
    return Guidance(
        scale=base.scale if settings.cfg is None else settings.cfg,
        top_k=base.top_k if settings.top_k is None else settings.top_k,
        top_p=base.top_p if settings.top_p is None else settings.top_p,
        temperature=base.temperature if settings.temperature is None else settings.temperature,
    )
