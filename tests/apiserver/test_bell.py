"""Watchers are told together, at once while that is cheap, and with pauses when it is not."""

from __future__ import annotations

import asyncio

import pytest

from coxswain.apiserver.bell import Bell
from coxswain.base import clock


@pytest.mark.virtual
async def test_everybody_is_told_once_in_the_next_turn() -> None:
    bell, told = Bell(), []
    for name in "abc":
        bell.add(lambda name=name: told.append(name))
    assert not told
    await asyncio.sleep(0)
    assert told == ["a", "b", "c"]


@pytest.mark.virtual
async def test_one_who_fails_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    bell, told = Bell(), []

    def broken() -> None:
        raise RuntimeError("gone")

    bell.add(broken)
    bell.add(lambda: told.append("b"))
    await asyncio.sleep(0)
    assert told == ["b"]
    assert "could not be told" in caplog.text


@pytest.mark.virtual
async def test_a_long_round_is_followed_by_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, bell, told = asyncio.get_running_loop(), Bell(), []
    elapsed = 0.0
    began = loop.time
    monkeypatch.setattr(loop, "time", lambda: began() + elapsed)

    def slow() -> None:
        nonlocal elapsed
        elapsed += 0.02

    bell.add(slow)
    await asyncio.sleep(0)
    bell.add(lambda: told.append(1))
    bell.add(lambda: told.append(2))
    await clock.sleep(0.03)
    assert not told
    await clock.sleep(0.02)
    assert told == [1, 2]
    # That round took no time: the next one comes at once.
    bell.add(lambda: told.append(3))
    await asyncio.sleep(0)
    assert told == [1, 2, 3]
