"""The catalogue's entries, and names that are not in it."""

import importlib.util
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
import torchvision
from torch_fidelity import feature_extractor_clip, feature_extractor_dinov2, feature_extractor_inceptionv3

from ardistill.assets import asset, catalogue
from ardistill.errors import ConfigError

PUBLISHED = [name for name in catalogue() if name not in {"pinned", "loose", "sized"}]


@pytest.mark.parametrize("name", PUBLISHED)
def test_entries_are_well_formed(name):
    entry = asset(name)
    for address in (entry.url, entry.page):
        parts = urlsplit(address)
        assert parts.scheme == "https"
        assert parts.hostname
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert re.fullmatch(r"[\w.-]+", entry.file)
    assert not entry.file.startswith(".")
    assert entry.about
    assert "\n" not in entry.about
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert (entry.sha256 is None) == (entry.sha256_by is None)
    assert entry.size is None or entry.size > 1_000_000


def test_no_two_entries_share_a_file_an_address_or_a_hash():
    entries = [asset(name) for name in PUBLISHED]
    for values in (
        [entry.file.lower() for entry in entries],
        [entry.url for entry in entries],
        [entry.sha256 for entry in entries if entry.sha256],
    ):
        assert len(values) == len(set(values)) > 10


def test_hashes_agree_with_those_in_the_publishers_file_names():
    """torch's file names end in the first eight digits, and CLIP's addresses hold all of them."""
    dated = {}
    for name in PUBLISHED:
        found = re.search(r"-([0-9a-f]{8,64})\.pth?$", asset(name).file)
        if found:
            dated[name] = found[1]
            assert asset(name).sha256.startswith(found[1])
            assert asset(name).sha256_by == "publisher"
    assert {"inception", "vgg16", "alexnet", "clip-vit-b-32"} <= dated.keys()


def test_feature_networks_are_those_of_torch_fidelity():
    assert asset("inception").url == feature_extractor_inceptionv3.URL_INCEPTION_V3
    for name, told in feature_extractor_clip.MODEL_METADATA.items():
        entry = asset(name)
        assert (entry.url, entry.sha256) == (feature_extractor_clip.MODEL_URLS[name], told["hash"])
        assert entry.file == f"{name}-{told['hash']}.pt"  # as its cache has it
    for name, short in feature_extractor_dinov2.MODEL_METADATA.items():
        assert PurePosixPath(asset(name).url).parts[-2:] == (short, f"{short}_pretrain.pth")


def test_backbones_are_those_of_torchvision():
    for name, weights in (
        ("vgg16", torchvision.models.VGG16_Weights.IMAGENET1K_V1),
        ("alexnet", torchvision.models.AlexNet_Weights.IMAGENET1K_V1),
    ):
        assert asset(name).url == weights.url
        assert asset(name).size / 2**20 == pytest.approx(weights.meta["_file_size"], abs=0.001)


def test_unknown_names_are_answered_with_the_nearest_or_all():
    with pytest.raises(ConfigError, match=r"no public file named 'incepton'; did you mean inception\?$"):
        asset("incepton")
    with pytest.raises(ConfigError, match=r"'zzz'; known: inception, vgg16, .*dd1-llamagen-l"):
        asset("zzz")


def test_the_catalogue_ships_with_the_package():
    assert importlib.util.find_spec("ardistill.assets").origin.endswith("assets/__init__.py")
    assert len(PUBLISHED) > 40
