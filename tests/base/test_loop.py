"""The virtual-time loop: time jumps, seeds replay, and a run that can never go on says so."""

import asyncio
import time

import pytest

from coxswain.base import clock, loop


def test_five_minutes_pass_in_milliseconds() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(300):
                await asyncio.Event().wait()
        return clock.monotonic()

    started = time.monotonic()
    assert loop.run(main()) == pytest.approx(300)
    assert time.monotonic() - started < 60


def test_wall_time_follows_virtual_time() -> None:
    async def main() -> tuple[str, str]:
        before = clock.timestamp()
        await clock.sleep(90)
        return before, clock.micro_timestamp()

    assert loop.run(main()) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:30.000000Z")


def test_timers_fire_in_order_and_ties_in_the_order_of_scheduling() -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def note(delay: float, name: str) -> None:
            await clock.sleep(delay)
            seen.append(name)

        await asyncio.gather(note(2, "late"), note(1, "first"), note(1, "second"))
        return seen

    assert loop.run(main()) == ["first", "second", "late"]


def test_a_seed_replays_and_another_differs() -> None:
    async def main() -> list[float]:
        return [clock.random().random() for _ in range(5)]

    assert loop.run(main(), seed=1) == loop.run(main(), seed=1)
    assert loop.run(main(), seed=1) != loop.run(main(), seed=2)


def test_a_run_that_cannot_go_on_names_what_waits() -> None:
    async def main() -> None:
        asyncio.current_task().set_name("the patient one")  # type: ignore[union-attr]
        await asyncio.Event().wait()

    with pytest.raises(loop.Deadlock, match="the patient one"):
        loop.run(main())


def test_executor_work_runs_at_once() -> None:
    async def main() -> tuple[int, float]:
        value = await asyncio.get_running_loop().run_in_executor(None, sum, (1, 2))
        return value, clock.monotonic()

    assert loop.run(main()) == (3, 0.0)


def test_a_year_can_be_slept_through() -> None:
    async def main() -> float:
        for _ in range(3):
            await clock.sleep(365 * 86_400 + 0.1)
        return clock.monotonic()

    assert loop.run(main()) == pytest.approx(3 * (365 * 86_400 + 0.1))


def test_the_wall_clock_can_be_set_while_time_goes_on() -> None:
    async def main() -> tuple[float, float]:
        wall, steady = clock.now(), clock.monotonic()
        asyncio.get_running_loop().clock.set_forward(-3600)  # type: ignore[attr-defined]
        await clock.sleep(60)
        return clock.now() - wall, clock.monotonic() - steady

    assert loop.run(main()) == pytest.approx((-3540, 60))
