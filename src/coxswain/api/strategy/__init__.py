"""What the server does to an object itself, between decoding and storing: Kubernetes' registry strategies.

    prepare_for_create(obj, gvk)               status cleared, generation 1, what a kind derives from itself
    prepare_for_update(new, old, gvk)          status kept, immutable metadata restored, generation counted
    prepare_for_status_update(new, old, gvk)   everything but status (and metadata's free parts) kept
    warnings(obj, gvk) -> list[str]            what a client should be told (Warning headers)
    deprecation(gvk) -> str | None             the warning that any use of an outdated kind gets
    generate_name(base) -> str                 base and five random letters

Order of a create: decode, default, ``prepare_for_create``, admission, validate. All functions change ``obj`` or
``new`` in place and never ``old``; parts of ``old`` may be shared into ``new``. Kinds unknown here are treated as
having a status that their main resource may write (custom resources say by themselves what they want).
"""

from __future__ import annotations

from coxswain.api.kinds import by_gvk
from coxswain.api.meta import SAFE_ALPHABET
from coxswain.api.names import GVK, Object
from coxswain.api.strategy.kinds import STRATEGIES, Strategy
from coxswain.api.strategy.pods import leave_out_disabled
from coxswain.api.strategy.warnings import deprecation, warnings
from coxswain.base import clock

__all__ = [
    "deprecation",
    "generate_name",
    "prepare_for_create",
    "prepare_for_status_update",
    "prepare_for_update",
    "warnings",
]

_UNKNOWN = Strategy()
#: Longest base of a generated name: with its suffix it fits in 63 bytes.
_MAX_BASE = 58
#: Suffixes are drawn at once, as one number, and written pair by pair.
_PAIRS = [first + second for first in SAFE_ALPHABET for second in SAFE_ALPHABET]
_SUFFIXES = len(SAFE_ALPHABET) ** 5


def generate_name(base: str) -> str:
    """``base`` (cut to 58 bytes) and five random letters of the run's generator."""
    rest, last = divmod(int(clock.random().random() * _SUFFIXES), len(_PAIRS))
    letter, middle = divmod(rest, len(_PAIRS))
    return f"{base[:_MAX_BASE]}{SAFE_ALPHABET[letter]}{_PAIRS[middle]}{_PAIRS[last]}"


def prepare_for_create(obj: Object, gvk: GVK) -> None:
    """Clear what only the server may set in a new object, and set it."""
    strategy = STRATEGIES.get((gvk.group, gvk.kind), _UNKNOWN)
    metadata = obj.setdefault("metadata", {})
    if "namespace" in metadata:
        _clear_namespace(metadata, gvk)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(field, None)
    if strategy.generation:
        metadata["generation"] = 1
    elif strategy is not _UNKNOWN:
        metadata.pop("generation", None)
    if strategy.has_status:
        obj.pop("status", None)
    if strategy.pod_spec:
        leave_out_disabled(obj, strategy.pod_spec)
    if strategy.create is not None:
        strategy.create(obj)


def _clear_namespace(metadata: Object, gvk: GVK) -> None:
    """Cluster-scoped objects have no namespace, whatever a manifest says."""
    resource = by_gvk(gvk)
    if resource is not None and not resource.namespaced:
        del metadata["namespace"]


_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def prepare_for_update(new: Object, old: Object, gvk: GVK) -> None:
    """Keep what an update may not change silently, and count a generation when the desired state changed.

    A missing ``resourceVersion`` or ``uid`` is taken from ``old`` (an unconditional update).
    """
    strategy = STRATEGIES.get((gvk.group, gvk.kind), _UNKNOWN)
    _restore_metadata(new, old)
    if "namespace" in new["metadata"]:
        _clear_namespace(new["metadata"], gvk)
    if strategy.has_status:
        _restore(new, old, "status")
    if strategy.pod_spec:
        leave_out_disabled(new, strategy.pod_spec)
    if strategy.update is not None:
        strategy.update(new, old)
    if strategy.generation and _changed(new, old, strategy):
        metadata = new["metadata"]
        metadata["generation"] = (metadata.get("generation") or 0) + 1


def prepare_for_status_update(new: Object, old: Object, gvk: GVK) -> None:
    """Keep everything but the status; labels, annotations and the like may come along, as in Kubernetes."""
    strategy = STRATEGIES.get((gvk.group, gvk.kind), _UNKNOWN)
    _restore_metadata(new, old)
    for field in {*new, *old}:
        if field not in ("apiVersion", "kind", "metadata", "status"):
            _restore(new, old, field)
    if strategy.status is not None:
        strategy.status(new, old)


def _restore_metadata(new: Object, old: Object) -> None:
    metadata, before = new.setdefault("metadata", {}), old.get("metadata") or {}
    metadata.pop("selfLink", None)
    for field in _KEPT:
        if field == "uid" and metadata.get("uid"):
            continue
        _restore(metadata, before, field)
    if not metadata.get("resourceVersion"):
        _restore(metadata, before, "resourceVersion")


def _restore(new: Object, old: Object, field: str) -> None:
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)


def _changed(new: Object, old: Object, strategy: Strategy) -> bool:
    """Whether the desired state differs: the spec, or all but metadata and status where there is no spec."""
    if strategy.annotations_count:
        after, before = new["metadata"].get("annotations"), (old.get("metadata") or {}).get("annotations")
        if (after or {}) != (before or {}):
            return True
    if strategy.desired:
        return any(new.get(field) != old.get(field) for field in strategy.desired)
    return bool((new.get("spec") or {}) != (old.get("spec") or {}))
