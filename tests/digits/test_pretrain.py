import hashlib
from pathlib import Path

import pytest
from ardistill_digits.config import DigitsRecipe
from ardistill_digits.data import folder_finder
from ardistill_digits.features import load_features
from ardistill_llamagen.loading import load_teacher as load_llamagen
from ardistill_llamagen.settings import LlamaGenTeacherSettings
from ardistill_var.loading import load_teacher
from ardistill_var.settings import VARTeacherSettings

from ardistill.__main__ import main
from ardistill.config import structure_words

TINY = [
    "features.images=256",
    "tokenizer.images=640",
    "teacher.images=256",
    "teacher.copies=1",
    "vq.images=640",
    "gpt.images=256",
    "gpt.copies=1",
]


def made(folder: Path, *words: str) -> dict[str, str]:
    assert main(["pretrain", "digits", f"out={folder}", *TINY, *words]) == 0
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_recipe_makes_loadable_files_and_the_same_again(tmp_path: Path) -> None:
    first = made(tmp_path / "a")
    assert sorted(first) == [
        "features.safetensors",
        "llamagen-teacher.safetensors",
        "llamagen-tokenizer.safetensors",
        "var-teacher.safetensors",
        "var-tokenizer.safetensors",
    ]
    weights = folder_finder(tmp_path / "a")
    load_features(weights)
    teacher = load_teacher(VARTeacherSettings(), weights)
    assert teacher.guidance.scale == DigitsRecipe().teacher.cfg
    raster = load_llamagen(LlamaGenTeacherSettings(), weights)
    assert raster.guidance.scale == DigitsRecipe().gpt.cfg
    assert made(tmp_path / "b") == first
    # A part made anew from the parts before it is the same part; another seed gives another.
    assert made(tmp_path / "b", "part=teacher") == first
    assert (
        made(tmp_path / "b", "part=teacher", "seed=1")["var-teacher.safetensors"]
        != first["var-teacher.safetensors"]
    )
    assert made(tmp_path / "c", "part=features")
    assert (
        made(tmp_path / "c", "part=vq")["llamagen-tokenizer.safetensors"]
        == first["llamagen-tokenizer.safetensors"]
    )
    assert (
        made(tmp_path / "c", "part=gpt")["llamagen-teacher.safetensors"]
        == first["llamagen-teacher.safetensors"]
    )


def test_quick_is_small() -> None:
    quick, full = structure_words(["quick=true"], DigitsRecipe), DigitsRecipe()
    assert quick.teacher.images < full.teacher.images / 10
    assert structure_words(["quick=true", "teacher.images=7"], DigitsRecipe).teacher.images == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "known: digit-sums, digits"),
        (["digit", "out=x"], "digits"),
        (["digits"], "out=DIR"),
        (["digits", "out=x", "teacher.imagse=3"], "teacher.images"),
        (["digits", "out=x", "tokenizer.vocab=0"], "vocab"),
        (["digits", "out=x", "part=tokeniser"], "tokenizer"),
    ],
)
def test_bad_words_are_one_sentence(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_part_without_its_foundation_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "digits", f"out={tmp_path}", "part=teacher"]) == 2
    assert "part=all" in capsys.readouterr().err
