"""Jobs: pods run, counted once whatever fails, suspended, failed by their limits, and no idle write."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import JOBS, PODS, Object
from coxswain.base import clock
from coxswain.controllers.job.controller import DESCRIPTOR
from coxswain.controllers.job.indexes import Indexes
from fakeapi import FakeApi


def a_job(**spec: Any) -> Object:
    labels = {"job": "j"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "d"},
        "spec": {
            "parallelism": 2,
            "completions": 4,
            "backoffLimit": 6,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def end(api: FakeApi, pod: Object, phase: str = "Succeeded") -> None:
    api.change(PODS, meta.name(pod), "d", lambda p: p["status"].update(phase=phase))


def status(api: FakeApi) -> Object:
    found: Object = api.object(JOBS, "j", "d")["status"]
    return found


def conditions(api: FakeApi) -> dict[str, str]:
    return {c["type"]: c["reason"] for c in status(api).get("conditions", ())}


def test_indexes_are_written_as_kubernetes_does() -> None:
    assert str(Indexes() | [0, 1, 3, 4, 5, 7]) == "0,1,3-5,7"
    assert list(Indexes.parse("0,2-3", 6).absent(6)) == [1, 4, 5]


@pytest.mark.virtual
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["Indexed", "NonIndexed"])
async def test_every_pod_counts_once_whatever_fails(mode: str, seed: int) -> None:
    api = FakeApi()
    api.add(JOBS, a_job(completions=7, parallelism=3, completionMode=mode))
    clock.random().seed(seed)
    ended: set[str] = set()
    for _ in range(40):
        async with running(api, DESCRIPTOR):  # every round ends with a crash
            for _ in range(3):
                fault = clock.random().choice(["conflict", "lost", "watch", "none"])
                if fault == "conflict":
                    api.fail("update", JOBS, Conflict)
                elif fault == "lost":
                    api.lose_answer(clock.random().choice(["update", "patch", "create"]))
                elif fault == "watch":
                    api.drop_watches()
                alive = [p for p in api.objects(PODS, "d") if meta.is_pod_active(p)]
                if alive:
                    ended.add(meta.uid(alive[0]))
                    end(api, alive[0])
                await clock.sleep(clock.random().random())
    async with running(api, DESCRIPTOR):
        await clock.sleep(60)
        assert conditions(api)["Complete"] == "CompletionsReached"
        if mode == "Indexed":
            assert (status(api)["succeeded"], status(api)["completedIndexes"]) == (7, "0-6")
        else:
            assert status(api)["succeeded"] == len(ended) >= 7
        assert status(api)["uncountedTerminatedPods"] == {}
        assert not any(meta.finalizers(pod) for pod in api.objects(PODS, "d"))
        before = len(api.writes())
        await clock.sleep(3600)
        assert api.writes()[before:] == []


@pytest.mark.virtual
async def test_a_suspended_job_has_no_pods() -> None:
    api = FakeApi()
    api.add(JOBS, a_job())
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        assert status(api)["active"] == 2
        api.change(JOBS, "j", "d", lambda job: job["spec"].update(suspend=True))
        await clock.sleep(5)
        assert api.objects(PODS, "d") == []
        assert conditions(api) == {"Suspended": "JobSuspended"}


@pytest.mark.virtual
async def test_too_many_failures_fail_the_job() -> None:
    api = FakeApi()
    api.add(JOBS, a_job(parallelism=1, backoffLimit=1))
    async with running(api, DESCRIPTOR):
        for _ in range(2):
            await clock.sleep(60)
            end(api, next(p for p in api.objects(PODS, "d") if meta.is_pod_active(p)), "Failed")
        await clock.sleep(60)
        assert conditions(api) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
        assert status(api)["failed"] == 2
