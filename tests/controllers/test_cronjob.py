"""Cron jobs: schedules, time zones, one Job a time even after crashes, concurrency."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api.names import CRON_JOBS, JOBS
from coxswain.base import clock
from coxswain.controllers.cronjob.controller import DESCRIPTOR
from coxswain.controllers.cronjob.schedule import parse
from fakeapi import FakeApi


def following(text: str, zone: str | None, after: str) -> str:
    found = parse(text, zone).next(clock.parse_time(after))
    assert found is not None
    return clock.format_time(found)


def test_schedules() -> None:
    assert following("*/15 * * * *", None, "2026-01-01T00:07:00Z") == "2026-01-01T00:15:00Z"
    assert following("0 0 29 2 *", None, "2026-01-01T00:00:00Z") == "2028-02-29T00:00:00Z"
    assert following("0 0 13 * fri", None, "2026-01-01T00:00:00Z") == "2026-01-02T00:00:00Z"
    assert following("@every 1h30m", None, "2026-01-01T00:00:00Z") == "2026-01-01T01:30:00Z"
    assert parse("59 23 31 2 *").next(0) is None
    # 02:30 does not exist on the day that the clocks go forward.
    assert following("30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z") == "2026-03-30T00:30:00Z"


@pytest.mark.virtual
@pytest.mark.parametrize("policy, count", [("Allow", 5), ("Forbid", 1), ("Replace", 1)])
async def test_one_job_a_minute_in_spite_of_crashes(policy: str, count: int) -> None:
    api = FakeApi()
    spec = {"schedule": "* * * * *", "concurrencyPolicy": policy, "jobTemplate": {"spec": {}}}
    api.add(CRON_JOBS, {"metadata": {"name": "c", "namespace": "d"}, "spec": spec})
    for _ in range(10):
        api.lose_answer("create", JOBS)
        async with running(api, DESCRIPTOR):
            await clock.sleep(30)
    jobs = api.objects(JOBS, "d")
    assert len(jobs) in (count, count - 1, count + 1) and len({j["metadata"]["name"] for j in jobs}) == len(
        jobs
    )
    assert len(api.object(CRON_JOBS, "c", "d")["status"]["active"]) == len(jobs)


@pytest.mark.virtual
async def test_a_time_is_run_once_though_the_cron_job_is_seen_long_after_it_went() -> None:
    api = FakeApi()
    spec = {"schedule": "* * * * *", "concurrencyPolicy": "Allow", "jobTemplate": {"spec": {}}}
    api.add(CRON_JOBS, {"metadata": {"name": "c", "namespace": "d"}, "spec": spec})
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        api.hold(CRON_JOBS)
        api.remove(CRON_JOBS, "c", "d")
        for _ in range(600):
            await clock.sleep(0.1)
            for job in api.objects(JOBS, "d"):
                api.remove(JOBS, job["metadata"]["name"], "d")  # as the garbage collector does
        assert [write for write in api.writes() if write[0] == "create" and write[1] == "jobs"] != []
        assert sum(write[:2] == ("create", "jobs") for write in api.writes()) == 1
