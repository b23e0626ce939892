"""What the benchmarks measure is done, for every controller; nothing is written while nothing happens; cost is flat."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.controllers.reconcile import CASES
from benchmarks.controllers.world import measure, steps


@pytest.mark.parametrize("name", CASES)
def test_changes_are_answered_and_a_steady_cluster_is_not_written(name: str) -> None:
    measure(CASES[name], 40, changes=10)


#: Endpoints show a thousand addresses of a service at most, a slice a hundred: until there are so many, it is more work.
SIZES = dict.fromkeys(CASES, (40, 240)) | dict.fromkeys(
    ("endpoints, one service", "endpointslice, one service"), (1_200, 2_400)
)


@pytest.mark.skipif(sys.gettrace() is not None, reason="something else traces")
@pytest.mark.parametrize("name", CASES)
def test_a_change_takes_as_many_steps_among_many_objects_as_among_few(name: str) -> None:
    few, many = (steps(CASES[name], objects, changes=8) for objects in SIZES[name])
    assert 0 < many <= few * 1.1
