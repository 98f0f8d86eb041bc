"""One run, from a configured folder to a trained student, its report and its picture."""

from pathlib import Path

import torch
from torchvision.utils import make_grid

from ardistill.config import RunConfig
from ardistill.evaluation.report import Report
from ardistill.launch.assess import assess, plans_of, report_of, save_picture
from ardistill.launch.folder import STUDENT
from ardistill.launch.parts import Parts, save_student
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import Condition, DistillMethod, Progress, RunContext
from ardistill.sampling import Jump, Schedule, generate
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer

_GRID_LINES = 4


def distil(
    config: RunConfig, parts: Parts, folder: Path, registry: Registry, progress: Progress, command: str
) -> Report:
    """Trains from wherever the folder's newest checkpoint stands, then evaluates."""
    context = RunContext(config.seed, folder, parts.device)
    make_method = registry.load("method", config.method.name)
    method: DistillMethod = make_method(config.method.settings, parts.teacher, context)
    method.prepare(progress)
    checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep)
    found = checkpoints.latest()
    journal = Journal(folder, start=found[1].total_images if found else 0)
    try:
        trainer = Trainer(
            method=method,
            seed=config.seed,
            device=parts.device,
            checkpoints=checkpoints,
            every=config.checkpoint.every,
            journal=journal,
            progress=progress,
            on_checkpoint=lambda images: journal.picture(
                "samples", images, _samples(method, parts, config.seed)
            ),
        )
        seconds = trainer.run()
    finally:
        journal.close()
    student = method.student()
    assert isinstance(student, torch.nn.Module)
    save_student(folder / STUDENT, student.eval(), method.student_spec)
    result = assess(config, parts, student, plans_of(config.eval.steps, student, parts.teacher), progress)
    report = report_of(config, parts, result, seconds, command)
    save_picture(folder / "samples.png", result)
    report.save(folder / "report.json")
    return report


@torch.no_grad()
def _samples(method: DistillMethod, parts: Parts, seed: int) -> torch.Tensor:
    """(3, H, W) in [0, 1]: a few samples of the student as it stands, the same noise every time."""
    columns = min(10, parts.teacher.n_classes)
    draw = Draw(seed, "watch", 0, _GRID_LINES * columns, parts.device)
    labels_B = draw.indices() % columns
    latents_BLC = generate(Schedule((Jump(0),)), method.student(), parts.teacher, Condition(labels_B), draw)
    images_BCHW = parts.teacher.tokenizer.decode(latents_BLC).cpu()
    grid_CHW: torch.Tensor = make_grid((images_BCHW + 1) / 2, nrow=columns)
    return grid_CHW
