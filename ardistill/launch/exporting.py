"""A student and its decoder as one program: noise and labels in, images out, in a file that runs without ardistill.

Shape legend: B batch, L tokens, C code width, H W pixels.
"""

import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ardistill.errors import ConfigError
from ardistill.protocols import ARTeacher, Condition, Student
from ardistill.sampling import follow, redraws, schedule
from ardistill.wording import message_of

FORMS = (".pt2", ".onnx")
_EXAMPLE = 2  # rows; with one, the export would take the batch for fixed


class Program(nn.Module):
    """What is exported: (noise (B, L, C), labels (B,) int64) -> images (B, channels, H, W) in [-1, 1]."""

    def __init__(self, student: Student, teacher: ARTeacher, steps: str) -> None:
        super().__init__()
        self.student, self._teacher = student, teacher
        self._plan = schedule(steps, student, teacher.layout)
        if redraws(self._plan):
            raise ConfigError(
                f"steps={steps} lets the teacher draw, whose loop is no program of one piece; give passes that the "
                "student takes alone"
            )

    def forward(self, noise_BLC: Tensor, labels_B: Tensor) -> Tensor:
        latents_BLC = follow(self._plan, self.student, self._teacher, Condition(labels_B), noise_BLC)
        return self._teacher.tokenizer.decode(latents_BLC)


def export(student: Student, teacher: ARTeacher, path: Path, steps: str = "1") -> Path:
    """Writes the program; its inputs are noise (standard normal) and labels, of any batch size.

    Raises ConfigError where the teacher draws captions, for steps that need the teacher, or for another ending.
    """
    if path.suffix not in FORMS:
        raise ConfigError(f"{path} must end in {' or '.join(FORMS)}, which says what is written")
    if not path.parent.is_dir():
        raise ConfigError(f"{path} lies in a folder that is not there; make {path.parent} first")
    if not teacher.n_classes:
        raise ConfigError("this student draws captions, and programs take class labels so far")
    if path.suffix == ".onnx" and importlib.util.find_spec("onnxscript") is None:
        raise ConfigError(
            f"{path.name} needs the packages of ONNX; install them with: pip install 'ardistill[onnx]'"
        )
    program = Program(student, teacher, steps).eval()
    codes_VC = teacher.tokenizer.codebook
    noise_BLC = torch.zeros(_EXAMPLE, teacher.layout.n_tokens, codes_VC.shape[1], device=codes_VC.device)
    labels_B = torch.zeros(_EXAMPLE, dtype=torch.int64, device=codes_VC.device)
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    shapes = {"noise_BLC": {0: batch}, "labels_B": {0: batch}}
    aside = path.with_name(f".{path.stem}.tmp{path.suffix}")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its own making
        made = torch.export.export(program, (noise_BLC, labels_B), dynamic_shapes=shapes)
        save = _saver(made, path.suffix)
        try:
            save(aside)
            aside.replace(path)
        except (OSError, RuntimeError) as error:  # torch's writer raises either
            aside.unlink(missing_ok=True)
            raise ConfigError(f"{path} can't be written ({message_of(error)}); give another path") from error
    return path


def _saver(program: "torch.export.ExportedProgram", form: str) -> Callable[[Path], object]:
    """What writes the program in that form; translating it, which may fail by itself, is done."""
    if form == ".pt2":
        return partial(torch.export.save, program)
    made: Any = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["noise", "labels"], output_names=["images"]
    )
    return partial(made.save, external_data=False)
