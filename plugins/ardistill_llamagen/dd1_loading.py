"""DD1's student of LlamaGen, from what its own file says or from the layout of the official release."""

from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
import torch
from ardistill_vqgan.contents import LLAMAGEN_STUDENT, check_kind
from torch import Tensor

from ardistill.errors import ConfigError, MisfitError, PluginError
from ardistill.protocols import ARTeacher
from ardistill.schedules import Jumps
from ardistill.weights import Weights, deduced, load_strict
from ardistill_llamagen.config import PRESETS, RELEASED_HEADS, GPTConfig
from ardistill_llamagen.dd1 import LlamaGenDD1
from ardistill_llamagen.dd1_settings import PRESET_TEACHERS, LlamaGenDD1Record, LlamaGenDD1Settings
from ardistill_llamagen.loading import sizes, without_leftovers
from ardistill_llamagen.teacher import LlamaGenTeacher

WHAT = LLAMAGEN_STUDENT.name


def rebuild(settings: Mapping[str, object], teacher: ARTeacher) -> LlamaGenDD1:
    """A student of the given `LlamaGenDD1Record`; its weights are on meta until `load_strict` makes them."""
    record = cattrs.structure(settings, LlamaGenDD1Record)
    return _built(record.network, record, _llamagen(teacher), "the student's file")


def load_published(settings: LlamaGenDD1Settings, teacher: ARTeacher, weights: Weights) -> LlamaGenDD1:
    """The student in a file of the official release (its average or not), on the CPU.

    It needs not be of the teacher's size. What its shapes can't tell is the teacher's: the tokens of an image and
    constants of the network, with the heads where their widths agree.
    """
    told = _llamagen(teacher).model.config
    weights = without_leftovers(weights)
    found = _sizes(weights)
    if settings.preset:
        _check_preset(settings.preset, found, told, weights)
    network = attrs.evolve(told, **found, n_head=_heads(found, told, weights))
    student = _built(network, settings, _llamagen(teacher), str(weights.path))
    load_strict(student, weights, f"{WHAT} of width {network.dim} with {network.n_layer} layers")
    return student


def _llamagen(teacher: ARTeacher) -> LlamaGenTeacher:
    if not isinstance(teacher, LlamaGenTeacher):
        raise PluginError(
            "student=llamagen-dd1 was given another family's teacher; give teacher=llamagen, which it was made of"
        )
    return teacher


def _sizes(weights: Weights) -> dict[str, Any]:
    """What the shapes tell of the student's `GPTConfig`."""
    check_kind(weights, LLAMAGEN_STUDENT, LLAMAGEN_STUDENT.word)

    def read(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        code_width = tensors["final_layer_conti.linear.weight"].shape[0]
        return {**sizes(tensors), "code_width": code_width}

    return deduced(read, weights, WHAT)


def _heads(found: Mapping[str, Any], told: GPTConfig, weights: Weights) -> int:
    """No shape tells them."""
    if (found["dim"], found["n_layer"]) == (told.dim, told.n_layer):
        return told.n_head
    n_head = RELEASED_HEADS.get((found["dim"], found["n_layer"]))
    if n_head is None:
        raise ConfigError(
            f"{weights.where} holds {WHAT} of width {found['dim']} with {found['n_layer']} layers, which was never "
            "released, and does not say how many heads it has; give the teacher that it was made of"
        )
    return n_head


def _built(network: GPTConfig, jumps: Jumps, teacher: LlamaGenTeacher, source: str) -> LlamaGenDD1:
    """A student on meta, of sizes that fit the teacher."""
    n_codes, code_width = teacher.tokenizer.codebook.shape
    for name, ours, theirs in (
        ("codes", network.vocab_size, n_codes),
        ("channels a code", network.code_width, code_width),
        ("tokens an image", network.block_size, teacher.layout.n_tokens),
        ("classes", network.num_classes, teacher.n_classes),
    ):
        if ours != theirs:
            raise ConfigError(
                f"{source} holds a student of {ours} {name}, and the teacher has {theirs}; "
                "give the teacher that the student was made of"
            )
    with torch.device("meta"):
        return LlamaGenDD1(network, jumps)


def _check_preset(preset: str, found: Mapping[str, Any], told: GPTConfig, weights: Weights) -> None:
    """Raises where the file is not the preset's, and says whose it is instead."""
    size = dim, n_layer = found["dim"], found["n_layer"]
    fitting = next((name for name, of in PRESET_TEACHERS.items() if size == _size(PRESETS[of])), None)
    if preset != fitting:
        held = (
            f"{fitting}'s weights"
            if fitting
            else f"a student of width {dim} with {n_layer} layers, no released one"
        )
        choose = f"give student.preset={fitting}" if fitting else "leave student.preset out"
        raise MisfitError(
            f"{weights.where} holds {held}, not {preset}'s; {choose}, or the path of {preset}'s"
        )
    released = PRESETS[PRESET_TEACHERS[preset]].block_size
    if told.block_size != released:
        raise ConfigError(
            f"student.preset={preset} draws images of {released} tokens, and this teacher has {told.block_size}; "
            "give the teacher for 256x256 pixels"
        )


def _size(config: GPTConfig) -> tuple[int, int]:
    return config.dim, config.n_layer
