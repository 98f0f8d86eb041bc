"""One run, from a configuration to a trained student, its report and its picture."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import attrs
import torch
from torchvision.utils import make_grid

from ardistill.config import RunConfig
from ardistill.config.section import plain
from ardistill.errors import ConfigError
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
from ardistill.training.joining import joined, world_of
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer
from ardistill.training.step import Engine
from ardistill.training.world import World

_GRID_LINES = 4


def _fingerprint(config: RunConfig) -> str:
    """What must not change between the sessions of a run."""
    told = plain(config)
    words = json.dumps([told[key] for key in ("method", "teacher", "data", "seed")], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _own(config: RunConfig, world: World) -> RunConfig:
    """The configuration for one of several processes: its own device, and as many threads as its launcher grants it."""
    if world.size == 1:
        return config
    return attrs.evolve(config, device=world.device, threads=config.threads or torch.get_num_threads())


class _Silent:
    """What the processes but the first report to."""

    def advance(self, done: int, total: int, what: str) -> None:
        pass


@attrs.frozen(eq=False)
class Job:
    """A run that has been put together; building one refuses whatever can be refused, and writes nothing.

    Of several processes each builds one, on its own device, and calls `run`.
    """

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
        world = world_of(os.environ, config.device)
        parts = assemble(_own(config, world), registry)
        check_baselines(config.eval.baselines, parts.teacher)
        bench = Bench.of(Judging.of(config), parts, progress)
        make_method = registry.load("method", config.method.name)
        reader = student_reader(parts.teacher, registry)
        context = RunContext(config.seed, folder, parts.device, parts.own_features, reader)
        method: DistillMethod = make_method(config.method.settings, parts.teacher, context)
        plans = plans_of(config.eval.steps, method.student(), parts.teacher)
        Engine(world).check(method.phases())
        return cls(config, folder, bench, method, plans, registry)

    def run(self, progress: Progress, command: str) -> Report | None:
        """Trains from wherever the folder's newest checkpoint stands, then evaluates; None but in the first process."""
        with joined(self.config.device) as world:
            if world.told(str(self.folder)) != str(self.folder):
                raise ConfigError(
                    "several processes make one run, and need to be told its folder; give out=DIR"
                )
            if not world.first:
                progress = _Silent()
            preparing = self._prepare(world, progress)
            seconds = self._train(world, progress)
        if preparing is None:
            return None
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

    def _prepare(self, world: World, progress: Progress) -> Preparing | None:
        """The first process prepares; each of the others then finds everything made, and reads it."""

        def prepare() -> Preparing:
            with Preparing(self.folder / "preparing.json", progress) as preparing:
                self.method.prepare(preparing)
            return preparing

        preparing = world.by_first(prepare)
        if preparing is None:
            self.method.prepare(progress)
        return preparing

    def _train(self, world: World, progress: Progress) -> Mapping[str, float]:
        """The seconds each phase took."""
        config, train = self.config, self.config.train
        checkpoints = Checkpoints(
            self.folder / "checkpoints",
            config.checkpoint.keep,
            _fingerprint(config),
            config.checkpoint.permanent,
            config.checkpoint.asynchronous,
        )
        trainer = Trainer(
            method=self.method,
            seed=config.seed,
            device=self.parts.device,
            checkpoints=checkpoints,
            every=config.checkpoint.every,
            journal=None,
            progress=progress,
            engine=Engine(world, train.precision, train.micro_batch, train.compile, train.checkpointing),
        )
        with ExitStack() as stack:
            if world.first:
                found = checkpoints.latest()
                journal = Journal(self.folder, start=found[1].total_images if found else 0)
                stack.callback(journal.close)
                trainer.journal = journal
                trainer.on_checkpoint = lambda images: journal.picture("samples", images, self._samples())
                trainer.watch = Watch(self.bench, self.method, self.plans[0], self.folder, journal, progress)
            trainer.watch_every = config.eval.every
            return trainer.run()

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
