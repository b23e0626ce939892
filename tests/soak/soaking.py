"""The soak itself: churn, and every minute the comparer, the checker and a line of the report.

The same for real time (``processes``) and virtual time: only where the cluster and the comparison come from
differs. A line of the report is a JSON object: what happened so far, what was wrong, how large everything is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson

from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Client
from soak.checker import Checker
from soak.churn import Churn
from soak.history import History

#: Seconds between two looks at the history, looks between two comparisons, comparisons between two rests.
_LOOK, _LOOKS, _RESTS = 10.0, 6, 8
#: Seconds of rest after which every pod that fits somewhere must have a node.
_REST = 45.0

Compare = Callable[[], Awaitable[dict[str, Any]]]


class Soak:
    """One soak of a cluster; ``run`` it, then ask for ``wrong``."""

    def __init__(
        self,
        client: Client,
        compare: Compare,
        *,
        seed: int,
        nodes: int = 40,
        load: float = 8.0,
        controllers: bool = False,
        report: Path | None = None,
        usage: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.churn = Churn(client, Random(seed), nodes=nodes, load=load, controllers=controllers)
        self.checker = Checker()
        self.history = History(client)
        self.wrong: list[str] = []
        self.lines: list[dict[str, Any]] = []
        self.comparisons = 0
        self._compare = compare
        self._report = report
        self._usage = usage
        self._told = 0

    async def run(self, seconds: float) -> None:
        """For so long."""
        started = clock.monotonic()
        for change in await self.history.start():
            self.checker.take(change)
        await self.churn.prepare()
        acting = asyncio.ensure_future(self.churn.run())
        try:
            while clock.monotonic() - started < seconds:
                for _ in range(_LOOKS):
                    await clock.sleep(_LOOK)
                    await self.history.advance(self.checker.take)
                    if acting.done():
                        acting.result()
                await self._look(clock.monotonic() - started)
                if self.comparisons % _RESTS == 0:
                    await self._rest(started)
            await self._rest(started)
        finally:
            await cancel_and_wait(acting)
            await self.churn.close()
            await self.history.close()

    async def _rest(self, started: float) -> None:
        self.churn.rest()
        await clock.sleep(_REST)
        await self.history.advance(self.checker.take)
        self.wrong += self.checker.unplaced()
        await self._look(clock.monotonic() - started, resting=True)
        self.churn.go_on()

    async def _look(self, elapsed: float, *, resting: bool = False) -> None:
        comparison = await self._compare()
        self.comparisons += 1
        self.wrong += [f"comparer: {line}" for line in comparison["differences"]]
        if resting and comparison["on_their_way"]:
            self.wrong.append(f"comparer: {comparison['on_their_way']} changes are still on their way")
        self.wrong += self.checker.wrong
        self.checker.wrong.clear()
        line = {
            "at": clock.timestamp(),
            "elapsed": round(elapsed, 1),
            "resting": resting,
            "wrong": self.wrong[self._told :],
            "overcommitted": self.checker.overcommitted(),
            "comparison": comparison,
            "checked": dict(self.checker.counts),
            "done": dict(self.churn.counts),
            "waiting": len(self.checker.waiting),
            "slowest mark": round(self.history.slowest, 3),
            "usage": self._usage(),
        }
        self._told = len(self.wrong)
        self.lines.append(line)
        if self._report is not None:
            with self._report.open("ab") as out:
                out.write(orjson.dumps(line) + b"\n")
