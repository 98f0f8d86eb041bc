"""Draw images from a trained student, a published one, or a teacher.

    python -m ardistill sample run=DIR out=digits.png
    python -m ardistill sample run=DIR out=sevens.png classes=7 n=40 steps=2 seed=5
    python -m ardistill sample run=DIR out=many.npz n=5000
    python -m ardistill sample student.preset=var-d16-dd1 student.checkpoint=var-d16.pth teacher.checkpoint=var_d16.pth
        teacher.tokenizer.checkpoint=vae_ch160v4096z32.pth steps=pre-trained-4-6 classes=207,970 n=8 out=dogs.png
    python -m ardistill sample teacher=llamagen teacher.checkpoint=c2i_B_256.pt
        teacher.tokenizer.checkpoint=vq_ds16_c2i.pt n=8 out=teacher.png

    python -m ardistill sample run=DIR out=many.npz n=50000 batch=64 precision=bf16 compile=true

Without a student the teacher draws, in all its steps. captions=PATH are features (or prompts) for a teacher of
captions. A .png is a sheet of all images; an .npz holds `arr_0`, uint8 images (n, H, W, 3), and `arr_1`, their labels
(of captions: their numbers), as OpenAI's evaluation suite has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import attrs
from attrs.validators import ge, gt, le

from ardistill.cli import check_output, heads_of
from ardistill.cli.terminal import progress as shown_progress
from ardistill.config import StudentWords, TeacherWords, structure_trees, structure_words
from ardistill.config.bench import Precision
from ardistill.config.students import student_trees
from ardistill.errors import ConfigError, PluginError
from ardistill.plugins import Registry, discover
from ardistill.records import TeacherOffer

SUMMARY = "draw images from a trained or published student, or a teacher"


@attrs.frozen(kw_only=True, slots=False)  # shared by classes that have another base with slots
class DrawWords:
    """What `ardistill sample` takes. `classes` are drawn in turn; none means all."""

    out: Path = attrs.field()
    n: int = attrs.field(default=100, validator=ge(1))
    seed: int = attrs.field(default=0, validator=[ge(0), le(2**63 - 1)])
    batch: int = attrs.field(default=250, validator=gt(0))
    classes: tuple[int, ...] = ()
    precision: Precision = "fp32"
    """bf16 and fp16: weights are held in it, and what autocast lets be computed in it is."""
    compile: bool = False
    """Networks through torch.compile: a minute or several at first, then faster; for many images."""

    @out.validator
    def _known_ending(self, _: object, out: Path) -> None:
        if out.suffix not in {".png", ".npz"}:
            raise ValueError(f"out must end in .png or .npz, not {out.name!r}")


@attrs.frozen(kw_only=True)
class FromRun(DrawWords):
    """The student of a run's folder."""

    run: Path
    steps: str = "1"


@attrs.frozen(kw_only=True, slots=False)
class FromTeacher(TeacherWords, DrawWords):
    """A teacher alone."""

    captions: Path | None = None


@attrs.frozen(kw_only=True)
class FromStudent(StudentWords, FromTeacher):
    """A student named by words."""

    steps: str = "1"


def main(words: list[str]) -> int:
    registry = discover()
    given = _structured(words, registry)
    check_output(given.out)

    from torch import nn

    from ardistill.evaluation.timing import precision
    from ardistill.launch.draw import Subjects, draw_images, save_images
    from ardistill.launch.parts import load_models
    from ardistill.launch.trained import open_models
    from ardistill.weights import reporting

    with shown_progress() as progress, reporting(progress):
        if isinstance(given, FromRun):
            captions, models = None, open_models(given.run, registry)
        else:
            captions, models = _captions(given, registry), load_models(given, registry)
        teacher, student = models.teacher, models.student
        precision.check(given.precision, models.device)
        parts: tuple[object, ...] = (teacher, teacher.tokenizer, student)
        for part in parts:
            if isinstance(part, nn.Module):
                precision.hold(part, given.precision)
        if captions is None:
            subjects = Subjects.classes(teacher, given.classes)
        else:
            subjects = Subjects.captions(teacher, captions)
        with precision.computing(given.precision, models.device):
            images, labels = draw_images(
                teacher,
                student,
                subjects,
                n=given.n,
                steps=given.steps if isinstance(given, FromRun | FromStudent) else "",
                seed=given.seed,
                batch=given.batch,
                progress=progress,
                compile=given.compile,
            )
    save_images(given.out, images, labels)
    print(given.out)
    return 0


def _structured(words: Sequence[str], registry: Registry) -> FromRun | FromTeacher:
    """Which of the three forms the words have."""
    heads = heads_of(words)
    if "run" in heads:
        return structure_words(words, FromRun, registry=registry)
    if "student" in heads:
        return structure_trees(student_trees(words, registry), FromStudent, registry)
    if "teacher" in heads:
        return structure_words(words, FromTeacher, registry=registry)
    raise ConfigError("sample needs run=DIR, or student.preset=NAME student.checkpoint=PATH, or teacher=NAME")


def _captions(given: FromTeacher, registry: Registry) -> Any:
    """The condition that captions=PATH names, as the teacher's plugin reads it."""
    if given.captions is None:
        return None
    if given.classes:
        raise ConfigError(
            "classes= and captions= exclude one another; give what the teacher is conditioned on"
        )
    name = given.teacher.name
    offer = cast(TeacherOffer, registry.get("teacher", name))
    if offer.captions is None:
        raise PluginError(f"teacher={name} takes no captions; leave captions= out")
    return registry.load_target("teacher", name, offer.captions)(given.teacher.settings, given.captions)
