"""What a file of weights holds, as far as its keys tell: one table for all families, and refusals that use it."""

from collections.abc import Mapping

import attrs
from torch import Tensor

from ardistill.errors import MisfitError
from ardistill.weights import Weights, children
from ardistill.wording import listed, shown

_KEYS_SHOWN = 3


@attrs.frozen
class Kind:
    """One kind of file: what it holds, which file that is, the word that takes it, the keys (or starts) it is known by.

    `word` is where the file goes beside others of its family. `layers` is the prefix of its numbered layers, if its
    depth is worth telling.
    """

    name: str
    file: str
    family: str
    word: str
    marks: tuple[str, ...]
    layers: str = ""


VAR_STUDENT = Kind(
    "a DD1 student of VAR", "such a student's file", "var", "student.checkpoint", ("layerwise_n_d_embed.",)
)
VAR_TEACHER = Kind(
    "a VAR",
    "a VAR's file",
    "var",
    "teacher.checkpoint",
    ("blocks.0.attn.mat_qkv.", "lvl_embed.", "pos_1LC", "pos_start"),
    "blocks.",
)
VAR_TOKENIZER = Kind(
    "VAR's tokenizer",
    "VAR's vae_ch160v4096z32.pth",
    "var",
    "teacher.tokenizer.checkpoint",
    ("quantize.quant_resi.",),
)
LLAMAGEN_STUDENT = Kind(
    "a DD1 student of LlamaGen",
    "such a student's file",
    "llamagen",
    "student.checkpoint",
    ("n_d_embed.", "final_layer_conti."),
)
LLAMAGEN_TEACHER = Kind(
    "a LlamaGen",
    "a LlamaGen's file",
    "llamagen",
    "teacher.checkpoint",
    ("layers.0.attention.wqkv.", "cls_embedding.", "tok_embeddings."),
    "layers.",
)
LLAMAGEN_TOKENIZER = Kind(
    "LlamaGen's tokenizer",
    "LlamaGen's vq_ds16_c2i.pt",
    "llamagen",
    "teacher.tokenizer.checkpoint",
    ("encoder.conv_blocks.", "decoder.conv_blocks."),
)
TAMING = Kind(
    "taming's VQGAN",
    "taming's last.ckpt",
    "vqgan",
    "tokenizer.checkpoint",
    ("encoder.down.", "decoder.up."),
)

KINDS = (
    VAR_STUDENT,
    VAR_TEACHER,
    VAR_TOKENIZER,
    LLAMAGEN_STUDENT,
    LLAMAGEN_TEACHER,
    LLAMAGEN_TOKENIZER,
    TAMING,
)
"""A file is of the first kind of which it has a key: students have their teachers' keys, VAR's tokenizer taming's."""


def kind_of(tensors: Mapping[str, Tensor]) -> Kind | None:
    """What a bare state dict is, or None for something else."""
    return next((kind for kind in KINDS if any(key.startswith(kind.marks) for key in tensors)), None)


def told(tensors: Mapping[str, Tensor]) -> str:
    """A noun phrase for what the tensors are, else their first keys."""
    kind = kind_of(tensors)
    if kind is None:
        return (
            f"something else (its first keys: {listed(shown(key) for key in sorted(tensors)[:_KEYS_SHOWN])})"
        )
    return f"{kind.name} of depth {children(tensors, kind.layers)}" if kind.layers else kind.name


def check_kind(file: Weights, expected: Kind, word: str) -> None:
    """Raises MisfitError for a file of another kind, and says what it is; `word` is where a user gives the path."""
    held = kind_of(file.tensors)
    if held == expected:
        return
    belongs = held is not None and held.family == expected.family and word == expected.word
    there = f", and this one as {held.word}" if held and belongs else ""
    raise MisfitError(
        f"{file.where} holds {told(file.tensors)}, and {expected.name} is expected; "
        f"give {expected.file} as {word}=PATH{there}"
    )
