"""One run, from a configuration to a trained student, its report and its picture."""

import hashlib
import json
from pathlib import Path

import attrs
import torch
from torchvision.utils import make_grid

from ardistill.config import RunConfig
from ardistill.config.section import plain
from ardistill.evaluation.report import Report
from ardistill.launch import folder as folders
from ardistill.launch.assess import assess, report_of, save_page, save_picture
from ardistill.launch.candidates import check_baselines, plans_of
from ardistill.launch.cost import Cost, Preparing
from ardistill.launch.judging import Bench, Judging
from ardistill.launch.parts import Parts, assemble, save_student, student_reader
from ardistill.launch.watching import Watch
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import Condition, DistillMethod, Progress, RunContext
from ardistill.sampling import generate, schedule
from ardistill.schedules import Schedule
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer

_GRID_LINES = 4


def _fingerprint(config: RunConfig) -> str:
    """What must not change between the sessions of a run."""
    told = plain(config)
    words = json.dumps([told[key] for key in ("method", "teacher", "data", "seed")], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


@attrs.frozen(eq=False)
class Job:
    """A run that has been put together; building one refuses whatever can be refused, and writes nothing."""

    config: RunConfig
    folder: Path
    bench: Bench
    method: DistillMethod
    plans: tuple[Schedule, ...]
    registry: Registry

    @property
    def parts(self) -> Parts:
        return self.bench.parts

    @classmethod
    def of(cls, config: RunConfig, folder: Path, registry: Registry, progress: Progress) -> "Job":
        parts = assemble(config, registry)
        check_baselines(config.eval.baselines, parts.teacher)
        bench = Bench.of(Judging.of(config), parts, progress)
        make_method = registry.load("method", config.method.name)
        reader = student_reader(parts.teacher, registry)
        context = RunContext(config.seed, folder, parts.device, parts.own_features, reader)
        method: DistillMethod = make_method(config.method.settings, parts.teacher, context)
        plans = plans_of(config.eval.steps, method.student(), parts.teacher)
        return cls(config, folder, bench, method, plans, registry)

    def run(self, progress: Progress, command: str) -> Report:
        """Trains from wherever the folder's newest checkpoint stands, then evaluates."""
        with Preparing(self.folder / "preparing.json", progress) as preparing:
            self.method.prepare(preparing)
        checkpoints = Checkpoints(
            self.folder / "checkpoints", self.config.checkpoint.keep, _fingerprint(self.config)
        )
        found = checkpoints.latest()
        journal = Journal(self.folder, start=found[1].total_images if found else 0)
        try:
            trainer = Trainer(
                method=self.method,
                seed=self.config.seed,
                device=self.parts.device,
                checkpoints=checkpoints,
                every=self.config.checkpoint.every,
                journal=journal,
                progress=progress,
                on_checkpoint=lambda images: journal.picture("samples", images, self._samples()),
                watch=Watch(self.bench, self.method, self.plans[0], self.folder, journal, progress),
                watch_every=self.config.eval.every,
            )
            seconds = trainer.run()
        finally:
            journal.close()
        student = self.method.student()
        assert isinstance(student, torch.nn.Module)
        save_student(self.folder / folders.STUDENT, student.eval(), self.method.student_spec)
        assessed = assess(self.bench, student, self.plans, self.registry, progress)
        cost = Cost.of(preparing.seconds, preparing.rates(), seconds, self.method.phases())
        report = report_of(self.bench, assessed, cost, command)
        save_picture(self.folder / folders.PICTURE, assessed)
        save_page(self.folder / folders.PAGE, report, assessed, self.folder / folders.METRICS)
        report.save(self.folder / folders.REPORT)
        return report

    @torch.no_grad()
    def _samples(self) -> torch.Tensor:
        """(3, H, W) in [0, 1]: a few samples of the student as it stands, the same noise every time."""
        teacher, student = self.parts.teacher, self.method.student()
        columns = min(10, teacher.n_classes)
        draw = Draw(self.config.seed, "watch", 0, _GRID_LINES * columns, self.parts.device)
        condition = Condition(draw.indices() % columns)
        plan = schedule("1", student, teacher.layout)
        latents_BLC = generate(plan, student, teacher, condition, draw)
        images_BCHW = teacher.tokenizer.decode(latents_BLC).cpu()
        grid_CHW: torch.Tensor = make_grid((images_BCHW + 1) / 2, nrow=columns)
        return grid_CHW
