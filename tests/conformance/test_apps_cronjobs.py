"""CronJobs do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.api_operations import check_api_operations, check_status_operations
from conformance.pretended_runtime import Process
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import job
from coxswain.api import meta
from coxswain.api.names import CRON_JOBS, JOBS, Object
from coxswain.base import clock

NAMED = "[sig-apps] CronJob "
MINUTE = 60.0


async def five_minutes(process: Process) -> int:
    await clock.sleep(5 * MINUTE)
    return 0


PROGRAMS = {"five minutes": five_minutes}


def cron_job(name: str = "cj", schedule: str = "*/1 * * * ?", **spec: Any) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job("x", "five minutes")["spec"]}, **spec},
    }


async def active(it: Whole) -> list[str]:
    return [each["name"] for each in (await it.get(CRON_JOBS, "cj"))["status"].get("active") or ()]


async def until_active(it: Whole, count: int) -> list[str]:
    async def reached() -> list[str] | None:
        found = await active(it)
        return found if len(found) >= count else None

    return await it.until(reached)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should schedule multiple jobs concurrently [Conformance]")
async def test_jobs_run_beside_each_other_where_that_is_allowed(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(CRON_JOBS, cron_job(concurrencyPolicy="Allow"))
        names = await until_active(it, 2)
        assert sorted(names) == sorted(meta.name(each) for each in await it.list(JOBS))
        await it.until_pods(2)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should not schedule jobs when suspended [Slow] [Conformance]")
async def test_a_suspended_one_makes_no_job(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(CRON_JOBS, cron_job(suspend=True))
        await clock.sleep(5 * MINUTE)
        assert not await active(it) and not await it.list(JOBS)
        await it.patch(CRON_JOBS, "cj", {"spec": {"suspend": False}})
        await until_active(it, 1)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]")
async def test_no_job_is_made_beside_another_where_that_is_forbidden(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(CRON_JOBS, cron_job(concurrencyPolicy="Forbid"))
        first = await until_active(it, 1)
        await clock.sleep(3 * MINUTE)
        assert await active(it) == first == [meta.name(each) for each in await it.list(JOBS)]


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should replace jobs when ReplaceConcurrent [Conformance]")
async def test_a_job_takes_the_place_of_another_where_that_is_asked_for(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(CRON_JOBS, cron_job(concurrencyPolicy="Replace"))
        first = await until_active(it, 1)

        async def replaced() -> bool:
            found = await active(it)
            return len(found) == 1 and found != first

        await it.until(replaced)
        await it.until_gone(JOBS, first[0])
        assert len(await it.list(JOBS)) == 1


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should support CronJob API operations [Conformance]")
async def test_every_operation_of_its_endpoints_is_served(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, controllers="", nodes=0) as it:
        await check_api_operations(it, CRON_JOBS, lambda name: cron_job(name, suspend=True), "CronJob")
        await it.create(CRON_JOBS, cron_job())
        first, second = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
        patched, updated = await check_status_operations(
            it,
            CRON_JOBS,
            "cj",
            {"status": {"lastScheduleTime": first}},
            lambda obj: obj["status"].update(lastScheduleTime=second),
        )
        assert patched["status"]["lastScheduleTime"] == first
        assert updated["status"]["lastScheduleTime"] == second
