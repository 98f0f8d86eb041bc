"""Fixtures that hold too little, nothing, or no numbers: none of them passes."""

import json
import shutil

import numpy as np
import pytest

from tests.golden import ROOT
from tests.parity.fabricated import filters, gpt, rewritten, tokenizer

recorded = pytest.mark.skipif(not ROOT.is_dir(), reason=f"the parity fixtures are not here ({ROOT})")


def everywhere(number):
    return lambda arrays: {
        name: np.full_like(array, number) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }


def cut(arrays):
    return {name: array[:0] for name, array in arrays.items()}


@recorded
@pytest.mark.parametrize("name", ["var_sampling_filter", "llamagen_sampling_filter"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (everywhere(np.nan), "logits holds NaN"),
        (everywhere(np.inf), "logits holds infinite numbers"),
        (cut, "logits is empty (0 x"),
    ],
)
def test_filters_without_numbers(judged, tmp_path, name, change, reason):
    rewritten(ROOT, name, tmp_path, change)
    code, records = judged()
    assert code == 1
    assert reason in records[name]["reason"]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("array", ["train_logits", "freqs_cis", "gen_cfg1_logits"])
def test_a_model_gives_numbers(judged, tmp_path, array, number):
    def change(arrays):
        arrays[array].flat[-1] = number
        return arrays

    gpt(tmp_path)
    rewritten(tmp_path, "gpt", tmp_path, change)
    assert (
        f"{array} holds {'NaN' if np.isnan(number) else 'infinite numbers'}" in judged()[1]["gpt"]["reason"]
    )


def test_a_code_may_be_ruled_out_before_the_filter(judged, tmp_path):
    """-inf in the logits is a probability of 0; a probability of -inf is none."""

    def without_the_first(logits):
        logits[..., 0] = -np.inf
        return logits

    left = np.array([[[0, 2 / 7, 5 / 7], [0, 0.5, 0.5]]], dtype=np.float32)
    filters(tmp_path, "fine", logits=without_the_first, probs_0=lambda _: left, probs_1=lambda _: left)
    filters(
        tmp_path, "none", logits=without_the_first, probs_0=lambda _: left, probs_1=lambda _: left - np.inf
    )
    _, records = judged()
    assert records["fine"]["ok"]
    assert records["none"]["reason"].startswith("probs_1 holds infinite numbers")


@pytest.mark.parametrize(("name", "make"), [("some filter", filters), ("gpt", gpt)])
def test_every_array_is_missed(judged, tmp_path, name, make):
    make(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "whole")
    for array in np.load(tmp_path / "whole" / f"{name}.npz").files:
        rewritten(
            tmp_path / "whole", name, tmp_path, lambda arrays, gone=array: arrays.pop(gone) is None or arrays
        )
        code, records = judged()
        assert code == 1, array
        assert f"it lacks {array}" in records[name]["reason"]


def test_every_array_of_a_tokenizer_is_missed(judged, tmp_path):
    tokenizer(tmp_path, 4)
    assert judged()[0] == 0
    rewritten(tmp_path, "tokenizer", tmp_path, lambda arrays: {"image": arrays["image"]})
    reason = judged()[1]["tokenizer"]["reason"]
    assert reason.startswith("it lacks enc_out, f, ")


@pytest.mark.parametrize("word", ["calls", "n_params"])
def test_words_are_missed(judged, tmp_path, word):
    gpt(tmp_path)
    path = tmp_path / "gpt.json"
    info = json.loads(path.read_text())
    del info[word]
    path.write_text(json.dumps(info))
    code, records = judged()
    assert code == 1
    assert f"its json does not say {word}" in records["gpt"]["reason"]


def test_the_shapes_are_said(judged, tmp_path):
    filters(tmp_path)
    path = tmp_path / "some filter.json"
    path.write_text(json.dumps({"cases": json.loads(path.read_text())["cases"]}))
    assert "its json does not say arrays" in judged()[1]["some filter"]["reason"]


