"""SchedulingBasic for asv: the scheduler's own share, against an API server that costs next to nothing."""

from __future__ import annotations

import asyncio

import uvloop

from benchmarks.scheduler_perf.basic import schedule


class SchedulingBasic:
    """5,000 nodes, 1,000 pods before, 10,000 measured; the run itself asserts that each pod was bound once."""

    timeout = 120
    unit = "pods/s"

    def track_pods_per_second(self) -> float:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 10_000 / runner.run(schedule(5000, 1000, 10_000))
