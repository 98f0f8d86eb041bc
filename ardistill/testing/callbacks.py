"""What a callback promises (`protocols.Callback`): it hears of a run, and changes nothing of what is learned.

Each check trains the kit's toy method anew, through the loop that trains every method.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import torch
from torch import Tensor

from ardistill.errors import RunFolderError
from ardistill.protocols import Callback
from ardistill.testing import looking
from ardistill.testing.conformity import Case, Check, expect, expect_members
from ardistill.testing.practice import SEED, Quiet
from ardistill.testing.toy_method import BATCH, UPDATES, ToyMethod
from ardistill.training.checkpoint import Checkpoints
from ardistill.training.loop import Trainer

IMAGES = 2 * BATCH * UPDATES
"""Of the whole run."""
_EVERY = 8 * BATCH
"""Images between two checkpoints, and between two evaluations."""
_CUT = IMAGES - 5 * BATCH
"""Images after which a run is cut, some of them after the last checkpoint."""
_FIGURES = {"fid": 1.5, "fid_test": 1.25, "accuracy": 0.5, "nll": 2.0}
"""What an evaluation tells, as a run of the digits does."""
_OWN = {"config.toml": "seed = 0\n", "metrics.jsonl": '{"images": 0}\n'}
"""Files of a run that no callback has to touch."""


class Cut(Exception):  # noqa: N818 it stands for whatever ends a run
    """What ends a run of the kit before its end."""


@attrs.frozen(eq=False)
class Heard:
    """What a run with a callback came to."""

    weights: Mapping[str, Tensor]
    told_otherwise: list[str]
    """Losses that a step changed."""
    outside: list[str]
    """Files that were written beside the run's folder."""
    spoilt: list[str]
    """The run's own files that are not as they were."""
    last: int
    """Images of the last checkpoint that is whole."""


@attrs.define(eq=False, slots=False)
class CallbackSubject:
    """What makes a callback of a run's folder."""

    make: Callable[[Path], Callback]
    n_steps: int = 1

    @cached_property
    def wanted(self) -> Mapping[str, Tensor]:
        """What a run without callbacks ends with."""
        with _place() as run:
            return trained(run, None)

    @cached_property
    def heard(self) -> Heard:
        """One whole run with the callback, after the one without: most checks look at it."""
        assert self.wanted
        changed: dict[str, None] = {}
        with _place() as run:
            weights = trained(run, self.make(run), changed=changed)
            outside = [path for path in _files(run.parent) if not path.startswith("run/")]
            now = {name: run / name for name in _OWN}
            spoilt = [n for n, path in now.items() if not path.is_file() or path.read_text() != _OWN[n]]
            return Heard(weights, [*changed], outside, spoilt, _last(run))


@contextmanager
def _place() -> Iterator[Path]:
    """A run's folder, not made yet, in a folder of its own; the current one is another beside it."""
    with TemporaryDirectory(prefix="ardistill-testing-") as root:
        elsewhere = Path(root) / "elsewhere"
        elsewhere.mkdir()
        with contextlib.chdir(elsewhere):
            yield Path(root) / "run"


def trained(
    run: Path, callback: Callback | None, *, cut: bool = False, changed: dict[str, None] | None = None
) -> dict[str, Tensor]:
    """The tensors that a run in this folder ends with; it goes on from where it was `cut` before.

    Names of losses that a step changes are put into `changed`.
    """
    run.mkdir(exist_ok=True)
    for name, text in _OWN.items():
        (run / name).write_text(text)
    method, checkpoints = ToyMethod(), Checkpoints(run / "checkpoints")
    trainer = Trainer(method, SEED, torch.device("cpu"), checkpoints, _EVERY, journal=None, progress=Quiet())
    trainer.watch_every = _EVERY

    def step(phase: str, images: int, losses: Mapping[str, Tensor]) -> None:
        if callback is not None:
            before = looking.all_bits(losses)
            callback.step(phase, images, losses)
            after = looking.all_bits(losses)
            if changed is not None:
                names = {**before, **after}
                changed.update({name: None for name in names if before.get(name) != after.get(name)})
        if cut and images >= _CUT:
            raise Cut("the run was cut")

    def evaluation(images: int, _: float) -> None:
        if callback is not None:
            callback.evaluation(images, dict(_FIGURES))

    trainer.on_step, trainer.watch = step, evaluation
    ended: Cut | None = None
    try:
        if callback is not None:
            found = checkpoints.latest()
            callback.start(found[1].total_images if found else 0)
        trainer.run()
        evaluation(IMAGES, 0.0)
    except Cut as error:
        ended = error
    if callback is not None:
        callback.end(ended)
    return {path: tensor.detach().clone() for path, tensor in looking.tensors_of(method.modules).items()}


