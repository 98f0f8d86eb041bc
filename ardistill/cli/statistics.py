"""Take the statistics of reference images once, to measure against them anywhere.

    python -m ardistill statistics reference=DIR out=stats.npz
    python -m ardistill statistics reference=/data/imagenet/val out=val256.npz features=inception size=256
    python -m ardistill statistics reference=DIR out=stats.npz features=NAME weights=PATH size=16x32 batch=250 skip=0.1
    python -m ardistill statistics reference=samples.npz out=samples-stats.npz device=cuda

`reference` is a folder of images, which are brought to `size` (one number, or HxW), or an .npz whose images `arr_0`
have that size. `out` holds `mu` and `sigma` in float64, `n`, and `extractor`, the network with its weights: give it
as eval.reference=stats.npz here or on another machine, or to pytorch-fid. A file of statistics gives FID alone; for
KID, precision and recall give the images themselves.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs.validators import ge, le, lt

from ardistill.cli import check_output
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import TeacherWords, structure_words
from ardistill.errors import ConfigError, DataError, WeightsError
from ardistill.plugins import Registry, discover
from ardistill.wording import message_of, printable, shown

if TYPE_CHECKING:
    import torch

    from ardistill.evaluation.references.opening import Reference
    from ardistill.protocols import FeatureNetwork

SUMMARY = "take the statistics of reference images, to measure against elsewhere"
_SIDE = r"[1-9]\d{0,3}"


@attrs.frozen(kw_only=True)
class StatisticsWords:
    """What `ardistill statistics` takes; its words mean what those of a run's `eval.` section do."""

    reference: Path
    out: Path = attrs.field()
    features: str = "inception"
    weights: Path | None = None
    size: str = attrs.field(default="256")
    """Pixels to which a folder's images are brought: one number, or HxW."""
    batch: int = attrs.field(default=64, validator=ge(1))
    skip: float = attrs.field(default=0.05, validator=[ge(0.0), lt(1.0)])
    device: str = attrs.field(default="auto", validator=attrs.fields(TeacherWords).device.validator)
    threads: int = attrs.field(default=0, validator=[ge(0), le(4096)])
    """CPU threads; 0 leaves them to torch."""

    @out.validator
    def _npz(self, _: object, out: Path) -> None:
        if out.suffix != ".npz":
            raise ValueError(f"out must end in .npz, not {out.name!r}")

    @size.validator
    def _pixels(self, _: object, size: str) -> None:
        if not re.fullmatch(rf"{_SIDE}(x{_SIDE})?", size, re.ASCII):
            raise ValueError(f"size must be pixels, such as 256 or 16x32 (HxW), not {size!r}")

    @property
    def height_width(self) -> tuple[int, int]:
        height, _, width = self.size.partition("x")
        return int(height), int(width or height)


def main(words: list[str]) -> int:
    given, registry = structure_words(words, StatisticsWords), discover()
    check_output(given.out)
    if given.out.exists() and given.reference.exists() and given.out.samefile(given.reference):
        raise ConfigError(f"out={given.out} is the reference itself; give another file")

    from ardistill.evaluation.references.seeing import extractor_name
    from ardistill.evaluation.references.statistics_files import write_statistics
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        device = _device(given)
        network = _network(given, registry, device)
        _check_size(given, network, device)
        reference = _opened(given, network, device, progress)
    write_statistics(given.out, reference.statistics, extractor_name(network))
    size = "x".join(map(str, given.height_width))
    told = f"{reference.n} images of {size}, {network.n_features} features of {extractor_name(network)}"
    print(printable(f"{given.out}: {told}"))
    return 0


def _device(given: StatisticsWords) -> "torch.device":
    import torch

    from ardistill.launch.parts import usable

    if given.threads:
        torch.set_num_threads(given.threads)
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return usable(automatic if given.device == "auto" else given.device)


def _network(given: StatisticsWords, registry: Registry, device: "torch.device") -> "FeatureNetwork":
    """The registered network, of the given weights or of those that `ardistill fetch` has put in their place."""

    def find(what: str) -> Path | None:
        return given.weights if what == "features" else None

    try:
        network: Any = registry.load("features", given.features)(find)
    except WeightsError as error:
        if given.weights is not None:
            raise
        raise WeightsError(
            f"features={given.features} has no weights here ({message_of(error)}); give weights=PATH"
        ) from error
    made: FeatureNetwork = network.to(device)
    return made


def _check_size(given: StatisticsWords, network: "FeatureNetwork", device: "torch.device") -> None:
    """Whether the network takes images of that size, asked before thousands are read."""
    import torch

    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, *given.height_width, device=device))
    except RuntimeError as error:
        raise ConfigError(
            f"size={given.size} is none that features={given.features} takes ({shown(message_of(error))}); give the "
            "size it was made for"
        ) from error


def _opened(
    given: StatisticsWords, network: "FeatureNetwork", device: "torch.device", progress: Any
) -> "Reference":
    """The reference, looked at with this network; what only brings statistics along is refused."""
    from ardistill.assets import store
    from ardistill.evaluation.references.opening import open_reference
    from ardistill.evaluation.references.seeing import extract_with, extractor_name

    reference = open_reference(
        given.reference,
        extract_with(network, device),
        extractor_name(network),
        given.height_width,
        n_features=network.n_features,
        batch=given.batch,
        skip=given.skip,
        cache=store().parent,
        progress=progress,
    )
    if not reference.from_images:
        raise DataError(
            f"{given.reference} brings its own statistics or features, and nothing says which network made them; give "
            "it as eval.reference as it is, or give a folder of images here"
        )
    return reference
