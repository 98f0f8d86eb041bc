"""Every hook of ardistill. A plugin implements those it needs, in a module that does not import torch:

    from ardistill.hookspecs import hookimpl
    from ardistill.records import MethodOffer

    ardistill_api = 1

    @hookimpl
    def ardistill_methods():
        yield MethodOffer(name="mine", summary="...", target="mine.method:Mine", config="mine.config:MineConfig")

and names that module in its pyproject.toml under `[project.entry-points.ardistill]`.
"""

from collections.abc import Iterable

import pluggy

from ardistill import records

hookspec = pluggy.HookspecMarker("ardistill")
hookimpl = pluggy.HookimplMarker("ardistill")


@hookspec
def ardistill_tokenizers() -> Iterable[records.TokenizerOffer]:  # type: ignore[empty-body]
    """Tokenizers: images <-> codes."""


@hookspec
def ardistill_teachers() -> Iterable[records.TeacherOffer]:  # type: ignore[empty-body]
    """Autoregressive teachers."""


@hookspec
def ardistill_trajectories() -> Iterable[records.TrajectoryOffer]:  # type: ignore[empty-body]
    """Ways in which noise and tokens come to belong together."""


@hookspec
def ardistill_students() -> Iterable[records.StudentOffer]:  # type: ignore[empty-body]
    """Students, as they are rebuilt from a weights file."""


@hookspec
def ardistill_methods() -> Iterable[records.MethodOffer]:  # type: ignore[empty-body]
    """Distillation methods."""


@hookspec
def ardistill_datasets() -> Iterable[records.DatasetOffer]:  # type: ignore[empty-body]
    """Real images and the weights bundled with them."""


@hookspec
def ardistill_features() -> Iterable[records.FeaturesOffer]:  # type: ignore[empty-body]
    """Feature networks for the metrics."""


@hookspec
def ardistill_metrics() -> Iterable[records.MetricOffer]:  # type: ignore[empty-body]
    """Figures of a set of images, beside those that every report has."""


@hookspec
def ardistill_callbacks() -> Iterable[records.CallbackOffer]:  # type: ignore[empty-body]
    """What is told of a run's start, its steps, its evaluations and its end."""


@hookspec
def ardistill_launchers() -> Iterable[records.LauncherOffer]:  # type: ignore[empty-body]
    """Launchers: what hands runs to jobs of their own, such as a scheduler's."""


@hookspec
def ardistill_recipes() -> Iterable[records.RecipeOffer]:  # type: ignore[empty-body]
    """Recipes that `ardistill pretrain` runs."""
