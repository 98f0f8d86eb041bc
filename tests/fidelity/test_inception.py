"""Inception-v3 against torch-fidelity's own loading, and against torchvision's network for pytorch-fid's way."""

import os
import pickle
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from ardistill_fidelity.inception import load_inception, load_pytorch_fid
from safetensors.torch import save_file
from torch_fidelity.utils import create_feature_extractor

from ardistill.errors import MisfitError, WeightsError
from ardistill.evaluation.extraction import extractor, to_uint8
from tests.fidelity.making import finder, images, ruled


@pytest.fixture(scope="module")
def state():
    with torch.device("meta"):
        network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    return ruled({key: shape for key, shape in shapes.items() if not key.endswith("num_batches_tracked")})


@pytest.fixture(scope="module")
def path(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(state, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def network(path):
    return load_inception(finder(path))


@pytest.fixture(scope="module")
def fid_network(path):
    return load_pytorch_fid(finder(path))


@pytest.fixture(scope="module")
def theirs(path):
    """torch-fidelity's own, which unpickles the file."""
    name, layers = "inception-v3-compat", ["2048", "logits_unbiased"]
    return create_feature_extractor(
        name, layers, cuda=False, verbose=False, feature_extractor_weights_path=str(path)
    )


@pytest.fixture(scope="module")
def picture():
    """Between the grid's bytes, and so small that the two resizes differ."""
    return images(1, 12, 10) + 0.4 / 127.5


@pytest.fixture(scope="module")
def seen(network, picture):
    return extractor(network)(picture)


@pytest.fixture(scope="module")
def fid_seen(fid_network, picture):
    return fid_network(picture)


def test_sees_what_torch_fidelity_sees_bit_for_bit(network, theirs, seen, picture):
    features_BF, logits_BZ = theirs(to_uint8(picture))
    assert torch.equal(seen.features_NF, features_BF)
    assert torch.equal(seen.logits_NZ, logits_BZ)
    assert (network.name, network.n_features) == ("inception", features_BF.shape[1])


def as_torchvision_does(state, images_B3HW):
    """pytorch-fid's pipeline on torchvision's Inception, whose poolings are changed as that project changes them."""

    def fid_pool(x, kernel_size, stride, padding):
        calls.append(kernel_size)
        if len(calls) == 9:  # the very last
            return F.max_pool2d(x, kernel_size, stride, padding)
        return F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    with torch.device("meta"):
        network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, init_weights=False)
    network.load_state_dict(state, assign=True, strict=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.num_batches_tracked = None
    pooled, calls = [], []
    network.fc.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    changed = SimpleNamespace(**{**vars(F), "avg_pool2d": fid_pool})
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torchvision.models.inception, "F", changed)
        resized = F.interpolate((images_B3HW + 1) / 2, size=(299, 299), mode="bilinear", align_corners=False)
        logits_BZ = network.eval()(2 * resized - 1)
    return pooled[0], logits_BZ - network.fc.bias


def test_pytorch_fid_agrees_with_torchvision(fid_network, fid_seen, state, picture):
    """With unrounded images: only torch-fidelity's way has bytes."""
    features_BF, logits_BZ = as_torchvision_does(state, picture)
    assert fid_seen[0] == pytest.approx(features_BF, rel=1e-4, abs=1e-5)
    assert fid_seen[1] == pytest.approx(logits_BZ.detach(), rel=1e-3, abs=1e-4)
    assert (fid_network.name, fid_network.n_features) == ("inception-pytorch-fid", features_BF.shape[1])


def test_the_two_are_one_network(network, fid_network):
    """At 299 pixels nothing is resized, and they differ only in where they put black and white."""
    images_B3HW = images(1, 299, 299)
    moved_B3HW = (to_uint8(images_B3HW).float() - 128) / 128
    assert fid_network(moved_B3HW)[0] == pytest.approx(network(images_B3HW)[0], rel=1e-5, abs=1e-6)


def test_the_two_differ_in_their_resize(seen, fid_seen):
    assert (seen.features_NF - fid_seen[0]).norm() > 0.02 * fid_seen[0].norm()


def test_other_files_of_the_same_numbers_do_as_well(state, network, tmp_path, caplog):
    """As safetensors, and with counters; no random number is drawn, nothing can be trained, and it is mentioned."""
    path = tmp_path / "weights.safetensors"
    save_file(state | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(7)}, path)
    before = torch.get_rng_state()
    again = load_inception(finder(path))
    assert torch.equal(before, torch.get_rng_state())
    assert again.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert f"{path} is not the published file of inception" in caplog.text
    assert "instead of 6726825d" in caplog.text


def test_the_published_file_must_be_the_published_one(tmp_path, monkeypatch):
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is not inception: its sha256 begins with"):
        load_inception(finder(None))


def test_says_what_a_file_lacks(state, tmp_path):
    torch.save({key: value for key, value in state.items() if key != "fc.bias"}, tmp_path / "some.pth")
    with pytest.raises(
        MisfitError, match=r"some\.pth does not fit the Inception-v3 .*: fc\.bias is missing; give"
    ):
        load_inception(finder(tmp_path / "some.pth"))


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match="there is no weights file at"):
        load_inception(finder(tmp_path / "nowhere.pth"))
    with pytest.raises(WeightsError, match=r"6726825d\.pth.*published at https.*eval\.weights=PATH"):
        load_inception(finder(None))


class Harmful:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_file_that_would_run_something_is_refused(save, tmp_path):
    trace = tmp_path / "trace"
    save({"fc.bias": Harmful(str(trace))}, tmp_path / "harmful.pth")
    with pytest.raises(WeightsError, match="mkdir"):
        load_inception(finder(tmp_path / "harmful.pth"))
    assert not trace.exists()
