"""The public surface: a change of verbs, top-level keys, hooks or kinds is a change of a list here, and deliberate."""

import attrs

from ardistill.cli import VERBS
from ardistill.config import CheckpointConfig, EvalConfig, RunConfig
from ardistill.plugins import HOOKS, KINDS
from ardistill.records import API_VERSION


def keys(cls: type[attrs.AttrsInstance]) -> list[str]:
    return [field.name for field in attrs.fields(cls)]


def test_verbs() -> None:
    assert list(VERBS) == ["run", "sample", "eval", "pretrain", "plugins"]


def test_keys_of_a_run() -> None:
    assert keys(RunConfig) == [
        "method",
        "teacher",
        "data",
        "eval",
        "checkpoint",
        "seed",
        "out",
        "device",
        "threads",
        "quick",
    ]
    assert keys(EvalConfig) == ["n", "batch", "steps"]
    assert keys(CheckpointConfig) == ["every", "keep"]


def test_what_plugins_can_bring() -> None:
    assert API_VERSION == 1
    assert KINDS == (
        "tokenizer",
        "teacher",
        "trajectory",
        "student",
        "method",
        "dataset",
        "features",
        "recipe",
    )
    assert list(HOOKS) == [
        "ardistill_tokenizers",
        "ardistill_teachers",
        "ardistill_trajectories",
        "ardistill_students",
        "ardistill_methods",
        "ardistill_datasets",
        "ardistill_features",
        "ardistill_recipes",
    ]
    assert [offer.kind for offer in HOOKS.values()] == list(KINDS)
