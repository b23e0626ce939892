"""Server-side apply: merge what was applied, find whose fields it takes, drop what it no longer applies.

live + applied = merged                         typed merge
owned before - owned now - owned by others      leaves merged
others' fields that changed value               conflicts; with ``force`` they change hands
"""

from __future__ import annotations

from typing import Final

from coxswain.api.errors import BadRequest, CauseType, Conflict
from coxswain.api.managedfields.entries import (
    APPLY,
    UPDATE,
    Change,
    Elsewhere,
    Entry,
    decode,
    settle,
    stamp,
    write,
)
from coxswain.api.managedfields.fieldset import Node, difference, intersection, paths, union, without
from coxswain.api.managedfields.lastapplied import MANAGER, refreshed, still_applied
from coxswain.api.managedfields.merge import merge, remove, with_structs
from coxswain.api.managedfields.shape import (
    ABSENT,
    DOES_NOT_FIT,
    Shape,
    applied_set,
    compare,
    shape_of,
)
from coxswain.api.managedfields.typed import faults, shown
from coxswain.api.managedfields.update import changes, reset_fields, strip_system_fields
from coxswain.api.managedfields.versions import Versions, elsewhere
from coxswain.api.names import Object
from coxswain.api.schema import Type

#: The manager of what an object held before it was managed.
BEFORE_FIRST_APPLY: Final = "before-first-apply"


def apply(
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    api_version: str = "",
    force: bool = False,
    subresource: str = "",
    type: Type | None,  # noqa: A002
    now: str,
    versions: Versions | None = None,
) -> Object:
    """The object that applying makes; see the package's text. ``api_version`` defaults to the applied object's.

    Raises Conflict (causes name the managers and paths) and BadRequest, when ``applied`` carries managedFields or
    does not fit the type (a list's element without its key).
    """
    if isinstance(given := applied.get("metadata"), dict) and given.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    shape = shape_of(type)
    version = api_version or applied.get("apiVersion", "")
    before = live if live is not None else _nothing(shape, type)
    entries = decode((before.get("metadata") or {}).get("managedFields"))
    if live is not None and not entries:
        # Whoever made an object that nobody manages owns what is there: applying must not take it silently.
        owned, _ = changes(None, live, type, subresource)
        entries = [Entry(BEFORE_FIRST_APPLY, UPDATE, version, subresource, now, owned)] if owned else []
    excluded = reset_fields(type, subresource)
    _check_shape(shape, applied, type)

    named = without(applied_set(shape, applied) or {}, excluded)
    mine = Entry(manager, APPLY, version, subresource, "", strip_system_fields(named))
    last = next((entry for entry in entries if entry.identity == mine.identity), None)
    others = [entry for entry in entries if entry is not last]

    configuration = {name: value for name, value in applied.items() if f"f:{name}" not in excluded}
    merged = merge(shape, live, configuration) if live is not None else configuration
    if last is not None and last.fields:
        # What nobody owns (name, namespace) still counts as applied: it keeps metadata from going as a whole.
        merged = _prune_as(shape, merged, last, [mine.owning(named), *others], versions, configuration)
    change = changed, removed = _changes(shape, before, merged)
    look = elsewhere(versions, live, merged, _strip)
    if not force:
        allowed = still_applied(shape, before) if manager == MANAGER else {}
        _refuse_conflicts(others, difference(changed, allowed), version, look)
    others = settle(others, version, look, change)

    same = not changed and not removed and last is not None and last.fields == mine.fields
    time = last.time if same and last is not None else stamp(now, subresource)
    if manager == MANAGER:
        merged = refreshed(merged, applied)
    merged = {**merged, "metadata": dict(merged.get("metadata") or {})}
    write(merged, [*others, Entry(manager, APPLY, version, subresource, time, mine.fields)])
    return merged


def _nothing(shape: Shape, type: Type | None) -> Object:  # noqa: A002
    return dict(shape.zero) if type is not None and shape.zero else {}


