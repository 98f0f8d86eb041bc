"""Perceptual path length: how smoothly a generator's images follow its noise, by torch-fidelity.

Shape legend: N pairs, B rows of a batch, L tokens, C code width, Z = L * C, H W pixels.

Two Gaussian noises are drawn with one class, and the second moves to `epsilon` of the way from the first. A pair's
length is the distance between the two images over epsilon^2; the mean is over the pairs from the 1st to the 99th
percentile (Karras et al., StyleGAN, arXiv 1812.04948, section 4.1, and their code). Published lengths are with
epsilon 1e-4 and LPIPS in VGG16, on images of 256 pixels as they are.

*Path.* As torch-fidelity does by default, a pair starts at a noise itself and goes straight on ("lerp"): a step of
epsilon * sqrt(2) in every number. StyleGAN's own code starts anywhere between the two and, in z, goes round on the
sphere ("slerp"), which by (pi / 2)^2 / 2 = 1.23 is the longer path. DD2's paper does not tell which it took.

*Precision.* The images must be float32. In torch-fidelity's default of bytes a step of 1e-4 is far below the rounding:
most pairs look alike, and the others differ by a whole grey level, divided by 1e-8. On a smooth generator of noise
bytes made the mean 88 times as large, and the 10 bits of TensorFloat32, cuDNN's default, 3 times; so that is off here.

*Students that snap.* Of a student that decodes codes (the largest logit: DD1 up to its split) the images are a step
function of the noise. Nearly every pair is then two equal images, and the few that jump are a finite distance apart:
they are a share of the pairs that falls with epsilon, divided by epsilon^2, and the mean grows without limit as epsilon
falls. It compares students at one epsilon only; it needs many pairs, for its standard error is std / sqrt(pairs) and a
jump of 0.01 counts 10^6; and where fewer than one pair in a hundred jumps, the percentiles cut all of them off and it
is 0. A student that decodes its own vectors, as DD2's does, has a slope, the length that StyleGAN means. DD2's table
(DD1 18438, DD2 7232) holds the one against the other, and tells neither pairs nor path.
"""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor
from torch_fidelity import registry
from torch_fidelity.generative_model_base import GenerativeModelBase
from torch_fidelity.metric_ppl import KEY_METRIC_PPL_RAW, calculate_ppl
from torch_fidelity.sample_similarity_base import SampleSimilarityBase

from ardistill.errors import ConfigError, DataError
from ardistill.noise import stream_key
from ardistill.perceptual import Distance

Images = Callable[[Tensor, Tensor], Tensor]
"""(noise (B, L, C), labels (B,)) -> images (B, channels, H, W) in [-1, 1], float32.

Rows i and B / 2 + i are the two ends of a pair: whatever else is random has to be the same for both. A teacher that
samples its tokens has no such noise, and no path length."""

LOWEST, HIGHEST = 1, 99  # percentiles
BLOCK = 256  # pairs whose noise is held at once: torch-fidelity draws all of it before the first image
PIXELS = 1 << 18  # compared at once: VGG16 needs 2 KiB for each
_NAME = "ardistill-distance"


@attrs.frozen
class PathLength:
    """Mean and standard deviation of the pairs' lengths between the percentiles; `pairs` were drawn."""

    mean: float
    std: float
    pairs: int


