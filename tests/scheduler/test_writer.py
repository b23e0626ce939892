"""Writes go out in few messages, in the order of their keys, each settled once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from coxswain.api.errors import ServiceUnavailable
from coxswain.api.names import PODS
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Answer, Call
from coxswain.scheduler.writer import LINGER, Writer


class Server:
    """Answers each batch after ``latency`` seconds; the first ones as ``codes`` say."""

    def __init__(self, latency: float = 0.0, codes: Sequence[int] = ()) -> None:
        self.latency = latency
        self.codes = list(codes)
        self.batches: list[list[str]] = []
        self.under_way = self.most_under_way = 0

    async def batch(self, calls: Sequence[Call]) -> list[Answer]:
        self.batches.append([call.name for call in calls])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await clock.sleep(self.latency)
        self.under_way -= 1
        code = self.codes.pop(0) if self.codes else 201
        if code == 0:
            raise ServiceUnavailable("away")
        if code == -1:
            raise ValueError("a mistake of ours")
        return [Answer(code, b"{}")] * len(calls)


class Desk:
    """A writer at work and what was settled."""

    def __init__(self, server: Server, *, batch: int = 4, concurrency: int = 2) -> None:
        self.settled: list[tuple[str, int]] = []
        self.writer = Writer(server, batch=batch, concurrency=concurrency)  # type: ignore[arg-type]
        self.task = asyncio.ensure_future(self.writer.run())

    def put(self, *names: str, key: str = "") -> None:
        for name in names:
            call = Call("create", PODS, "d", name)
            self.writer.put(key or name, call, lambda answer, name=name: self.settle(name, answer))  # type: ignore[misc]

    def settle(self, name: str, answer: Answer) -> None:
        self.settled.append((name, answer.code))

    async def close(self) -> None:
        await cancel_and_wait(self.task)


@pytest.mark.virtual
async def test_what_is_put_at_once_goes_at_once_and_the_rest_gathers_until_the_answer() -> None:
    server = Server(latency=0.01)
    desk = Desk(server)
    await asyncio.sleep(0)
    desk.put("a")
    await clock.sleep(0.001)
    assert desk.writer.gathers
    desk.put("b")
    await clock.sleep(0.001)
    desk.put("c")
    await clock.sleep(0.05)
    assert server.batches == [["a"], ["b", "c"]]
    assert [name for name, _ in desk.settled] == ["a", "b", "c"]
    assert not desk.writer.gathers
    await desk.close()


@pytest.mark.virtual
async def test_full_batches_do_not_wait_and_others_not_for_long() -> None:
    server = Server(latency=1.0)
    desk = Desk(server, concurrency=3)
    await asyncio.sleep(0)
    desk.put("a")
    await clock.sleep(0.001)
    desk.put(*"bcde")
    desk.put("f")
    await clock.sleep(0.001)
    assert server.batches == [["a"], ["b", "c", "d", "e"]]
    await clock.sleep(LINGER)
    assert server.batches[2:] == [["f"]]
    desk.put(*"ghij")
    await clock.sleep(0.5)
    assert len(server.batches) == 3, "more batches than may be under way"
    await clock.sleep(2)
    assert len(desk.settled) == 10
    assert server.most_under_way == 3
    await desk.close()


@pytest.mark.virtual
async def test_writes_of_one_key_keep_their_order_and_the_latest_wins() -> None:
    server = Server(latency=0.01)
    desk = Desk(server)
    await asyncio.sleep(0)
    desk.put("first", key="k")
    await clock.sleep(0.001)
    desk.put("second", key="k")
    desk.put("third", key="k")
    await clock.sleep(1)
    assert server.batches == [["first"], ["third"]]
    assert desk.settled == [("first", 201), ("third", 201)]
    desk.put("fourth")
    desk.writer.drop("fourth")
    await clock.sleep(1)
    assert len(server.batches) == 2
    assert desk.settled[2:] == [("fourth", 404)]
    await desk.close()


@pytest.mark.virtual
@pytest.mark.parametrize("code", [429, 0])
async def test_a_server_that_is_busy_or_away_is_waited_for_and_asked_again(code: int) -> None:
    server = Server(codes=[code, code])
    desk = Desk(server)
    desk.put("a", "b")
    await clock.sleep(0.05)
    assert len(server.batches) == 1
    await clock.sleep(5)
    assert server.batches == [["a", "b"]] * 3
    assert desk.settled == [("a", 201), ("b", 201)]
    await desk.close()


@pytest.mark.virtual
async def test_what_was_under_way_when_it_ended_is_sent_by_the_next_run() -> None:
    server = Server(latency=1.0)
    desk = Desk(server)
    desk.put("a", "b")
    await clock.sleep(0.1)
    await desk.close()
    assert len(desk.writer) == 2
    task = asyncio.ensure_future(desk.writer.run())
    await clock.sleep(2)
    assert desk.settled == [("a", 201), ("b", 201)]
    await cancel_and_wait(task)


@pytest.mark.virtual
async def test_whoever_waits_for_room_or_quiet_is_told() -> None:
    server = Server(latency=1.0)
    desk = Desk(server)
    desk.put("a", "b")
    await clock.sleep(0.1)
    started = clock.monotonic()
    await desk.writer.quiet(0.2)
    assert clock.monotonic() - started == pytest.approx(0.2)
    waiting: list[Any] = [desk.writer.has_room(2), desk.writer.quiet(5)]
    await asyncio.gather(*waiting)
    assert clock.monotonic() - started == pytest.approx(0.9)
    await desk.close()


@pytest.mark.virtual
async def test_what_was_put_while_a_writer_fails_is_sent_when_it_runs_again() -> None:
    server = Server(latency=0.01, codes=[-1])
    desk = Desk(server, batch=1)
    await asyncio.sleep(0)
    desk.put("a")
    await clock.sleep(0.009)
    asyncio.get_running_loop().call_later(0.001, desk.put, "b", "c")
    with pytest.raises(ExceptionGroup):
        await desk.task
    desk.put("d")
    desk.task = asyncio.ensure_future(desk.writer.run())
    await clock.sleep(1)
    assert sorted(name for name, _ in desk.settled) == ["a", "b", "c", "d"]
    assert not len(desk.writer)
    await desk.close()
