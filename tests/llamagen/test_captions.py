"""Captions from files and from prompts."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ardistill_llamagen.captions import left_padded, load_captions, read_captions, write_captions
from ardistill_llamagen.settings import LlamaGenTeacherSettings
from ardistill_llamagen.text_encoder import encode_prompts
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ardistill.errors import DataError, PluginError, WeightsError
from ardistill.noise import Draw

E = 3  # feature width


def words(count, index=0):
    return Draw(0, "captions", index, 1).normal("words", count, E)[0]


def padded(captions, length, *, left):
    features, mask = torch.zeros(len(captions), length, E), torch.zeros(len(captions), length)
    for row, caption in enumerate(captions):
        place = slice(length - len(caption), length) if left else slice(0, len(caption))
        features[row, place] = caption
        mask[row, place] = 1
    return features, mask


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    left=st.booleans(),
    masked=st.booleans(),
    positions=st.integers(1, 12),
    kind=st.sampled_from(["safetensors", "npz", "pt", "pth", "npy"]),
)
def test_every_layout_says_the_same(tmp_path_factory, lengths, left, masked, positions, kind):
    """Words end the positions, in order; padding before them is zero; a caption too long loses its end."""
    captions = [words(length, index) for index, length in enumerate(lengths)]
    features, mask = padded(captions, 9, left=left)
    arrays = {"features": features, "mask": mask} if masked else {"features": features}
    path = tmp_path_factory.mktemp("captions") / f"captions.{kind}"
    if kind == "safetensors":
        save_file(arrays, path)
    elif kind == "npz":
        np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    elif kind == "npy":
        path.mkdir()
        for index, caption in enumerate(captions):
            np.save(path / f"{index}.npy", caption[None].numpy())
    else:
        torch.save(arrays, path)
    got = read_captions(path, width=E, positions=positions)
    assert len(got) == len(lengths)
    for row, caption in enumerate(captions):
        kept = caption[:positions]
        assert torch.equal(got.features_BTE[row, positions - len(kept) :], kept)
        assert got.mask_BT[row].tolist() == [False] * (positions - len(kept)) + [True] * len(kept)
    assert got.features_BTE[~got.mask_BT].eq(0).all()


def test_numbered_files_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 2):
        np.save(tmp_path / f"{number}.npy", np.full((1, 1, E), number, dtype=np.float16))
    (tmp_path / "captions.jsonl").write_text("{}")
    got = load_captions(LlamaGenTeacherSettings(), tmp_path)
    assert got.features_BTE[:, -1, 0].tolist() == [2, 9, 10]
    assert got.features_BTE.shape == (3, 120, E)
    assert got.features_BTE.dtype == torch.float32
    one = read_captions(tmp_path / "9.npy", positions=2)
    assert one.features_BTE[0, :, 0].tolist() == [0, 9]


def test_the_mask_decides_where_there_is_one(tmp_path):
    """Rows beyond the mask may hold anything: a text encoder's outputs at padding are not zero."""
    features = torch.stack([words(5)])
    save_file(
        {"features": features, "mask": torch.tensor([[True, True, False, False, False]])},
        tmp_path / "c.safetensors",
    )
    got = read_captions(tmp_path / "c.safetensors", positions=4)
    assert torch.equal(got.features_BTE[0], torch.cat([torch.zeros(2, E), features[0, :2]]))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"features": np.zeros((2, 4, 5), np.float32) + 1},
            "caption 0 of .* features of width 5 instead of 3",
        ),
        ({"caption": np.ones((2, 4, E))}, "holds caption; expected `features`"),
        (
            {"features": np.ones((2, 4, E)), "prompts": np.ones(2)},
            "holds features, prompts; expected `features`",
        ),
        ({"features": np.ones((0, 4, E))}, "holds no captions"),
        (
            {"features": np.ones((4, E))},
            r"shape \[4, 3\] and type torch.float64; expected floats of the shape",
        ),
        ({"features": np.ones((2, 4, E), np.int64)}, "type torch.int64"),
        (
            {"features": np.ones((2, 4, E)), "mask": np.ones((2, 3))},
            r"a mask of the shape \[2, 3\]; expected",
        ),
        (
            {"features": np.ones((2, 4, E)), "mask": np.full((2, 4), 0.5)},
            "a mask with other numbers than 0 and 1",
        ),
        (
            {"features": np.ones((2, 4, E)), "mask": np.eye(2, 4)[::-1] * [[0], [1]]},
            "caption 0 of .* has no words",
        ),
        (
            {"features": np.ones((1, 4, E)), "mask": np.array([[1, 1, 0, np.nan]])},
            "holds a mask with other numbers than 0 and 1; give",
        ),
        ({"features": np.full((1, 4, E), np.nan)}, "caption 0 of .* holds NaN"),
        ({"features": np.array([object()], dtype=object)}, "can't be read as caption features"),
    ],
)
def test_unfit_arrays_are_refused_in_one_sentence(tmp_path, arrays, says):
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(DataError, match=says) as caught:
        read_captions(tmp_path / "c.npz", width=E)
    assert "\n" not in str(caught.value)


