"""Which check a fixture needs, by the words and arrays of its json; its name says nothing."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import attrs
from golden import FixtureError

Info = Mapping[str, Any]


@attrs.frozen
class Kind:
    """A kind of fixture and the functions that serve it, as `module:function`, imported when they are needed."""

    name: str
    check: str
    """Fixture -> comparisons."""
    random: str = ""
    """The same, of what hangs on torch's generator."""
    build: str = ""
    """Json -> the model, for the keys of released sizes."""
    needs: str = ""
    """Fixture -> patterns of the arrays that none of this kind is without."""
    words: tuple[str, ...] = ()
    """What every json of this kind says; a dot leads into an object."""
    masked: tuple[str, ...] = ()
    """Arrays where -inf rules a code out."""


_MODEL = ("arrays", "config", "keys", "n_params", "weight_seed")
_STUDENT = (*_MODEL, "config.fewstep", "config.combine")
_VAR = (*_MODEL, "config.depth", "calls.gen")
_C2I = (*_MODEL, "config.cfg", "calls.gen")
_T2I = (*_MODEL, "config.cfg")
_FILTERS = ("arrays", "cases")


def _model(name: str, module: str, words: tuple[str, ...], random: str = "") -> Kind:
    """A kind whose module has all the functions under their usual names."""
    return Kind(name, f"{module}:check", random, f"{module}:build", f"needed:{module}", words)


KINDS = {
    kind.name: kind
    for kind in (
        _model("VAR tokenizer", "var_tokenizer", _MODEL),
        _model("VAR", "var", _VAR, "var:check_random"),
        _model("DD1 of VAR", "dd1_var", _STUDENT),
        _model("LlamaGen tokenizer", "llamagen_tokenizer", _MODEL),
        _model("DD1 of LlamaGen", "dd1_llamagen", (*_STUDENT, "config.block_size")),
        _model("taming VQGAN", "taming", _MODEL),
        Kind(
            "LlamaGen c2i",
            "llamagen:check_c2i",
            "llamagen:check_random",
            "llamagen:build",
            "needed:llamagen_c2i",
            _C2I,
        ),
        Kind("LlamaGen t2i", "llamagen:check_t2i", "", "llamagen:build", "needed:llamagen_t2i", _T2I),
        Kind("VAR filters", "filters:check_var", "", "", "needed:filters", _FILTERS, ("logits",)),
        Kind("LlamaGen filters", "filters:check_llamagen", "", "", "needed:filters", _FILTERS, ("logits",)),
        Kind("VAR phi pattern", "phi:check", words=("patterns",)),
    )
}


def function(target: str) -> Any:
    """What `module:function` names, in this package."""
    module, _, name = target.partition(":")
    return getattr(import_module(f"parity_checks.{module}"), name)


def kind_of(info: Info) -> Kind:
    """The kind, by the same words for fixtures and for the keys of released sizes. Raises FixtureError if unknown."""
    config, arrays, keys = (info.get(name) or {} for name in ("config", "arrays", "keys"))
    student = "n_d_embed.weight" in keys
    captions = config.get("model_type") == "t2i"
    marks = (  # the first that is there tells
        ("patterns" in info, "VAR phi pattern"),
        ("cases" in info, "VAR filters" if _per_token(arrays) else "LlamaGen filters"),
        ("n_embed" in config, "taming VQGAN"),
        ("v_patch_nums" in config, "VAR tokenizer"),
        ("patch_nums" in config, "DD1 of VAR" if student else "VAR"),
        ("n_layer" in config and student, "DD1 of LlamaGen"),
        ("n_layer" in config, "LlamaGen t2i" if captions else "LlamaGen c2i"),
        ("codebook_embed_dim" in config, "LlamaGen tokenizer"),
    )
    for there, name in marks:
        if there:
            return KINDS[name]
    raise FixtureError("nothing here knows this kind of fixture")


def _per_token(arrays: Mapping[str, Any]) -> bool:
    """Whether probabilities have as many axes as the logits: LlamaGen filters the last position alone."""
    names = [name for name in arrays if name == "logits" or name.startswith("probs_")]
    return len({len(arrays[name]["shape"]) for name in names}) == 1
