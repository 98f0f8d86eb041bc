"""DINOv2 against a transformer put together from torch's own layers, on rule-made weights of a smaller size."""

import numpy as np
import pytest
import torch
from ardistill_fidelity import dinov2
from ardistill_fidelity.dinov2 import build, config_of, resized
from ardistill_fidelity.vision_transformer import VisionTransformer, ViTConfig
from torch import nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ardistill.assets import asset
from ardistill.errors import MisfitError, WeightsError
from ardistill.evaluation.extraction import extractor, to_uint8
from ardistill.weights import read_weights
from tests.fidelity.making import finder, images, ruled

WIDTH, DEPTH, HEADS, HIDDEN = 128, 2, 2, 344
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def published(mlp, side=37):
    """A state dict as Meta's files have it."""
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + side**2, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    layers = {"fc1": (HIDDEN, WIDTH), "fc2": (WIDTH, HIDDEN)}
    if mlp == "swiglu":
        layers = {"w12": (2 * HIDDEN, WIDTH), "w3": (WIDTH, HIDDEN)}
    layers = {f"mlp.{name}": shape for name, shape in layers.items()}
    layers |= {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    for index in range(DEPTH):
        block = {f"{name}.weight": shape for name, shape in layers.items()}
        block |= {f"{name}.bias": shape[:1] for name, shape in layers.items()}
        block |= {f"norm{n}.{part}": (WIDTH,) for n in (1, 2) for part in ("weight", "bias")}
        block |= {f"ls{n}.gamma": (WIDTH,) for n in (1, 2)}
        shapes |= {f"blocks.{index}.{name}": shape for name, shape in block.items()}
    return ruled({name: torch.Size(shape) for name, shape in shapes.items()})


def cubic(distance):
    """Keys' kernel with a = -0.75."""
    d, a = np.abs(distance), -0.75
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def oracle_positions(positions, side):
    """Bicubic, for a square of `side` + 0.1 patches, of which the 0.1 is left out."""
    positions = positions[0].double().numpy()
    before = round((len(positions) - 1) ** 0.5)
    places = (np.arange(side) + 0.5) * before / (side + 0.1) - 0.5
    weights = np.zeros((side, before))
    for row, place in zip(weights, places, strict=True):
        for source in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            row[np.clip(source, 0, before - 1)] += cubic(place - source)
    square = positions[1:].reshape(before, before, -1)
    stretched = np.einsum("ik,jl,kld->ijd", weights, weights, square)
    return np.concatenate([positions[:1], stretched.reshape(side**2, -1)])


def oracle(state, images_B3HW):
    """The class token after `DEPTH` blocks, by torch.nn.MultiheadAttention in float64."""
    state = {name: value.double() for name, value in state.items()}
    norm = lambda x, name: nn.functional.layer_norm(  # noqa: E731
        x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6
    )
    linear = lambda x, name: x @ state[f"{name}.weight"].T + state[f"{name}.bias"]  # noqa: E731
    resized = interpolate_bilinear_2d_like_tensorflow1x(images_B3HW * 1.0, (224, 224), align_corners=False)
    shares = resized.double() / 255
    normal = (shares - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
    cut = normal.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    patches = cut @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"].expand(len(patches), 1, WIDTH), patches], 1)
    x = x + torch.from_numpy(oracle_positions(state["pos_embed"], 16))
    for index in range(DEPTH):
        block = f"blocks.{index}"
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
        attention.load_state_dict(
            {
                "in_proj_weight": state[f"{block}.attn.qkv.weight"],
                "in_proj_bias": state[f"{block}.attn.qkv.bias"],
                "out_proj.weight": state[f"{block}.attn.proj.weight"],
                "out_proj.bias": state[f"{block}.attn.proj.bias"],
            }
        )
        h = norm(x, f"{block}.norm1")
        x = x + attention(h, h, h, need_weights=False)[0] * state[f"{block}.ls1.gamma"]
        h = norm(x, f"{block}.norm2")
        if f"{block}.mlp.w12.weight" in state:
            gate, value = (
                linear(h, f"{block}.mlp.w12")[..., :HIDDEN],
                linear(h, f"{block}.mlp.w12")[..., HIDDEN:],
            )
            h = linear(gate / (1 + (-gate).exp()) * value, f"{block}.mlp.w3")
        else:
            h = linear(h, f"{block}.mlp.fc1")
            h = linear(h * (1 + torch.erf(h / 2**0.5)) / 2, f"{block}.mlp.fc2")
        x = x + h * state[f"{block}.ls2.gamma"]
    return norm(x[:, 0], "norm").detach()


def network(path):
    file = read_weights(path)
    return build("dinov2-tiny", file, config_of(file))


@pytest.fixture(params=["mlp", "swiglu"])
def path(request, tmp_path):
    torch.save(published(request.param), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("size", [(224, 224), (50, 70)])
def test_agrees_with_an_independent_transformer(path, size):
    images_B3HW = images(3, *size)
    seen = extractor(network(path))(images_B3HW)
    features_BF = oracle(torch.load(path), to_uint8(images_B3HW))
    assert seen.features_NF.double() == pytest.approx(features_BF, rel=1e-3, abs=2e-4)
    assert seen.logits_NZ.shape == (3, 0)
    assert seen.features_NF.std(0).mean() > 0.01, "the weights tell images apart"


def test_positions_are_stretched_as_meta_does():
    positions_1LD = torch.randn(1, 1 + 37**2, 5, generator=torch.Generator().manual_seed(1))
    ours = resized(positions_1LD, 16)[0].double().numpy()
    assert ours == pytest.approx(oracle_positions(positions_1LD, 16), abs=1e-4)
    plain = nn.functional.interpolate(positions_1LD[:, 1:].mT.reshape(1, 5, 37, 37), (16, 16), mode="bicubic")
    assert np.abs(ours[1:] - plain.flatten(2)[0].T.numpy()).max() > 0.1, "the 0.1 counts"
    assert torch.equal(resized(positions_1LD, 37), positions_1LD)


def test_loading_draws_no_random_numbers(path):
    before = torch.get_rng_state()
    made = network(path)
    assert torch.equal(before, torch.get_rng_state())
    assert not made.training
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert (made.name, made.n_features) == ("dinov2-tiny", WIDTH)


@pytest.mark.parametrize("name", dinov2.SIZES)
def test_a_network_of_that_name_fills_the_published_file(name):
    """But for the container: some hundred names and places."""
    width, depth = dinov2.SIZES[name]
    swiglu = name == "dinov2-vit-g-14"
    hidden = 4096 if swiglu else 4 * width
    with torch.device("meta"):
        model = VisionTransformer(ViTConfig(width, depth, 14, hidden, swiglu, n_patches=37**2))
    n_bytes = 4 * (sum(parameter.numel() for parameter in model.parameters()) + width)  # and the mask token
    assert 0 < asset(name).size - n_bytes < 300_000


def test_another_size_is_refused(path):
    with pytest.raises(
        MisfitError, match="holds a DINOv2 of width 128 and depth 2, and dinov2-vit-s-14 has 384"
    ):
        dinov2.vit_s_14(finder(path))


def test_registers_are_told_of(tmp_path):
    """Meta's later files have four tokens more."""
    torch.save(published("mlp") | {"register_tokens": torch.zeros(1, 4, WIDTH)}, tmp_path / "reg.pth")
    with pytest.raises(MisfitError, match=r"reg\.pth does not fit a DINOv2 .*register_tokens is unexpected"):
        network(tmp_path / "reg.pth")


def test_another_network_is_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=r"does not hold a DINOv2 network \(its keys are like fc\.weight\)"
    ):
        network(tmp_path / "other.pth")
