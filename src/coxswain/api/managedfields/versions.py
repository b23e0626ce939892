"""Field ownership across the versions of one kind.

A manager's fields are named in the version that it wrote in. When somebody writes in another one, what that changed
is looked at in both: the old and the new object are converted and compared there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias

from coxswain.api.managedfields.entries import Change, Elsewhere
from coxswain.api.managedfields.shape import DOES_NOT_FIT, Shape, compare, shape_of
from coxswain.api.names import Object
from coxswain.api.schema import Type

#: apiVersion -> its Type, what converts an object of the version written in to it, and back.
Versions: TypeAlias = Mapping[str, tuple[Type | None, Callable[[Object], Object], Callable[[Object], Object]]]


def elsewhere(
    versions: Versions | None, old: Object | None, new: Object, strip: Callable[[Change], Change]
) -> Elsewhere | None:
    """What changed between ``old`` and ``new`` as another version shows it, worked out once a version."""
    if versions is None:
        return None

    @cache
    def look(api_version: str) -> Change | None:
        known = versions.get(api_version)
        if known is None:
            return None
        shape: Shape = shape_of(known[0])
        try:
            before = known[1](old) if old is not None else (shape.zero or {})
            more, less = compare(shape, before, known[1](new))
        except DOES_NOT_FIT:
            return {}, {}  # it is not what its type says: whoever looks at it next will refuse it
        return strip((more or {}, less or {}))

    return look
