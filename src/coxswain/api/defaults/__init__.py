"""What an object means where its author said nothing: Kubernetes' defaults, written into the object.

    default(obj, gvk)    fills ``obj`` in place

Defaulting runs whenever an object is decoded (create, update, apply, and what was stored by older versions), so
it must be idempotent and must never overrule what is said. What admission adds (service accounts, tolerations,
priority, cluster addresses) is not defaulting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

from coxswain.api.names import GVK, Object

_MODULES = ("pods", "core", "workloads", "policies", "definitions")


@lru_cache(maxsize=1024)
def _defaulter(group: str, kind: str) -> Callable[[Object], None] | None:
    for module in _MODULES:
        found: Callable[[Object], None] | None = import_module(
            f"coxswain.api.defaults.{module}"
        ).DEFAULTS.get((group, kind))
        if found is not None:
            return found
    return None


def default(obj: Object, gvk: GVK) -> None:
    """Fill in what ``obj`` leaves open. Kinds without defaults are left as they are."""
    fill = _defaulter(gvk.group, gvk.kind)
    if fill is not None:
        fill(obj)
