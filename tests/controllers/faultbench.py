"""A fault between every two steps of a controller: run a scenario, then again with one fault at each of its calls.

    calm = await outcome(scenario)                       # the state it ends in, and how many calls it took
    await outcome(scenario, Fault("crash", at=7))        # has to end in the same state

Kinds of faults at call ``at``: ``conflict`` and ``error`` (nothing is done), ``lost answer`` (done, and answered
with a time-out), ``crash`` (done, and the controllers start anew with empty caches), ``stale`` (done, and no
watch brings anything for a while), ``twice`` (done, and every watch repeats its last event).

States are compared without what chance decides: uids, times, generated parts of names, revisions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from coxswain.api import errors, meta
from coxswain.api.errors import ApiError
from coxswain.api.names import EVENTS, GVR, LEASES, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.client import ApiClient
from coxswain.client.interface import Answer, Call, RawList, WatchEvent
from coxswain.controllers.manager import Manager
from fakeapi import FakeApi, Watcher

KINDS = ("conflict", "error", "lost answer", "crash", "stale", "twice")
#: Seconds for which watches bring nothing, and which every fault has to be mended in.
_STALE, _MENDING = 3.0, 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    at: int


@dataclass(frozen=True)
class Scenario:
    """What a controller is put through. ``act`` changes the world; ``settle`` seconds later nothing moves."""

    name: str
    controllers: str
    prepare: Callable[[FaultyApi], Any]
    act: Callable[[FaultyApi], Awaitable[None]] | None = None
    settle: float = 90.0
    kubelet: bool = False


class FaultyApi(FakeApi):
    """A ``FakeApi`` that strikes once: at the controllers' call number ``fault.at``."""

    def __init__(self, fault: Fault | None) -> None:
        super().__init__()
        self.fault = fault
        self.counted = 0
        self.counting = True
        self.crashed = asyncio.Event()
        self.latency = 0.001
        self._held_until = 0.0

    def _strikes(self, call: Call) -> bool:
        if call.resource == EVENTS or not self.counting:
            return False
        self.counted += 1
        return self.fault is not None and self.counted - 1 == self.fault.at

    async def call(self, call: Call) -> Answer:
        if not self._strikes(call):
            return await super().call(call)
        assert self.fault is not None
        kind = self.fault.kind
        if kind in ("conflict", "error"):
            self.calls.append(call)
            await self._delay()
            writes = call.verb in ("update", "patch") and kind == "conflict"
            error: ApiError = errors.InternalError("injected fault")
            if writes:
                error = errors.conflict(call.resource, call.name, errors.MODIFIED)
            return Answer(error.code, orjson.dumps(error.status()))
        if kind == "stale":
            self._held_until = clock.monotonic() + _STALE
        answer = await super().call(call)
        if kind == "lost answer":
            raise errors.Timeout("injected lost answer")
        if kind == "crash":
            self.crashed.set()
            await asyncio.sleep(10)  # killed long before
        if kind == "twice":
            self._repeat()
        return answer

    async def list(self, call: Call) -> RawList:
        if self._strikes(call) and self.fault is not None:
            if self.fault.kind in ("conflict", "error", "lost answer"):
                self.calls.append(call)
                raise errors.ServiceUnavailable("injected fault")
            if self.fault.kind == "crash":
                self.crashed.set()
        return await super().list(call)

    def user(self) -> ApiClient:
        """A client that no fault strikes."""
        return ApiClient(_Unharmed(self))

    def _repeat(self) -> None:
        for watcher in self._watchers:
            changes = self._history[watcher.call.resource]
            if changes:
                last = changes[-1]
                self._push(watcher, WatchEvent(last.type if last.type == "DELETED" else "MODIFIED", last.raw))

    async def _events(self, watcher: Watcher) -> AsyncIterator[Sequence[WatchEvent]]:
        async for batch in super()._events(watcher):
            wait = self._held_until - clock.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            yield batch