def _expect_same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], said: str) -> None:
    apart = max(looking.furthest(tensor, wanted[path]) for path, tensor in found.items())
    expect(apart == 0, f"weights that differ by up to {apart:.3g} {said}")


def _last(run: Path) -> int:
    """Images of the last checkpoint that is whole; 0 where none is."""
    try:
        found = Checkpoints(run / "checkpoints").latest()
    except RunFolderError:  # which names all those that are not
        return 0
    return 0 if found is None else found[1].total_images


def _files(folder: Path) -> dict[str, bytes]:
    """The digest of every file in it, by its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): blake2b(path.read_bytes()).digest() for path in paths}


def it_has_what_the_protocol_demands(subject: CallbackSubject, case: Case) -> None:
    """A callback has every name of protocols.Callback."""
    del case
    with _place() as run:
        expect_members(subject.make(run), Callback)


def making_it_writes_nothing(subject: CallbackSubject, case: Case) -> None:
    """Making a callback writes nothing and needs no folder: that of the run is made after it."""
    del case
    with _place() as run:
        subject.make(run)
        expect(not run.exists(), "the run's folder is there")
        expect(not _files(run.parent), f"files: {', '.join(_files(run.parent))}")


def it_hears_a_run_to_its_end(subject: CallbackSubject, case: Case) -> None:
    """It takes start, every step, evaluations and the end of a run, and raises nothing."""
    del case
    subject.heard  # noqa: B018 it is made here, once


def training_is_the_same_without_it(subject: CallbackSubject, case: Case) -> None:
    """A run with it, and one after that, end in the same bits as one without."""
    del case
    heard, wanted = subject.heard, subject.wanted
    _expect_same(heard.weights, wanted, "from those of a run without it")
    with _place() as run:
        _expect_same(trained(run, None), wanted, "in a run without it, but after one with it")


def what_it_is_told_is_left_alone(subject: CallbackSubject, case: Case) -> None:
    """It changes neither the losses, which are logged after it, nor their mapping."""
    del case
    expect(not subject.heard.told_otherwise, f"step() changed {', '.join(subject.heard.told_otherwise)}")


def it_writes_into_its_runs_folder_alone(subject: CallbackSubject, case: Case) -> None:
    """It writes nowhere but into the run's folder, and not over what is the run's there."""
    del case
    heard = subject.heard
    expect(not heard.outside, f"written outside of the run's folder: {', '.join(heard.outside)}")
    expect(not heard.spoilt, f"it changed the run's {', '.join(heard.spoilt)}")
    said = f"the last checkpoint that is whole is of image {heard.last}, not of {IMAGES}"
    expect(heard.last == IMAGES, said)


def a_run_can_be_cut_and_go_on(subject: CallbackSubject, case: Case) -> None:
    """After an end with an error, another in the same folder hears the run go on, to the same bits as uncut."""
    del case
    wanted = subject.wanted
    with _place() as run:
        trained(run, subject.make(run), cut=True)
        _expect_same(trained(run, subject.make(run)), wanted, "from those of a run that was not cut")


def an_end_can_come_at_once(subject: CallbackSubject, case: Case) -> None:
    """It takes an end without a start, as of a run that fails while it prepares."""
    del case
    with _place() as run:
        callback = subject.make(run)
        run.mkdir()
        callback.end(Cut("nothing could be prepared"))


CHECKS: tuple[Check[CallbackSubject], ...] = (
    Check(it_has_what_the_protocol_demands, examples=0, gate=True),
    Check(making_it_writes_nothing, examples=0),
    Check(it_hears_a_run_to_its_end, examples=0, gate=True),
    Check(training_is_the_same_without_it, examples=0),
    Check(what_it_is_told_is_left_alone, examples=0),
    Check(it_writes_into_its_runs_folder_alone, examples=0),
    Check(a_run_can_be_cut_and_go_on, examples=0),
    Check(an_end_can_come_at_once, examples=0),
)
