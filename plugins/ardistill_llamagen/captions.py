"""Caption features from files: what a text-conditional LlamaGen is conditioned on.

Three layouts are read:
- a .safetensors, .npz, .pt or .pth file with `features` (N, T, E) and, if it likes, `mask` (N, T), 1 for a word;
- a folder of .npy files (1, T_i, E) without padding, one for each caption, as LlamaGen's own extraction leaves them
  (language/extract_t5_feature.py); numbered files are taken in the order of their numbers, other files are passed over;
- one such .npy file.
Without a mask, a row of zeros is padding, for no text encoder gives one.

Shape legend: N captions, T positions, E feature width, W words of one caption.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ardistill.errors import DataError, WeightsError
from ardistill.files import write_atomic
from ardistill.protocols import Condition
from ardistill.weights import read_weights
from ardistill.wording import listed, message_of, shown
from ardistill_llamagen.settings import LlamaGenTeacherSettings

POSITIONS = 120
"""Caption positions of the released models."""

_LAYOUTS = "a .safetensors, .npz, .pt or .pth file with an array `features`, or a folder of .npy files"


def load_captions(settings: LlamaGenTeacherSettings, path: Path) -> Condition:
    """What `captions=PATH` names: features, or prompts, one a line, in a .txt file.

    The teacher itself tells features that are not of its width.
    """
    if path.suffix != ".txt":
        return read_captions(path)
    if not path.is_file():
        raise DataError(f"there are no prompts at {shown(str(path))}; give the path of a text file")
    if settings.text_encoder is None:
        raise DataError(
            f"{path} holds prompts; give the T5 encoder's folder with teacher.text_encoder=FOLDER"
        )
    from ardistill_llamagen.text_encoder import encode_prompts  # which imports this module

    return encode_prompts(_prompts(path), settings.text_encoder)


def _prompts(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as prompts ({message_of(error)}); give UTF-8 text") from error
    return [line for line in lines if line.strip()]


def read_captions(path: Path, *, width: int | None = None, positions: int = POSITIONS) -> Condition:
    """The captions of a file or folder as a condition for N images, padded on the left to `positions`.

    `width` is the E that the model reads, where it is known.
    """
    captions = [
        words_WE
        for features_NTE, mask_NT in _stored(path)
        for words_WE in _words(path, features_NTE, mask_NT)
    ]
    if not captions:
        raise DataError(f"{path} holds no captions; give {_LAYOUTS}")
    width = captions[0].shape[1] if width is None else width
    for number, words_WE in enumerate(captions):
        what = f"caption {number} of {path}"
        if words_WE.shape[1] != width:
            raise DataError(
                f"{what} has features of width {words_WE.shape[1]} instead of {width}; "
                "make all with the text encoder that the model was trained with"
            )
        if not len(words_WE):
            raise DataError(f"{what} has no words, only padding; leave it out")
        if not words_WE.isfinite().all():
            raise DataError(f"{what} holds NaN or infinity; make its features again")
    return left_padded(captions, positions)


def write_captions(path: Path, captions: Condition) -> None:
    """Writes a condition of captions as a .safetensors file for `captions=PATH`, e.g. of `encode_prompts`."""
    if captions.features_BTE is None or captions.mask_BT is None or path.suffix != ".safetensors":
        raise DataError(
            f"{path} can't be written; expected a path ending in .safetensors, and captions with a mask"
        )
    arrays = {"features": captions.features_BTE, "mask": captions.mask_BT}
    write_atomic(path, save({name: tensor.cpu().contiguous() for name, tensor in arrays.items()}))


def left_padded(captions: Sequence[Tensor], positions: int = POSITIONS) -> Condition:
    """Words (W, E) of each caption -> features (N, positions, E) that end with them, and their mask.

    A caption of more words loses its end. Rows of padding are zero. Source: LlamaGen dataset/t2i.py:Text2ImgDataset.
    """
    features_NTE = captions[0].new_zeros(len(captions), positions, captions[0].shape[1])
    mask_NT = torch.zeros(len(captions), positions, dtype=torch.bool, device=captions[0].device)
    for number, words_WE in enumerate(captions):
        kept_WE = words_WE[:positions]
        features_NTE[number, positions - len(kept_WE) :] = kept_WE
        mask_NT[number, positions - len(kept_WE) :] = True
    return Condition(features_BTE=features_NTE, mask_BT=mask_NT)


def _words(path: Path, features_NTE: Tensor, mask_NT: Tensor | None) -> list[Tensor]:
    """The float32 rows (W, E) of each caption that are words, in order, wherever its padding stands."""
    if features_NTE.ndim != 3 or not features_NTE.is_floating_point():
        raise DataError(
            f"{path} holds features of the shape {list(features_NTE.shape)} and type {features_NTE.dtype}; "
            "expected floats of the shape [captions, positions, width]"
        )
    if mask_NT is None:
        mask_NT = (features_NTE != 0).any(-1)
    elif mask_NT.shape != features_NTE.shape[:2]:
        raise DataError(
            f"{path} holds a mask of the shape {list(mask_NT.shape)}; "
            f"expected zeros and ones of the shape {list(features_NTE.shape[:2])}"
        )
    elif not bool(((mask_NT == 0) | (mask_NT == 1)).all()):
        raise DataError(
            f"{path} holds a mask with other numbers than 0 and 1; give 1 where a word is, 0 at padding"
        )
    return [words_TE[is_T] for words_TE, is_T in zip(features_NTE.float(), mask_NT.bool(), strict=True)]


def _stored(path: Path) -> list[tuple[Tensor, Tensor | None]]:
    """Features and mask of each file at the path, as they are."""
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix == ".npy"), key=_number_or_name)
        return [(_array(file), None) for file in files]
    if not path.is_file():
        raise DataError(f"there are no caption features at {shown(str(path))}; give {_LAYOUTS}")
    if path.suffix == ".npy":
        return [(_array(path), None)]
    tensors = _npz(path) if path.suffix == ".npz" else _torch(path)
    if "features" not in tensors or set(tensors) - {"features", "mask"}:
        raise DataError(
            f"{path} holds {listed(sorted(tensors)[:5])}; expected `features` and, if there is one, `mask`"
        )
    return [(tensors["features"], tensors.get("mask"))]


def _number_or_name(file: Path) -> tuple[bool, int, str]:
    return (False, int(file.stem), "") if file.stem.isdecimal() else (True, 0, file.name)


def _array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except Exception as error:  # a damaged file can make a reader raise anything
        raise _unreadable(path, error) from error


def _npz(path: Path) -> Mapping[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    except Exception as error:
        raise _unreadable(path, error) from error


def _torch(path: Path) -> Mapping[str, Tensor]:
    try:
        return read_weights(path).tensors
    except WeightsError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} can't be read as caption features ({message_of(error)[:160]}); give {_LAYOUTS}")
