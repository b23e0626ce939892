"""Work queues keep client-go's promises."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.base import clock, loop
from coxswain.client.workqueue import (
    DefaultLimiter,
    ExponentialLimiter,
    RateLimitingQueue,
    ShutDown,
    TokenBucket,
    WorkQueue,
)


@pytest.mark.virtual
async def test_a_key_added_often_is_taken_once_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abaab":
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


@pytest.mark.virtual
async def test_a_key_added_while_processed_comes_again_after_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert queue.get_nowait() is None
    queue.done("a")
    assert queue.get_nowait() == "a"
    queue.done("a")
    assert queue.idle


@pytest.mark.virtual
async def test_shut_down_hands_out_the_rest_and_ends_waiting_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    queue.shut_down()
    queue.add("c")
    assert await waiting == "a"
    assert await queue.get() == "b"
    with pytest.raises(ShutDown):
        await queue.get()


@pytest.mark.virtual
async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await second == "a"


@pytest.mark.virtual
async def test_delays_take_the_earliest_wish() -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue()
    started = clock.monotonic()
    queue.add_after("a", 60)
    queue.add_after("a", 5)
    queue.add_after("a", 30)
    assert await queue.get() == "a"
    assert clock.monotonic() - started == pytest.approx(5)
    assert queue.delayed == 0


@pytest.mark.virtual
async def test_failures_back_off_exponentially_until_forgotten() -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(limiter=ExponentialLimiter(1.0, 10.0))
    waits = []
    for _ in range(5):
        started = clock.monotonic()
        queue.add_rate_limited("a")
        queue.done(await queue.get())
        waits.append(clock.monotonic() - started)
    assert waits == pytest.approx([1, 2, 4, 8, 10])
    assert queue.failures("a") == 5
    queue.forget("a")
    assert queue.failures("a") == 0


@pytest.mark.virtual
async def test_all_keys_together_keep_to_the_bucket() -> None:
    limiter: DefaultLimiter[int] = DefaultLimiter(rate=10, burst=100)
    waits = [limiter.when(key) for key in range(120)]
    assert waits[0] == 0.005
    assert waits[-1] == pytest.approx(2.0)


@pytest.mark.virtual
async def test_a_bucket_refills() -> None:
    bucket = TokenBucket(rate=1, burst=2)
    assert [bucket.try_take() for _ in range(3)] == [True, True, False]
    await clock.sleep(1.5)
    assert [bucket.try_take() for _ in range(2)] == [True, False]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=30), st.integers(1, 3))
def test_every_add_is_followed_by_a_take_and_never_two_at_once(
    adds: list[tuple[str, float]], workers: int
) -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        running: set[str] = set()
        taken: dict[str, float] = {}

        async def work() -> None:
            while True:
                try:
                    key = await queue.get()
                except ShutDown:
                    return
                assert key not in running
                running.add(key)
                taken[key] = clock.monotonic()
                await clock.sleep(1)
                running.discard(key)
                queue.done(key)

        tasks = [asyncio.ensure_future(work()) for _ in range(workers)]
        last: dict[str, float] = {}
        for key, pause in adds:
            await clock.sleep(pause)
            queue.add(key)
            last[key] = clock.monotonic()
        await queue.wait_idle()
        assert all(taken[key] >= when for key, when in last.items())
        queue.shut_down()
        await asyncio.gather(*tasks)

    loop.run(main())


@pytest.mark.virtual
async def test_a_worker_that_is_cancelled_while_a_key_comes_stays_cancelled() -> None:
    queue = WorkQueue[str]()
    worker = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    worker.cancel()
    queue.add("a")  # its wake-up finds a waiter that is cancelled already
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert await queue.get() == "a"