def _strip(change: Change) -> Change:
    return strip_system_fields(change[0]), strip_system_fields(change[1])


def _changes(shape: Shape, before: Object, merged: Object) -> tuple[Node, Node]:
    changed, removed = compare(shape, before, merged)
    return strip_system_fields(changed or {}), strip_system_fields(removed or {})


def _prune(shape: Shape, merged: Object, last: Node, kept: list[Node]) -> Object:
    """``merged`` without what was applied last time and none of ``kept`` has any more."""
    owned: Node = {}
    for fields in kept:
        owned = union(owned, fields)
    gone = difference(with_structs(shape, last), with_structs(shape, owned))
    pruned = remove(shape, merged, gone) if gone else merged
    return {} if pruned is ABSENT else pruned


def _prune_as(
    shape: Shape,
    merged: Object,
    last: Entry,
    owned: list[Entry],
    versions: Versions | None,
    configuration: Object,
) -> Object:
    """``_prune`` in the version in which the manager applied last time: ``owned`` has its new entry first."""
    version = owned[0].api_version
    if last.api_version == version or versions is None or last.api_version not in versions:
        return _prune(shape, merged, last.fields, [entry.fields for entry in owned])
    type_then, convert, back = versions[last.api_version]
    then = shape_of(type_then)
    kept = [entry.fields for entry in owned[1:] if entry.api_version == last.api_version]
    try:
        named = applied_set(then, convert(configuration)) or {}
        return back(_prune(then, convert(merged), last.fields, [named, *kept]))
    except DOES_NOT_FIT:
        return merged  # it is not what its type says, and will be refused


def _refuse_conflicts(others: list[Entry], changed: Node, version: str, look: Elsewhere | None) -> None:
    """Conflict if any of the changed fields belongs to another manager."""
    conflicts = []
    for entry in others:
        there: Node = changed
        if look is not None and entry.api_version != version:
            there = (look(entry.api_version) or ({}, {}))[0]
        if lost := intersection(entry.fields, there):
            conflicts.append((entry, lost))
    if conflicts:
        raise _conflict(conflicts)


def _conflict(conflicts: list[tuple[Entry, Node]]) -> Conflict:
    """``Apply failed with 2 conflicts: conflicts with "a" using apps/v1: - .spec.x``, as Kubernetes words it."""
    by_manager: dict[str, list[str]] = {}
    causes = []
    for entry, lost in conflicts:
        described = _describe(entry)
        for path in paths(lost):
            by_manager.setdefault(described, []).append(path)
            causes.append((described, path))
    causes.sort()
    count = len(causes)
    if count == 1:
        what, path = causes[0]
        message = f"Apply failed with 1 conflict: conflict with {what}: {path}"
    else:
        parts = ["\n- ".join([f"conflicts with {what}:", *by_manager[what]]) for what in sorted(by_manager)]
        message = f"Apply failed with {count} conflicts: " + "\n".join(parts)
    details = {
        "causes": [
            {"reason": CauseType.FIELD_MANAGER_CONFLICT, "message": f"conflict with {what}", "field": path}
            for what, path in causes
        ]
    }
    return Conflict(message, details=details)


def _describe(entry: Entry) -> str:
    """``"m"``, and for updates also with what: ``"m" with subresource "status" using v1``."""
    text = f'"{entry.manager}"'
    if entry.subresource:
        text += f' with subresource "{entry.subresource}"'
    if entry.operation == UPDATE:
        text += f" using {entry.api_version}"
    return text


def _check_shape(shape: Shape, applied: Object, type: Type | None) -> None:  # noqa: A002
    try:
        found = faults(type, shape, applied)
    except RecursionError:
        raise BadRequest("the configuration is nested too deeply") from None
    if found:
        metadata = applied.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        group, _, version = str(applied.get("apiVersion", "")).rpartition("/")
        gv = f"{group}/{version}" if group else f"/{version}"
        who = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {gv}, Kind={applied.get('kind', '')}"
        raise BadRequest(f"failed to create typed patch object ({who}): {shown(found)}")
