"""The public surface: a change of verbs, top-level keys, hooks or kinds is a change of a list here, and deliberate."""

import attrs

import ardistill
from ardistill.cli import VERBS
from ardistill.cli.collect import CollectWords
from ardistill.cli.eval import EvalRun, EvalStudent
from ardistill.cli.fetch import FetchWords
from ardistill.cli.sample import FromRun, FromStudent, FromTeacher
from ardistill.cli.statistics import StatisticsWords
from ardistill.cli.table import TableWords
from ardistill.config import CheckpointConfig, EvalConfig, RunConfig
from ardistill.config.bench import BenchMethod, BenchStudent, BenchTeacher, CompareConfig
from ardistill.config.path_length import PathLengthConfig
from ardistill.config.speed import SpeedConfig
from ardistill.config.training import TrainConfig
from ardistill.plugins import HOOKS, KINDS
from ardistill.records import API_VERSION


def keys(cls: type[attrs.AttrsInstance]) -> list[str]:
    return [field.name for field in attrs.fields(cls)]


def test_verbs() -> None:
    assert list(VERBS) == [
        "run",
        "sweep",
        "sample",
        "eval",
        "bench",
        "compare",
        "table",
        "fetch",
        "statistics",
        "collect",
        "pretrain",
        "convert",
        "plugins",
    ]


EVAL = [
    "protocol",
    "n",
    "labels",
    "reference",
    "features",
    "weights",
    "skip",
    "batch",
    "steps",
    "baselines",
    "kid_subsets",
    "metrics",
    "every",
    "every_n",
    "ppl",
    "speed",
]


def test_keys_of_a_run() -> None:
    assert keys(RunConfig) == [
        "teacher",
        "data",
        "device",
        "threads",
        "method",
        "eval",
        "checkpoint",
        "train",
        "launcher",
        "callbacks",
        "seed",
        "out",
        "quick",
    ]
    assert keys(EvalConfig) == EVAL
    assert keys(PathLengthConfig) == ["n", "epsilon", "net", "weights"]
    assert keys(SpeedConfig) == ["batches", "largest", "compile", "repeats"]
    assert keys(CheckpointConfig) == ["every", "keep", "permanent", "asynchronous"]
    assert keys(TrainConfig) == [
        "parallel",
        "precision",
        "compile",
        "checkpointing",
        "micro_batch",
        "prefetch",
    ]


def test_keys_of_a_sample() -> None:
    words = ["out", "n", "seed", "batch", "classes", "precision", "compile"]
    models = ["teacher", "data", "device", "threads"]
    assert set(keys(FromRun)) == {*words, "run", "steps"}
    assert set(keys(FromTeacher)) == {*words, *models, "captions"}
    assert set(keys(FromStudent)) == {*words, *models, "captions", "student", "steps"}


def test_keys_of_an_eval() -> None:
    words = [*EVAL, "seed", "out"]
    assert set(keys(EvalRun)) == {*words, "run"}
    assert set(keys(EvalStudent)) == {*words, "teacher", "data", "device", "threads", "student"}


def test_keys_of_a_bench() -> None:
    words = ["batches", "largest", "precision", "modes", "repeats", "budget", "seed", "compare", "out"]
    models = ["teacher", "data", "device", "threads"]
    assert set(keys(BenchTeacher)) == {*words, *models}
    assert set(keys(BenchMethod)) == {*words, *models, "method", "steps"}
    assert set(keys(BenchStudent)) == {*words, *models, "student", "steps"}
    assert keys(CompareConfig) == ["tokens", "whole", "batch", "of"]


def test_keys_of_a_fetch() -> None:
    assert set(keys(FetchWords)) == {"out"}


def test_keys_of_statistics() -> None:
    words = ["reference", "out", "features", "weights", "size", "batch", "skip", "device", "threads"]
    assert set(keys(StatisticsWords)) == set(words)


def test_keys_of_a_table() -> None:
    assert keys(TableWords) == ["model", "method", "out"]


def test_keys_of_a_collection() -> None:
    words = ["teacher", "data", "device", "threads", "trajectory", "n", "out", "seed", "batch"]
    assert keys(CollectWords) == words


def test_the_librarys_front_door() -> None:
    assert ardistill.__all__ == [
        "__version__",
        "distill",
        "draw",
        "load_dataset",
        "load_student",
        "load_teacher",
        "load_tokenizer",
    ]


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
        "metric",
        "callback",
        "launcher",
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
        "ardistill_metrics",
        "ardistill_callbacks",
        "ardistill_launchers",
        "ardistill_recipes",
    ]
    assert [offer.kind for offer in HOOKS.values()] == list(KINDS)
