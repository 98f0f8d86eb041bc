"""What a fixture of each kind always holds, so that none passes by having less to compare, or no numbers.

Needed arrays are named by patterns (`fnmatch`), one of which at least one array must match; how many there are follows
from the json's scales, blocks, guidances and recipes. Not needed is what hangs on torch's generator, and what only some
passes have on record: the logits of a step, the passes from other starts than the first.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import filter as matching
from typing import Any

import numpy as np
from golden import Fixture

from parity_checks.calls import listed
from parity_checks.kinds import Kind, function

_MAY_BE_EMPTY = re.compile(r"comb\d+_prefix_idx")
"""No token comes before a teacher that begins; the check compares the length with the recipe's start."""


def lacking(fixture: Fixture, kind: Kind) -> list[str]:
    """What the fixture has not, though its kind always has it; words first, as they tell which arrays there must be."""
    unsaid = [word for word in kind.words if not _says(fixture.info, word)]
    if unsaid:
        return [f"its json does not say {listed(unsaid)}"]
    if not kind.needs:
        return []
    names = list(fixture)
    absent = [pattern for pattern in function(kind.needs)(fixture) if not matching(names, pattern)]
    return [f"it lacks {listed(absent)}"] if absent else []


def damaged(fixture: Fixture, kind: Kind) -> list[str]:
    """Arrays without entries, and floats that are no numbers; -inf is one in logits whose codes are ruled out."""
    faults = []
    for name in fixture:
        array = fixture.stored(name)
        if not array.size and not _MAY_BE_EMPTY.fullmatch(name):
            faults.append(f"{name} is empty ({' x '.join(map(str, array.shape))})")
        if not np.issubdtype(array.dtype, np.inexact):
            continue
        if np.isnan(array).any():
            faults.append(f"{name} holds NaN")
        elif (np.isposinf(array) if name in kind.masked else np.isinf(array)).any():
            faults.append(f"{name} holds infinite numbers")
    return faults


def _says(info: Mapping[str, Any], word: str) -> bool:
    """Whether `a.b` is there; an empty list is an answer."""
    said: Any = info
    for part in word.split("."):
        if not isinstance(said, Mapping) or said.get(part) is None:
            return False
        said = said[part]
    return True


def var(fixture: Fixture) -> Iterator[str]:
    """Forced passes over free inputs and over tokens, and greedy generation scale by scale."""
    yield from ("label_B", "tf_x", "tf_logits", "tf_logits_null")
    yield from _numbered("tf_block{}_out", fixture.config["depth"])
    yield from ("tf_idx", "tf_idx_x", "tf_idx_logits", "tf_idx_ce")
    for name in ("rawlogits", "cfglogits", "idx", "fhat"):
        yield from _numbered(f"gen_{name}_s{{}}", len(fixture.config["patch_nums"]))
    yield from ("gen_idx", "gen_image", "gen_nocfg_idx")


def var_tokenizer(fixture: Fixture) -> Iterator[str]:
    """Both directions for an image, the way back for given tokens, and the training loss."""
    yield from ("image", "enc_out", "f", "var_input", "rec_image", "rec_image_unclamped", "train_vq_loss")
    yield from ("given_var_input", "given_fhat_last", "given_image_s0", "given_image_last")
    for name in ("idx", "enc_fhat", "emb_fhat", "given_idx", "given_embed"):
        yield from _numbered(f"{name}_s{{}}", len(fixture.config["v_patch_nums"]))


def filters(fixture: Fixture) -> Iterator[str]:
    """The logits, and the probabilities of each case."""
    yield "logits"
    yield from _numbered("probs_{}", len(fixture.info["cases"]))


def llamagen_c2i(fixture: Fixture) -> Iterator[str]:
    """Forced passes, and greedy generation with each guidance, with one that ends, and without a filter."""
    yield from ("label", "idx", "train_logits", "train_loss", "train_logits_null", "eval_logits", "freqs_cis")
    yield from _guided(fixture, "")
    yield from ("gen_argmax_idx", "gen_half_idx")
    if "gen_interval" in fixture.info["calls"] or fixture.config.get("cfg_interval", -1) >= 0:
        yield from ("gen_interval_idx", "gen_interval_logits")


def llamagen_t2i(fixture: Fixture) -> Iterator[str]:
    """Forced passes and greedy generation, with the captions' mask and without."""
    yield from ("caption", "emb_mask", "idx", "eval_logits", "freqs_cis")
    yield from ("train_logits", "train_logits_nomask", "train_mask", "train_valid", "train_loss_valid")
    yield from _guided(fixture, "_mask")
    yield from _guided(fixture, "_nomask")


def llamagen_tokenizer(_: Fixture) -> Iterator[str]:
    """Both directions for an image, the way back for given tokens, and the losses."""
    yield from ("image", "z", "idx", "quant", "rec_image", "rec_image_from_code", "codebook_normalised")
    yield from ("given_idx", "given_quant", "given_image", "train_vq_loss", "train_commit_loss")


def taming(_: Fixture) -> Iterator[str]:
    """The same of taming's VQGAN, whose loss is one number."""
    yield from ("image", "z", "idx", "quant", "rec_image", "commit_loss")
    yield from ("given_idx", "given_quant", "given_image")


def dd1_var(fixture: Fixture) -> Iterator[str]:
    """The student's mask and levels, single passes, and every sample the json lists."""
    yield from ("label_B", "dd_attn_bias", "dd_lvl_1L")
    yield from _student(fixture, len(fixture.config["patch_nums"]), ("teacher_in", "teacher_seq"), ())


def dd1_llamagen(fixture: Fixture) -> Iterator[str]:
    """The tokenizer's codebook, single passes, and every sample the json lists."""
    yield from ("label", "codebook")
    yield from _student(fixture, fixture.config["block_size"], ("final_x_in",), ("first_seq", "prefix_idx"))


def _student(fixture: Fixture, n_steps: int, always: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    """`always` is of every sample with teacher steps, `before` of those where the student goes first."""
    yield from ("noise", "fwd_x", "fwd_t0_tokens", "fwd_t[1-9]*_tokens", "fwd_t*_logits")
    yield from ("fwd_tmixed", "fwd_tmixed_tokens", "fwd_tmixed_perturbed")
    for i, recipe in enumerate(fixture.config["fewstep"]):
        for name in ("tokens", "seq"):
            yield from _numbered(f"few{i}_step{{}}_{name}", len(recipe["t_list"]))
        yield f"few{i}_image"
    for i, recipe in enumerate(fixture.config["combine"]):
        after = ("final_tokens", "final_seq") if recipe["t_list"][1] < n_steps else ()
        names = (*always, *(before if recipe["start"] else ()), *after)
        yield from (f"comb{i}_{name}" for name in ("teacher_idx", "teacher_cfglogits", *names, "image"))


def _guided(fixture: Fixture, ending: str) -> Iterator[str]:
    """Tokens and logits of every guidance in `config.cfg`, spelled as the arrays' names spell it: 4, 4.0 or 7.5."""
    spelled = (re.fullmatch(r"gen_cfg(\d+\.?\d*)" + ending + "_(?:idx|logits)", name) for name in fixture)
    known = {float(match[1]): match[1] for match in spelled if match}
    for scale in fixture.config["cfg"]:
        for name in ("idx", "logits"):
            yield f"gen_cfg{known.get(scale, f'{scale:g}')}{ending}_{name}"


def _numbered(name: str, count: int) -> Iterator[str]:
    yield from (name.format(number) for number in range(count))
