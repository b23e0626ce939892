"""Finished Jobs go when their time is over, not before, and never because of an old picture of them."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.names import JOBS
from coxswain.base import clock
from coxswain.controllers.ttlafterfinished import DESCRIPTOR, time_left
from fakeapi import FakeApi


def add_job(api: FakeApi, name: str = "j", kind: str = "Complete", **spec: Any) -> None:
    ended = {"type": kind, "status": "True", "lastTransitionTime": clock.timestamp()}
    status = {"conditions": [ended]} if kind else {}
    api.add(JOBS, {"metadata": {"name": name, "namespace": "d"}, "spec": spec, "status": status})


def left(api: FakeApi) -> list[str]:
    return [job["metadata"]["name"] for job in api.objects(JOBS)]


@pytest.mark.virtual
@pytest.mark.parametrize("kind", ["Complete", "Failed"])
@pytest.mark.parametrize("fault", ["none", "failure", "lost answer"])
async def test_a_finished_job_goes_after_its_time(kind: str, fault: str) -> None:
    api = FakeApi()
    add_job(api, kind=kind, ttlSecondsAfterFinished=100)
    add_job(api, "runs", kind="", ttlSecondsAfterFinished=0)
    add_job(api, "stays")
    if fault == "failure":
        api.fail("delete", JOBS, times=2)
    elif fault == "lost answer":
        api.lose_answer("delete", JOBS)
    async with running(api, DESCRIPTOR):
        await clock.sleep(98)
        assert left(api) == ["j", "runs", "stays"]
        assert api.writes() == []
        await clock.sleep(10)
        await clock.sleep(600)
        assert "stays" in left(api)
        assert "runs" in left(api)
        gone = "j" not in left(api)
        going = not gone and "deletionTimestamp" in api.object(JOBS, "j", "d")["metadata"]
        assert gone or going
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_a_longer_time_that_the_watch_has_not_told_yet_counts() -> None:
    api = FakeApi()
    add_job(api, ttlSecondsAfterFinished=10)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        api._watchers.clear()  # the controller goes blind
        api.change(JOBS, "j", "d", lambda job: job["spec"].update(ttlSecondsAfterFinished=1000))
        await clock.sleep(60)
        assert api.writes() == []


@pytest.mark.virtual
async def test_zero_means_at_once_and_a_job_that_goes_already_is_left_alone() -> None:
    api = FakeApi()
    add_job(api, ttlSecondsAfterFinished=0)
    job = api.object(JOBS, "j", "d")
    assert time_left(job, clock.now()) is not None
    job["metadata"]["deletionTimestamp"] = clock.timestamp()
    assert time_left(job, clock.now()) is None
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
    assert [verb for verb, _, _ in api.writes()] == ["delete"]
