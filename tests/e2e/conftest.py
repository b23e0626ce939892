"""One real cluster for all end-to-end tests of a worker: ``cox up --detach`` in a directory of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.machine import RunningCluster, can_run_pods


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A cluster with one node that runs processes."""
    if not can_run_pods():
        pytest.skip("pods that are processes with their own address need root on Linux")
    with RunningCluster(tmp_path_factory.mktemp("cluster") / "data") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def hollow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A cluster whose two nodes only pretend: everything but processes, and root is not needed."""
    directory = tmp_path_factory.mktemp("hollow") / "data"
    with RunningCluster(directory, "--no-local-node", "--hollow-nodes=2") as cluster:
        yield cluster


@pytest.fixture
def kube(running: RunningCluster) -> Iterator[RunningCluster]:
    """``running``, where kubectl is there to drive it; the namespace is the test's own."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    with running.namespace():
        yield running


@pytest.fixture
def desk(hollow: RunningCluster) -> Iterator[RunningCluster]:
    """``hollow``, where kubectl is there to drive it; the namespace is the test's own."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    with hollow.namespace():
        yield hollow


EXAMPLES = Path(__file__).parents[2] / "examples"
