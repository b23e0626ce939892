"""What ``apply`` sends: the patch that takes a live object to the manifest, three ways.

three_way(original, modified, current, type) -> patch

``original`` is the manifest that was applied last, ``modified`` the manifest of today, ``current`` the live
object. Fields of the manifest that differ from the live ones are set; fields that were in the manifest last
time and are no more are removed; what others added stays. With a ``type`` the patch is a strategic merge
patch (lists with a merge key merge), without one a JSON merge patch. ``{}`` says that nothing is to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from coxswain.api.names import Object
from coxswain.api.schema import Field, Type

_Node: TypeAlias = Type | Field | None


def three_way(original: Object, modified: Object, current: Object, shape: Type | None) -> Object:
    """The patch; see the module's text."""
    return _maps(original, modified, current, shape)


def _field(node: _Node, key: str) -> Field | None:
    if isinstance(node, Type):
        return node.fields.get(key)
    if isinstance(node, Field):
        return node.element
    return None


def _below(field: Field | None) -> _Node:
    """What describes the fields of a field's object."""
    if field is None:
        return None
    return field.ref if field.kind == "ref" else field


def _has(field: Field | None, strategy: str) -> bool:
    return field is not None and strategy in (field.patch_strategy or "").split(",")


def _maps(original: Any, modified: Object, current: Object, node: _Node) -> Object:
    before = original if isinstance(original, dict) else {}
    patch: Object = {}
    for key in sorted(modified):
        wanted, field = modified[key], _field(node, key)
        if wanted is None:
            if current.get(key) is not None:
                patch[key] = None
        elif key not in current or current[key] is None:
            patch[key] = wanted
        elif isinstance(wanted, dict) and isinstance(current[key], dict):
            _add_map(patch, key, before.get(key), wanted, current[key], field)
        elif isinstance(wanted, list) and isinstance(current[key], list):
            _add_list(patch, key, before.get(key), wanted, current[key], field)
        elif wanted != current[key] or isinstance(wanted, bool) != isinstance(current[key], bool):
            patch[key] = wanted
    for key in before:
        if key not in modified and key in current:
            patch[key] = None
    return patch


def _add_map(patch: Object, key: str, before: Any, wanted: Object, live: Object, field: Field | None) -> None:
    if _has(field, "replace"):
        if wanted != live:
            patch[key] = {"$patch": "replace", **wanted}
        return
    inner = _maps(before, wanted, live, _below(field))
    if inner and _has(field, "retainKeys"):
        inner["$retainKeys"] = sorted(wanted)
    if inner:
        patch[key] = inner


def _add_list(
    patch: Object, key: str, before: Any, wanted: list[Any], live: list[Any], field: Field | None
) -> None:
    before = before if isinstance(before, list) else []
    if field is None or not _has(field, "merge"):
        if wanted != live:
            patch[key] = wanted
    elif field.merge_key and all(
        isinstance(one, dict) and field.merge_key in one for one in [*wanted, *live]
    ):
        _merge_objects(patch, key, before, wanted, live, field)
    elif not field.merge_key:
        _merge_scalars(patch, key, before, wanted, live)
    elif wanted != live:
        patch[key] = wanted


def _merge_objects(
    patch: Object, key: str, before: Sequence[Any], wanted: list[Object], live: list[Object], field: Field
) -> None:
    name = field.merge_key or ""
    element = _below(field.element)
    had = {one.get(name): one for one in before if isinstance(one, dict)}
    there = {one[name]: one for one in live}
    names = [one[name] for one in wanted]
    changes: list[Object] = []
    for one in wanted:
        if one[name] not in there:
            changes.append(one)
        elif inner := _maps(had.get(one[name]), one, there[one[name]], element):
            if _has(field, "retainKeys"):
                inner["$retainKeys"] = sorted(one)
            changes.append({**inner, name: one[name]})
    changes += [{"$patch": "delete", name: old} for old in had if old not in names and old in there]
    if changes or _order(names, there):
        if changes:
            patch[key] = changes
        patch[f"$setElementOrder/{key}"] = [{name: value} for value in names]


def _merge_scalars(patch: Object, key: str, before: list[Any], wanted: list[Any], live: list[Any]) -> None:
    added = [one for one in wanted if one not in live]
    dropped = [one for one in before if one not in wanted and one in live]
    if added:
        patch[key] = added
    if dropped:
        patch[f"$deleteFromPrimitiveList/{key}"] = dropped
    if added or dropped or _order(wanted, live):
        patch[f"$setElementOrder/{key}"] = wanted


def _order(names: Sequence[Any], live: Any) -> bool:
    """Whether the live elements among ``names`` stand in another order."""
    return [one for one in live if one in names] != [one for one in names if one in live]
