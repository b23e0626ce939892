"""What a quota's status should be (Kubernetes' ``resourcequota/resource_quota_controller.go``), without IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.quota.names import COUNT, sources
from coxswain.api.quota.scopes import in_scopes

Usage = dict[str, Quantity]

#: For how many seconds a status is trusted; then everything is counted again.
RESYNC = 300.0


def usage(quota: Object, objects: Mapping[str, Iterable[Object]], now: float) -> tuple[Usage, float]:
    """What ``objects`` (by source, as ``objects.py`` keeps them) use of the quota's measured limits.

    Also the seconds after which time alone may change that: a deleted pod is charged until it should be gone.
    """
    used: Usage = {}
    again = RESYNC
    for source, limits in sources(quota).items():
        used.update(dict.fromkeys(limits, Quantity.of(0)))
        number = 0
        for obj in objects[source]:
            if not in_scopes(quota, obj["scopes"]):
                continue
            number += 1
            if obj["ends"] is not None:
                if obj["ends"] < now:
                    continue
                again = min(again, obj["ends"] - now + 1)
            for limit, amount in obj["charge"].items():
                if limit in used:
                    used[limit] = used[limit] + amount
        used.update(dict.fromkeys(_numbers(source, limits), Quantity.of(number)))
    return used, again


def share(quota: Object, source: str, obj: Object) -> Usage:
    """What one object of ``source`` uses of the quota's limits."""
    if not in_scopes(quota, obj["scopes"]):
        return {}
    limits = sources(quota).get(source, [])
    found = {limit: obj["charge"][limit] for limit in limits if limit in obj["charge"]}
    return found | dict.fromkeys(_numbers(source, limits), Quantity.of(1))


def _numbers(source: str, limits: Iterable[str]) -> list[str]:
    """Those of ``limits`` that are numbers of objects, whatever these are charged."""
    plain = not _charged(source)
    return [limit for limit in limits if limit == COUNT + source or (limit == source and plain)]


def _charged(source: str) -> bool:
    return source in ("pods", "services", "persistentvolumeclaims")


def new_status(quota: Object, used: Usage) -> Object | None:
    """The status with ``used`` in it, amounts in canonical form; None where it says the same already.

    A limit that is not measured keeps what somebody else wrote as its use.
    """
    hard = _parsed((quota.get("spec") or {}).get("hard"))
    status = quota.get("status") or {}
    old_hard, old_used = _parsed(status.get("hard")), _parsed(status.get("used"))
    new_used = {name: amount for name, amount in (old_used | used).items() if name in hard}
    if "hard" in status and "used" in status and hard == old_hard and new_used == old_used:
        return None
    return {"hard": _written(hard), "used": _written(new_used)}


def _parsed(amounts: Object | None) -> Usage:
    return {name: Quantity.parse(amount) for name, amount in (amounts or {}).items()}


def _written(amounts: Usage) -> Object:
    return {name: str(amounts[name]) for name in sorted(amounts)}
