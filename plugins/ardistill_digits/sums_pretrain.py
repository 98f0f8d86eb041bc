"""`ardistill pretrain digit-sums`: makes the tokenizer and the VAR teacher of pairs of digits.

The network that judges the tokenizer's images is the bundled one of single digits.
"""

from collections.abc import Mapping
from pathlib import Path

import attrs
from ardistill_var.loading import load_tokenizer
from ardistill_var.settings import VARTokenizerSettings
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.protocols import Guidance, Progress
from ardistill.weights import write_weights
from ardistill_digits.data import Digits, folder_finder, weights_file
from ardistill_digits.features import load_features
from ardistill_digits.sums import PREFIX
from ardistill_digits.sums_config import SumsRecipe
from ardistill_digits.train_sums import of_pairs, train_sums_teacher
from ardistill_digits.train_tokenizer import train_tokenizer


def pretrain(recipe: SumsRecipe, out: Path, progress: Progress) -> None:
    """Trains `recipe.part` into `out`. Repeatable from the seed."""
    data, found = Digits(), folder_finder(out, PREFIX)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer_file, teacher_file = (weights_file(f"var/{part}", PREFIX) for part in ("tokenizer", "teacher"))

    def write(
        file: str, tensors: Mapping[str, Tensor], about: Mapping[str, object], words: attrs.AttrsInstance
    ) -> None:
        made_by = {"recipe": "digit-sums", "seed": recipe.seed, **attrs.asdict(words)}
        write_weights(out / file, tensors, {**about, "made_by": made_by})

    if recipe.part == "teacher" and found("var/tokenizer") is None:
        raise WeightsError(
            f"{out} holds no {tokenizer_file} for part=teacher to build upon; make both with part=all"
        )
    if recipe.part in ("all", "tokenizer"):
        network = load_features(data.weights)
        pairs = of_pairs(train_tokenizer(recipe.tokenizer, data, network, recipe.seed, progress))
        about = {"kind": "var-tokenizer", "config": attrs.asdict(pairs.config)}
        write(tokenizer_file, pairs.state_dict(), about, recipe.tokenizer)
    if recipe.part in ("all", "teacher"):
        tokenizer = load_tokenizer(VARTokenizerSettings(), found)
        model = train_sums_teacher(recipe.teacher, tokenizer, recipe.seed, progress)
        about = {
            "kind": "var-teacher",
            "config": attrs.asdict(model.config),
            "guidance": attrs.asdict(Guidance(recipe.teacher.cfg, top_p=recipe.teacher.top_p)),
        }
        write(teacher_file, model.state_dict(), about, recipe.teacher)
