"""Small questions that every component asks of an object: whose, where, how is it, which revision.

Nothing here changes an object except ``set_condition``; objects that came from an informer may be passed to
everything else. Names follow metav1 and Kubernetes' ``pkg/api/pod`` helpers.
"""

# No `from __future__ import annotations` here: it would take the name of the function `annotations`.

from typing import Any

import orjson

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.base import clock

#: Letters of generated names and hashes: no vowels and no look-alikes, so that no words appear.
SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"

_QOS_RESOURCES = ("cpu", "memory")


def name(obj: Object) -> str:
    """``metadata.name``, empty where there is none."""
    return str((obj.get("metadata") or {}).get("name") or "")


def namespace(obj: Object) -> str:
    """``metadata.namespace``, empty for cluster-scoped objects."""
    return str((obj.get("metadata") or {}).get("namespace") or "")


def key(obj: Object) -> str:
    """``namespace/name``, or ``name`` for cluster-scoped objects: the key of informers and work queues."""
    space = namespace(obj)
    return f"{space}/{name(obj)}" if space else name(obj)


def split_key(text: str) -> tuple[str, str]:
    """The namespace and name of a key."""
    space, slash, rest = text.partition("/")
    return (space, rest) if slash else ("", space)


def uid(obj: Object) -> str:
    """``metadata.uid``."""
    return str((obj.get("metadata") or {}).get("uid") or "")


def resource_version(obj: Object) -> str:
    """``metadata.resourceVersion``."""
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def generation(obj: Object) -> int:
    """``metadata.generation``, 0 where the kind keeps none."""
    return int((obj.get("metadata") or {}).get("generation") or 0)


def labels(obj: Object) -> dict[str, str]:
    """``metadata.labels``; do not change it."""
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    """``metadata.annotations``; do not change it."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def finalizers(obj: Object) -> list[str]:
    """``metadata.finalizers``; do not change it."""
    return (obj.get("metadata") or {}).get("finalizers") or []


def is_terminating(obj: Object) -> bool:
    """Deletion was asked for and is not finished."""
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def owner_references(obj: Object) -> list[Object]:
    """``metadata.ownerReferences``; do not change it."""
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def owner_reference(obj: Object, controller: bool = True) -> Object:
    """A reference to ``obj`` as owner; a controller's reference also blocks the owner's deletion."""
    reference: Object = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": name(obj),
        "uid": uid(obj),
    }
    if controller:
        reference["controller"] = True
        reference["blockOwnerDeletion"] = True
    return reference


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller that manages ``obj``."""
    for reference in owner_references(obj):
        if reference.get("controller"):
            return reference
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """``owner`` (by uid) manages ``obj``."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid(owner)


def condition(obj: Object, kind: str) -> Object | None:
    """The condition of type ``kind`` in ``status.conditions``."""
    for entry in (obj.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return entry  # type: ignore[no-any-return]
    return None


def is_condition_true(obj: Object, kind: str) -> bool:
    """The condition exists and its status is ``True``."""
    entry = condition(obj, kind)
    return entry is not None and entry.get("status") == "True"


def set_condition(obj: Object, new: Object, *, now: str | None = None) -> bool:
    """Put ``new`` in ``status.conditions`` in place of that of its type; whether anything changed.

    ``lastTransitionTime`` moves (to ``now``, or to the clock's time) only when the status changes. ``obj`` is
    changed: pass a copy of what an informer gave.
    """
    conditions: list[Object] = obj.setdefault("status", {}).setdefault("conditions", [])
    for position, old in enumerate(conditions):
        if old.get("type") != new["type"]:
            continue
        merged = {**old, **new}
        if old.get("status") == new.get("status"):
            if "lastTransitionTime" in old:
                merged["lastTransitionTime"] = old["lastTransitionTime"]
        else:
            merged["lastTransitionTime"] = new.get("lastTransitionTime") or now or clock.timestamp()
        changed = merged != old
        conditions[position] = merged
        return changed
    conditions.append({"lastTransitionTime": now or clock.timestamp(), **new})
    return True


def remove_condition(obj: Object, kind: str) -> bool:
    """Drop the condition of type ``kind`` from ``status.conditions``; whether it was there."""
    status = obj.get("status") or {}
    conditions = status.get("conditions") or []
    kept = [entry for entry in conditions if entry.get("type") != kind]
    if len(kept) == len(conditions):
        return False
    status["conditions"] = kept
    return True


def pod_phase(pod: Object) -> str:
    """``status.phase``."""
    return str((pod.get("status") or {}).get("phase") or "")


def is_pod_finished(pod: Object) -> bool:
    """The pod succeeded or failed, and will not run again."""
    return pod_phase(pod) in ("Succeeded", "Failed")


def is_pod_active(pod: Object) -> bool:
    """The pod is neither finished nor being deleted: what controllers count."""
    return not is_pod_finished(pod) and not is_terminating(pod)


def is_pod_ready(pod: Object) -> bool:
    """The pod's Ready condition is true."""
    return is_condition_true(pod, "Ready")


def is_pod_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Ready for at least ``min_ready_seconds`` at ``now`` (seconds since the epoch)."""
    ready = condition(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return False
    if not min_ready_seconds:
        return True
    since = ready.get("lastTransitionTime")
    return bool(since) and clock.parse_time(str(since)) + min_ready_seconds <= now


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash that Kubernetes names revisions with."""
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """``text`` in letters that make no words (apimachinery ``rand.SafeEncodeString``)."""
    return "".join(SAFE_ALPHABET[ord(char) % len(SAFE_ALPHABET)] for char in text)


def pod_template_hash(template: Object, collision_count: int | None = None) -> str:
    """The ``pod-template-hash`` of a template: equal templates (whatever their key order) hash equally.

    ``collision_count`` is the owner's ``status.collisionCount``, set after two templates had one hash.
    """
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little")
    return safe_encode(str(fnv32a(data)))


def qos_class(pod: Object) -> str:
    """``Guaranteed``, ``Burstable`` or ``BestEffort``, from cpu and memory of the pod or its containers."""
    spec = pod.get("spec") or {}
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}
    guaranteed = True
    if spec.get("resources"):
        owners: list[Any] = [spec]
    else:
        owners = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    for owner in owners:
        resources = owner.get("resources") or {}
        _add_compute(requests, resources.get("requests"))
        if _add_compute(limits, resources.get("limits")) < len(_QOS_RESOURCES):
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


def _add_compute(totals: dict[str, Quantity], amounts: Object | None) -> int:
    """Add the non-zero cpu and memory of ``amounts``; how many of the two there were."""
    found = 0
    if amounts:
        for resource in _QOS_RESOURCES:
            if resource not in amounts:
                continue
            amount = Quantity.parse(amounts[resource])
            if amount.value() <= 0:
                continue
            found += 1
            totals[resource] = totals[resource] + amount if resource in totals else amount
    return found
