"""Server-side apply: merge what was applied, find whose fields it takes, drop what it no longer applies.

live + applied = merged                         typed merge
owned before - owned now - owned by others      leaves merged
others' fields that changed value               conflicts; with ``force`` they change hands
"""

from __future__ import annotations

from typing import Any, Final

from coxswain.api.errors import BadRequest, CauseType, Conflict
from coxswain.api.managedfields.entries import APPLY, UPDATE, Entry, decode, stamp, take_away, write
from coxswain.api.managedfields.fieldset import Node, difference, intersection, paths, union, without
from coxswain.api.managedfields.lastapplied import MANAGER, refreshed, still_applied
from coxswain.api.managedfields.merge import merge, remove, with_structs
from coxswain.api.managedfields.shape import (
    ABSENT,
    KEYED,
    MAP,
    SET,
    STRUCT,
    MissingKeyError,
    Shape,
    applied_set,
    compare,
    elements,
    shape_of,
)
from coxswain.api.managedfields.update import changes, reset_fields, strip_system_fields
from coxswain.api.names import Object
from coxswain.api.patch.refusals import go_text
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
) -> Object:
    """The object that applying makes; see the package's text. ``api_version`` defaults to the applied object's.

    Raises Conflict (causes name the managers and paths) and BadRequest, when ``applied`` carries managedFields or
    does not fit the type (a list's element without its key).
    """
    if (applied.get("metadata") or {}).get("managedFields"):
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
        merged = _prune(shape, merged, last.fields, [named, *(entry.fields for entry in others)])
    changed, removed = _changes(shape, before, merged)
    if not force:
        allowed = still_applied(shape, before) if manager == MANAGER and last is None else {}
        _refuse_conflicts(others, difference(changed, allowed))
    others = take_away(take_away(others, changed), removed)

    same = not changed and not removed and last is not None and last.fields == mine.fields
    time = last.time if same and last is not None else stamp(now, subresource)
    if manager == MANAGER:
        merged = refreshed(merged, applied)
    merged = {**merged, "metadata": dict(merged.get("metadata") or {})}
    write(merged, [*others, Entry(manager, APPLY, version, subresource, time, mine.fields)])
    return merged


def _nothing(shape: Shape, type: Type | None) -> Object:  # noqa: A002
    return dict(shape.zero) if type is not None and shape.zero else {}


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


def _refuse_conflicts(others: list[Entry], changed: Node) -> None:
    """Conflict if any of the changed fields belongs to another manager."""
    conflicts = [(entry, lost) for entry in others if (lost := intersection(entry.fields, changed))]
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
        fault = _misfit(shape, applied, "")
    except RecursionError:
        raise BadRequest("the configuration is nested too deeply") from None
    if fault:
        metadata = applied.get("metadata") or {}
        group, _, version = str(applied.get("apiVersion", "")).rpartition("/")
        gv = f"{group}/{version}" if group else f"/{version}"
        who = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {gv}, Kind={applied.get('kind', '')}"
        raise BadRequest(f"failed to create typed patch object ({who}): {fault}")


def _misfit(shape: Shape, value: Any, path: str) -> str:
    """The first value that cannot be merged for its type or lack of keys, as structured-merge-diff says it."""
    if value is not None and shape.kind in (STRUCT, MAP) and not isinstance(value, dict):
        return f"{path}: expected map, got &{{{go_text(value)}}}"
    if value is not None and shape.kind in (KEYED, SET) and not isinstance(value, list):
        return f"{path}: expected list, got &{{{go_text(value)}}}"
    if shape.kind == STRUCT and value:
        for name, item in value.items():
            known = shape.fields.get(name)
            if known and (fault := _misfit(known[1], item, f"{path}.{name}")):
                return fault
    elif shape.kind == MAP and value and shape.element:
        for name, item in value.items():
            if fault := _misfit(shape.element, item, f"{path}.{name}"):
                return fault
    elif shape.kind in (KEYED, SET) and value:
        seen: set[str] = set()
        for position, item in enumerate(value):
            try:
                (wire,) = elements(shape, [item])
            except MissingKeyError as error:
                return f"{path}: element {position}: {error.message}"
            shown = "".join(paths({wire: {}}))
            if wire in seen:
                return f"errors:\n  {path}: duplicate entries for key {shown}"
            seen.add(wire)
            if shape.element and (fault := _misfit(shape.element, item, path + shown)):
                return fault
    return ""
