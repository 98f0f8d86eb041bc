"""References from folders and from every tool's files, checked against plain numpy; and what is refused, and how.

Legend: N images, F features.
"""

import io
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torch_fidelity import calculate_metrics, registry
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from ardistill.errors import DataError
from ardistill.evaluation.references.npz import Npz
from ardistill.evaluation.references.opening import open_reference
from ardistill.evaluation.references.statistics_files import write_statistics
from ardistill.evaluation.statistics import Statistics, frechet_between
from tests.evaluation.fakes import Silence
from tests.logged import logged

F = 5
SIZE = (8, 8)
RNG = np.random.default_rng(5)
MIXING = RNG.normal(size=(3 * 8 * 8, F)) / 100


class Network:
    """A fixed linear map of the bytes, and a record of what it was shown."""

    name = "linear-1"

    def __init__(self):
        self.batches = []

    def __call__(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1:] == (3, 8, 8)
        self.batches.append(len(images))
        return images.double().flatten(1) @ torch.from_numpy(MIXING)


def opened(path, network=None, size=SIZE, n_features=F, cache=None, progress=None, **options):
    network = network or Network()
    return open_reference(
        path,
        network,
        network.name,
        size,
        n_features=n_features,
        cache=cache,
        progress=progress or Silence(),
        **options,
    )


def pixels(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *SIZE, 3), dtype=np.uint8)


def seen(images):
    """What the network gives, by numpy."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1).astype(np.float64) @ MIXING


def agrees(statistics, features, rel=1e-6):
    """Features are kept in float32."""
    spread = np.cov(features, rowvar=False)
    return np.allclose(statistics.mean_F, features.mean(0), rtol=rel) and np.allclose(
        statistics.covariance_FF, spread, rtol=0, atol=rel * np.abs(spread).max()
    )


def folder_of(path, images):
    """Class folders a and b, and a loose image."""
    for index, image in enumerate(images):
        place = path / ("a", "b", "")[index % 3] / f"{index:03}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return path


def in_order(images):
    """As the folder's sorted names have them: loose ones, whose names are digits, come first."""
    return np.concatenate([images[2::3], images[0::3], images[1::3]])


def statistics(n=40, width=F, seed=0):
    features = np.random.default_rng(seed).normal(size=(n, width))
    return features.mean(0), np.cov(features, rowvar=False)


# Folders


def test_a_folder_of_images(tmp_path):
    images, network, progress = pixels(23), Network(), Silence()
    reference = opened(folder_of(tmp_path / "val", images), network, batch=4, progress=progress)
    assert (reference.kind, reference.n, reference.skipped) == ("folder", 23, ())
    assert reference.name == f"folder {tmp_path / 'val'}"
    assert reference.resize == "centre crop to 8x8, box then bicubic"
    assert reference.features_NF.dtype == torch.float32
    assert np.allclose(reference.features_NF, seen(in_order(images)), rtol=1e-6)
    assert agrees(reference.statistics, seen(images))
    assert max(network.batches) == 4, "no more images than a batch may be held"
    assert progress.told[-1] == (23, 23, f"reading folder {tmp_path / 'val'}")


