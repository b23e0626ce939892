"""Field selectors on a version that a webhook converts: judged by the object as that version shows it.

    converted_fields(entry, scope)     None where what is stored tells as much, which is nearly always
        .stored                        the scope without them, for the cache
        .select(items)                 a list's items that pass; one question to the webhook for all of them
        .narrow(deliveries)            a watch's events as this selection sees them: entering it is ADDED, leaving it DELETED

The cache knows the fields of what is stored; those of another version are known once the webhook has converted it.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from coxswain.apiserver.conversion import Conversion, Remote
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.watchcache import Item
from coxswain.apiserver.watchers import Delivery, Matcher, Scope


class ConvertedFields:
    """See the module's text."""

    def __init__(self, entry: Entry, scope: Scope, fields: Matcher, conversion: Conversion, remote: Remote):
        self.stored = scope._replace(fields=None)
        self._entry = entry
        self._fields = fields
        self._conversion = conversion
        self._remote = remote

    async def select(self, items: list[Item]) -> list[Item]:
        """Those that pass. Raises ``ApiError`` where they cannot be converted."""
        await self._remote.ready([item.raw for item in items])
        return [item for item in items if self._passes(item.raw)]

    async def narrow(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """The events as this selection sees them. Raises ``ApiError`` where they cannot be converted."""
        await self._remote.ready([raw for each in deliveries for raw in _raws(each)])
        narrowed = []
        for each in deliveries:
            kind = self._judge(each)
            if kind:
                narrowed.append(each._replace(type=kind))
        return narrowed

    def _judge(self, delivery: Delivery) -> str:
        kind, event, raw = delivery
        if kind not in _OBJECTS:
            return kind
        if event is None:
            return kind if self._passes(raw) else ""
        previous = event.previous
        before = kind != "ADDED" and previous is not None and self._passes(previous.raw)
        after = kind != "DELETED" and self._passes(event.item.raw)
        if before:
            return "MODIFIED" if after else "DELETED"
        return "ADDED" if after else ""

    def _passes(self, raw: bytes) -> bool:
        obj = self._conversion.from_storage(orjson.loads(raw))
        selectable = self._entry.selectable
        values = dict(zip(selectable.names, selectable.values(obj), strict=True))
        values["metadata.name"] = obj["metadata"]["name"]
        values["metadata.namespace"] = obj["metadata"].get("namespace") or ""
        return self._fields.matches(values)


_OBJECTS = frozenset({"ADDED", "MODIFIED", "DELETED"})


def _raws(delivery: Delivery) -> list[bytes]:
    """Everything stored that has to be looked at to judge an event."""
    kind, event, raw = delivery
    if kind not in _OBJECTS:
        return []
    if event is None:
        return [raw]
    return [item.raw for item in (event.previous, event.item) if item is not None]


def converted_fields(entry: Entry, scope: Scope) -> ConvertedFields | None:
    """The judge of the selector in ``scope``, where only converted objects tell."""
    conversion = entry.conversion
    if conversion is None or conversion.remote is None or scope.fields is None or not entry.selectable.names:
        return None
    return ConvertedFields(entry, scope, scope.fields, conversion, conversion.remote)
