"""Traces a few updates by torch.profiler and writes what it saw into the run's folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ardistill.files import write_atomic
from ardistill_profile.config import ProfileConfig

_ROWS = 30


class Profile:
    """profile/NNNNNNNNNNNN.json, a trace, and .txt, a table, NN the images done when it ended."""

    def __init__(self, config: ProfileConfig, folder: Path) -> None:
        self._config, self._folder = config, folder / "profile"
        self._profiler: profile | None = None
        self._updates = self._images = 0

    def start(self, images: int) -> None:
        self._updates, self._images = 0, images

    def step(self, phase: str, images: int, losses: Mapping[str, Tensor]) -> None:
        del phase, losses
        self._updates, self._images = self._updates + 1, images
        if self._updates == self._config.skip:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profiler = profile(activities=activities, profile_memory=self._config.memory)
            self._profiler.start()
        elif self._updates == self._config.skip + self._config.updates:
            self._finish()

    def evaluation(self, images: int, figures: Mapping[str, float]) -> None:
        """Nothing: evaluations between traced updates are in the trace."""

    def end(self, error: BaseException | None) -> None:
        """What was seen so far is written where the run ends first."""
        del error
        self._finish()

    def _finish(self) -> None:
        if self._profiler is None:
            return
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        self._folder.mkdir(exist_ok=True)
        trace = self._folder / f"{self._images:012d}.json"
        aside = trace.with_suffix(".tmp.json")
        profiler.export_chrome_trace(str(aside))
        aside.rename(trace)
        on_gpu = ProfilerActivity.CUDA in profiler.activities
        dearest = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=dearest, row_limit=_ROWS)
        write_atomic(trace.with_suffix(".txt"), table)
