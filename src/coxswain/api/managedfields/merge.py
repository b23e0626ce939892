"""Typed merging: an applied configuration over the live object, and taking paths out of an object again.

Both give a new value that shares what they did not change.
"""

from __future__ import annotations

from typing import Any

from coxswain.api.managedfields.fieldset import MEMBER, Node
from coxswain.api.managedfields.shape import (
    ABSENT,
    ATOMIC,
    DEDUCED,
    LEAF,
    MAP,
    STRUCT,
    Shape,
    deduce,
    element_key,
    elements,
    grouped,
)


def merge(shape: Shape, live: Any, applied: Any) -> Any:
    """``applied`` over ``live``: maps and keyed lists merge, all else is what was applied."""
    kind = shape.kind
    if kind == DEDUCED:
        kind = deduce(applied) if type(live) is type(applied) else ATOMIC
    if kind == ATOMIC or not live:
        return applied
    if not applied:
        return live  # an empty or null container takes nothing away
    if kind in (STRUCT, MAP):
        if not isinstance(live, dict) or not isinstance(applied, dict):
            return applied
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = merge(_below(shape, kind, name), merged.get(name), value)
        return merged
    return _merge_lists(shape, live, applied)


def _below(shape: Shape, kind: int, name: str) -> Shape:
    if kind == STRUCT:
        known = shape.fields.get(name)
        return known[1] if known else (shape.element or LEAF)
    return shape.element or LEAF


def _merge_lists(shape: Shape, live: list[Any], applied: list[Any]) -> list[Any]:
    """The applied elements in their order; live ones that were not applied stay where they were between them.

    A live element that is there more than once is replaced by the applied one, or stays as often as it is there.
    """
    old, new = grouped(shape, live), elements(shape, applied)
    element = shape.element or LEAF
    merged: list[Any] = []

    def take(wire: str) -> None:
        group = old.get(wire, ())
        merged.append(merge(element, group[0], new[wire]) if len(group) == 1 else new[wire])
        done.add(wire)

    left = [(element_key(shape, value), value) for value in live]
    right = list(new)
    shared = [wire for wire in right if wire in old]
    done: set[str] = set()
    awaited = at = place = 0
    while at < len(left) or place < len(right):
        wire = left[at][0] if at < len(left) else ""
        if wire and place < len(right):
            if wire == right[place]:
                take(wire)
                at, place, awaited = at + 1, place + 1, awaited + 1
                continue
            if wire in new and awaited < len(shared) and shared[awaited] != wire:
                at += 1  # shared, but its turn comes elsewhere
                continue
        if wire:
            if wire not in new:
                merged.append(left[at][1])
                at += 1
                continue
            if wire in done:
                at += 1
        if place < len(right):
            wire = right[place]
            take(wire)
            place += 1
            if awaited < len(shared) and shared[awaited] == wire:
                awaited += 1
    return merged


def remove(shape: Shape, value: Any, fields: Node) -> Any:
    """``value`` without the members of ``fields``; a container that becomes empty is ABSENT."""
    kind = shape.kind
    if kind == DEDUCED:
        kind = deduce(value)
    if kind == ATOMIC or not value or not fields:
        return value
    if kind in (STRUCT, MAP):
        return _remove_entries(shape, kind, value, fields) or ABSENT
    element = shape.element or LEAF
    left = [_remove_one(element, item, fields.get(element_key(shape, item))) for item in value]
    return [item for item in left if item is not ABSENT] or ABSENT


def _remove_entries(shape: Shape, kind: int, value: dict[str, Any], fields: Node) -> dict[str, Any]:
    kept = {}
    for name, item in value.items():
        left = _remove_one(_below(shape, kind, name), item, fields.get(f"f:{name}"))
        if left is not ABSENT:
            kept[name] = left
        elif kind == STRUCT and shape.zero and name in shape.zero and isinstance(shape.zero[name], dict):
            kept[name] = {}  # Go cannot leave out a struct that is not a pointer
    return kept


def _remove_one(shape: Shape, item: Any, cut: Node | None) -> Any:
    if cut is None:
        return item
    return ABSENT if not cut or "." in cut else remove(shape, item, cut)


def with_structs(shape: Shape, fields: Node) -> Node:
    """``fields`` with every struct field on the way to a member made a member itself.

    What was applied is remembered by its leaves; a struct of which nothing is applied any more goes as a whole.
    """
    out: Node = {}
    for wire, below in fields.items():
        if wire == ".":
            out[wire] = below
            continue
        known = shape.fields.get(wire[2:]) if shape.kind == STRUCT else None
        child = known[1] if known else (shape.element or LEAF)
        if not below:
            out[wire] = MEMBER
        else:
            inner = with_structs(child, below)
            out[wire] = {".": MEMBER, **inner} if known else inner
    return out
