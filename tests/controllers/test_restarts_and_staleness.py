"""What seeded histories found: controllers that are cancelled, start anew, or look at an old cache."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controllerbench import running
from controllers.workloads import template
from coxswain.api.errors import InternalError, Timeout
from coxswain.api.names import CRON_JOBS, DAEMON_SETS, JOBS, NODES, PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.controllers.cronjob import controller as cronjob
from coxswain.controllers.daemonset import controller as daemonset
from coxswain.controllers.job import controller as job
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


def _selecting(**spec: Any) -> Any:
    return {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec}


class _Held(FakeApi):
    """``hold`` keeps events of pods from their watchers until ``let_go``; ``slow_patches`` seconds each takes."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_patches = 0.0
        self._kept: list[Any] | None = None

    def hold(self) -> None:
        self._kept = []

    def let_go(self) -> None:
        kept, self._kept = self._kept or [], None
        for watcher, change in kept:
            self._offer(watcher, change)

    def _offer(self, watcher: Any, change: Any) -> None:
        if self._kept is not None and watcher.call.resource == PODS:
            self._kept.append((watcher, change))
        else:
            super()._offer(watcher, change)

    async def call(self, call: Any) -> Any:
        if call.verb == "patch":
            await clock.sleep(self.slow_patches)
        return await super().call(call)


@pytest.mark.virtual
async def test_a_daemon_pod_that_comes_while_others_are_claimed_is_not_made_twice() -> None:
    api = _Held()
    api.add(NODES, {"metadata": {"name": "n"}, "spec": {}})
    api.add(DAEMON_SETS, {"metadata": {"name": "s", "namespace": "d"}, "spec": _selecting()})
    async with running(api, daemonset.DESCRIPTOR):
        await clock.sleep(1)
        (pod,) = api.objects(PODS, "d")
        api.slow_patches = 5.0
        api.change(
            PODS, pod["metadata"]["name"], "d", lambda p: p["metadata"].update(labels={"app": "loose"})
        )
        await clock.sleep(4)  # it is being released
        api.hold()
        await clock.sleep(2)  # another was made; that the first is free was not seen, it is released again
        api.let_go()
        await clock.sleep(30)
        assert [verb for verb, resource, _ in api.writes() if resource == "pods"].count("create") == 2


@pytest.mark.virtual
async def test_a_pod_that_ended_before_that_was_seen_is_counted_though_its_job_is_suspended() -> None:
    api = _Held()
    spec = _selecting(parallelism=1, completions=3, backoffLimit=6)
    api.add(JOBS, {"metadata": {"name": "j", "namespace": "d"}, "spec": spec})
    async with running(api, job.DESCRIPTOR):
        await clock.sleep(1)
        (pod,) = api.objects(PODS, "d")
        api.hold()
        api.change(PODS, pod["metadata"]["name"], "d", lambda p: p["status"].update(phase="Succeeded"))
        api.change(JOBS, "j", "d", lambda owner: owner["spec"].update(suspend=True))
        await clock.sleep(3)
        assert pod["metadata"]["finalizers"] == api.objects(PODS, "d")[0]["metadata"]["finalizers"]
        api.let_go()
        await clock.sleep(10)
        assert api.object(JOBS, "j", "d")["status"]["succeeded"] == 1


@pytest.mark.virtual
async def test_a_pod_whose_release_comes_while_others_are_claimed_is_not_counted_again() -> None:
    api = _Held()
    spec = _selecting(parallelism=2, completions=9, backoffLimit=6)
    api.add(JOBS, {"metadata": {"name": "j", "namespace": "d"}, "spec": spec})
    async with running(api, job.DESCRIPTOR):
        await clock.sleep(1)
        first, other = (pod["metadata"]["name"] for pod in api.objects(PODS, "d"))
        api.slow_patches = 0.5
        api.change(PODS, first, "d", lambda p: p["status"].update(phase="Succeeded"))
        api.change(PODS, other, "d", lambda p: p["metadata"].update(labels={"app": "loose"}))
        await clock.sleep(0.1)
        api.hold()
        await clock.sleep(1.3)  # one is counted, the other free; neither is seen, the other is released again
        assert api.object(JOBS, "j", "d")["status"]["succeeded"] == 1
        api.let_go()
        await clock.sleep(60)
        assert api.object(JOBS, "j", "d")["status"]["succeeded"] == 1
