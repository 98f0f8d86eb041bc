"""CLIP's image encoders against torch-fidelity's own, which runs the archives it is given."""

import warnings
from pathlib import Path

import pytest
import torch
from ardistill_fidelity import clip, network
from ardistill_fidelity.clip import build, read_clip, sizes_of
from safetensors.torch import save_file
from torch_fidelity.feature_extractor_clip import CLIPVisual, FeatureExtractorCLIP

from ardistill.errors import DataError, MisfitError, WeightsError
from ardistill.evaluation.extraction import extractor, to_uint8
from ardistill.weights import Weights
from tests.fidelity.archives import TINY, clip_tensors, write_archive
from tests.fidelity.making import finder, images

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")


def tiny(path):
    file = read_clip(path)
    return build("clip-tiny", file, sizes_of(file))


@pytest.fixture(scope="module", params=TINY)
def archive(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / f"{request.param}.pt"
    write_archive(path, clip_tensors(request.param))
    return path


@pytest.fixture
def vit(tmp_path):
    torch.save(clip_tensors("vit"), tmp_path / "vit.pth")
    return tiny(tmp_path / "vit.pth")


def test_sees_what_torch_fidelity_sees_bit_for_bit(archive):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = FeatureExtractorCLIP("clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(archive))
    images_B3HW = images(3, 40, 56)
    (features_BF,) = theirs(to_uint8(images_B3HW))
    ours = extractor(tiny(archive))(images_B3HW)
    assert torch.equal(ours.features_NF, features_BF)
    assert ours.logits_NZ.shape == (3, 0)
    assert features_BF.std(0).mean() > 0.01, "the weights tell images apart"


@pytest.mark.parametrize("kind", TINY)
def test_an_archive_and_its_tensors_alone_make_one_network(kind, tmp_path):
    tensors = clip_tensors(kind)
    write_archive(tmp_path / "program.pt", tensors)
    torch.save(tensors, tmp_path / "tensors.pth")
    save_file(tensors, tmp_path / "tensors.safetensors")
    states = [
        tiny(tmp_path / name).state_dict() for name in ("program.pt", "tensors.pth", "tensors.safetensors")
    ]
    assert len({tuple(state) for state in states}) == 1
    assert all(torch.equal(value, state[key]) for state in states for key, value in states[0].items())


def test_loading_draws_no_random_numbers(archive):
    before = torch.get_rng_state()
    made = tiny(archive)
    assert torch.equal(before, torch.get_rng_state())
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_images_go_through_in_portions(vit, monkeypatch):
    images_B3HW = images(7, 20, 20)
    whole_BF, _ = vit(images_B3HW)
    seen = []
    vit.extractor.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    monkeypatch.setattr(network, "CHUNK", 3)
    features_BF, logits_BZ = vit(images_B3HW)
    assert seen == [3, 3, 1]
    assert features_BF == pytest.approx(whole_BF, rel=1e-5, abs=1e-6)
    assert logits_BZ.shape == (7, 0)


def test_bytes_are_rounded_to(vit):
    images_B3HW = images(2, 20, 20)
    assert torch.equal(vit(images_B3HW)[0], vit(images_B3HW + 0.4 / 127.5)[0])
    assert not torch.equal(vit(images_B3HW)[0], vit(images_B3HW + 0.6 / 127.5)[0])


def test_stays_in_float32_under_autocast(vit):
    images_B3HW = images(2, 20, 20)
    with torch.autocast("cpu", torch.bfloat16):
        features_BF, _ = vit(images_B3HW.bfloat16().float())
    assert features_BF.dtype == torch.float32
    assert torch.equal(features_BF, vit(images_B3HW.bfloat16())[0])


def test_grey_images_are_refused(vit):
    with pytest.raises(DataError, match=r"clip-tiny sees colour images.*\(2, 1, 20, 20\)"):
        vit(torch.zeros(2, 1, 20, 20))


@pytest.mark.parametrize("name", clip.MODELS)
def test_sizes_are_told_by_shapes(name):
    """Of torch-fidelity's network with the sizes of that name."""
    sizes = clip.MODELS[name]
    blocks, patch = (sizes.blocks[0], sizes.patch) if sizes.patch else (sizes.blocks, None)
    with torch.device("meta"):
        model = CLIPVisual(sizes.features, sizes.pixels, blocks, sizes.width, patch)
    assert sizes_of(Weights(model.state_dict(), {}, Path(name))) == sizes


def test_another_size_is_refused(archive):
    with pytest.raises(
        MisfitError, match=r"holds a CLIP with .*24 features, and clip-vit-b-16 has patches of 16"
    ):
        clip.vit_b_16(finder(archive))


def test_says_what_a_file_lacks(tmp_path):
    tensors = clip_tensors("vit")
    del tensors["visual.ln_post.bias"]
    write_archive(tmp_path / "some.pt", tensors)
    with pytest.raises(
        MisfitError, match=r"some\.pt does not fit a CLIP .*: visual\.ln_post\.bias is missing"
    ):
        tiny(tmp_path / "some.pt")


def test_another_kind_of_network_is_refused(tmp_path):
    torch.save({"vision_model.embeddings.class_embedding": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"does not hold an image encoder of OpenAI's CLIP .*vision_model"):
        tiny(tmp_path / "other.pth")


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="there is no weights file at"):
        clip.rn50(finder(tmp_path / "nowhere.pt"))
    monkeypatch.setenv("ARDISTILL_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match=r"clip-rn50 needs .*eval\.weights=PATH"):
        clip.rn50(finder(None))
