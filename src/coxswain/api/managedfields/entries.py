"""The entries of ``metadata.managedFields``: reading, writing, ordering, and keeping them few."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from coxswain.api.managedfields.fieldset import Node, difference, is_well_formed, union
from coxswain.api.names import Object

APPLY: Final = "Apply"
UPDATE: Final = "Update"

#: More managers than this that only update are merged into one, oldest first.
MAX_UPDATE_MANAGERS: Final = 10
ANCIENT: Final = "ancient-changes"


#: (added or changed, removed) between two objects.
Change: TypeAlias = "tuple[Node, Node]"
#: The change as another version of the kind shows it; None for a version that is not served.
Elsewhere: TypeAlias = "Callable[[str], Change | None]"


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields. ``time`` is a metav1.Time or empty."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: Node

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What tells two entries apart. Who applies is one manager, whichever version it applies in."""
        version = "" if self.operation == APPLY else self.api_version
        return self.manager, self.operation, version, self.subresource

    def owning(self, fields: Node) -> Entry:
        """The same manager with other fields."""
        return self if fields is self.fields else replace(self, fields=fields)

    def wire(self) -> Object:
        """The ManagedFieldsEntry."""
        out: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            out["time"] = self.time
        out["fieldsType"] = "FieldsV1"
        out["fieldsV1"] = self.fields
        if self.subresource:
            out["subresource"] = self.subresource
        return out


def stamp(now: str, subresource: str) -> str:
    """The time that a new entry bears: writes through ``scale`` are handed to the parent without one."""
    return "" if subresource == "scale" else now


def decode(entries: Any, *, trusted: bool = True) -> list[Entry]:
    """The entries of an object. One malformed entry voids them all, as in Kubernetes.

    Entries that a client sent are not ``trusted``: their sets are checked, element by element.
    """
    decoded: list[Entry] = []
    for entry in entries or ():
        if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
            return []
        fields = entry.get("fieldsV1")
        if not trusted and not is_well_formed(fields or {}):
            return []
        decoded.append(
            Entry(
                entry.get("manager") or "unknown",
                entry["operation"],
                entry.get("apiVersion", ""),
                entry.get("subresource", ""),
                entry.get("time") or "",
                fields if isinstance(fields, dict) else {},
            )
        )
    return decoded


def is_reset(entries: Any) -> bool:
    """Whether a request gives ``[]`` or ``[{}]``, which drops all managers."""
    return isinstance(entries, list) and (not entries or entries == [{}])


def write(obj: Object, entries: Iterable[Entry]) -> None:
    """Set the object's managedFields: the last field of its metadata, sorted, empty entries dropped."""
    kept = sorted(
        (entry for entry in entries if entry.fields),
        key=lambda entry: (entry.operation, entry.time, entry.manager, entry.api_version, entry.subresource),
    )
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return
    metadata.pop("managedFields", None)
    if kept:
        metadata["managedFields"] = [entry.wire() for entry in kept]


def take_away(entries: Iterable[Entry], fields: Node) -> list[Entry]:
    """The entries without these fields."""
    if not fields:
        return list(entries)
    return [entry.owning(difference(entry.fields, fields)) for entry in entries]


def settle(
    entries: Iterable[Entry], api_version: str, elsewhere: Elsewhere | None, here: Change
) -> list[Entry]:
    """The entries without what changed hands or went: ``here`` in ``api_version``, in others what ``elsewhere`` says.

    Entries of a version that is served no longer go.
    """
    kept: list[Entry] = []
    for entry in entries:
        change: Change | None = here
        if elsewhere is not None and entry.api_version != api_version:
            change = elsewhere(entry.api_version)
        if change is not None:
            kept.extend(take_away(take_away([entry], change[0]), change[1]))
    return kept


def cap(entries: list[Entry]) -> list[Entry]:
    """At most MAX_UPDATE_MANAGERS updaters: the oldest of each version share one entry."""
    updaters = sorted(
        (entry for entry in entries if entry.operation == UPDATE and entry.fields),
        key=lambda entry: (entry.time, entry.identity),
    )
    surplus = len(updaters) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return entries
    kept = [entry for entry in entries if entry.operation != UPDATE]
    buckets: dict[str, Entry] = {}
    rest: dict[int, Entry] = dict(enumerate(updaters))
    first: dict[str, int] = {}
    for place, entry in enumerate(updaters):
        if surplus <= 0:
            break
        version = entry.api_version
        if version not in first:
            first[version] = place
            continue
        bucket = buckets.get(version) or rest.pop(first[version])
        merged = union(bucket.fields, entry.fields)
        buckets[version] = Entry(ANCIENT, UPDATE, version, "", entry.time, merged)
        del rest[place]
        surplus -= 1
    return [*kept, *buckets.values(), *rest.values()]
