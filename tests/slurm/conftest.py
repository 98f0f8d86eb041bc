"""One Slurm for the whole run, empty at the start of each test."""

import os
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, lacking

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def started():
    if reason := lacking():
        pytest.skip(reason)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(started):
    """The Slurm. Whatever the test leaves behind is cancelled, and its node put back in service."""
    yield started
    started.idle()


@pytest.fixture
def inside(cluster, monkeypatch):
    """The Slurm, with this process among its users, for libraries that call its clients themselves. Jobs can import
    `tests`, wherever they start."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    for name, value in (cluster.env | {"PYTHONPATH": path}).items():
        monkeypatch.setenv(name, value)
    return cluster
