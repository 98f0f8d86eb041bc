"""Statistics taken once by the command line, and read by what measures against them."""

import re

import numpy as np
import pytest
import torch
from ardistill_digits.data import HOME, Digits
from ardistill_digits.features import load_features
from PIL import Image

from ardistill.__main__ import main as ardistill
from ardistill.cli.statistics import main
from ardistill.errors import ArdistillError
from ardistill.evaluation.extraction import features_of, to_uint8
from ardistill.evaluation.report import Report
from ardistill.noise import Draw

WEIGHTS = HOME / "weights" / "features.safetensors"
DIGITS = ["features=digits", f"weights={WEIGHTS}", "size=16", "threads=1", "device=cpu"]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No asset is anywhere, and what is cached goes to a folder of this test."""
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture(scope="module")
def images():
    """(90, 3, 16, 16) digits as bytes."""
    draw = Draw(0, "statistics", 0, 90)
    return to_uint8(Digits().images("train", draw, draw.indices() % 10)[0])


@pytest.fixture(scope="module")
def features(images):
    """As the network sees them when it is asked directly."""
    return (
        features_of(load_features(Digits().weights), images.float() / 127.5 - 1).features_NF.double().numpy()
    )


@pytest.fixture
def folder(tmp_path, images):
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        place = tmp_path / "real" / str(index % 3)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index:02}.png")
    return tmp_path / "real"


def agrees(path, features):
    with np.load(path) as file:  # as pytorch-fid reads it
        mu, sigma, n = file["mu"], file["sigma"], int(file["n"])
    assert mu.dtype == sigma.dtype == np.float64
    spread = np.cov(features, rowvar=False)
    return (
        n == len(features)
        and np.allclose(mu, features.mean(0), rtol=1e-5, atol=1e-6)
        and np.allclose(sigma, spread, rtol=0, atol=1e-5 * np.abs(spread).max())
    )


def test_a_folders_statistics_are_numpys(folder, features, tmp_path, capsys):
    out = tmp_path / "stats.npz"
    assert main([f"reference={folder}", f"out={out}", *DIGITS, "batch=7"]) == 0
    assert agrees(out, features)
    told = capsys.readouterr().out
    assert re.fullmatch(
        rf"{re.escape(str(out))}: 90 images of 16x16, 48 features of digits [0-9a-f]{{32}}\n", told
    )


def test_samples_statistics_are_numpys(images, features, tmp_path):
    np.savez(tmp_path / "samples.npz", images.permute(0, 2, 3, 1).numpy())
    assert main([f"reference={tmp_path / 'samples.npz'}", f"out={tmp_path / 'x.npz'}", *DIGITS]) == 0
    assert agrees(tmp_path / "x.npz", features)


def test_a_run_is_judged_by_the_file_as_by_the_folder(folder, tmp_path):
    """The file is all that has to be carried along."""
    assert main([f"reference={folder}", f"out={tmp_path / 'stats.npz'}", *DIGITS]) == 0
    words = ["method=onestep*", "teacher=var", "threads=1", "method.samples=60", "eval.speed.repeats=0"]
    words += ["eval.n=60", "eval.batch=60", "eval.baselines=", "device=cpu"]
    distances = []
    for name, reference in (("one", folder), ("other", tmp_path / "stats.npz")):
        assert ardistill(["run", *words, f"eval.reference={reference}", f"out={tmp_path / name}"]) == 0
        distances.append([row.fid for row in Report.load(tmp_path / name / "report.json").rows])
    assert min(distances[0]) > 1
    assert distances[1] == pytest.approx(distances[0], rel=1e-9)


def test_images_are_brought_to_the_given_height_and_width(tmp_path):
    """Digit pairs are twice as wide as high."""
    pairs = np.random.default_rng(0).integers(0, 256, (100, 16, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "pairs.npz", pairs)
    words = ["features=digit-sums", f"weights={WEIGHTS}", "threads=1", "device=cpu"]
    words += [f"reference={tmp_path / 'pairs.npz'}", f"out={tmp_path / 'x.npz'}"]
    assert main([*words, "size=16x32"]) == 0
    assert np.load(tmp_path / "x.npz")["mu"].shape == (96,)
    with pytest.raises(
        ArdistillError, match=r"its images are 16x32, and 32x64 are compared|size=32x64 is none"
    ):
        main([*words, "size=32x64"])


def refused(words, message):
    with pytest.raises(ArdistillError, match=message) as told:
        main(words)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("size=256", r"^size=256 is none that features=digits takes \(.*\); give the size it was made for$"),
        ("size=0", "size must be pixels, such as 256 or 16x32"),
        ("size=16x", "size must be pixels"),
        ("out=stats.pth", r"out must end in \.npz, not 'stats\.pth'"),
        ("out=nowhere/stats.npz", "lies in a folder that is not there"),
        ("features=digit", "digit"),
        ("device=meta", "device must be auto, cpu, cuda or cuda:N, not 'meta'"),
        ("skip=1", "skip"),
        ("batch=0", "batch"),
        ("seed=3", "seed"),
        ("reference=missing", "^there is no reference at missing; expected"),
    ],
)
def test_words_that_do_not_fit(folder, tmp_path, monkeypatch, word, message):
    monkeypatch.chdir(tmp_path)
    words = {each.partition("=")[0]: each for each in [f"reference={folder}", "out=x.npz", *DIGITS, word]}
    refused(list(words.values()), message)
    assert not list(tmp_path.glob("*.npz"))


def test_weights_that_are_nowhere(folder, tmp_path):
    words = [f"reference={folder}", f"out={tmp_path / 'x.npz'}", "threads=1"]
    refused(
        [*words, "features=digits", "size=16"], r"^features=digits has no weights here \(.*\); give weights="
    )
    refused(words, r"^features=inception has no weights here \(.*\); give weights=PATH$")
    refused([*words, f"weights={tmp_path / 'missing.pth'}"], "missing.pth")


def test_statistics_of_unknown_networks_get_no_name(features, images, tmp_path):
    mu, sigma = features.mean(0), np.cov(features, rowvar=False)
    np.savez(tmp_path / "stats.npz", mu=mu, sigma=sigma)
    np.savez(tmp_path / "adm.npz", arr_0=images.permute(0, 2, 3, 1).numpy(), mu=mu, sigma=sigma)
    torch.save(torch.from_numpy(features), tmp_path / "features.pt")
    for name in ("stats.npz", "adm.npz", "features.pt"):
        refused(
            [f"reference={tmp_path / name}", f"out={tmp_path / 'x.npz'}", *DIGITS],
            f"{name} brings its own statistics or features, and nothing says which network made them; give it as",
        )
    assert not (tmp_path / "x.npz").exists()


def test_the_reference_is_not_written_over(images, tmp_path):
    path = tmp_path / "samples.npz"
    np.savez(path, images.permute(0, 2, 3, 1).numpy())
    before = path.read_bytes()
    refused([f"reference={path}", f"out={path}", *DIGITS], "is the reference itself; give another file$")
    assert path.read_bytes() == before
