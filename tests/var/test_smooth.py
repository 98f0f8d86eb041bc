"""VAR's own sampler with its own random numbers, and the smoothed one, against numbers recorded upstream.

They come from torch's CPU generator; another version of torch may draw others, and would fail here.
"""

import pytest
import torch
from ardistill_var.smooth import random_labels, sample

from ardistill.protocols import Guidance
from tests.golden import Fixture, close, load
from tests.var.models import golden_teacher, small_teacher

SEEDS = {"rnd": 1234, "rndsmooth": 4321}


@pytest.fixture(scope="module", params=["var", "var_saln"])
def golden(request: pytest.FixtureRequest) -> Fixture:
    return load(request.param)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["rnd", "rndsmooth"])
def test_draws_as_upstream(golden: Fixture, name: str) -> None:
    guidance = Guidance(golden.info["cfg"], top_k=20, top_p=0.9)
    teacher = golden_teacher(shared_aln=golden.config["shared_aln"], guidance=guidance)
    tokens, images = sample(teacher, golden["label_B"], seeded(SEEDS[name]), smooth=name == "rndsmooth")
    assert torch.equal(tokens, golden[f"{name}_idx"])
    if name == "rnd" and "rnd_image" in golden:
        close((images + 1) / 2, golden["rnd_image"])
    elif f"{name}_image" in golden:  # a temperature of 0.0135 at the last scale magnifies rounding 70 times
        torch.testing.assert_close((images + 1) / 2, golden["rndsmooth_image"], atol=1e-3, rtol=0)


def test_draws_labels_as_upstream(golden: Fixture) -> None:
    assert torch.equal(random_labels(2, 10, seeded(5)), golden["rnd_labels_seed5"][0])


def test_labels_not_given_are_drawn_first() -> None:
    teacher, generator = small_teacher(Guidance(1.0, top_k=5)), seeded(3)
    tokens, images = sample(teacher, 4, seeded(3))
    labels = random_labels(4, teacher.n_classes, generator)
    want_tokens, want_images = sample(teacher, labels, generator)
    assert torch.equal(tokens, want_tokens)
    assert torch.equal(images, want_images)


def test_smooth_latents_are_means_of_codes_the_filters_left() -> None:
    """Greedy, the only code left is the mean: the smoothed sample is the plain one."""
    teacher, labels = small_teacher(Guidance(1.0, top_k=1)), torch.tensor([1, 3])
    plain, smooth = (sample(teacher, labels, seeded(0), smooth=smooth) for smooth in (False, True))
    assert torch.equal(plain[0], smooth[0])
    torch.testing.assert_close(plain[1], smooth[1])
