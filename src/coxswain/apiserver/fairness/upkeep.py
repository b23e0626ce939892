"""Keeps flow control's API objects in order: mandatory ones come back, schemas say whether their level exists.

Every FlowSchema has a condition ``Dangling``; it is written when a schema or a priority level has come or gone.
The mandatory objects (``exempt`` and ``catch-all``) are made again when somebody has deleted them; until then
``controller`` goes by built-in ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS, flow_control
from coxswain.apiserver.fairness.controller import Changing
from coxswain.base import clock
from coxswain.client.interface import MERGE_PATCH, Answer, Call, UserInfo

log = logging.getLogger(__name__)

_MANDATORY = frozenset({"exempt", "catch-all"})
#: Seconds between rounds: many changes often come together.
_PAUSE = 1.0


class Pipeline(Protocol):
    """Where writes go."""

    async def call(self, call: Call, user: UserInfo) -> Answer: ...


class Upkeep:
    """See the module's text. ``run`` works until it is cancelled."""

    def __init__(self, pipeline: Pipeline, lookup: Changing, user: UserInfo) -> None:
        self._pipeline = pipeline
        self._lookup = lookup
        self._user = user
        self._changed = asyncio.Event()
        self._changed.set()
        lookup.on_change(FLOW_SCHEMAS, self._changed.set)
        lookup.on_change(PRIORITY_LEVELS, self._changed.set)

    async def run(self) -> None:
        """One round after each change."""
        while True:
            await self._changed.wait()
            await clock.sleep(_PAUSE)
            self._changed.clear()
            schemas = list(self._lookup.list(FLOW_SCHEMAS))
            levels = list(self._lookup.list(PRIORITY_LEVELS))
            for call in (*restore(schemas, levels), *conditions(schemas, levels, clock.timestamp())):
                answer = await self._pipeline.call(call, self._user)
                if answer.code >= 400:
                    # Whoever changed it meanwhile has set the event again.
                    log.info("%s of %s %s: %d", call.verb, call.resource.resource, call.name, answer.code)


def restore(schemas: Iterable[Object], levels: Iterable[Object]) -> Iterator[Call]:
    """What makes the mandatory objects that are missing."""
    there = {
        FLOW_SCHEMAS: {schema["metadata"]["name"] for schema in schemas},
        PRIORITY_LEVELS: {level["metadata"]["name"] for level in levels},
    }
    for item in flow_control():
        if item.name in _MANDATORY and item.name not in there[item.resource]:
            yield Call("create", item.resource, body=orjson.dumps(item.object))


def conditions(schemas: Iterable[Object], levels: Iterable[Object], now: str) -> Iterator[Call]:
    """What corrects the conditions that are not as they should be."""
    names = {level["metadata"]["name"] for level in levels}
    for schema in schemas:
        level = (schema.get("spec") or {}).get("priorityLevelConfiguration", {}).get("name", "")
        wanted = _condition(level, level not in names)
        had = (schema.get("status") or {}).get("conditions") or ()
        if not any(wanted.items() <= condition.items() for condition in had):
            status = {"conditions": [{**wanted, "lastTransitionTime": now}]}
            yield Call(
                "patch",
                FLOW_SCHEMAS,
                name=schema["metadata"]["name"],
                subresource="status",
                body=orjson.dumps({"status": status}),
                content_type=MERGE_PATCH,
            )


def _condition(level: str, dangling: bool) -> Object:
    about = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    return {
        "type": "Dangling",
        "status": "True" if dangling else "False",
        "reason": "NotFound" if dangling else "Found",
        "message": f"{about} but there is no such object" if dangling else f"{about} and it exists",
    }
