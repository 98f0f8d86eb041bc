"""Perceptual distances: LPIPS on rule-made backbones against the package's own, and the digits' stand-in."""

import pytest
import torch
from ardistill_digits.data import Digits
from ardistill_digits.features import load_features

from ardistill import perceptual as module
from ardistill.errors import ConfigError, MisfitError, WeightsError
from ardistill.noise import Draw
from ardistill.weights import read_weights, write_weights
from tests.evaluation.backbones import backbone, by_hand

CACHED = "alexnet-owt-7be5be79.pth"


def perceptual(net="features", weights=None, features=None):
    return module.perceptual(net, weights, features, "cpu", option="eval.ppl")


@pytest.fixture(scope="module")
def alex(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(backbone("alex"), path)
    return path


def images(size=48, n=3, seed=0):
    draw = Draw(seed, "test-perceptual", 0, n)
    return (2 * draw.uniform("made", 3, size, size) - 1, 2 * draw.uniform("target", 3, size, size) - 1)


def test_it_equals_the_packages_own_distance(alex):
    made, target = images()
    want = by_hand("alex", backbone("alex"))(made, target).flatten()
    got = perceptual("alex", alex)(made, target)
    assert want.min() > 0
    torch.testing.assert_close(got, want.detach(), rtol=1e-5, atol=1e-7)


def test_vgg_is_read_from_a_safetensors_file_of_its_features_alone(tmp_path):
    state = backbone("vgg")
    path = tmp_path / "vgg.safetensors"
    features = {key.removeprefix("features."): value for key, value in state.items() if "features" in key}
    write_weights(path, features, {})
    made, target = images(size=16, n=2)
    got = perceptual("vgg", path)(made, target)
    path.unlink()
    want = by_hand("vgg", state)(made, target).flatten()
    assert want.min() > 0
    torch.testing.assert_close(got, want.detach(), rtol=1e-5, atol=1e-7)


def digits_distance():
    return perceptual(features=load_features(Digits().weights))


def digits(name, labels_B, seed=0):
    return Digits().images("test", Draw(seed, name, 0, len(labels_B)), labels_B)[0]


@pytest.fixture(params=["features", "alex"])
def case(request, alex):
    """A distance, and two batches of images that differ."""
    if request.param == "alex":
        return perceptual("alex", alex), *images()
    labels_B = torch.arange(4)
    return digits_distance(), digits("a", labels_B), digits("b", labels_B)


def test_equal_images_are_at_zero_and_others_are_not(case):
    distance, made, target = case
    assert distance(target, target).eq(0).all()
    apart = distance(made, target)
    assert apart.shape == (len(made),)
    assert apart.min() > 0


def test_every_image_has_its_own_distance_and_gradient(case):
    distance, made, target = case
    made = made.requires_grad_()
    apart = distance(made, target)
    (gradient,) = torch.autograd.grad(apart[1], made)
    assert gradient.isfinite().all()
    assert gradient[1].abs().max() > 0
    assert gradient[0].eq(0).all()
    torch.testing.assert_close(distance(made[:1], target[:1]), apart[:1], rtol=1e-4, atol=1e-6)


def leaves(node, seen):
    """The tensors that a backward pass would fill."""
    if node is None or node in seen:
        return []
    seen.add(node)
    own = [node.variable] if type(node).__name__ == "AccumulateGrad" else []
    return own + [leaf for parent, _ in node.next_functions for leaf in leaves(parent, seen)]


def test_nothing_but_the_images_is_trained(case):
    distance, made, target = case
    made = made.clone().requires_grad_()
    found = leaves(distance(made, target).sum().grad_fn, set())
    assert len(found) == 1
    assert found[0] is made


def test_following_the_gradient_brings_images_nearer(case):
    distance, made, target = case
    made = made.clone().requires_grad_()
    first = distance(made, target).sum()
    (gradient,) = torch.autograd.grad(first, made)
    step = 0.1 * first.detach() / gradient.square().sum()
    assert distance(made - step * gradient, target).sum() < first


def test_autocast_does_not_coarsen_it(case):
    distance, made, target = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = distance(made.bfloat16().float(), target)
    torch.testing.assert_close(within, distance(made.bfloat16().float(), target), rtol=0, atol=0)


def test_making_one_draws_nothing_and_prints_nothing(alex, capsys):
    before = torch.get_rng_state()
    perceptual("alex", alex)
    assert torch.get_rng_state().equal(before)
    assert capsys.readouterr() == ("", "")


def test_on_digits_other_classes_are_farther_than_other_hands():
    labels_B = torch.arange(10).repeat(8)
    target, hand, other = (
        digits("a", labels_B),
        digits("b", labels_B),
        digits("c", (labels_B + 3) % 10),
    )
    distance = digits_distance()
    assert distance(hand, target).mean() < 0.4
    assert 1 < distance(other, target).mean() < 2


def test_an_image_without_features_is_at_one():
    def features(images_BCHW):
        features_BF = images_BCHW.flatten(1)
        return features_BF, features_BF

    _, target = images(size=4)
    got = perceptual(features=features)(torch.zeros_like(target), target)
    torch.testing.assert_close(got, torch.ones(3))


def test_the_cache_of_torchvision_is_looked_into(alex, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    with pytest.raises(WeightsError, match=rf"{tmp_path}/hub/checkpoints/{CACHED}' .*eval.ppl.weights=PATH"):
        perceptual("alex")
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / CACHED).write_bytes(alex.read_bytes())
    made, target = images()
    given = perceptual("alex", alex)
    assert perceptual("alex")(made, target).equal(given(made, target))


def test_another_networks_file_is_refused(alex):
    with pytest.raises(
        MisfitError,
        match=r"alexnet.pth does not fit torchvision's VGG16: .*; give the file .*vgg16-397923af.pth$",
    ):
        perceptual("vgg", alex)
    of_digits = Digits().weights("features")
    with pytest.raises(MisfitError, match="does not fit torchvision's AlexNet"):
        perceptual("alex", of_digits)


def test_damaged_weights_are_refused(alex, tmp_path):
    state = dict(read_weights(alex).tensors)
    state["features.3.bias"] = state["features.3.bias"] * torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match=r"NaN in features.3.bias"):
        perceptual("alex", tmp_path / "nan.pth")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file at .*absent\.pth"):
        perceptual("vgg", tmp_path / "absent.pth")


