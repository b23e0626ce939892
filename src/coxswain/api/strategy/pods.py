"""What the server writes into pods: their first status, and selectors completed from their own labels."""

from __future__ import annotations

from typing import Any

from coxswain.api.meta import qos_class
from coxswain.api.names import Object
from coxswain.base import clock

_TERMS = ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution")


def create_pod(pod: Object) -> None:
    """A new pod is Pending, in the QoS class that its resources make."""
    spec = pod.get("spec") or {}
    status: Object = {"phase": "Pending", "qosClass": qos_class(pod)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": clock.timestamp(),
            }
        ]
    pod["status"] = status
    metadata = pod.get("metadata") or {}
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1
    if metadata.get("annotations"):
        _adopt_apparmor_annotations(metadata["annotations"], spec)
    labels = metadata.get("labels") or {}
    if spec.get("affinity"):
        _complete_affinity(spec["affinity"], labels)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _complete_selector(constraint, labels, (("matchLabelKeys", "In"),))


_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def _adopt_apparmor_annotations(annotations: Object, spec: Object) -> None:
    """Profiles named by the old annotations become fields, unless a field says otherwise."""
    if (spec.get("os") or {}).get("name") == "windows":
        return
    whole_pod = (spec.get("securityContext") or {}).get("appArmorProfile")
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            value = annotations.get(f"{_APPARMOR}{container.get('name')}")
            context = container.get("securityContext") or {}
            if value is None or context.get("appArmorProfile") is not None:
                continue
            profile = _apparmor_profile(value)
            if profile is not None and profile != whole_pod:
                container["securityContext"] = {**context, "appArmorProfile": profile}


def _apparmor_profile(value: str) -> Object | None:
    if value in ("runtime/default", "unconfined"):
        return {"type": "RuntimeDefault" if value == "runtime/default" else "Unconfined"}
    name = value.removeprefix("localhost/")
    return {"type": "Localhost", "localhostProfile": name} if name and name != value else None


def _complete_affinity(affinity: Object, labels: dict[str, str]) -> None:
    keys = (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
    for kind in ("podAffinity", "podAntiAffinity"):
        for terms in _TERMS:
            for term in (affinity.get(kind) or {}).get(terms) or ():
                _complete_selector(term.get("podAffinityTerm", term), labels, keys)


def _complete_selector(term: Object, labels: dict[str, str], keys: tuple[tuple[str, str], ...]) -> None:
    """``matchLabelKeys`` become expressions with the pod's own values."""
    selector = term.get("labelSelector")
    if selector is None:
        return
    for field, operator in keys:
        for key in term.get(field) or ():
            if key in labels:
                added: dict[str, Any] = {"key": key, "operator": operator, "values": [labels[key]]}
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), added]


_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def leave_out_disabled(obj: Object, path: tuple[str, ...]) -> None:
    """Drop what is behind features that are off by default: gangs of pods, and signals that stop containers."""
    spec = obj
    for name in path:
        spec = spec.get(name) or {}
    if "schedulingGroup" in spec:
        del spec["schedulingGroup"]
    for kind in _CONTAINERS:
        for container in spec.get(kind) or ():
            lifecycle = container.get("lifecycle")
            if lifecycle is not None and lifecycle.pop("stopSignal", None) is not None and not lifecycle:
                del container["lifecycle"]


def _agree_on_addresses(status: Object) -> None:
    """``podIP`` is the first of ``podIPs``; where they differ, the client is an old one that knows only the former."""
    address, addresses = status.get("podIP"), status.get("podIPs")
    if address and (not addresses or addresses[0].get("ip") != address):
        status["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        status["podIP"] = addresses[0].get("ip") or ""


def update_pod_status(new: Object, old: Object) -> None:
    """A status does not change who owns the pod, nor its QoS class."""
    metadata, before = new["metadata"], old.get("metadata") or {}
    if "ownerReferences" in before:
        metadata["ownerReferences"] = before["ownerReferences"]
    else:
        metadata.pop("ownerReferences", None)
    kept = (old.get("status") or {}).get("qosClass")
    status = new.setdefault("status", {})
    _agree_on_addresses(status)
    if kept:
        status["qosClass"] = kept
