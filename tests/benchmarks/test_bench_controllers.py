"""What the benchmarks measure is done, for every controller; and nothing is written while nothing happens."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.controllers.reconcile import CASES
from benchmarks.controllers.world import measure


@pytest.mark.parametrize("name", CASES)
def test_changes_are_answered_and_a_steady_cluster_is_not_written(name: str) -> None:
    measure(CASES[name], 40, changes=10)
