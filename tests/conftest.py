"""How tests run: ``async def`` tests need no plugin; ``virtual`` ones run in virtual time.

    @pytest.mark.virtual            # five minutes pass in milliseconds; seed 0
    @pytest.mark.virtual(seed=7)
    async def test_...: ...

An ``async def`` test without the mark runs on a real uvloop loop, for sockets and processes. No test fails for being
slow on a busy machine: hypothesis has no deadlines, and does not mind how long it takes to make its inputs.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, settings

from coxswain.base import loop

settings.register_profile("coxswain", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coxswain")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging: that is over with the test."""
    loggers = [logging.getLogger(name) for name in ("", "coxswain")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    coroutine: Any = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    mark = pyfuncitem.get_closest_marker("virtual")
    if mark is not None:
        loop.run(coroutine, seed=mark.kwargs.get("seed", 0))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(coroutine)
    return True
