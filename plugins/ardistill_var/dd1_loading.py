"""DD1's student of VAR, from what its own file says or from the layout of the official release."""

from collections.abc import Mapping
from functools import partial

import attrs
import cattrs
import torch
from torch import Tensor

from ardistill.errors import ConfigError, MisfitError, PluginError
from ardistill.protocols import ARTeacher
from ardistill.schedules import Jumps
from ardistill.weights import Weights, load_strict
from ardistill_var.config import VARConfig
from ardistill_var.contents import STUDENT, check_structure, read_sizes
from ardistill_var.dd1 import VARDD1
from ardistill_var.dd1_settings import PRESET_DEPTHS, VARDD1Record, VARDD1Settings
from ardistill_var.loading import teacher_config
from ardistill_var.structure import STRUCTURAL
from ardistill_var.teacher import VARTeacher


def rebuild(settings: Mapping[str, object], teacher: ARTeacher) -> VARDD1:
    """A student of the given `VARDD1Record`; its weights are on meta until `load_strict` makes them."""
    record = cattrs.structure(settings, VARDD1Record)
    return _built(record.network, record, _var(teacher), "the student's file")


def load_published(settings: VARDD1Settings, teacher: ARTeacher, weights: Weights) -> VARDD1:
    """The student in a file of the official release (its average or not), on the CPU.

    The file may lack the buffers, as the released averages do. It needs not be as deep as the teacher.
    """
    config = read_sizes(
        partial(_student_config, teacher=_var(teacher)), weights, STUDENT, "student.checkpoint"
    )
    if settings.preset:
        _check_preset(settings.preset, config, weights)
    if config.patch_nums[0] != 1 or len(config.patch_nums) == 1:
        raise MisfitError(f"{weights.where} holds {STUDENT} without a class token; it was altered or damaged")
    network = attrs.evolve(config, patch_nums=config.patch_nums[1:])
    student = _built(network, settings, _var(teacher), str(weights.path))
    what = f"{STUDENT} of depth {config.depth}"
    check_structure(student, weights, what)
    load_strict(student, weights, what, derived=STRUCTURAL)
    return student


def _var(teacher: ARTeacher) -> VARTeacher:
    if not isinstance(teacher, VARTeacher):
        raise PluginError(
            "student=var-dd1 was given another family's teacher; give teacher=var, which it was made of"
        )
    return teacher


def _student_config(tensors: Mapping[str, Tensor], teacher: VARTeacher) -> VARConfig:
    """The sizes of a bare state dict, the class slot counted as a scale; without `lvl_1L`, on the teacher's scales."""
    n_tokens = tensors["pos_1LC"].shape[1] - 1
    if "lvl_1L" not in tensors and n_tokens != teacher.layout.n_tokens:
        raise ConfigError(
            f"it makes {n_tokens} tokens, and the teacher makes {teacher.layout.n_tokens}; "
            "give the teacher that the student was made of"
        )
    return teacher_config(tensors, scales=(1, *teacher.model.config.patch_nums))


def _built(network: VARConfig, jumps: Jumps, teacher: VARTeacher, source: str) -> VARDD1:
    """A student on meta, of sizes that fit the teacher."""
    wanted = teacher.model.config
    for name, ours, theirs in (
        ("scales", network.patch_nums, wanted.patch_nums),
        ("panels", network.panels, wanted.panels),
        ("codes", network.vocab, wanted.vocab),
        ("channels a code", network.code_width, wanted.code_width),
        ("classes", network.num_classes, wanted.num_classes),
    ):
        if ours != theirs:
            raise ConfigError(
                f"{source} holds a student of {name} {ours}, and the teacher's are {theirs}; "
                "give the teacher that the student was made of"
            )
    with torch.device("meta"):
        return VARDD1(network, jumps)


def _check_preset(preset: str, config: VARConfig, weights: Weights) -> None:
    fitting = next((name for name, depth in PRESET_DEPTHS.items() if depth == config.depth), None)
    if preset != fitting:
        told = f"these are {fitting}'s weights" if fitting else f"these weights have depth {config.depth}"
        choose = f"give student.preset={fitting}" if fitting else "leave student.preset out"
        raise MisfitError(f"{weights.where} does not hold {preset}: {told}; {choose}")
