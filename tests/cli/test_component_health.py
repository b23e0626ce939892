"""Health checks are answered as Kubernetes' components answer them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from coxswain.cli.health import HealthServer

Site = tuple[str, dict[str, str | None]]


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    troubles: dict[str, str | None] = {"one": None, "two": None, "caches": None}
    live = {name: lambda name=name: troubles[name] for name in ("one", "two")}
    server = HealthServer(live, {"caches": lambda: troubles["caches"]})
    port = await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}", troubles
    await server.close()


async def _get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_all_is_well() -> None:
    async with site() as (url, _):
        assert await _get(f"{url}/healthz") == (200, "ok")
        assert await _get(f"{url}/readyz?verbose") == (
            200,
            "[+]one ok\n[+]two ok\n[+]caches ok\nreadyz check passed\n",
        )


async def test_a_failing_check_is_named_can_be_left_out_and_asked_for_alone() -> None:
    async with site() as (url, troubles):
        troubles["two"] = "it ended"
        assert await _get(f"{url}/livez") == (500, "[+]one ok\n[-]two failed: it ended\nlivez check failed\n")
        assert (await _get(f"{url}/healthz?exclude=two"))[0] == 200
        assert (await _get(f"{url}/healthz/two"))[0] == 500
        assert (await _get(f"{url}/healthz/one"))[0] == 200
        assert (await _get(f"{url}/healthz/three"))[0] == 404


async def test_readiness_is_more_than_life() -> None:
    async with site() as (url, troubles):
        troubles["caches"] = "not synced"
        assert (await _get(f"{url}/healthz"))[0] == 200
        assert (await _get(f"{url}/readyz"))[0] == 500


async def test_metrics_are_served() -> None:
    async with site() as (url, _):
        status, text = await _get(f"{url}/metrics")
        assert status == 200
        assert "process_cpu_seconds_total" in text