def path_length(
    images: Images,
    shape: tuple[int, int],
    n_classes: int,
    distance: Distance,
    *,
    n: int,
    batch: int,
    seed: int,
    epsilon: float = 1e-4,
    device: torch.device | str = "cpu",
    advance: Callable[[int, int], None] | None = None,
) -> PathLength:
    """Over `n` >= 1 pairs of noises (L, C) = `shape`, the same for each `seed`; `batch` images are made at once.

    `advance` is told (pairs done, n). Raises ConfigError where there are no classes, and DataError for images of less
    than float32's precision and for distances that are not finite.
    """
    if n_classes < 1:
        raise ConfigError(
            "a perceptual path stays within a class, and this teacher has no classes; leave out eval.ppl.n"
        )
    model, lengths = _model(images, shape, n_classes, epsilon, device), []
    _register(distance)
    try:
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            with _full_precision():
                told = calculate_ppl(
                    1,
                    input1=model,
                    input1_model_num_samples=count,
                    input1_model_num_classes=n_classes,
                    batch_size=max(1, batch // 2),
                    rng_seed=stream_key("path-length", seed, start // BLOCK) % 2**32,  # all it takes
                    ppl_epsilon=epsilon,
                    ppl_z_interp_mode="lerp",
                    ppl_reduction="none",
                    ppl_sample_similarity=_NAME,
                    ppl_sample_similarity_resize=None,
                    ppl_sample_similarity_dtype=None,
                    ppl_discard_percentile_lower=None,  # below: over all blocks at once
                    ppl_discard_percentile_higher=None,
                    cuda=False,  # the model and the distance move what they are given
                    verbose=False,
                )
            lengths.append(told[KEY_METRIC_PPL_RAW].astype(np.float64))
            if advance is not None:
                advance(start + count, n)
    finally:
        _forget()
    kept_N = trimmed(np.concatenate(lengths))
    return PathLength(float(kept_N.mean()), float(kept_N.std()), n)


def trimmed(lengths_N: np.ndarray) -> np.ndarray:
    """Those between the lowest and highest percentile, which are values that occur, and count."""
    lowest = np.percentile(lengths_N, LOWEST, method="lower")
    highest = np.percentile(lengths_N, HIGHEST, method="higher")
    kept_N: np.ndarray = lengths_N[(lowest <= lengths_N) & (lengths_N <= highest)]
    return kept_N


def _model(
    images: Images, shape: tuple[int, int], n_classes: int, epsilon: float, device: torch.device | str
) -> Any:
    """The generator as torch-fidelity takes it: noise (B, Z) and labels (B,) on the CPU -> images on the device."""

    class Generator(GenerativeModelBase):  # type: ignore[misc]  # torch-fidelity is untyped
        z_size, z_type, num_classes = shape[0] * shape[1], "normal", n_classes

        def forward(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
            made_BCHW = images(noise_BZ.reshape(-1, *shape).to(device), labels_B.to(device))
            if made_BCHW.dtype not in (torch.float32, torch.float64):
                raise DataError(
                    f"images in {made_BCHW.dtype} are too coarse for a path length at an epsilon of {epsilon:g}; "
                    "generate and decode them in float32"
                )
            return made_BCHW

    return Generator()


def _register(distance: Distance) -> None:
    """Enters the distance in torch-fidelity's registry; one that was left there gives way."""

    class Similarity(SampleSimilarityBase):  # type: ignore[misc]  # torch-fidelity is untyped
        def __init__(self, name: str, **_: object) -> None:
            super().__init__(name)

        def forward(self, made_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
            rows = max(1, PIXELS // made_BCHW[0, 0].numel())
            parts = zip(torch.split(made_BCHW, rows), torch.split(target_BCHW, rows), strict=True)
            distance_B = torch.cat([distance(made, target) for made, target in parts])
            bad = int((~distance_B.isfinite()).sum())
            if bad:
                raise DataError(
                    f"{bad} in {len(distance_B)} distances between images of nearby noise are not finite, so no path "
                    "length can be taken; look at the images and at the weights of eval.ppl.net"
                )
            return distance_B

    _forget()
    registry.register_sample_similarity(_NAME, Similarity)


def _forget() -> None:
    registry.SAMPLE_SIMILARITY_REGISTRY.pop(_NAME, None)


def _full_precision() -> Any:
    """A context without TensorFloat32 in convolutions; in products of matrices torch leaves it off by itself."""
    now = torch.backends.cudnn
    return now.flags(
        enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False
    )
