"""One run, from a configuration to a trained student, its report and its picture."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import attrs
import torch
from torchvision.utils import make_grid

from ardistill.config import RunConfig
from ardistill.config.section import plain
from ardistill.errors import ConfigError
from ardistill.evaluation.report import Report
from ardistill.launch import folder as folders
from ardistill.launch.assess import assess, report_of, save_page, save_picture
from ardistill.launch.callbacks import Callbacks
from ardistill.launch.candidates import check_baselines, of_student, plans_of
from ardistill.launch.cost import Cost, Preparing
from ardistill.launch.judging import Bench, Judging
from ardistill.launch.parts import Parts, assemble, save_student, student_reader
from ardistill.launch.watching import Watch, figures_of
from ardistill.noise import Draw
from ardistill.plugins import Registry
from ardistill.protocols import Condition, DistillMethod, Progress, RunContext, Student, StudentSpec
from ardistill.sampling import generate, schedule
from ardistill.schedules import Schedule
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.joining import joined, world_of
from ardistill.training.journal import Journal
from ardistill.training.loop import Trainer, images_taken
from ardistill.training.sharding import sharded_blocks
from ardistill.training.step import Engine
from ardistill.training.whole import Whole
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


def _engine(config: RunConfig, world: World) -> Engine:
    train = config.train
    return Engine(
        world,
        train.precision,
        train.micro_batch,
        train.compile,
        train.checkpointing,
        prefetch=train.prefetch,
        parallel=train.parallel,
    )


class _Silent:
    """What the processes but the first report to."""

    def advance(self, done: int, total: int, what: str) -> None:
        pass


class _Shown:
    """The method as those see it who look at its student, which is whole."""

    def __init__(self, method: DistillMethod, student: Student) -> None:
        self._method, self._student = method, student
        self.student_spec, self.modules = method.student_spec, method.modules
        self.prepare, self.phases = method.prepare, method.phases

    def student(self) -> Student:
        return self._student


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
    callbacks: Callbacks

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
        engine = _engine(config, world)
        engine.check(method.phases())
        if engine.sharded:
            sharded_blocks(method.modules)
        callbacks = Callbacks.of(config.callbacks, folder, registry)
        return cls(config, folder, bench, method, plans, registry, callbacks)

    @property
    def student_spec(self) -> StudentSpec:
        """The method's, whose offer is called in full where another distribution has one of that name."""
        spec, method = self.method.student_spec, ("method", self.config.method.name)
        return attrs.evolve(spec, offer=self.registry.name_beside("student", spec.offer, method))

    def run(self, progress: Progress, command: str) -> Report | None:
        """Trains from wherever the folder's newest checkpoint stands, then evaluates; None but in the first process."""
        with ExitStack() as stack:
            with joined(self.config.device) as world:
                if world.told(str(self.folder)) != str(self.folder):
                    raise ConfigError(
                        "several processes make one run, and need to be told its folder; give out=DIR"
                    )
                if world.first:
                    stack.enter_context(self.callbacks.ending())
                else:
                    progress = _Silent()
                preparing = self._prepare(world, progress)
                seconds, method = self._train(world, progress)
            return None if preparing is None else self._judge(method, preparing, seconds, progress, command)

    def _judge(
        self,
        method: DistillMethod,
        preparing: Preparing,
        seconds: Mapping[str, float],
        progress: Progress,
        command: str,
    ) -> Report:
        """Saves the student, judges it, and writes what there is to read."""
        student = method.student()
        assert isinstance(student, torch.nn.Module)
        save_student(self.folder / folders.STUDENT, student.eval(), self.student_spec)
        assessed = assess(self.bench, student, self.plans, self.registry, progress)
        phases = self.method.phases()
        cost = Cost.of(preparing.seconds, preparing.rates(), seconds, phases)
        report = report_of(self.bench, assessed, cost, command)
        save_picture(self.folder / folders.PICTURE, assessed)
        save_page(self.folder / folders.PAGE, report, assessed, self.folder / folders.METRICS)
        report.save(self.folder / folders.REPORT)
        called = of_student(self.bench.judging.name, self.plans[0], student, self.parts.teacher).name
        self.callbacks.evaluation(sum(map(images_taken, phases)), figures_of(report.row(called)))
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

    def _train(self, world: World, progress: Progress) -> tuple[Mapping[str, float], DistillMethod]:
        """The seconds each phase took, and the method, whose student is whole in the first process."""
        config, engine = self.config, _engine(self.config, world)
        method, whole = self.method, None
        if engine.sharded:
            student = method.student()
            assert isinstance(student, torch.nn.Module)
            whole = Whole(student, method.modules, world)
            method = _Shown(method, cast(Student, whole.student))
        checkpoints = Checkpoints(
            self.folder / "checkpoints",
            config.checkpoint.keep,
            _fingerprint(config),
            config.checkpoint.permanent,
            config.checkpoint.asynchronous,
        )
        trainer = Trainer(
            method=method,
            seed=config.seed,
            device=self.parts.device,
            checkpoints=checkpoints,
            every=config.checkpoint.every,
            journal=None,
            progress=progress,
            engine=engine,
        )
        with ExitStack() as stack:
            if whole is not None:
                trainer.showing = whole.shown
            if world.first:
                found = checkpoints.latest()
                journal = Journal(self.folder, start=found[1].total_images if found else 0)
                stack.callback(journal.close)
                trainer.journal = journal
                trainer.on_checkpoint = lambda images: journal.picture(
                    "samples", images, self._samples(method)
                )
                trainer.on_step = self.callbacks.step
                trainer.watch = Watch(
                    self.bench,
                    method,
                    self.student_spec,
                    self.plans[0],
                    self.folder,
                    journal,
                    progress,
                    self.callbacks.evaluation,
                )
                self.callbacks.start(found[1].total_images if found else 0)
            trainer.watch_every = config.eval.every
            seconds = trainer.run()
            if whole is not None:
                whole.gather()
            return seconds, method

    @torch.no_grad()
    def _samples(self, method: DistillMethod) -> torch.Tensor:
        """(3, H, W) in [0, 1]: a few samples of the student as it stands, the same noise every time."""
        teacher, student = self.parts.teacher, method.student()
        columns = min(10, teacher.n_classes)
        draw = Draw(self.config.seed, "watch", 0, _GRID_LINES * columns, self.parts.device)
        condition = Condition(draw.indices() % columns)
        plan = schedule("1", student, teacher.layout)
        latents_BLC = generate(plan, student, teacher, condition, draw)
        images_BCHW = teacher.tokenizer.decode(latents_BLC).cpu()
        grid_CHW: torch.Tensor = make_grid((images_BCHW + 1) / 2, nrow=columns)
        return grid_CHW
