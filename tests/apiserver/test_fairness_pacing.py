"""Heavy work begins a little at a time."""

from __future__ import annotations

import asyncio

from coxswain.apiserver.deadlines import allowed_seconds, parse_duration
from coxswain.apiserver.pacing import Pacer


async def test_no_more_than_the_budget_begins_in_a_turn_of_the_loop() -> None:
    pacer, begun = Pacer(asyncio.get_running_loop(), 10), []
    for number in range(6):
        pacer.submit(4, lambda number=number: begun.append(number))
    assert begun == [0, 1, 2]
    await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3, 4, 5]
    pacer.submit(100, lambda: begun.append(6))
    pacer.submit(1, lambda: begun.append(7))
    await asyncio.sleep(0)
    assert begun[6:] == [6]
    await asyncio.sleep(0)
    assert begun[6:] == [6, 7]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    pacer.submit(100, lambda: begun.append(8))
    assert begun[-1] == 8


def test_a_timeout_is_a_go_duration_and_never_more_than_the_limit() -> None:
    assert parse_duration("1m30.5s") == 90.5
    assert parse_duration("-1h") == -3600
    assert parse_duration("0") == 0
    assert parse_duration("1.5ms") == 0.0015
    assert [allowed_seconds({"timeout": text}, 60) for text in ("5s", "2m", "0", "-1s", "")] == [
        5,
        60,
        60,
        60,
        60,
    ]
    assert allowed_seconds({}, 60) == 60
