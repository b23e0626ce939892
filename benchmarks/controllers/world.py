"""A controller over so many objects, under virtual time: what its start costs, and what one change costs then.

    fill -> [start, first sync, first writes] -> [nothing happens] -> [100 changes are answered] -> check

The API server is the tests' double without its history. Its own share of the time is counted and left out, so
what is measured is the controller with its informers, in microseconds of CPU. What looks at everything now and then
(node health, autoscalers) is told as ``idle`` and taken off the price of a change. Every case says itself whether the
work was done, and a steady controller must not have written before the changes.

Time grows a little with the heap, whatever a controller does: what it touches comes from further away, and others who
use the machine take of its caches. ``steps`` is the control: the bytecodes that a change takes, the same on any machine.
"""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import orjson

from coxswain.api.names import EVENTS, GVR, Object
from coxswain.base import clock, loop
from coxswain.client.interface import Call, RawList, WatchEvent
from coxswain.controllers import registry

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from controllerbench import running
from fakeapi import Change, FakeApi, Watcher

_READING = ("get", "list", "watch")
_NARROWING = {"labelSelector", "fieldSelector"}


class _Filed(dict[tuple[str, str], bytes]):
    """Objects by namespace and name, and once more by namespace: a list of one must not look at all."""

    def __init__(self) -> None:
        super().__init__()
        self.spaces: dict[str, dict[str, bytes]] = {}

    def __setitem__(self, key: tuple[str, str], raw: bytes) -> None:
        super().__setitem__(key, raw)
        self.spaces.setdefault(key[0], {})[key[1]] = raw

    def pop(self, key: tuple[str, str]) -> bytes:  # type: ignore[override]
        del self.spaces[key[0]][key[1]]
        return super().pop(key)


class Api(FakeApi):
    """The double, with a quick way in for many objects, and its own CPU time in ``spent`` (seconds)."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self._objects: dict[GVR, _Filed] = defaultdict(_Filed)  # type: ignore[assignment]
        #: How many changes there are going to be.
        self.changes = changes
        self.spent = 0.0

    def seed(self, resource: GVR, obj: Object) -> Object:
        """Store a whole object as it is, before anybody watches."""
        metadata = obj["metadata"]
        self.revision += 1
        metadata |= {"uid": f"uid-{self.revision}", "resourceVersion": str(self.revision)}
        metadata.setdefault("creationTimestamp", clock.timestamp())
        obj.setdefault("apiVersion", resource.api_version)
        self._objects[resource][metadata.get("namespace", ""), metadata["name"]] = orjson.dumps(obj)
        return obj

    def count(self, resource: GVR) -> int:
        return len(self._objects[resource])

    async def list(self, call: Call) -> RawList:
        started = time.process_time()
        items = self._select(call)
        self.spent += time.process_time() - started
        return RawList(items, str(self.revision))

    def _perform(self, call: Call) -> Object:
        started = time.process_time()
        try:
            return super()._perform(call)
        finally:
            self.spent += time.process_time() - started

    def _select(self, call: Call) -> list[bytes]:
        if call.name or _NARROWING & call.query.keys():
            return super()._select(call)
        found, space = self._objects[call.resource], call.namespace
        return list(found.spaces.get(space, {}).values() if space else found.values())

    def _offer(self, watcher: Watcher, change: Change) -> None:
        if watcher.call.namespace or _NARROWING & watcher.call.query.keys():
            super()._offer(watcher, change)
        else:
            self._push(watcher, WatchEvent(change.type, change.raw))

    def _do_create(self, call: Call) -> Object:
        if call.resource == EVENTS:
            return orjson.loads(call.body)  # nobody reads them
        return super()._do_create(call)

    def _record(self, resource: GVR, kind: str, raw: bytes, old: bytes | None) -> None:
        super()._record(resource, kind, raw, old)
        self._history[resource].clear()


@dataclass(frozen=True)
class Case:
    """One controller (or some that work together) at its usual work."""

    controllers: tuple[str, ...]
    #: Makes so many objects.
    fill: Callable[[Api, int], Any]
    #: Changes number so and so, as if somebody else had.
    change: Callable[[Api, int], Any]
    #: How many of the first ``api.changes`` changes were answered as they should.
    answered: Callable[[Api], int]
    #: Virtual seconds after which all is done.
    settle: float = 3.0
    #: It looks at every object now and then anyway, and answers changes then: a change has no price of its own.
    periodic: bool = False
    options: dict[str, Any] = field(default_factory=dict)


class Costs(NamedTuple):
    """Microseconds of CPU: for each object at the start, while nothing happens, and for each change."""

    start: float
    idle: float
    change: float


def measure(case: Case, objects: int, changes: int = 100) -> Costs:
    """The costs of a case with so many objects. Raises AssertionError if its work was not done."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)  # as every component of ours runs
    try:
        return loop.run(_measure(case, objects, changes))
    finally:
        gc.set_threshold(*before)
        # Informers leave out of collections what they list; this world is over, and the next one needs the room.
        gc.unfreeze()
        gc.collect()


def steps(case: Case, objects: int, changes: int = 20) -> float:
    """The bytecodes that each of some changes takes with so many objects, the API double's included.

    Of a periodic controller: those of a period in which nothing happens, for each object.
    """
    # Once before, so that nothing is imported or filled while it is counted.
    loop.run(_measure(case, 2 * changes, changes))
    counted = _Counted()
    loop.run(_measure(case, objects, changes, counted))
    return counted.idle / objects if case.periodic else (counted.changes - counted.idle) / changes


@dataclass
class _Counted:
    """Bytecodes while nothing happened, and while changes were answered."""

    idle: int = 0
    changes: int = 0


@contextmanager
def _counting(into: _Counted | None, name: str) -> Iterator[None]:
    if into is None:
        yield
        return
    count = 0

    def each(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return each

    before = sys.gettrace()
    sys.settrace(each)
    try:
        yield
    finally:
        sys.settrace(before)
        setattr(into, name, count)


async def _measure(case: Case, objects: int, changes: int, counted: _Counted | None = None) -> Costs:
    api = Api(changes)
    case.fill(api, objects)
    _settle_memory(objects)
    descriptors = [registry.descriptor(f"{name}-controller") for name in case.controllers]
    before = _own_time(api)
    async with running(api, *descriptors, **case.options):
        await clock.sleep(case.settle)
        start = (_own_time(api) - before) / objects
        writes = len(api.calls)
        before = _own_time(api)
        with _counting(counted, "idle"):
            await clock.sleep(case.settle)
        idle = _own_time(api) - before
        needless = [
            call for call in api.calls[writes:] if call.verb not in _READING and call.resource != EVENTS
        ]
        assert not needless, f"a steady cluster is written: {needless[:3]}"
        _settle_memory(objects)
        assert case.answered(api) == 0
        for number in range(changes):
            case.change(api, number)
        before = _own_time(api)
        with _counting(counted, "changes"):
            await clock.sleep(case.settle)
        change = math.nan if case.periodic else (_own_time(api) - before - idle) / changes
        assert case.answered(api) == changes, f"{case.answered(api)} of {changes} changes were answered"
        await asyncio.sleep(0)
    return Costs(start * 1e6, idle / objects * 1e6, change * 1e6)


def _settle_memory(objects: int) -> None:
    """No garbage of before in what is measured next; with few objects there is little."""
    if objects >= 1_000:
        gc.collect()


def _own_time(api: Api) -> float:
    return time.process_time() - api.spent
