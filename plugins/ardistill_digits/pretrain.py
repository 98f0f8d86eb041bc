"""`ardistill pretrain digits`: makes the feature network, the tokenizer and the teacher, one safetensors file each."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from ardistill_var.loading import load_tokenizer
from ardistill_var.settings import VARTokenizerSettings
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.protocols import Guidance, Progress
from ardistill.weights import write_weights
from ardistill_digits.config import DigitsRecipe, Part, TeacherRecipe
from ardistill_digits.data import Digits, folder_finder, weights_file
from ardistill_digits.features import KIND, load_features
from ardistill_digits.train_features import train_features
from ardistill_digits.train_teacher import train_teacher
from ardistill_digits.train_tokenizer import train_tokenizer

FOUNDATIONS: Mapping[Part, str | None] = {
    "all": None,
    "features": None,
    "tokenizer": "features",
    "teacher": "var/tokenizer",
}


def pretrain(recipe: DigitsRecipe, out: Path, progress: Progress) -> None:
    """Trains `recipe.part` into `out`; a part reads what it builds upon from there. Repeatable from the seed."""
    data = Digits()
    out.mkdir(parents=True, exist_ok=True)

    def write(name: str, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
        made_by = {
            "recipe": "digits",
            "seed": recipe.seed,
            **attrs.asdict(getattr(recipe, name.rpartition("/")[2])),
        }
        write_weights(out / weights_file(name), tensors, {**about, "made_by": made_by})

    found = folder_finder(out)
    needed = FOUNDATIONS[recipe.part]
    if needed is not None and found(needed) is None:
        raise WeightsError(
            f"{out} holds no {weights_file(needed)} for part={recipe.part} to build upon; make all with part=all"
        )
    if recipe.part in ("all", "features"):
        network = train_features(recipe.features, data, recipe.seed, progress)
        write("features", network.state_dict(), {"kind": KIND})
    if recipe.part in ("all", "tokenizer"):
        network = load_features(found)
        tokenizer = train_tokenizer(recipe.tokenizer, data, network, recipe.seed, progress)
        about = {"kind": "var-tokenizer", "config": attrs.asdict(tokenizer.config)}
        write("var/tokenizer", tokenizer.state_dict(), about)
    if recipe.part in ("all", "teacher"):
        tokenizer = load_tokenizer(VARTokenizerSettings(), found)
        model = train_teacher(recipe.teacher, data, tokenizer, recipe.seed, progress)
        about = {
            "kind": "var-teacher",
            "config": attrs.asdict(model.config),
            "guidance": attrs.asdict(_guidance(recipe.teacher)),
        }
        write("var/teacher", model.state_dict(), about)


def _guidance(recipe: TeacherRecipe) -> Guidance:
    return Guidance(scale=recipe.cfg, top_p=recipe.top_p)
