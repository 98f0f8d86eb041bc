"""Feature networks of the published metrics: Inception-v3, DINOv2 and CLIP, as torch-fidelity feeds and runs them.

Importing this package imports no torch. Weights are given as eval.weights=PATH, or lie where `ardistill fetch` puts
them; nothing is downloaded here, and nothing is unpickled.
"""

from collections.abc import Iterator

from ardistill.hookspecs import hookimpl
from ardistill.records import FeaturesOffer, MetricOffer

ardistill_api = 1

_DINOV2 = {"s": 384, "b": 768, "l": 1024, "g": 1536}
_CLIP = {
    "rn50": 1024,
    "rn101": 512,
    "rn50x4": 640,
    "rn50x16": 768,
    "rn50x64": 1024,
    "vit-b-32": 512,
    "vit-b-16": 512,
    "vit-l-14": 768,
    "vit-l-14-336px": 768,
}


@hookimpl
def ardistill_features() -> Iterator[FeaturesOffer]:
    yield FeaturesOffer(
        name="inception",
        summary="Inception-v3 as in ADM's evaluator and torch-fidelity: 2048 features",
        target="ardistill_fidelity.inception:load_inception",
    )
    yield FeaturesOffer(
        name="inception-pytorch-fid",
        summary="the same network with pytorch-fid's resize, as in the DD papers' statistics",
        target="ardistill_fidelity.inception:load_pytorch_fid",
    )
    for size, n_features in _DINOV2.items():
        yield FeaturesOffer(
            name=f"dinov2-vit-{size}-14",
            summary=f"DINOv2 ViT-{size}/14 of Meta: {n_features} features, no classes",
            target=f"ardistill_fidelity.dinov2:vit_{size}_14",
        )
    for model, n_features in _CLIP.items():
        yield FeaturesOffer(
            name=f"clip-{model}",
            summary=f"the image encoder of OpenAI's CLIP {model}: {n_features} features, no classes",
            target=f"ardistill_fidelity.clip:{model.replace('-', '_')}",
        )


@hookimpl
def ardistill_metrics() -> Iterator[MetricOffer]:
    yield MetricOffer(
        name="diversity",
        summary="how far apart images of one class are, in the feature network's eyes",
        target="ardistill_fidelity.diversity:Diversity",
        config="ardistill_fidelity.config:DiversityConfig",
    )
