"""Strategic merge patch: a merge patch that knows which lists merge, and by which key (``util/strategicpatch``).

Where the type says ``patch_strategy: merge``, a list of objects merges by its merge key and a list of scalars as
a set; every other list is replaced. Objects merge unless their strategy is ``replace``. Directives in the patch:

    $patch: replace | delete           on an object, or on an element of a merging list
    $retainKeys: [a, b]                drop every other field of this object
    $deleteFromPrimitiveList/f: [x]    drop these scalars from the list f
    $setElementOrder/f: [...]          the order of the merged list f: scalars, or objects with their merge key

Order without a directive: elements of the patch in its order, the others in the live order, interleaved so that
neither changes.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from coxswain.api.errors import ApiError, BadRequest
from coxswain.api.names import Object
from coxswain.api.patch.refusals import go_text, rejected, too_deep, wrong_json_type
from coxswain.api.schema import Field, Type

DIRECTIVE: Final = "$patch"
RETAIN_KEYS: Final = "$retainKeys"
DELETE_PRIMITIVES: Final = "$deleteFromPrimitiveList"
ELEMENT_ORDER: Final = "$setElementOrder"

#: What describes the object being merged: its Type, the Field of a map, or nothing.
_Node: TypeAlias = Type | Field | None


def strategic_merge_patch(obj: Object, patch: Any, type: Type | None) -> Object:  # noqa: A002
    """``obj`` with ``patch`` merged in. Raises BadRequest, Invalid, or as Kubernetes a bare 500 for a missing merge key."""
    if not isinstance(patch, dict):
        raise wrong_json_type(patch, "map[string]interface {}")
    try:
        return _merge_object(obj, patch, type)
    except RecursionError:
        raise too_deep() from None


def _failure(message: str) -> ApiError:
    """The client's mistake, so a 400, although Kubernetes makes no API error of it and answers with a bare 500."""
    return BadRequest(message)


def _unknown_directive(directive: Any, patch: Object) -> ApiError:
    return _failure(f"unknown patch type: {go_text(directive)} in map: {go_text(patch)}")


def _no_merge_key(element: Any, key: str) -> ApiError:
    return _failure(f"map: {go_text(element)} does not contain declared merge key: {key}")


# --- objects ----------------------------------------------------------------------------------------------


def _merge_object(original: Object, patch: Object, node: _Node) -> Object:
    if DIRECTIVE in patch:
        return _directed(patch)
    merged = dict(original)
    patch = _retain_keys(merged, patch)
    patch = _set_element_orders(merged, patch, node)
    for name, value in patch.items():
        if name.startswith(DELETE_PRIMITIVES):
            _delete_primitives(merged, name, value)
        elif value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge_value(merged.get(name), value, _field(node, name))
    return merged


def _directed(patch: Object) -> Object:
    directive = patch[DIRECTIVE]
    if directive == "replace":
        rest = {name: value for name, value in patch.items() if name != DIRECTIVE}
        return _plain_object(rest)
    if directive == "delete":
        return {}
    raise _unknown_directive(directive, patch)


def _field(node: _Node, name: str) -> Field | None:
    if isinstance(node, Type):
        return node.fields.get(name)
    return node.element if node is not None else None


def _below(field: Field | None) -> _Node:
    """What describes the fields of an object that is this field's value."""
    if field is None:
        return None
    if field.kind == "ref":
        return field.ref
    return field if field.kind == "map" else None


def _merge_value(current: Any, value: Any, field: Field | None) -> Any:
    strategies = (field.patch_strategy or "").split(",") if field is not None else []
    if isinstance(value, dict) and isinstance(current, dict):
        if "replace" in strategies:
            return _plain(value)
        return _merge_object(current, value, _below(field))
    if isinstance(value, list) and isinstance(current, list) and field is not None and "merge" in strategies:
        return _merge_list(current, value, field)
    return _plain(value)


