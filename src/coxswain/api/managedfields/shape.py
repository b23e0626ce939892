"""Types compiled for field ownership: what is one value, what merges, and by which keys.

    shape_of(type)             the Shape of a schema Type (None: deduced from the values), compiled once
    added(shape, value)        every path of a value that was not there before, containers included
    compare(shape, old, new)   (changed or added, removed) as field sets
    applied_set(shape, value)  the paths that an applied configuration names
    shape.zero                 the object that a Go client would see before the first write

A container becomes a member itself when it appears or disappears, but not while it merely changes inside; an
empty one counts as a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from coxswain.api.errors import BadRequest
from coxswain.api.fields import quote
from coxswain.api.managedfields.fieldset import MEMBER, Node
from coxswain.api.schema import Field, Type
from coxswain.base.memo import remembered

ATOMIC, STRUCT, MAP, KEYED, SET, DEDUCED = range(6)


class _Absent:
    """Not there at all, which differs from null."""


ABSENT: Final = _Absent()


#: A node with every field as a leaf, and the fields below which there is more: (name, wire element, shape).
_Plan: TypeAlias = "tuple[Node, tuple[tuple[str, str, Shape], ...]]"


@dataclass(slots=True, eq=False)
class Shape:
    """How one value merges. Only the parts that its ``kind`` needs are filled."""

    kind: int
    #: STRUCT: field name -> (wire element, shape).
    fields: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    #: STRUCT: names of a value's fields -> how to write them; see ``_plan``.
    plans: dict[tuple[str, ...], _Plan] = field(default_factory=dict)
    #: STRUCT: outlines of new objects and the subresource -> what their creator owns; see ``update.created``.
    outlines: dict[tuple[Any, str], Node] = field(default_factory=dict)
    #: MAP, KEYED: the shape of the values. STRUCT: that of fields which are not declared (None: there are none).
    element: Shape | None = None
    #: KEYED: the key fields, sorted by name, with their defaults (None: there is none).
    keys: tuple[tuple[str, Any], ...] = ()
    #: What an object of this type holds before anybody wrote it: Go's zero value.
    zero: Any = None


LEAF: Final = Shape(ATOMIC)
#: Without a schema maps merge, lists and scalars are single values.
UNKNOWN: Final = Shape(DEDUCED)
UNKNOWN.element = UNKNOWN

_structs: dict[int, tuple[Type, Shape]] = {}
#: Names of the fields that tell elements of associative lists apart, in any shape made so far.
key_names: Final[set[str]] = set()
#: Types of custom resources come and go; beyond this the compiled shapes are made anew.
_MAX_STRUCTS: Final = 4096


def shape_of(type: Type | None) -> Shape:  # noqa: A002
    """The compiled shape of a type."""
    if type is None:
        return UNKNOWN
    known = _structs.get(id(type))
    if known is None:
        if len(_structs) > _MAX_STRUCTS:
            _structs.clear()
        shape = Shape(STRUCT)
        known = _structs[id(type)] = (type, shape)  # first, for types that contain themselves
        _fill(shape, type)
    return known[1]


def _fill(shape: Shape, type: Type) -> None:  # noqa: A002
    if type.kind != "ref" or type.map_type == "atomic" or not type.fields:
        shape.kind = ATOMIC if type.kind != "any" else DEDUCED
    if type.open:
        shape.element = UNKNOWN
    shape.zero = {}
    for name in sorted(type.fields):
        below = type.fields[name]
        made = _shape_of_field(below)
        shape.fields[name] = (f"f:{name}", made)
        if below.presence == "always":
            shape.zero[name] = made.zero if below.kind == "ref" else _ZEROS.get(below.kind)
        elif below.presence == "nullable":
            shape.zero[name] = None


_ZEROS = {"string": "", "boolean": False, "integer": 0, "number": 0, "quantity": "0", "intorstring": 0}


def _shape_of_field(below: Field) -> Shape:
    if below.map_type == "atomic" and below.kind != "ref":
        return LEAF
    if below.kind == "ref":
        shape = shape_of(below.ref)
        return Shape(ATOMIC, zero=shape.zero) if below.map_type == "atomic" else shape
    if below.map_type == "granular" and below.kind in ("any", "object"):
        return UNKNOWN  # a custom resource's free part: x-kubernetes-preserve-unknown-fields
    if below.kind == "map" and below.element is not None:
        return Shape(MAP, element=_shape_of_field(below.element))
    if below.kind == "array" and below.element is not None:
        if below.list_type == "set":
            return Shape(SET, element=LEAF)
        if below.list_type == "map":
            return _keyed(below, below.element)
    return LEAF


def _keyed(below: Field, element: Field) -> Shape:
    target = element.ref.fields if element.kind == "ref" else {}
    keys = tuple((key, target[key].default if key in target else None) for key in sorted(below.list_keys))
    key_names.update(below.list_keys)
    return Shape(KEYED, element=_shape_of_field(element), keys=keys)


def deduce(value: Any) -> int:
    """The kind of a value without schema."""
    return MAP if isinstance(value, dict) else ATOMIC


# --- elements of lists ------------------------------------------------------------------------------------


class MissingKeyError(BadRequest):
    """An element of an associative list lacks a key that has no default."""


#: What walks raise about an object that is not what its type says.
DOES_NOT_FIT: Final = (MissingKeyError, TypeError, ValueError, AttributeError, RecursionError)


def element_key(shape: Shape, value: Any) -> str:
    """The wire path element of a list's element. Raises ``MissingKeyError`` for what cannot be one."""
    if shape.kind == SET:
        return _set_member(value)
    if not isinstance(value, dict):
        what = "a null element" if value is None else "non-map elements"
        raise MissingKeyError(f"associative list with keys may not have {what}")
    if len(shape.keys) == 1:
        key, default = shape.keys[0]
        found = value.get(key, default)
        if type(found) is str:
            return _string_key(key, found)
    keys = {}
    for key, default in shape.keys:
        found = value.get(key, default)
        if found is not None:
            keys[key] = found  # an element that lacks one key of several is another element
    if not keys:
        names = " ".join(quote(key) for key, _ in shape.keys)
        raise MissingKeyError(
            f"associative list with keys has an element that omits all key fields [{names}] "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + orjson.dumps(keys).decode()


def _set_member(value: Any) -> str:
    if isinstance(value, dict):
        raise MissingKeyError("associative list without keys has an element that's a map type")
    if isinstance(value, list):
        raise MissingKeyError("not supported: associative list with lists as elements")
    if value is None:
        raise MissingKeyError("associative list without keys has an element that's an explicit null")
    return "v:" + orjson.dumps(value).decode()


@remembered(8192)
def _string_key(key: str, value: str) -> str:
    return "k:" + orjson.dumps({key: value}).decode()


def elements(shape: Shape, values: list[Any] | None) -> dict[str, Any]:
    """Wire path element -> element, in the order of the list; of repeated ones the last."""
    return {element_key(shape, value): value for value in values} if values else {}


def grouped(shape: Shape, values: list[Any] | None) -> dict[str, list[Any]]:
    """Wire path element -> all elements that have it. Live objects may repeat what must not be applied twice."""
    groups: dict[str, list[Any]] = {}
    for value in values or ():
        groups.setdefault(element_key(shape, value), []).append(value)
    return groups


# --- walks ------------------------------------------------------------------------------------------------


def added(shape: Shape, value: Any) -> Node:
    """Every path of a value that is new as a whole."""
    kind = shape.kind
    if kind == DEDUCED:
        kind = deduce(value)
    if kind == ATOMIC or not value:
        return MEMBER
    if kind == STRUCT:
        leaves, containers = shape.plans.get(tuple(value)) or _plan(shape, tuple(value))
        out = leaves.copy()
        for name, wire, below in containers:
            out[wire] = added(below, value[name])
        return out
    out = {".": MEMBER}
    _added_elements(out, kind, shape, value)
    return out


#: Objects of one kind have few combinations of fields; a client that invents more pays for itself.
_MAX_PLANS: Final = 256


def _field_of(shape: Shape, name: str) -> tuple[str, Shape] | None:
    """The wire element and shape of a struct's field; None for one that it cannot have."""
    known = shape.fields.get(name)
    if known is None and shape.element is not None:
        return f"f:{name}", shape.element
    return known


def _plan(shape: Shape, names: tuple[str, ...]) -> _Plan:
    """What ``added`` does for a value with these fields, worked out once."""
    known = [(name, *found) for name in sorted(names) if (found := _field_of(shape, name)) is not None]
    leaves: Node = {".": MEMBER, **{wire: MEMBER for _, wire, _ in known}}
    plan = leaves, tuple(each for each in known if each[2].kind != ATOMIC)
    if len(shape.plans) < _MAX_PLANS:
        shape.plans[names] = plan
    return plan


def _added_elements(out: Node, kind: int, shape: Shape, value: Any) -> None:
    element = shape.element or LEAF
    leaf = element.kind == ATOMIC
    if kind == MAP:
        for name in sorted(value):
            out[f"f:{name}"] = MEMBER if leaf else added(element, value[name])
    else:
        items = elements(shape, value)
        twice = _repeated(shape, value, items)
        for wire in sorted(items):
            out[wire] = MEMBER if leaf or wire in twice else added(element, items[wire])


def _repeated(shape: Shape, values: list[Any], items: dict[str, Any]) -> frozenset[str]:
    """The elements that are there more than once: each is one value, whatever is in it."""
    if len(items) == len(values):
        return frozenset()
    return frozenset(wire for wire, group in grouped(shape, values).items() if len(group) > 1)


_NOTHING: Final[tuple[Node | None, Node | None]] = (None, None)
_NO_ITEMS: Final[dict[str, Any]] = {}


def compare(shape: Shape, old: Any, new: Any) -> tuple[Node | None, Node | None]:
    """(what was added or changed, what was removed) from ``old`` to ``new``; None where nothing was."""
    if old is new or old == new:
        return _NOTHING
    if old is ABSENT:
        return added(shape, new), None
    if new is ABSENT:
        return None, added(shape, old)
    kind = shape.kind
    if kind == DEDUCED:
        kind = deduce(new)
        if kind != deduce(old) and old is not None and new is not None:
            return MEMBER, (added(shape, old) if isinstance(old, dict) else None)
        if new is None:
            kind = deduce(old)
    if kind == ATOMIC or not (old or new):
        return MEMBER, None
    if kind == STRUCT:
        return _compare_struct(shape, old or _NO_ITEMS, new or _NO_ITEMS)
    if kind == MAP:
        before = {f"f:{name}": item for name, item in old.items()} if old else _NO_ITEMS
        after = {f"f:{name}": item for name, item in new.items()} if new else _NO_ITEMS
    else:
        before, after = elements(shape, old), elements(shape, new)
        if len(before) != len(old or ()) or len(after) != len(new or ()):
            return _compare_repeated(shape, old, new)
    return _compare_items(shape.element or LEAF, before, after)


def _compare_struct(
    shape: Shape, old: dict[str, Any], new: dict[str, Any]
) -> tuple[Node | None, Node | None]:
    changed: Node = {}
    removed: Node = {}
    fields, zero, open_element = shape.fields, shape.zero or _NO_ITEMS, shape.element
    for name in sorted(old.keys() | new.keys()):
        known = fields.get(name)
        if known is None:
            if open_element is None:
                continue
            known = (f"f:{name}", open_element)
        wire, below = known
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if before is ABSENT:
            before = zero.get(name, ABSENT)  # Go always has it
            if before is ABSENT:
                changed[wire] = MEMBER if below.kind == ATOMIC else added(below, after)
                continue
        elif after is ABSENT:
            after = zero.get(name, ABSENT)
        more, less = compare(below, before, after)
        if more is not None:
            changed[wire] = more
        if less is not None:
            removed[wire] = less
    return changed or None, removed or None


def _compare_items(
    element: Shape, before: dict[str, Any], after: dict[str, Any]
) -> tuple[Node | None, Node | None]:
    changed: Node = {}
    removed: Node = {}
    for wire in sorted(before.keys() | after.keys()):
        more, less = compare(element, before.get(wire, ABSENT), after.get(wire, ABSENT))
        if more is not None:
            changed[wire] = more
        if less is not None:
            removed[wire] = less
    return changed or None, removed or None


def _compare_repeated(
    shape: Shape, old: list[Any] | None, new: list[Any] | None
) -> tuple[Node | None, Node | None]:
    """As ``_compare_items``, where an element is there more than once: such a group is compared as one value."""
    changed: Node = {}
    removed: Node = {}
    before, after = grouped(shape, old), grouped(shape, new)
    element = shape.element or LEAF
    for wire in sorted(before.keys() | after.keys()):
        left, right = before.get(wire, []), after.get(wire, [])
        more: Node | None = None
        less: Node | None = None
        if len(left) > 1 and len(right) > 1:
            more = MEMBER if left != right else None
        elif len(left) > 1:
            less = MEMBER
            more = added(element, right[0]) if right else None
        elif len(right) > 1:
            more = MEMBER
            less = added(element, left[0]) if left else None
        else:
            more, less = compare(element, left[0] if left else ABSENT, right[0] if right else ABSENT)
        if more is not None:
            changed[wire] = more
        if less is not None:
            removed[wire] = less
    return changed or None, removed or None


def applied_set(shape: Shape, value: Any) -> Node | None:
    """The paths that a configuration names: values, list elements, map entries; not structs on the way."""
    kind = shape.kind
    if kind == DEDUCED:
        kind = deduce(value)
    if kind == ATOMIC:
        return MEMBER
    if not value:
        return None
    out: Node = {}
    if kind == STRUCT:
        for name in sorted(value):
            if name in shape.fields:
                wire, below = shape.fields[name]
                out[wire] = _named(below, value[name])
            elif shape.element is not None:
                out[f"f:{name}"] = _with_self(_named(shape.element, value[name]))
    elif kind == MAP:
        element = shape.element or LEAF
        for name in sorted(value):
            # A map's entry is a member itself: its name is data.
            out[f"f:{name}"] = _with_self(_named(element, value[name]))
    else:
        items = elements(shape, value)
        for wire in sorted(items):
            out[wire] = _with_self(applied_set(shape.element or LEAF, items[wire]) or MEMBER)
    return {name: below for name, below in out.items() if below is not None} or None


def _named(shape: Shape, value: Any) -> Node | None:
    if value is None or value == {}:
        return MEMBER
    return applied_set(shape, value)


def _with_self(node: Node | None) -> Node:
    return {".": MEMBER, **node} if node else MEMBER
