"""Update tracking: an ordinary write owns what it changed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from coxswain._native.outline import outline
from coxswain.api.managedfields.entries import (
    UPDATE,
    Change,
    Elsewhere,
    Entry,
    cap,
    decode,
    is_reset,
    settle,
    stamp,
    write,
)
from coxswain.api.managedfields.fieldset import MEMBER, Node, difference, union
from coxswain.api.managedfields.shape import DOES_NOT_FIT, compare, key_names, shape_of
from coxswain.api.managedfields.versions import Versions, elsewhere
from coxswain.api.names import Object
from coxswain.api.schema import Type

_NOTHING: Final[Node] = {}

#: Longest name of a manager, in bytes.
MAX_MANAGER: Final = 128

_SYSTEM_METADATA: Final = frozenset(
    "f:" + name
    for name in (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    )
)


@lru_cache(maxsize=512)
def manager_of(field_manager: str, user_agent: str) -> str:
    """The manager of a request: what it says, else its user agent up to the first slash."""
    if field_manager:
        return field_manager
    name = "".join(char for char in user_agent.partition("/")[0] if char.isprintable())
    return name.encode()[:MAX_MANAGER].decode(errors="ignore") or "unknown"


def strip_system_fields(fields: Node) -> Node:
    """``fields`` without those that nobody owns: type, name and what the server sets."""
    kept = {name: below for name, below in fields.items() if name not in ("f:apiVersion", "f:kind")}
    metadata = kept.get("f:metadata")
    if metadata is not None:
        rest = {
            name: below for name, below in metadata.items() if name not in _SYSTEM_METADATA and name != "."
        }
        if rest:
            kept["f:metadata"] = rest
        else:
            del kept["f:metadata"]
    return kept


def reset_fields(type: Type | None, subresource: str) -> Node:  # noqa: A002
    """The fields that a write through this door cannot set, and therefore does not own."""
    if subresource == "status":
        if type is None:
            return {"f:spec": MEMBER, "f:metadata": MEMBER}
        return {"f:spec": MEMBER}
    if subresource:
        return {}
    if type is None or "status" in type.fields:
        return {"f:status": MEMBER}
    return {}


def track_update(
    new: Object,
    old: Object | None,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    type: Type | None,  # noqa: A002
    now: str,
    versions: Versions | None = None,
) -> None:
    """Set ``new.metadata.managedFields`` for a create (``old`` is None) or an update.

    The manager's entry keeps its time unless the write changed something. An update of an object that nobody
    manages stays so.
    """
    metadata = new.get("metadata")
    if not isinstance(metadata, dict):
        return
    given = metadata.pop("managedFields", None)
    entries = _entries(given, old, subresource)
    if old is not None and not entries:
        return
    try:
        if old is None and type is not None:
            changed, removed = created(new, type, subresource), _NOTHING
        else:
            changed, removed = changes(old, new, type, subresource)
    except DOES_NOT_FIT:
        # Kubernetes keeps the owners when an object does not fit its schema; validation will refuse it.
        write(new, entries)
        return
    if changed:
        time = stamp(now, subresource)
        mine = Entry(manager or "unknown", UPDATE, api_version, subresource, time, changed)
        look = elsewhere(versions, old, new, _strip) if entries else None
        entries = _own(entries, mine, removed, look)
    elif entries:
        entries = settle(entries, api_version, elsewhere(versions, old, new, _strip), ({}, removed))
    if changed and len(entries) > 1:
        entries = cap(entries)
    write(new, entries)


def _entries(given: Any, old: Object | None, subresource: str) -> list[Entry]:
    """The managers before this write: the request's own if it brings some, else the stored ones."""
    live = old["metadata"].get("managedFields") if old is not None else None
    if subresource:
        return decode(live)
    if is_reset(given):
        return []
    if not given or given == live:
        return decode(live)
    return decode(given, trusted=False) or decode(live)


def _own(entries: list[Entry], taken: Entry, removed: Node, look: Elsewhere | None) -> list[Entry]:
    """``taken``'s fields move to its manager, whose time becomes that of ``taken``; removed ones go."""
    fields = taken.fields
    others = [entry for entry in entries if entry.identity != taken.identity]
    for entry in entries:
        if entry.identity == taken.identity:
            fields = union(difference(entry.fields, removed), fields)
    return [*settle(others, taken.api_version, look, (taken.fields, removed)), taken.owning(fields)]


def _strip(change: Change) -> Change:
    return strip_system_fields(change[0]), strip_system_fields(change[1])


#: Clients make objects of few outlines; whoever invents more pays for it.
_MAX_OUTLINES: Final = 512


def created(new: Object, type: Type, subresource: str) -> Node:  # noqa: A002
    """The fields that the creator of ``new`` owns: they depend on its outline alone."""
    shape = shape_of(type)
    key = outline(new, key_names), subresource
    fields = shape.outlines.get(key)
    if fields is None:
        fields = changes(None, new, type, subresource)[0]
        if len(shape.outlines) >= _MAX_OUTLINES:
            shape.outlines.clear()
        shape.outlines[key] = fields
    return fields


def changes(
    old: Object | None,
    new: Object,
    type: Type | None,  # noqa: A002
    subresource: str,
) -> tuple[Node, Node]:
    """(added or changed, removed) between two objects, without system fields and reset fields."""
    shape = shape_of(type)
    before = old
    if before is None:
        before = shape.zero if type is not None else {"metadata": {}}
    more, less = compare(shape, before, new)
    excluded = reset_fields(type, subresource)
    return _tracked(more, excluded), _tracked(less, excluded)


def _tracked(fields: Node | None, excluded: Node) -> Node:
    if not fields:
        return {}
    kept = strip_system_fields(fields)
    for name in excluded:
        kept.pop(name, None)
    return kept