class _Unharmed:
    """The calls of users: neither counted nor struck."""

    def __init__(self, api: FaultyApi) -> None:
        self._api = api

    async def call(self, call: Call) -> Answer:
        return await FakeApi.call(self._api, call)


async def kubelet(api: FakeApi) -> None:
    """Pods get a node and are ready a second later; deleted ones are gone."""
    while True:
        await clock.sleep(0.25)
        for pod in api.objects(PODS):
            name, space = meta.name(pod), meta.namespace(pod)
            if meta.is_terminating(pod):
                if meta.finalizers(pod):
                    if not meta.is_pod_finished(pod):
                        api.change(PODS, name, space, lambda obj: obj["status"].update(phase="Failed"))
                    if pod["metadata"].get("deletionGracePeriodSeconds"):
                        api.change(
                            PODS,
                            name,
                            space,
                            lambda obj: obj["metadata"].update(deletionGracePeriodSeconds=0),
                        )
                else:
                    api.remove(PODS, name, space)
            elif meta.pod_phase(pod) == "Pending":
                api.change(PODS, name, space, _start)


def _start(pod: Object) -> None:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    pod["spec"].setdefault("nodeName", terms[0]["matchFields"][0]["values"][0] if terms else "n")
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": clock.timestamp()}
    pod["status"] = {"phase": "Running", "podIP": "10.0.0.9", "conditions": [ready]}


async def outcome(scenario: Scenario, fault: Fault | None = None) -> tuple[list[str], int]:
    """The state that ``scenario`` ends in, canonical; and how many calls its controllers made."""
    api = FaultyApi(fault)
    scenario.prepare(api)
    helpers = [asyncio.ensure_future(kubelet(api))] if scenario.kubelet else []
    controllers = asyncio.ensure_future(_controllers(api, scenario))
    try:
        await clock.sleep(1)
        if scenario.act is not None:
            await scenario.act(api)
        await clock.sleep(scenario.settle)
        api.counting = False  # what fails now would not be mended in time
        await clock.sleep(_MENDING)
    finally:
        for task in (controllers, *helpers):
            await cancel_and_wait(task)
    return canonical(api), api.counted


async def _controllers(api: FaultyApi, scenario: Scenario) -> None:
    """A controller manager; one that crashed is followed by another."""
    while True:
        manager = asyncio.ensure_future(Manager(api.client(), scenario.controllers).run())
        try:
            await api.crashed.wait()
        finally:
            await cancel_and_wait(manager)
        api.crashed.clear()


# ---- states that can be compared

_BY_CHANCE = re.compile(r"(Time|Timestamp|timestamp)$")
_DROPPED = frozenset({"uid", "resourceVersion", "generation", "observedGeneration", "timeAdded"})


def canonical(api: FakeApi) -> list[str]:
    """A line of JSON for every object, sorted, with nothing in it that chance decides."""
    names: dict[str, str] = {}
    found: list[tuple[GVR, Object]] = []
    for resource in sorted(api._objects):
        if resource in (EVENTS, LEASES):
            continue
        for obj in api.objects(resource):
            prefix = obj["metadata"].pop("generateName", None)
            if prefix:
                names[meta.name(obj)] = f"{prefix}*"
            names[meta.uid(obj)] = "(uid)"
            found.append((resource, obj))
    lines = []
    for resource, obj in found:
        text = orjson.dumps(_without_chance(obj), option=orjson.OPT_SORT_KEYS).decode()
        for name, instead in names.items():
            text = text.replace(name, instead)
        lines.append(f"{resource.resource} {text}")
    return sorted(lines)


def _without_chance(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {
            key: each for key, each in value.items() if key not in _DROPPED and not _BY_CHANCE.search(key)
        }
        return {key: _without_chance(each) for key, each in kept.items()}
    if isinstance(value, list):
        return [_without_chance(each) for each in value]
    return value
