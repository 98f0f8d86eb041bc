"""Files of statistics, features or images to compare with, told apart by their content.

Shape legend: N images, F features, H W pixels. Messages are the ends of sentences that begin with the path.

* .npz with `mu` (F,) and `sigma` (F, F), as pytorch-fid writes it, and as `write_statistics` does, which adds `n` and
  `extractor`;
* .npz with `arr_0`, images (N, H, W, 3) as bytes, with or without `mu` and `sigma`, as guided-diffusion writes its
  references and samples (`mu_s` and `sigma_s` belong to another network and are passed over);
* torch files with a dict of `mu` and `sigma`, a pair of the two, or features (N, F): pytorch-fid's successors, and
  torch-fidelity's cache, `...-stat-fid-....pt` and `...-features-....pt`.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import torch
from torch import Tensor

from ardistill.errors import DataError
from ardistill.evaluation.references.npz import Npz, telling_damage
from ardistill.evaluation.references.torch_arrays import read_torch_arrays
from ardistill.evaluation.statistics import Statistics
from ardistill.files import write_atomic
from ardistill.wording import listed, shown

Kind = Literal["folder", "adm", "pytorch-fid", "torch-fidelity", "ardistill"]

EXPECTED = "expected a folder of images, or an .npz or torch file with mu and sigma"
_MOST_NAMED = 8


@attrs.frozen(eq=False)
class Content:
    """What a file holds: statistics, features (N, F), images, or several of them."""

    kind: Kind
    statistics: Statistics | None = None
    features_NF: Tensor | None = None
    images: Npz | None = None
    """Whose `arr_0` they are."""
    extractor: str = ""
    """The network, where the file names it."""

    @property
    def n_features(self) -> int | None:
        """The width of what is given ready, None where there are images alone."""
        if self.statistics is not None:
            return self.statistics.n_features
        return None if self.features_NF is None else self.features_NF.shape[1]


def write_statistics(path: Path, statistics: Statistics, extractor: str) -> None:
    """Writes .npz with `mu` and `sigma` in float64, which pytorch-fid reads, and `n` and the network's name."""
    arrays: dict[str, Any] = {
        "mu": statistics.mean_F.numpy(),
        "sigma": statistics.covariance_FF.numpy(),
        "extractor": np.array(extractor),
    }
    if statistics.n is not None:
        arrays["n"] = np.array(statistics.n)
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_atomic(path, file.getvalue())


def read_content(path: Path) -> Content:
    """Raises DataError for what is none of the above."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise DataError(f"the system refuses it ({error.strerror})") from error
    if head.startswith(b"PK"):
        with telling_damage(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith(".npy") for name in names):
            return _of_npz(Npz.open(path))
        if any(name.endswith("/data.pkl") for name in names):
            return _of_torch(read_torch_arrays(path), path.name)
        raise DataError(f"it is a zip archive that holds no arrays; {EXPECTED}")
    if head.startswith(b"\x80"):
        return _of_torch(read_torch_arrays(path), path.name)
    if head.startswith(b"\x93NUMPY"):
        raise DataError(f"it is a single NumPy array; {EXPECTED}")
    raise DataError(f"it is {'no file of arrays' if head else 'empty'}; {EXPECTED}")


def _of_npz(npz: Npz) -> Content:
    has_statistics = "mu" in npz and "sigma" in npz
    if not has_statistics and "arr_0" not in npz:
        found = shown(listed(list(npz.arrays)[:_MOST_NAMED]))
        raise DataError(f"it holds the arrays {found}; expected mu and sigma, or images as arr_0")
    if "arr_0" in npz:
        array = npz.arrays["arr_0"]
        if array.dtype.hasobject:
            npz.read("arr_0")  # which says why not
        if array.dtype != np.uint8 or len(array.shape) != 4 or array.shape[3] != 3:
            raise DataError(
                f"its arr_0 is {array.dtype} of shape {array.shape}; expected images, uint8 of (N, H, W, 3)"
            )
    statistics = _npz_statistics(npz) if has_statistics else None
    images = npz if "arr_0" in npz else None
    extractor = str(npz.read("extractor")) if "extractor" in npz else ""
    if extractor:
        kind: Kind = "ardistill"
    else:
        kind = "adm" if images is not None or "mu_s" in npz else "pytorch-fid"
    return Content(kind, statistics, images=images, extractor=extractor)


def _npz_statistics(npz: Npz) -> Statistics:
    for name, n_axes in (("mu", 1), ("sigma", 2)):
        array = npz.arrays[name]
        if not array.dtype.hasobject and (array.dtype.kind not in "fiu" or len(array.shape) != n_axes):
            raise DataError(
                f"its {name} is {array.dtype} of shape {array.shape}; expected numbers along {n_axes} axes"
            )
    mean_F, covariance_FF = (torch.from_numpy(npz.read(name).astype(np.float64)) for name in ("mu", "sigma"))
    return Statistics(mean_F, covariance_FF, _count(npz) if "n" in npz else None)


def _count(npz: Npz) -> int:
    array = npz.arrays["n"]
    if array.dtype.kind not in "iu" or array.shape:
        raise DataError(f"its n is {array.dtype} of shape {array.shape}; expected the number of images")
    n = int(npz.read("n"))
    if n < 1:
        raise DataError(f"its n is {n}; expected the number of images")
    return n


def _of_torch(read: object, name: str) -> Content:
    kind: Kind = "torch-fidelity" if "-stat-fid-" in name else "pytorch-fid"
    match read:
        case {"mu": Tensor() as mean_F, "sigma": Tensor() as covariance_FF}:
            return Content(kind, Statistics(_floats(mean_F), _floats(covariance_FF)))
        case [Tensor() as mean_F, Tensor() as covariance_FF]:
            return Content(kind, Statistics(_floats(mean_F), _floats(covariance_FF)))
        case Tensor(ndim=2):
            return Content("torch-fidelity", features_NF=_floats(read).float())
        case Tensor():
            found = f"a tensor of shape {tuple(read.shape)}"
        case Mapping():
            found = f"a dict of {shown(listed([str(key) for key in read][:_MOST_NAMED]))}"
        case _:
            found = {list: "a list", int: "a number", float: "a number"}.get(type(read), "something else")
    raise DataError(f"it holds {found}; expected mu and sigma, or features of shape (N, F)")


def _floats(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise DataError(f"it holds a {tensor.layout} tensor of {tensor.dtype}; expected plain floats")
    if tensor.is_meta:
        raise DataError('it holds a tensor of the device "meta", which has no numbers; save it from another')
    return tensor
