"""SchedulingBasic: 5,000 nodes, 1,000 pods placed before, 10,000 measured, one kind of pod.

    python -m benchmarks.scheduler_perf.basic [--nodes N] [--pods N]

prints pods/s from the first measured pod's creation to the last one's binding, in one process, against an API
server that costs next to nothing: the scheduler's own share of the end-to-end figure.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter

import uvloop

from benchmarks.scheduler_perf.fake_transport import FakeTransport
from benchmarks.scheduler_perf.objects import node, pod
from coxswain.api.names import NODES, PODS
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import ApiClient
from coxswain.scheduler import Scheduler, SchedulerConfig

CREATE_BATCH = 100


async def schedule(nodes: int, before: int, measured: int) -> float:
    """Seconds for the measured pods; asserts that each was bound once and no node holds more than fits."""
    api = FakeTransport()
    api.add(NODES, [node(i) for i in range(nodes)])
    task = asyncio.ensure_future(Scheduler(ApiClient(api), SchedulerConfig()).run())
    await _create(api, range(before))
    started = time.perf_counter()
    await _create(api, range(before, before + measured))
    seconds = time.perf_counter() - started
    await cancel_and_wait(task)
    assert len(api.bound) == before + measured
    assert max(Counter(api.bound.values()).values()) <= 40, "4 CPU hold 40 such pods"
    return seconds


async def _create(api: FakeTransport, indexes: range) -> None:
    api.expected += len(indexes)
    api.all_bound.clear()
    for start in range(indexes.start, indexes.stop, CREATE_BATCH):
        api.add(PODS, [pod(i) for i in range(start, min(start + CREATE_BATCH, indexes.stop))])
        await asyncio.sleep(0)
    await api.all_bound.wait()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=10000)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seconds = runner.run(schedule(options.nodes, 1000, options.pods))
    print(
        f"SchedulingBasic: {options.pods / seconds:,.0f} pods/s ({seconds / options.pods * 1e6:.0f} us a pod)"
    )


if __name__ == "__main__":
    main()
