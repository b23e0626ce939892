"""Sets of field paths in their wire form (FieldsV1), and the algebra on them.

A node is a dict from path elements (``f:name``, ``k:{"name":"c"}``, ``v:"x"``) to nodes. ``{}`` says that the path
itself is a member; ``"."`` says so where there are members below. A whole set is a node too, but its root is never a
member: there ``{}`` is the empty set. Nothing here changes its arguments, and results share parts of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson

Node: TypeAlias = dict[str, Any]

#: A path that is a member and has nothing below. Shared: never change it.
MEMBER: Final[Node] = {}


def union(left: Node, right: Node) -> Node:
    """The members of either set."""
    if not right or left is right:
        return left
    if not left:
        return right
    return _union(left, right)


def _union(left: Node, right: Node) -> Node:
    merged: Node = {}
    if not left or not right or "." in left or "." in right:
        merged["."] = MEMBER
    names = left.keys() | right.keys()
    names.discard(".")
    for name in sorted(names):
        a, b = left.get(name), right.get(name)
        if a is None:
            merged[name] = b
        else:
            merged[name] = a if b is None or a is b else _union(a, b)
    return MEMBER if len(merged) == 1 and "." in merged else merged


def difference(left: Node, right: Node) -> Node:
    """The members of ``left`` that are not members of ``right``."""
    return (_difference(left, right) or {}) if left and right else left


def _difference(left: Node, right: Node) -> Node | None:
    rest: Node = {}
    for name, a in left.items():
        if name == ".":
            continue
        b = right.get(name)
        kept = a if b is None else _difference(a, b)
        if kept is not None:
            rest[name] = kept
    if (not left or "." in left) and right and "." not in right:
        return {".": MEMBER, **rest} if rest else MEMBER
    return rest or None


def intersection(left: Node, right: Node) -> Node:
    """The members of both sets."""
    return (_intersection(left, right) or {}) if left and right else {}


def _intersection(left: Node, right: Node) -> Node | None:
    both: Node = {}
    for name, a in left.items():
        b = right.get(name)
        if b is None or name == ".":
            continue
        kept = _intersection(a, b)
        if kept is not None:
            both[name] = kept
    if (not left or "." in left) and (not right or "." in right):
        return {".": MEMBER, **both} if both else MEMBER
    return both or None


def without(fields: Node, excluded: Node) -> Node:
    """``fields`` without the members of ``excluded`` and everything below them."""
    return (_without(fields, excluded) or {}) if fields else fields


def _without(fields: Node, excluded: Node) -> Node | None:
    rest: Node = {}
    for name, below in fields.items():
        cut = excluded.get(name)
        if cut is None or name == ".":
            rest[name] = below
        elif cut and "." not in cut:
            kept = _without(below, cut)
            if kept is not None:
                rest[name] = kept
    if len(rest) == 1 and "." in rest:
        return MEMBER
    if not rest:
        return None if fields else MEMBER
    return rest


#: Real objects are a dozen levels deep.
_MAX_DEPTH: Final = 100


def is_well_formed(fields: Any, depth: int = 0) -> bool:
    """Whether this is a set's wire form: what a client sends may be anything."""
    if not isinstance(fields, dict) or depth > _MAX_DEPTH:
        return False
    return all(_is_element(name) and is_well_formed(below, depth + 1) for name, below in fields.items())


def _is_element(name: str) -> bool:
    kind, rest = name[:2], name[2:]
    if name == "." or kind == "f:":
        return True
    if kind == "i:":
        return rest.lstrip("-").isdecimal()
    if kind not in ("k:", "v:"):
        return False
    try:
        value = orjson.loads(rest)
    except orjson.JSONDecodeError:
        return False
    return kind == "v:" or isinstance(value, dict)


def paths(fields: Node) -> Iterator[str]:
    """Every member, as structured-merge-diff prints paths: ``.spec.containers[name="c"].image``."""
    for name, below in fields.items():
        if name == ".":
            continue
        text = _element(name)
        if not below or "." in below:
            yield text
        for rest in paths(below):
            yield text + rest


def _element(name: str) -> str:
    kind, rest = name[:2], name[2:]
    if kind == "f:":
        return f".{rest}"
    if kind == "k:":
        return f"[{_keys(rest)}]"
    return f"[={rest}]" if kind == "v:" else f"[{rest}]"


def _keys(text: str) -> str:
    keys: dict[str, Any] = orjson.loads(text)
    return ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in keys.items())
