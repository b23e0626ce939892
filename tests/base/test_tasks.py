"""Supervised tasks: restarts back off, failures end the group, nothing outlives the block."""

import asyncio
import contextlib
import itertools

import pytest

from coxswain.base import clock
from coxswain.base.tasks import Supervisor, cancel_and_wait


@pytest.mark.virtual
async def test_a_supervised_task_is_restarted_with_growing_delays(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[float] = []

    async def fragile() -> None:
        starts.append(clock.monotonic())
        if len(starts) < 5:
            raise ValueError("fell over")

    async with Supervisor("test") as tasks:
        await tasks.supervise("fragile", fragile)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert len(starts) == 5
    assert all(later > earlier * 1.2 for earlier, later in itertools.pairwise(gaps))
    assert "fell over" in caplog.text


@pytest.mark.virtual
async def test_a_failing_task_ends_the_group_and_is_raised() -> None:
    ended: list[str] = []

    async def steady() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("steady")

    async def broken() -> None:
        await clock.sleep(1)
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        async with Supervisor("test") as tasks:
            tasks.start("steady", steady())
            tasks.start("broken", broken())
            await clock.sleep(100)
    assert ended == ["steady"]
    assert clock.monotonic() == pytest.approx(1)


@pytest.mark.virtual
async def test_leaving_the_block_waits_for_every_task() -> None:
    ended: list[int] = []

    async def slow_to_stop(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await clock.sleep(number)
            ended.append(number)

    async with Supervisor("test") as tasks:
        for number in (3, 1, 2):
            tasks.start(str(number), slow_to_stop(number))
        await clock.sleep(0)
    assert ended == [1, 2, 3]


@pytest.mark.virtual
async def test_a_task_that_fails_while_the_group_closes_is_not_started_again() -> None:
    starts = 0

    async def stubborn() -> None:
        nonlocal starts
        starts += 1
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("from a finally")

    async with asyncio.timeout(60):
        async with Supervisor("g") as tasks:
            tasks.supervise("stubborn", stubborn)
            await clock.sleep(1)
            await tasks.close()
    assert starts == 1


@pytest.mark.virtual
async def test_who_is_cancelled_while_waiting_for_an_end_sees_it_and_is_cancelled() -> None:
    ended = False

    async def slow_to_end() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await clock.sleep(5)
            await clock.sleep(1)
            ended = True

    inner = asyncio.ensure_future(slow_to_end())
    await clock.sleep(1)
    waiting = asyncio.ensure_future(cancel_and_wait(inner))
    await clock.sleep(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended
    assert inner.done()


@pytest.mark.virtual
async def test_the_outcome_of_a_cancelled_task_is_dropped() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while ending")

    inner = asyncio.ensure_future(fails())
    await clock.sleep(1)
    await cancel_and_wait(inner)
    assert inner.done()