def test_what_is_no_captions_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there are no caption features at 'nowhere'; give a \.safetensors"):
        read_captions(Path("nowhere"))
    for settings in (LlamaGenTeacherSettings(), LlamaGenTeacherSettings(text_encoder=tmp_path)):
        with pytest.raises(
            DataError, match=r"there are no prompts at 'none.txt'; give the path of a text file"
        ):
            load_captions(settings, Path("none.txt"))
    with pytest.raises(DataError, match="holds no captions"):
        read_captions(tmp_path)
    for name in ("c.npz", "c.npy", "c.pt", "c.safetensors", "c.txt"):
        (tmp_path / name).write_bytes(b"\x80damaged")
        with pytest.raises(DataError, match="can't be read as caption features"):
            read_captions(tmp_path / name)
    for number, width in enumerate((3, 4)):
        np.save(tmp_path / f"{number}.npy", np.ones((1, 2, width)))
    (tmp_path / "c.npy").unlink()
    with pytest.raises(DataError, match=r"caption 1 of .* features of width 4 instead of 3"):
        read_captions(tmp_path)


class Trap:
    """Whoever unpickles it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_pickle_is_opened(tmp_path):
    sprung = tmp_path / "sprung"
    trap = np.array([[[Trap(sprung)]]], dtype=object)
    np.savez(tmp_path / "c.npz", features=trap)
    np.save(tmp_path / "c.npy", trap)
    torch.save({"features": torch.ones(1, 2, E), "trap": Trap(sprung)}, tmp_path / "c.pt")
    for name in ("c.npz", "c.npy", "c.pt"):
        with pytest.raises(DataError, match="can't be read as caption features"):
            read_captions(tmp_path / name)
    assert not sprung.exists()


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp("captions") / "c.safetensors"
    captions = left_padded([words(length) for length in lengths], positions=5)
    write_captions(path, captions)
    back = read_captions(path, width=E, positions=5)
    assert torch.equal(back.features_BTE, captions.features_BTE)
    assert torch.equal(back.mask_BT, captions.mask_BT)
    with pytest.raises(DataError, match=r"ending in \.safetensors"):
        write_captions(path.with_suffix(".npz"), captions)


def test_padding_is_added_on_the_device_and_in_the_width_of_the_words():
    got = left_padded([words(2), words(1)], positions=3)
    assert got.features_BTE.shape == (2, 3, E)
    assert got.mask_BT.tolist() == [[False, True, True], [False, False, True]]


def test_prompts_without_transformers_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PluginError, match=r"not installed; run pip install 'ardistill\[text\]', or give"):
        encode_prompts(["a dog"], tmp_path)
    with pytest.raises(DataError, match="no prompts"):
        encode_prompts([], tmp_path)


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    """A tiny T5 encoder of random weights, whose tokens are whole words."""
    transformers = pytest.importorskip("transformers", reason="the optional extra `text` is not installed")
    import tokenizers

    known = ["<pad>", "</s>", "<unk>", "a", "red", "car", "dog"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder = tmp_path_factory.mktemp("t5")
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    sizes = {"vocab_size": 7, "d_model": 16, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2}
    model = transformers.T5EncoderModel(transformers.T5Config(**sizes)).eval()
    model.save_pretrained(folder)
    return folder, model


@torch.no_grad()
def test_prompts_become_the_encoders_features_padded_on_the_left(t5):
    folder, model = t5
    got = encode_prompts(["A red car", " dog", "a red dog car red dog a"], folder, positions=6)
    assert got.mask_BT.sum(1).tolist() == [4, 2, 6]
    for row, tokens in enumerate(([3, 4, 5, 1], [6, 1], [3, 4, 6, 5, 4, 1])):
        want = model(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        torch.testing.assert_close(got.features_BTE[row, -len(tokens) :], want, atol=1e-5, rtol=1e-5)
        assert got.features_BTE[row, : -len(tokens)].eq(0).all()


def test_folders_without_an_encoder_are_refused(t5, tmp_path):
    folder, _ = t5
    with pytest.raises(WeightsError, match=r"there is no T5 encoder at 'nowhere'"):
        encode_prompts(["a dog"], Path("nowhere"))
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="can't be read as a T5 encoder"):
        encode_prompts(["a dog"], tmp_path)
    save_file({"shared.weight": torch.zeros(7, 16)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"holds no T5 encoder: .* is missing"):
        encode_prompts(["a dog"], tmp_path)


def test_prompts_come_from_a_text_file_once_an_encoder_is_named(t5, tmp_path):
    folder, _ = t5
    (tmp_path / "prompts.txt").write_text("a red car\n\n a dog\n")
    got = load_captions(LlamaGenTeacherSettings(text_encoder=folder), tmp_path / "prompts.txt")
    want = encode_prompts(["a red car", "a dog"], folder)
    torch.testing.assert_close(got.features_BTE, want.features_BTE)
    assert torch.equal(got.mask_BT, want.mask_BT)


def test_prompts_without_an_encoder_say_what_to_give(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red car\n")
    with pytest.raises(DataError, match=r"teacher\.text_encoder=FOLDER"):
        load_captions(LlamaGenTeacherSettings(), tmp_path / "prompts.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        load_captions(LlamaGenTeacherSettings(text_encoder=tmp_path), tmp_path / "bytes.txt")
