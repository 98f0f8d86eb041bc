"""The teacher from a weights file, and students from what their files say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cattrs
import torch
from ardistill_llamagen.tokenizer_loading import load_tokenizer

from ardistill.errors import ConfigError, PluginError, WeightsError
from ardistill.protocols import ARTeacher, Guidance, StepLayout, WeightsFinder
from ardistill.weights import Weights, described, load_strict, read_weights
from ardistill_maskgit.config import MaskGITConfig
from ardistill_maskgit.dd1 import MaskGITDD1
from ardistill_maskgit.settings import MaskGITDD1Record, MaskGITTeacherSettings
from ardistill_maskgit.teacher import MaskGITTeacher
from ardistill_maskgit.transformer import MaskGIT

KIND = "maskgit-teacher"
FILE = f"{KIND}.safetensors"
BUNDLED = Path(__file__).parent / "weights" / FILE


def load_teacher(settings: MaskGITTeacherSettings, weights: WeightsFinder) -> MaskGITTeacher:
    """The teacher that `teacher=maskgit` names, on the CPU.

    Its tokenizer is the data's LlamaGen tokenizer; its weights are the given ones, or those of this package, which fit
    the digits' tokenizer alone.
    """
    file = read_weights(settings.checkpoint or BUNDLED)
    config = described(file, MaskGITConfig, KIND)
    if config is None:
        raise WeightsError(
            f"{file.where} does not say that it holds a MaskGIT; give a file made by: ardistill pretrain maskgit"
        )
    tokenizer = load_tokenizer(settings.tokenizer, weights, word="teacher.tokenizer.checkpoint")
    with torch.device("meta"):  # made by loading
        model = MaskGIT(config)
    load_strict(model, file, f"a MaskGIT of width {config.width} with {config.depth} blocks")
    steps, guidance = sampling(settings, file)
    return MaskGITTeacher(model, tokenizer, steps, guidance)


def sampling(settings: MaskGITTeacherSettings, file: Weights) -> tuple[int, Guidance]:
    """In how many steps the teacher samples, and how: the settings' words, else the file's."""
    try:
        steps = cattrs.structure(file.about["steps"], int)
        told = cattrs.structure(dict(file.about["guidance"]), Guidance)
    except Exception as error:  # cattrs raises groups of what went wrong
        raise WeightsError(f"{file.where} describes its sampling in words this version can't read") from error
    guidance = Guidance(
        scale=told.scale if settings.cfg is None else settings.cfg,
        top_k=told.top_k if settings.top_k is None else settings.top_k,
        top_p=told.top_p if settings.top_p is None else settings.top_p,
        temperature=told.temperature if settings.temperature is None else settings.temperature,
    )
    return settings.steps or steps, guidance


def rebuild(settings: Mapping[str, Any], teacher: ARTeacher) -> MaskGITDD1:
    """A student of the given `MaskGITDD1Record`; its weights are on meta until `load_strict` makes them."""
    if not isinstance(teacher, MaskGITTeacher):
        raise PluginError(
            "student=maskgit-dd1 was given another family's teacher; give teacher=maskgit, which it was made of"
        )
    record = cattrs.structure(settings, MaskGITDD1Record)
    told, layout = teacher.model.config, StepLayout(record.sizes)
    for name, ours, theirs in (
        ("steps of tokens", layout.sizes, teacher.layout.sizes),
        ("tokens in the order", record.network.order, told.order),
        ("codes", record.network.vocab, told.vocab),
        ("numbers in a code", record.network.code_width, told.code_width),
        ("classes", record.network.n_classes, told.n_classes),
    ):
        if ours != theirs:
            raise ConfigError(
                f"the student's file says {name}: {ours}, and the teacher has {theirs}; give the teacher that the "
                "student was made of, with its teacher.steps=N"
            )
    with torch.device("meta"):
        return MaskGITDD1(record.network, layout, record)
