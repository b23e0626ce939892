"""Rules of Kubernetes as rows of tables: an edit of a good object, the field complained of, the reason, the words.

    rows: Rows = [
        ({"spec.replicas": -1}, "spec.replicas", INVALID, "must be greater than or equal to 0"),
    ]
    check_refused(deployment(), row)

An edit's keys are dotted paths (``spec.containers.0.image``); a number is a place in a list, the one after the last
appends; ``ABSENT`` removes. ``check_refused`` asks for exactly that complaint among those there may be;
``check_accepted`` for none.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, TypeAlias

from coxswain.api import defaults, strategy, validation
from coxswain.api.fields import Errors
from coxswain.api.names import GVK, Object

INVALID = "FieldValueInvalid"
REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
FORBIDDEN = "FieldValueForbidden"
NOT_FOUND = "FieldValueNotFound"
NOT_SUPPORTED = "FieldValueNotSupported"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"

Edits: TypeAlias = Mapping[str, Any]
#: What is changed, the field of the complaint, its cause's reason, a part of its message.
Row: TypeAlias = tuple[Edits, str, str, str]
Rows: TypeAlias = list[Row]


class _Edit(Enum):
    """Named, so that a row reads the same in every process: test ids are made of rows."""

    ABSENT = "absent"


ABSENT = _Edit.ABSENT

NONNEGATIVE = "must be greater than or equal to 0"
POSITIVE = "must be greater than zero"
PORT = "must be between 1 and 65535, inclusive"
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of"
LABEL = "a lowercase RFC 1123 label must consist of"
IMMUTABLE = "field is immutable"


def make(api_version: str, kind: str, *, name: str = "x", namespace: str = "n", **fields: Any) -> Object:
    """An object as the server holds it: named, with a uid and a version; ``namespace=""`` for cluster scope."""
    metadata = {"name": name, "uid": "u", "resourceVersion": "1"}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **copy.deepcopy(fields)}


def rows(obj: Object, *cases: Row) -> list[tuple[Object, Row]]:
    """The rows of one object, in a table that has the rows of several."""
    return [(obj, case) for case in cases]


def edited(obj: Object, edits: Edits) -> Object:
    """A copy of ``obj`` with ``edits`` made."""
    out = copy.deepcopy(obj)
    for path, value in edits.items():
        _put(out, path.split("."), copy.deepcopy(value) if value is not ABSENT else ABSENT)
    return out


def _put(target: Any, steps: Sequence[str], value: Any) -> None:
    for step, following in pairwise(steps):
        if isinstance(target, list):
            if int(step) == len(target):
                target.append({})
            target = target[int(step)]
        else:
            if target.get(step) is None:
                target[step] = [] if following.isdecimal() else {}
            target = target[step]
    last = steps[-1]
    if isinstance(target, list):
        target[int(last) : int(last) + 1] = [] if value is ABSENT else [value]
    elif value is ABSENT:
        target.pop(last, None)
    else:
        target[last] = value


def created(obj: Object) -> Object:
    """``obj`` as a create leaves it before validation: defaulted and prepared."""
    out, gvk = copy.deepcopy(obj), GVK.of(obj)
    defaults.default(out, gvk)
    strategy.prepare_for_create(out, gvk)
    return out


def check_accepted(obj: Object, edits: Edits | None = None) -> None:
    """The edited object may be created."""
    whole = created(edited(obj, edits or {}))
    assert [str(error) for error in validation.validate_create(whole, GVK.of(obj))] == []


def check_refused(obj: Object, row: Row) -> None:
    """The edited object may not be created, for the row's reason."""
    whole = created(edited(obj, row[0]))
    _expect(validation.validate_create(whole, GVK.of(obj)), row)


def check_refused_undefaulted(obj: Object, row: Row) -> None:
    """The same for what a client cannot send, since defaulting fills it in: the edit is made after that."""
    _expect(validation.validate_create(edited(created(obj), row[0]), GVK.of(obj)), row)


def check_update_refused(obj: Object, row: Row) -> None:
    """The object may not be changed like that."""
    old = created(obj)
    _expect(validation.validate_update(edited(old, row[0]), old, GVK.of(obj)), row)


def check_update_accepted(obj: Object, edits: Edits) -> None:
    """The object may be changed like that."""
    old = created(obj)
    errors = validation.validate_update(edited(old, edits), old, GVK.of(obj))
    assert [str(error) for error in errors] == []


def check_status_refused(obj: Object, row: Row, status: Object | None = None) -> None:
    """The object, whose status is ``status``, may not get that status."""
    old = {**created(obj), "status": status or {}}
    _expect(validation.validate_status_update(edited(old, row[0]), old, GVK.of(obj)), row)


def check_status_accepted(obj: Object, edits: Edits, status: Object | None = None) -> None:
    """The object, whose status is ``status``, may get that status."""
    old = {**created(obj), "status": status or {}}
    errors = validation.validate_status_update(edited(old, edits), old, GVK.of(obj))
    assert [str(error) for error in errors] == []


def _expect(errors: Errors, row: Row) -> None:
    _, field, reason, part = row
    found = [f"{error.type.reason} {error}" for error in errors]
    assert any(
        error.field == field and error.type.reason == reason and part in error.body for error in errors
    ), found
