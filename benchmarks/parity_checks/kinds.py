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


KINDS = {
    kind.name: kind
    for kind in (
        Kind("VAR tokenizer", "var_tokenizer:check", build="var_tokenizer:build"),
        Kind("VAR", "var:check", "var:check_random", "var:build"),
        Kind("VAR filters", "filters:check_var"),
        Kind("VAR phi pattern", "phi:check"),
        Kind("DD1 of VAR", "dd1_var:check", build="dd1_var:build"),
        Kind("LlamaGen tokenizer", "llamagen_tokenizer:check", build="llamagen_tokenizer:build"),
        Kind("LlamaGen c2i", "llamagen:check_c2i", "llamagen:check_random", "llamagen:build"),
        Kind("LlamaGen t2i", "llamagen:check_t2i", build="llamagen:build"),
        Kind("LlamaGen filters", "filters:check_llamagen"),
        Kind("DD1 of LlamaGen", "dd1_llamagen:check", build="dd1_llamagen:build"),
        Kind("taming VQGAN", "taming:check", build="taming:build"),
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
