"""JSON merge patch (RFC 7386), as evanphx/json-patch does it."""

from __future__ import annotations

from typing import Any

from coxswain.api.names import Object
from coxswain.api.patch.refusals import too_deep, wrong_json_type


def merge_patch(obj: Object, patch: Any) -> Object:
    """``obj`` with ``patch`` merged in: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        raise wrong_json_type(patch, "map[string]interface {}")
    try:
        return _merge(obj, patch)
    except RecursionError:
        raise too_deep() from None


def _merge(target: Object, patch: Object) -> Object:
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            current = merged.get(name)
            merged[name] = _merge(current if isinstance(current, dict) else {}, value)
        else:
            merged[name] = value
    return merged
