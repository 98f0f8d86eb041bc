"""Draw images from a trained student.

    python -m ardistill sample run=DIR out=digits.png
    python -m ardistill sample run=DIR out=sevens.png classes=7 n=40 steps=2 seed=5
    python -m ardistill sample run=DIR out=many.npz n=5000

A .png is a sheet of all images; an .npz holds `arr_0`, uint8 images (n, H, W, 3), and `arr_1`, their labels, as
OpenAI's evaluation suite has it.
"""

from pathlib import Path

import attrs
from attrs.validators import ge, gt, le

from ardistill.cli import check_output
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import structure_words
from ardistill.plugins import discover

SUMMARY = "draw images from a trained student"


@attrs.frozen(kw_only=True)
class SampleWords:
    """What `ardistill sample` takes. `classes` are drawn in turn; none means all."""

    run: Path
    out: Path = attrs.field()
    n: int = attrs.field(default=100, validator=ge(1))
    classes: tuple[int, ...] = ()
    steps: str = "1"
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**63 - 1)])
    batch: int = attrs.field(default=250, validator=gt(0))

    @out.validator
    def _known_ending(self, _: object, out: Path) -> None:
        if out.suffix not in {".png", ".npz"}:
            raise ValueError(f"out must end in .png or .npz, not {out.name!r}")


def main(words: list[str]) -> int:
    given = structure_words(words, SampleWords)
    check_output(given.out)

    from ardistill.launch.draw import draw_images, save_images
    from ardistill.launch.trained import open_run

    with shown_progress() as progress:
        trained = open_run(given.run, discover())
        images, labels = draw_images(
            trained,
            n=given.n,
            classes=given.classes,
            steps=given.steps,
            seed=given.seed,
            batch=given.batch,
            progress=progress,
        )
    save_images(given.out, images, labels)
    print(given.out)
    return 0
