"""Moving from client-side to server-side apply, for the manager that ``kubectl apply --server-side`` uses.

Client-side apply left its configuration in an annotation. When ``kubectl`` then applies on the server, fields that
still have the value of that annotation are its own, whoever updated them; and the annotation is kept current, so
that going back to client-side apply stays possible.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from coxswain.api.managedfields.fieldset import Node, difference
from coxswain.api.managedfields.shape import MissingKeyError, Shape, applied_set, compare
from coxswain.api.managedfields.update import strip_system_fields
from coxswain.api.names import Object

MANAGER: Final = "kubectl"
ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"
#: All annotations of an object together may not be larger, in bytes.
MAX_ANNOTATIONS: Final = 256 * 1024


def _annotations(obj: Object) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def still_applied(shape: Shape, live: Object) -> Node:
    """The fields of the annotation's configuration that ``live`` still has unchanged."""
    text = _annotations(live).get(ANNOTATION)
    if not text:
        return {}
    try:
        configuration = orjson.loads(text)
        if not isinstance(configuration, dict) or configuration.get("kind") != live.get("kind"):
            return {}
        fields = applied_set(shape, configuration) or {}
        changed, removed = compare(shape, configuration, live)
    except (orjson.JSONDecodeError, MissingKeyError, AttributeError):
        return {}
    fields = strip_system_fields(fields)
    return difference(difference(fields, changed or {}), removed or {})


def refreshed(merged: Object, applied: Object) -> Object:
    """``merged`` with the annotation, if it has one, replaced by what was just applied."""
    annotations = _annotations(merged)
    if ANNOTATION not in annotations:
        return merged
    rest = {name: value for name, value in _annotations(applied).items() if name != ANNOTATION}
    metadata = {
        name: value for name, value in (applied.get("metadata") or {}).items() if name != "annotations"
    }
    if rest:
        metadata["annotations"] = rest
    text = orjson.dumps({**applied, "metadata": metadata}, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    changed = {**annotations, ANNOTATION: text}
    if sum(len(name) + len(value) for name, value in changed.items()) > MAX_ANNOTATIONS:
        del changed[ANNOTATION]
    return {**merged, "metadata": {**merged["metadata"], "annotations": changed}}