@pytest.mark.parametrize(("net", "smallest"), [("alex", 31), ("vgg", 16)])
def test_images_too_small_for_the_backbone_are_refused(net, smallest, tmp_path):
    write_weights(tmp_path / "w.safetensors", backbone(net), {})
    distance = perceptual(net, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    assert distance(*images(size=smallest, n=1)).isfinite().all()
    with pytest.raises(
        ConfigError,
        match=rf"{smallest - 1} x {smallest - 1} are too small .* needs {smallest} .*write eval.ppl.net=features$",
    ):
        distance(*images(size=smallest - 1, n=1))


def test_data_without_a_feature_network_needs_another_net():
    with pytest.raises(ConfigError, match=r"feature network of its own.*eval.ppl.net=vgg"):
        perceptual()


def test_features_without_a_gradient_are_refused():
    @torch.no_grad()
    def features(images_BCHW):
        return images_BCHW.exp().flatten(1), images_BCHW.flatten(1)

    made, target = images(size=4)
    distance = perceptual(features=features)
    assert distance(made, target).min() > 0
    with pytest.raises(ConfigError, match="gives no gradient"):
        distance(made.requires_grad_(), target)


def test_a_file_for_the_datas_own_network_is_refused(alex):
    with pytest.raises(ConfigError, match=r"^eval.ppl: weights are for net=vgg or net=alex; .* own network$"):
        perceptual("features", alex, features=lambda images_BCHW: (images_BCHW, images_BCHW))
