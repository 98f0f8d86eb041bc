"""What the package offers, and that listing it costs nothing."""

import inspect
import subprocess
import sys

import pytest
from ardistill_fidelity import ardistill_features, clip, dinov2
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from ardistill.assets import catalogue

OFFERS = {offer.name: offer for offer in ardistill_features()}


def test_listing_imports_no_torch():
    code = (
        "import sys, ardistill_fidelity as f; list(f.ardistill_features()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_offers_all_that_torch_fidelity_has_for_fid():
    theirs = {name for name in FEATURE_EXTRACTORS_REGISTRY if name.startswith(("clip-", "dinov2-"))}
    assert theirs
    assert OFFERS.keys() == theirs | {"inception", "inception-pytorch-fid"}


@pytest.mark.parametrize("name", OFFERS)
def test_an_offer_leads_to_its_own_network(name):
    load = OFFERS[name].load()
    assert list(inspect.signature(load).parameters) == ["weights"]
    if name in clip.MODELS or name in dinov2.SIZES:
        assert load.args == (name,)
        features = clip.MODELS[name].features if name in clip.MODELS else dinov2.SIZES[name][0]
        assert f" {features} features" in OFFERS[name].summary


def test_every_network_has_a_published_file():
    assert {name for name in OFFERS if name != "inception-pytorch-fid"} <= catalogue().keys()
