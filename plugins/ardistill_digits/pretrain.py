"""`ardistill pretrain digits`: makes the feature network, tokenizers and teachers, one safetensors file each."""

from collections.abc import Mapping
from pathlib import Path

import attrs
from ardistill_llamagen.settings import LlamaGenTokenizerSettings
from ardistill_llamagen.tokenizer_loading import load_tokenizer as load_vq
from ardistill_var.loading import load_tokenizer
from ardistill_var.settings import VARTokenizerSettings
from torch import Tensor

from ardistill.errors import WeightsError
from ardistill.protocols import Guidance, Progress
from ardistill.weights import write_weights
from ardistill_digits.config import DigitsRecipe, Part
from ardistill_digits.data import Digits, folder_finder, weights_file
from ardistill_digits.features import KIND, load_features
from ardistill_digits.train_features import train_features
from ardistill_digits.train_gpt import train_gpt
from ardistill_digits.train_teacher import train_teacher
from ardistill_digits.train_tokenizer import train_tokenizer
from ardistill_digits.train_vq import train_vq

FOUNDATIONS: Mapping[Part, str | None] = {
    "all": None,
    "features": None,
    "tokenizer": "features",
    "teacher": "var/tokenizer",
    "vq": "features",
    "gpt": "llamagen/tokenizer",
}
NAMES: Mapping[Part, str] = {
    "features": "features",
    "tokenizer": "var/tokenizer",
    "teacher": "var/teacher",
    "vq": "llamagen/tokenizer",
    "gpt": "llamagen/teacher",
}
"""What each part makes, in order."""


def pretrain(recipe: DigitsRecipe, out: Path, progress: Progress) -> None:
    """Trains `recipe.part` into `out`; a part reads what it builds upon from there. Repeatable from the seed."""
    data = Digits()
    out.mkdir(parents=True, exist_ok=True)

    def write(part: Part, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
        made_by = {"recipe": "digits", "seed": recipe.seed, **attrs.asdict(getattr(recipe, part))}
        write_weights(out / weights_file(NAMES[part]), tensors, {**about, "made_by": made_by})

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
        write("tokenizer", tokenizer.state_dict(), about)
    if recipe.part in ("all", "teacher"):
        tokenizer = load_tokenizer(VARTokenizerSettings(), found)
        model = train_teacher(recipe.teacher, data, tokenizer, recipe.seed, progress)
        about = {
            "kind": "var-teacher",
            "config": attrs.asdict(model.config),
            "guidance": attrs.asdict(Guidance(recipe.teacher.cfg, top_p=recipe.teacher.top_p)),
        }
        write("teacher", model.state_dict(), about)
    if recipe.part in ("all", "vq"):
        vq = train_vq(recipe.vq, data, load_features(found), recipe.seed, progress)
        tensors = {key: value for key, value in vq.state_dict().items() if not key.endswith("codebook_used")}
        write("vq", tensors, {"kind": "llamagen-tokenizer", "config": attrs.asdict(vq.config)})
    if recipe.part in ("all", "gpt"):
        vq = load_vq(LlamaGenTokenizerSettings(), found)
        gpt = train_gpt(recipe.gpt, data, vq, recipe.seed, progress)
        about = {
            "kind": "llamagen-teacher",
            "config": attrs.asdict(gpt.config),
            "guidance": attrs.asdict(Guidance(recipe.gpt.cfg, top_p=recipe.gpt.top_p)),
        }
        write("gpt", gpt.state_dict(), about)
