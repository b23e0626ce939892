"""What seeded histories found: controllers that are cancelled, start anew, or look at an old cache."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controllerbench import running
from coxswain.api.errors import InternalError, Timeout
from coxswain.api.names import CRON_JOBS, JOBS, PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.controllers.cronjob import controller as cronjob
from coxswain.controllers.ownwrites import OwnWrites
from coxswain.controllers.replicaset import controller as replicaset
from coxswain.controllers.shell import Shell
from fakeapi import FakeApi


@pytest.mark.virtual
async def test_a_step_whose_tidying_up_fails_ends_when_it_is_cancelled() -> None:
    async def reconcile(key: str) -> float | None:
        try:
            await clock.sleep(60)
        finally:
            raise InternalError("the status could not be written")
        return None

    shell = Shell("test", reconcile, workers=2)
    task = asyncio.ensure_future(shell.run())
    shell.add("a/b")
    await clock.sleep(1)
    async with asyncio.timeout(10):
        await cancel_and_wait(task)


def _ready(pod: Object) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": clock.timestamp()}
    pod["status"] = {"phase": "Running", "conditions": [ready]}


@pytest.mark.virtual
async def test_pods_become_available_though_the_controller_restarted_since_they_were_ready() -> None:
    api = FakeApi()
    spec: Any = {"replicas": 1, "minReadySeconds": 20, "selector": {"matchLabels": {"app": "web"}}}
    spec["template"] = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    api.add(REPLICA_SETS, {"metadata": {"name": "w", "namespace": "d"}, "spec": spec})
    async with running(api, replicaset.DESCRIPTOR):
        await clock.sleep(1)
        (pod,) = api.objects(PODS, "d")
        api.change(PODS, pod["metadata"]["name"], "d", _ready)
        await clock.sleep(1)
    async with running(api, replicaset.DESCRIPTOR):
        await clock.sleep(10)
        assert "availableReplicas" not in api.object(REPLICA_SETS, "w", "d")["status"]
        await clock.sleep(15)
        assert api.object(REPLICA_SETS, "w", "d")["status"]["availableReplicas"] == 1


@pytest.mark.virtual
@pytest.mark.parametrize(("policy", "jobs"), [("Forbid", 1), ("Replace", 1), ("Allow", 3)])
async def test_a_run_that_a_crash_left_unwritten_counts_as_running(policy: str, jobs: int) -> None:
    """Created, and then every write of the status fails until the next run is due."""
    api = FakeApi()
    spec = {"schedule": "* * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": {}}}
    api.add(CRON_JOBS, {"metadata": {"name": "c", "namespace": "d"}, "spec": spec})
    async with running(api, cronjob.DESCRIPTOR):
        await clock.sleep(59)
        api.fail("update", CRON_JOBS, times=1000)
        await clock.sleep(30)
    async with running(api, cronjob.DESCRIPTOR):
        await clock.sleep(60)
        api._faults.clear()
        await clock.sleep(80)
    found = api.objects(JOBS, "d")
    times = [
        job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in found
    ]
    assert len(set(times)) == len(times) == jobs


@pytest.mark.virtual
async def test_a_cache_that_does_not_show_our_own_write_is_not_acted_on() -> None:
    api = FakeApi()
    old = api.add(JOBS, {"metadata": {"name": "j", "namespace": "d"}, "spec": {}})
    own = OwnWrites(api.client(), JOBS)
    assert await own.caught_up("d/j", old)
    new = await api.client().update(JOBS, {**old, "status": {"succeeded": 1}}, subresource="status")
    own.wrote("d/j", new)
    assert not await own.caught_up("d/j", old)
    assert await own.caught_up("d/j", new)
    api.lose_answer("update", JOBS)
    with pytest.raises(Timeout):
        await api.client().update(JOBS, {**new, "status": {"succeeded": 2}}, subresource="status")
    own.unsure("d/j")
    assert not await own.caught_up("d/j", new)
    assert await own.caught_up("d/j", api.object(JOBS, "j", "d"))
