"""What is remembered of those who asked, though nobody asks for metrics."""

from __future__ import annotations

import asyncio

import pytest

from coxswain.apiserver import census
from coxswain.apiserver.census import Census, settle_regularly
from coxswain.base import clock

pytestmark = pytest.mark.virtual


def _census() -> Census:
    return Census([])  # type: ignore[arg-type]  # no kinds are needed to know callers


async def test_too_many_names_are_put_together_though_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "_MANY_USERS", 3)
    many, few = _census(), _census()
    many.callers.update({"admin": 2, "jane@example.com": 3, "a": 4, "b": 5})
    few.callers.update({"a": 1, "b": 2})
    settling = asyncio.create_task(settle_regularly())
    try:
        await clock.sleep(61)
        assert many.callers == {"admin": 2, "email_id": 3, "other": 9}
        assert few.callers == {"a": 1, "b": 2}
        many.callers.update({"c": 1, "d": 1})
        await clock.sleep(60)
        assert many.callers == {"admin": 2, "email_id": 3, "other": 11}
    finally:
        settling.cancel()
        many.close()
        few.close()
