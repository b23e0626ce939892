"""Churn in real time: an API server with the durable store and a scheduler, as processes.

``make test-heavy`` soaks for a minute; COXSWAIN_SOAK_SECONDS says otherwise, COXSWAIN_SOAK_REPORT where the report
(a JSON object a minute) goes.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from soak.processes import cluster, soak

SECONDS = float(os.environ.get("COXSWAIN_SOAK_SECONDS", "60"))


@pytest.mark.heavy
def test_nothing_is_lost_leaked_or_overcommitted(tmp_path: Path) -> None:
    report = Path(os.environ.get("COXSWAIN_SOAK_REPORT", tmp_path)) / "real.jsonl"
    with cluster(tmp_path) as running:
        one = asyncio.run(soak(running, SECONDS, report, seed=int(time.time())))
        complaints = running.complaints()
    assert one.wrong == []
    assert complaints == []
    assert not any(line["overcommitted"] for line in one.lines)
    assert one.checker.counts["bindings"] > SECONDS
    first, last = one.lines[0]["usage"], one.lines[-1]["usage"]
    for name in ("apiserver", "scheduler"):
        assert last[name]["files"] <= first[name]["files"] + 16, f"{name} keeps files open"
        assert last[name]["MiB"] <= first[name]["MiB"] + 150, f"{name} grows"