SPARE = {
    "var": "rnd_idx rnd_image rnd_labels_seed5 rndsmooth_idx rndsmooth_image",
    "var_saln": "rnd_idx rnd_labels_seed5 rndsmooth_idx",
    "var_vqvae": "train_rec_max_diff_to_unclamped",
    "llamagen_c2i": "rnd_idx",
    "llamagen_t2i": "",
    "llamagen_vq": "",
    "taming_vqgan": "",
    "var_sampling_filter": "",
    "llamagen_sampling_filter": "",
    # Which passes have their logits recorded, and which steps are tried, is each fixture's own choice.
    "dd_var": "few0_step0_logits few1_step0_logits few1_step1_logits fwd_perturbed_t2 fwd_t0_logits fwd_t1_tokens"
    " fwd_t2_logits fwd_t2_tokens fwd_t3_tokens fwd_tmixed_logits",
    "dd_llamagen": "few0_step0_logits few1_step1_logits fwd_t255_tokens fwd_t85_tokens",
}


@recorded
@pytest.mark.usefixtures("parity")
@pytest.mark.parametrize("name", SPARE)
def test_what_may_be_left_out(tmp_path, name):
    """Of every recorded array the fixture says whether it can do without it."""
    from golden import Fixture
    from parity_checks.kinds import kind_of
    from parity_checks.needed import lacking

    spare = []
    for array in np.load(ROOT / f"{name}.npz").files:
        rewritten(ROOT, name, tmp_path, lambda arrays, gone=array: arrays.pop(gone) is None or arrays)
        fixture = Fixture(name, tmp_path)
        told = lacking(fixture, kind_of(fixture.info))
        assert told in ([], [f"it lacks {array}"]) or "_logits" in array
        if not told:
            spare.append(array)
    assert sorted(spare) == SPARE[name].split()


@recorded
def test_few_arrays_of_a_model_do_not_pass(judged, tmp_path):
    """The transformer's greedy tokens are right, and still it shows next to nothing."""
    kept = ("label_B", "tf_x", "tf_logits")
    rewritten(ROOT, "var", tmp_path, lambda arrays: {name: arrays[name] for name in kept})
    code, records = judged()
    assert code == 1
    assert records["var"]["reason"].startswith("it lacks tf_logits_null, ")
    assert "and 21 more" in records["var"]["reason"]


@recorded
def test_shorter_lists_are_fixtures_too(judged, tmp_path):
    """A student with fewer samples, a teacher without random numbers and with other words for its guidance."""
    config = json.loads((ROOT / "dd_var.json").read_text())["config"]
    config |= {"fewstep": config["fewstep"][:1], "combine": config["combine"][:2]}

    def fewer(arrays):
        gone = ("few1", "few2", "few3", "comb2")
        return {name: array for name, array in arrays.items() if not name.startswith(gone)}

    def settled(arrays):
        return {name: array for name, array in arrays.items() if not name.startswith("rnd")}

    rewritten(ROOT, "dd_var", tmp_path, fewer, {"config": config})
    rewritten(ROOT, "var_saln", tmp_path, settled, {"calls": {"gen": "top_k=1 cfg=4"}})
    code, records = judged()
    assert code == 0, records


@pytest.mark.parametrize(
    ("share", "patch_nums"), [(0, (1, 2, 3)), (1, (1, 2, 3)), (2, (1, 3)), (4, (1, 2, 3, 4, 5))]
)
def test_every_sharing_of_the_convolutions(judged, tmp_path, share, patch_nums):
    tokenizer(tmp_path, share, patch_nums=patch_nums)
    code, records = judged()
    assert code == 0, records["tokenizer"]["reason"]
    assert records["tokenizer"]["checked"] == 11 + 5 * len(patch_nums)


@recorded
def test_random_numbers_need_their_seed(judged, tmp_path):
    """Still optional: what can't be drawn again is told."""
    rewritten(
        ROOT, "llamagen_c2i", tmp_path, lambda arrays: arrays, {"calls": {"gen": "", "gen_interval": "cfg=4"}}
    )
    _, records = judged()
    assert records["llamagen_c2i"]["ok"]
    assert (
        records["llamagen_c2i"]["optional_differences"][-1] == "its json does not say calls.rnd with a seed"
    )