def test_images_of_another_size_are_resized_for_the_network(tmp_path):
    for index in range(12):
        image = np.full((20, 30, 3), 20 * index, dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{index:02}.png")
    flat = np.stack([np.full((8, 8, 3), 20 * index, dtype=np.uint8) for index in range(12)])
    assert agrees(opened(tmp_path).statistics, seen(flat))


def test_features_of_a_folder_are_kept_by_content(tmp_path):
    images = pixels(12)
    first = opened(folder_of(tmp_path / "here", images), cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "references").iterdir()
    assert kept.suffix == ".safetensors"

    network = Network()
    again = opened(folder_of(tmp_path / "there", images), network, cache=tmp_path / "cache")
    assert network.batches == [], "the same images are not looked at twice, wherever they are"
    assert again.sha256 == first.sha256
    assert torch.equal(again.features_NF, first.features_NF)
    assert torch.equal(again.statistics.covariance_FF, first.statistics.covariance_FF)

    (tmp_path / "there" / "a" / "000.png").rename(tmp_path / "there" / "a" / "0.png")
    renamed = opened(tmp_path / "there", network, cache=tmp_path / "cache")
    assert network.batches == [12]
    assert renamed.sha256 != first.sha256
    Image.fromarray(pixels(1, seed=9)[0]).save(tmp_path / "here" / "a" / "000.png")
    assert opened(tmp_path / "here", network, cache=tmp_path / "cache").sha256 != first.sha256
    assert network.batches == [12, 12]
    other = Network()
    other.name = "linear-2"
    opened(tmp_path / "there", other, cache=tmp_path / "cache")
    assert other.batches == [12], "another network sees other things"


@pytest.mark.parametrize("harm", ["cut", "flip", "text", "other"])
def test_a_damaged_cache_is_made_again(tmp_path, harm):
    folder = folder_of(tmp_path / "val", pixels(12))
    first = opened(folder, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache" / "references").iterdir()
    good = bytearray(kept.read_bytes())
    if harm == "flip":
        good[-3] ^= 0x10  # one bit of a feature: still a sound file
    elif harm == "other":  # another reference's file under this name
        opened(folder_of(tmp_path / "other", pixels(12, seed=1)), cache=tmp_path / "cache")
        (other,) = set((tmp_path / "cache" / "references").iterdir()) - {kept}
        good = other.read_bytes()
    kept.write_bytes({"cut": good[:-7], "text": b"hello"}.get(harm, good))
    network = Network()
    with logged("is damaged and is made again$"):
        again = opened(folder, network, cache=tmp_path / "cache")
    assert sum(network.batches) == 12
    assert torch.equal(again.features_NF, first.features_NF)
    opened(folder, network, cache=tmp_path / "cache")
    assert sum(network.batches) == 12, "and is sound from then on"


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with logged("can't be kept at"):
        assert opened(folder_of(tmp_path / "val", pixels(12)), cache=tmp_path / "cache").n == 12


def with_faults(path, n, grey, broken):
    folder_of(path, pixels(n))
    for index in range(grey):
        Image.new("L", SIZE).save(path / f"grey{index}.png")
    for index in range(broken):
        (path / f"broken{index}.jpg").write_text("oh")
    return path


def test_some_unfit_images_are_passed_over_told_and_recorded(tmp_path):
    folder, cache = with_faults(tmp_path / "val", 96, 3, 1), tmp_path / "cache"
    told = re.escape(
        f"folder {folder}: 4 of 100 images are unfit (3 grey, 1 broken; first: broken0.jpg, grey0.png, grey1.png) "
        "and left out"
    )
    for _ in range(2):  # the second time from the cache
        with logged(f"^{told}$") as warned:
            reference = opened(folder, batch=7, cache=cache)
        assert len(warned) == 1
        assert (reference.n, len(reference.features_NF)) == (96, 96)
        assert reference.skipped == (
            "broken0.jpg: broken",
            "grey0.png: grey",
            "grey1.png: grey",
            "grey2.png: grey",
        )
        assert agrees(reference.statistics, seen(pixels(96)))


def test_too_many_unfit_images_are_refused(tmp_path):
    folder, network = with_faults(tmp_path / "val", 90, 6, 4), Network()
    message = (
        f"{folder} can't be a reference: 10 of 100 images are unfit (6 grey, 4 broken; first: broken0.jpg, "
        "broken1.jpg, broken2.jpg), and at most 5% may be; take them out, or raise skip"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        opened(folder, network, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    with logged():
        assert opened(folder, skip=0.1).n == 90
    with pytest.raises(DataError, match="at most 0% may be"):
        opened(folder, skip=0.0)


def test_folders_linked_to_one_another_count_once(tmp_path):
    images = pixels(24)
    folder = folder_of(tmp_path / "val", images)
    (folder / "a" / "to_b").symlink_to("../b")
    (folder / "b" / "to_a").symlink_to("../a")
    assert np.allclose(opened(folder).features_NF, seen(in_order(images)), rtol=1e-6)


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path):
    folder = folder_of(tmp_path / "val", pixels(24))
    os.mkfifo(folder / "pipe.png")
    with logged("1 broken"):
        reference = opened(folder)
    assert reference.skipped == ("pipe.png: broken",)


def test_features_that_are_not_finite_are_refused(tmp_path):
    class Broken(Network):
        def __call__(self, images):
            return super().__call__(images) * torch.nan

    with pytest.raises(DataError, match="the features of 9 in 9 images are not finite"):
        opened(folder_of(tmp_path / "val", pixels(9)), Broken(), cache=tmp_path / "cache")
    mu, sigma = statistics()
    np.savez(tmp_path / "x.npz", arr_0=pixels(11), mu=mu, sigma=sigma)
    with pytest.raises(DataError, match="the features of 11 in 11 images are not finite"):
        opened(tmp_path / "x.npz", Broken(), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# Files of other tools


def test_an_adm_reference_has_statistics_and_images(tmp_path):
    images, (mu, sigma), network = pixels(50), statistics(n=1000), Network()
    path = tmp_path / "VIRTUAL.npz"
    np.savez_compressed(path, arr_0=images, mu=mu, sigma=sigma, mu_s=mu[:2], sigma_s=sigma[:2, :2])
    reference = opened(path, network, batch=8)
    assert (reference.kind, reference.n, reference.resize) == ("adm", None, "")
    assert reference.name == "VIRTUAL.npz"
    assert np.array_equal(reference.statistics.mean_F, mu)
    assert np.array_equal(reference.statistics.covariance_FF, sigma)
    assert np.allclose(reference.features_NF, seen(images), rtol=1e-6)
    assert network.batches == [8] * 6 + [2], "images are read in parts"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_samples_in_adm_layout(tmp_path, save):
    images = pixels(50)
    save(tmp_path / "samples.npz", images, np.arange(50))  # arr_0 and, as the labels, arr_1
    reference = opened(tmp_path / "samples.npz", batch=16, cache=tmp_path)
    assert (reference.kind, reference.n) == ("adm", 50)
    assert agrees(reference.statistics, seen(images))
    network = Network()
    opened(tmp_path / "samples.npz", network, cache=tmp_path)
    assert network.batches == []


def test_adm_statistics_of_another_network_give_way_to_the_images(tmp_path):
    images, (mu, sigma) = pixels(50), statistics(width=7)
    np.savez(tmp_path / "x.npz", arr_0=images, mu=mu, sigma=sigma)
    reference = opened(tmp_path / "x.npz")
    assert reference.n == 50
    assert agrees(reference.statistics, seen(images))


def test_statistics_by_column_and_of_integers(tmp_path):
    """As numpy.cov leaves a transposed array, and as a hand may write them."""
    _, sigma = statistics()
    np.savez(tmp_path / "x.npz", mu=np.arange(F), sigma=np.asfortranarray(sigma))
    known = opened(tmp_path / "x.npz").statistics
    assert np.array_equal(known.mean_F, np.arange(F))
    assert np.array_equal(known.covariance_FF, sigma)
    assert frechet_between(known, Statistics(torch.arange(F), torch.from_numpy(sigma))) < 1e-9


def test_an_array_by_column_is_not_transposed(tmp_path):
    rectangle = np.arange(6.0).reshape(2, 3)
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(rectangle))
    assert np.array_equal(Npz.open(tmp_path / "x.npz").read("x"), rectangle)


def as_pytorch_fid(path, mu, sigma):
    np.savez(path, mu=mu, sigma=sigma)


def as_dict(path, mu, sigma):
    torch.save({"mu": mu, "sigma": sigma}, path)


def as_dict_of_tensors(path, mu, sigma):
    torch.save({"mu": torch.from_numpy(mu).float(), "sigma": torch.from_numpy(sigma).float()}, path)


def as_pair(path, mu, sigma):
    torch.save((mu, sigma), path)


def as_list(path, mu, sigma):
    torch.save([mu.astype(">f8"), np.asfortranarray(sigma)], path)


def as_old_torch_file(path, mu, sigma):
    torch.save({"mu": mu.astype(np.float32), "sigma": sigma}, path, _use_new_zipfile_serialization=False)


def as_numpy_1_wrote_it(path, mu, sigma):
    """Before NumPy 2 its modules had another name."""
    as_dict(path, mu, sigma)
    old = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core", b"numpy.core"))
    path.write_bytes(old.getvalue())


@pytest.mark.parametrize(
    "write",
    [as_pytorch_fid, as_dict, as_dict_of_tensors, as_pair, as_list, as_old_torch_file, as_numpy_1_wrote_it],
)
def test_statistics_of_the_pytorch_fid_family(tmp_path, write):
    mu, sigma = statistics()
    path = tmp_path / ("fid.npz" if write is as_pytorch_fid else "statistic.pth")
    write(path, mu, sigma)
    reference = opened(path)
    assert (reference.kind, reference.n, reference.features_NF) == ("pytorch-fid", None, None)
    assert np.allclose(reference.statistics.mean_F, mu, rtol=1e-6)
    assert np.allclose(reference.statistics.covariance_FF, sigma, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("order", ["C", "F"])
def test_features_as_an_array_in_a_torch_file(tmp_path, order):
    features = RNG.normal(size=(20, F))
    torch.save(np.array(features, order=order), tmp_path / "x.pt")
    reference = opened(tmp_path / "x.pt")
    assert np.allclose(reference.features_NF, features, rtol=1e-6)
    assert agrees(reference.statistics, features)


def test_ours_is_read_by_others_and_by_us(tmp_path):
    mu, sigma = statistics()
    made = Statistics(torch.from_numpy(mu), torch.from_numpy(sigma), 40)
    path = tmp_path / "ours.npz"
    write_statistics(path, made, Network.name)
    with np.load(path) as file:  # as pytorch-fid does: pickling is off by default
        assert np.array_equal(file["mu"][:], mu)
        assert np.array_equal(file["sigma"][:], sigma)
        assert file["mu"].dtype == np.float64
    reference = opened(path)
    assert (reference.kind, reference.n) == ("ardistill", 40)
    assert frechet_between(reference.statistics, made) < 1e-9
    other = Network()
    other.name = "another"
    with pytest.raises(DataError, match=r"made with 'linear-1', and 'another' is used"):
        opened(path, other)
    write_statistics(path, Statistics(made.mean_F, made.covariance_FF), Network.name)
    assert opened(path).n is None


def test_torch_fidelitys_own_cache(tmp_path):
    class Extractor(FeatureExtractorBase):
        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)
            self.network = Network()

        get_provided_features_list = staticmethod(lambda: ("linear",))
        get_default_feature_layer_for_metric = staticmethod(lambda metric: "linear")
        can_be_compiled = staticmethod(lambda: False)

        def forward(self, images):
            return (self.network(images).float(),)

    class Images(TorchDataset):
        def __init__(self, images):
            self.images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return self.images[index]

    one, other = pixels(60), pixels(70, seed=1) // 2
    registry.register_feature_extractor("linear-for-references", Extractor)
    try:
        theirs = calculate_metrics(
            input1=Images(one),
            input2=Images(other),
            input1_cache_name="one",
            input2_cache_name="other",
            feature_extractor="linear-for-references",
            cuda=False,
            fid=True,
            cache=True,
            cache_root=str(tmp_path),
            save_cpu_ram=True,
            verbose=False,
        )["frechet_inception_distance"]
    finally:
        registry.FEATURE_EXTRACTORS_REGISTRY.pop("linear-for-references")
    begin = "linear-for-references"
    statistics_file, features_file = (
        tmp_path / f"one-{begin}-{kind}-linear.pt" for kind in ("stat-fid", "features")
    )
    by_statistics, by_features = opened(statistics_file), opened(features_file)
    assert (by_statistics.kind, by_statistics.n, by_statistics.features_NF) == ("torch-fidelity", None, None)
    assert (by_features.kind, by_features.n) == ("torch-fidelity", 60)
    assert np.allclose(by_features.features_NF, seen(one), rtol=1e-6)
    against = opened(tmp_path / f"other-{begin}-stat-fid-linear.pt")
    for reference in (by_statistics, by_features):
        assert frechet_between(reference.statistics, against.statistics) == pytest.approx(theirs, rel=1e-5)


# What is refused


class Trap:
    def __reduce__(self):
        return print, ("code of the file was run",)


def npz(path, *images, **arrays):
    file = io.BytesIO()
    np.savez(file, *images, **arrays)
    path.write_bytes(file.getvalue())


def cut(write, n):
    def write_cut(path):
        write(path)
        path.write_bytes(path.read_bytes()[:n])

    return write_cut


def flipped(path):
    npz(path, pixels(20))
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def zip_of_text(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")


def folder_of_text(path):
    path.mkdir()
    (path / "readme.txt").write_text("no images here")


def changed(*place, to):
    changed = SIGMA.copy()
    changed[place] = to
    return changed


MU, SIGMA = statistics()
SEVEN = dict(zip(("mu", "sigma"), statistics(width=7), strict=True))
OF_THREE = Statistics(torch.from_numpy(MU), torch.from_numpy(SIGMA), 3)

BAD = {
    "empty folder": (folder_of_text, r"it holds no .png, .jpg, .jpeg, .webp or .bmp images; give the folder"),
    "few in a folder": (
        lambda path: folder_of(path, pixels(5)),
        "its usable images number 5, and distances over 5 features need at least 11; ",
    ),
    "text": (lambda path: path.write_text("mu = 3, sigma = 4"), "it is no file of arrays; expected a folder"),
    "empty": (lambda path: path.write_bytes(b""), "it is empty; expected a folder"),
    "zip": (zip_of_text, "it is a zip archive that holds no arrays; expected"),
    "npy": (lambda path: path.write_bytes(b"\x93NUMPY..."), "it is a single NumPy array; expected a folder"),
    "other arrays": (
        lambda path: npz(path, mean=MU, sigma=SIGMA),
        "it holds the arrays 'mean, sigma'; expected mu and sigma, or images as arr_0",
    ),
    "nan": (
        lambda path: npz(path, mu=MU, sigma=changed(1, 2, to=np.nan)),
        "1 of the 25 numbers of the covariance are nan",
    ),
    "lopsided": (
        lambda path: npz(path, mu=MU, sigma=changed(0, 1, to=1.0)),
        "the covariance is not symmetric",
    ),
    "other width": (
        lambda path: npz(path, **SEVEN),
        "it was made with a network of 7 features, and this one has 5; give a folder",
    ),
    "no match": (
        lambda path: npz(path, mu=MU, sigma=SIGMA[:4, :4]),
        r"a mean of shape \(5,\) and a covariance of shape \(4, 4\) do not belong together",
    ),
    "complex numbers": (
        lambda path: npz(path, mu=MU + 1j, sigma=SIGMA),
        r"its mu is complex128 of shape \(5,\); expected numbers along 1 axes",
    ),
    "indefinite": (
        lambda path: npz(path, mu=MU, sigma=changed([0, 1], [1, 0], to=50.0)),
        r"the covariance is not positive semi-definite \(its eigenvalues go from -",
    ),
    "indefinite torch": (
        lambda path: as_dict(path, MU, changed([0, 1], [1, 0], to=50.0)),
        "the covariance is not positive semi-definite",
    ),
    "few images beside statistics": (
        lambda path: npz(path, pixels(3), mu=MU, sigma=SIGMA),
        r"its images \(arr_0\) number 3 beside mu and sigma, and distances need at least 11; save more, or",
    ),
    "ten images beside statistics": (
        lambda path: npz(path, pixels(10), mu=MU, sigma=SIGMA),
        r"its images \(arr_0\) number 10 beside mu and sigma",
    ),
    "pipe": (os.mkfifo, "it is neither a folder nor a regular file; expected a folder of images"),
    "link to a device": (
        lambda path: path.symlink_to("/dev/zero"),
        "it is neither a folder nor a regular file; expected a folder of images",
    ),
    "meta": (
        lambda path: torch.save([torch.zeros(F, device="meta"), torch.eye(F)], path),
        'it holds a tensor of the device "meta", which has no numbers; save it from another',
    ),
    "meta features": (
        lambda path: torch.save(torch.zeros(50, F, device="meta"), path),
        'it holds a tensor of the device "meta"',
    ),
    "objects": (
        lambda path: npz(path, mu=np.array([Trap()] * 5), sigma=SIGMA),
        "its array 'mu' holds Python objects, and reading them could run anything",
    ),
    "objects as images": (
        lambda path: npz(path, np.array([Trap()] * 5)),
        "its array 'arr_0' holds Python objects",
    ),
    "float images": (
        lambda path: npz(path, pixels(9) / 255),
        r"its arr_0 is float64 of shape \(9, 8, 8, 3\); expected images, uint8 of \(N, H, W, 3\)",
    ),
    "columns": (
        lambda path: npz(path, np.asfortranarray(pixels(9))),
        "its array 'arr_0' is stored column by column; pass it through numpy.ascontiguousarray",
    ),
    "other size": (
        lambda path: npz(path, pixels(9)[:, :4]),
        "its images are 4x8, and 8x8 are compared; give a reference of that size",
    ),
    "no images": (lambda path: npz(path, pixels(0)), "its array 'arr_0' is empty"),
    "few": (
        lambda path: npz(path, pixels(10)),
        "its usable images number 10, and distances over 5 features need",
    ),
    "cut": (
        cut(lambda path: npz(path, pixels(9)), -40),
        r"it is damaged or cut short \(.*\); fetch it again",
    ),
    "flipped": (flipped, r"it is damaged or cut short \(Bad CRC-32"),
    "few behind statistics": (
        lambda path: write_statistics(path, OF_THREE, Network.name),
        "its usable images number 3, and distances over 5 features need at least 11",
    ),
    "no image behind statistics": (
        lambda path: npz(path, mu=MU, sigma=SIGMA, n=-5),
        "its n is -5; expected the number of images",
    ),
    "few features": (lambda path: torch.save(torch.zeros(10, F), path), "its usable images number 10, and"),
    "nan features": (
        lambda path: torch.save(torch.full((50, F), torch.nan), path),
        "the features of 50 in 50 images are not finite",
    ),
    "wide features": (
        lambda path: torch.save(torch.zeros(50, F + 1), path),
        "it was made with a network of 6 features, and this one has 5",
    ),
    "cut torch": (cut(lambda path: as_dict(path, MU, SIGMA), 500), "it is damaged or cut short"),
    "program": (
        lambda path: torch.save({"mu": Trap(), "sigma": 1}, path),
        "it holds more than arrays, '.*print', and making that could run anything; save mu and sigma alone",
    ),
    "pickle": (
        lambda path: path.write_bytes(pickle.dumps({"mu": MU, "sigma": Trap()})),
        "it (holds more than arrays|is damaged)",
    ),
    "other dict": (
        lambda path: torch.save({"mean": torch.zeros(3)}, path),
        "it holds a dict of 'mean'; expected mu and sigma, or features",
    ),
    "other tensor": (
        lambda path: torch.save(torch.zeros(3), path),
        r"it holds a tensor of shape \(3,\); expected mu and sigma",
    ),
    "integer tensors": (
        lambda path: torch.save([torch.zeros(F).long(), torch.zeros(F, F).long()], path),
        r"it holds a torch\.strided tensor of torch\.int64; expected plain floats",
    ),
    "integer arrays": (
        lambda path: torch.save([np.arange(F), SIGMA], path),
        "it holds an array of type 'i8', and floats are expected",
    ),
    "object array": (
        lambda path: torch.save({"mu": np.array([1, "a"], dtype=object), "sigma": SIGMA}, path),
        "it holds an array of type 'O8', and floats are expected",
    ),
    "number": (lambda path: torch.save(3, path), "it holds a number; expected mu and sigma"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_can_be_no_reference_is_told_in_a_sentence(tmp_path, capfd, kind):
    path = tmp_path / "given"
    write, message = BAD[kind]
    write(path)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} can't be a reference: {message}") as told:
        opened(path, cache=tmp_path / "cache")
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", ""), "nothing of a file may be run, and nothing else said"


def test_a_path_where_nothing_is(tmp_path):
    with pytest.raises(
        DataError, match=r"^there is no reference at .*/missing; expected a folder of images, or"
    ):
        opened(tmp_path / "missing")


def test_a_cut_within_the_images_is_seen(tmp_path):
    """An archive whose directory is whole, and a member of it shorter than its header says."""
    array = io.BytesIO()
    np.save(array, pixels(20))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("arr_0.npy", array.getvalue()[:-100])
    with pytest.raises(DataError, match=r"damaged or cut short \(100 bytes are missing\)"):
        opened(tmp_path / "x.npz", batch=16)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("arr_0.npy", array.getvalue() + b"more")
    with pytest.raises(DataError, match="its array 'arr_0' is longer than it says"):
        opened(tmp_path / "x.npz", batch=16)
