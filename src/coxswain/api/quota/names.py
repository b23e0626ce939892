"""Which resource a limit of a quota is about: ``requests.cpu`` counts pods, ``count/jobs.batch`` jobs.

Sources are written as ``GVR.group_resource`` writes them (``pods``, ``deployments.apps``): a limit may name a
custom resource long before it is served.
"""

from __future__ import annotations

from coxswain.api.names import Object

PODS, SERVICES, CLAIMS = "pods", "services", "persistentvolumeclaims"
COUNT = "count/"
CLASS_INFIX = ".storageclass.storage.k8s.io/"
COMPUTE = ("cpu", "memory", "ephemeral-storage")

_CLAIM_LIMITS = ("persistentvolumeclaims", "requests.storage")
_BY_NAME: dict[str, str] = {
    "pods": PODS,
    **dict.fromkeys(COMPUTE, PODS),
    **{f"{kind}.{name}": PODS for kind in ("requests", "limits") for name in COMPUTE},
    **dict.fromkeys(("services", "services.nodeports", "services.loadbalancers"), SERVICES),
    **dict.fromkeys(_CLAIM_LIMITS, CLAIMS),
    # Names older than "count/".
    **{name: name for name in ("configmaps", "resourcequotas", "replicationcontrollers", "secrets")},
}
#: They come and go too fast to be worth a limit; Kubernetes' controller leaves them out.
_IGNORED = frozenset({"events", "events.events.k8s.io"})


def is_native(name: str) -> bool:
    """Whether Kubernetes itself defines the resource ``name`` (``helper.IsNativeResource``)."""
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    """Whether containers may ask for ``name`` as a device plugin's resource."""
    return not is_native(name) and not name.startswith("requests.")


def source_of(limit: str) -> str | None:
    """The resource whose objects ``limit`` counts; None for a limit that nobody measures."""
    if limit.startswith(COUNT):
        source = limit.removeprefix(COUNT)
        return None if source in _IGNORED else source
    if limit in _BY_NAME:
        return _BY_NAME[limit]
    if limit.endswith(tuple(CLASS_INFIX + name for name in _CLAIM_LIMITS)):
        return CLAIMS
    if limit.startswith(("hugepages-", "requests.hugepages-")):
        return PODS
    if limit.startswith("requests.") and not is_native(limit):
        return PODS
    return None


def sources(quota: Object) -> dict[str, list[str]]:
    """The limits of ``quota`` that are measured, by their source."""
    found: dict[str, list[str]] = {}
    for limit in (quota.get("spec") or {}).get("hard") or {}:
        source = source_of(limit)
        if source is not None:
            found.setdefault(source, []).append(limit)
    return found