def _retain_keys(merged: Object, patch: Object) -> Object:
    """Drop from ``merged`` what $retainKeys does not name; the patch without the directive."""
    if RETAIN_KEYS not in patch:
        return patch
    keep = patch[RETAIN_KEYS]
    patch = {name: value for name, value in patch.items() if name != RETAIN_KEYS}
    if not isinstance(keep, list):
        raise BadRequest("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is not None and name not in keep and not name.startswith((DELETE_PRIMITIVES, ELEMENT_ORDER)):
            raise BadRequest("invalid patch format of retainKeys")
    for name in [name for name in merged if name not in keep]:
        del merged[name]
    return patch


def _delete_primitives(merged: Object, directive: str, values: Any) -> None:
    _, slash, name = directive.partition("/")
    if not slash or not isinstance(values, list):
        raise BadRequest("invalid patch format of primitive list")
    current = merged.get(name)
    if isinstance(current, list):
        merged[name] = [value for value in current if value not in values]


# --- values that are new: directives and nulls mean nothing there ------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain_object(value)
    if isinstance(value, list):
        return [_plain(element) for element in value if not _deletes(element)]
    return value


def _plain_object(patch: Object) -> Object:
    if _deletes(patch):
        return {}
    return {
        name: _plain(value)
        for name, value in patch.items()
        if value is not None
        and name not in (DIRECTIVE, RETAIN_KEYS)
        and not name.startswith((DELETE_PRIMITIVES, ELEMENT_ORDER))
    }


def _deletes(element: Any) -> bool:
    return isinstance(element, dict) and element.get(DIRECTIVE) == "delete"


# --- lists ------------------------------------------------------------------------------------------------


def _merge_list(current: list[Any], patch: list[Any], field: Field) -> list[Any]:
    """``current`` with ``patch`` merged in: by merge key, or as a set of scalars."""
    if not current and not patch:
        return current
    if any(isinstance(element, list) for element in (*current, *patch)):
        raise rejected()
    if not any(isinstance(element, dict) for element in (*current, *patch)):
        merged = list(dict.fromkeys([*current, *patch]))
        return _in_order(merged, patch, current, "")
    key = field.merge_key or ""
    if not key:
        raise _failure(f"cannot merge lists without merge key for {field.name}")
    current, patch = _apply_special_elements(current, patch, key)
    merged = _merge_elements(current, patch, key, _below(field.element))
    return _in_order(merged, patch, current, key)


def _apply_special_elements(current: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carry out the elements that are directives; the list and the patch without them."""
    plain: list[Any] = []
    replace = False
    for element in patch:
        directive = element.get(DIRECTIVE) if isinstance(element, dict) else None
        if directive is None:
            plain.append(element)
        elif directive == "delete":
            value = _key_of(element, key)
            current = [item for item in current if _key_of(item, key) != value]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _failure("merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(directive, element)
    return (_plain(plain), []) if replace else (current, plain)


def _key_of(element: Any, key: str) -> Any:
    if not isinstance(element, dict):
        raise _failure(f"expected a map[string]interface {{}}, but received a {go_text(element)}")
    if key not in element:
        raise _no_merge_key(element, key)
    return element[key]


def _merge_elements(current: list[Any], patch: list[Any], key: str, node: _Node) -> list[Any]:
    merged = list(current)
    for element in patch:
        value = _key_of(element, key)
        for position, item in enumerate(merged):
            if _key_of(item, key) == value:
                merged[position] = _merge_object(item, element, node)
                break
        else:
            merged.append(_plain(element))
    return merged


# --- order ------------------------------------------------------------------------------------------------


def _set_element_orders(merged: Object, patch: Object, node: _Node) -> Object:
    """Merge every list that has an order directive, in that order; what is left of the patch."""
    orders = [name for name in patch if name.startswith(ELEMENT_ORDER)]
    if not orders:
        return patch
    patch = dict(patch)
    for directive in orders:
        order = patch.pop(directive)
        _, slash, name = directive.partition("/")
        if not slash or not isinstance(order, list):
            raise BadRequest("invalid patch format of setElementOrder list")
        field = _field(node, name)
        key = (field.merge_key or "") if field is not None else ""
        current, change = merged.get(name), patch.pop(name, None)
        _check_order(change, order, key)
        if current is None and change is None:
            continue
        if current is None:
            result = _plain(change)
        else:
            result = current if change is None else _merge_value(current, change, field)
        merged[name] = _in_order(result, order, current or [], key)
    return patch


def _check_order(change: Any, order: list[Any], key: str) -> None:
    """Every element of the patch must stand in the order directive, in the same order."""
    if change is None:
        return
    if not isinstance(change, list):
        raise BadRequest("invalid patch format of setElementOrder list")
    places = [_identity(element, key) for element in order]
    position = 0
    for element in change:
        if isinstance(element, dict) and DIRECTIVE in element:
            continue
        try:
            position = places.index(_identity(element, key), position) + 1
        except ValueError:
            listed = go_text(change), go_text(order)
            raise _failure(
                f"The order in patch list:\n{listed[0]}\n doesn't match $setElementOrder list:\n{listed[1]}\n"
            ) from None


def _identity(element: Any, key: str) -> Any:
    if key:
        return _key_of(element, key)
    return element


def _in_order(merged: list[Any], order: list[Any], live: list[Any], key: str) -> list[Any]:
    """Elements named by ``order`` in that order, the rest in live order, interleaved by the live order."""
    wanted = {_hashable(_identity(element, key)): place for place, element in enumerate(order)}
    places = {_hashable(_identity(element, key)): place for place, element in enumerate(live)}

    def identity(element: Any) -> Any:
        return _hashable(_identity(element, key))

    patched = [element for element in merged if identity(element) in wanted]
    others = [element for element in merged if identity(element) not in wanted]
    patched.sort(key=lambda element: wanted[identity(element)])
    others.sort(key=lambda element: places.get(identity(element), len(live)))
    result: list[Any] = []
    left = 0
    for element in patched:
        place = places.get(identity(element))
        while left < len(others) and place is not None and places.get(identity(others[left]), place) < place:
            result.append(others[left])
            left += 1
        result.append(element)
    return result + others[left:]


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else go_text(value)
