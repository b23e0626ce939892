"""APIServices of the group versions that this server serves itself, and the order of groups.

    wanted            label automanaged   made                 taken back
    built-in          onstart             once a start         when it is served no longer, at a start
    custom resources  true                at once, and again   when its last definition goes

An APIService without the label belongs to somebody else and stays as it is: so can a group version be taken over by an
extension server. The table of decisions is that of kube-aggregator's ``autoregister_controller``; the priorities are
kube-apiserver's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coxswain.api.names import Object

MANAGED = "kube-aggregator.kubernetes.io/automanaged"
#: Never an APIService of its own: without it there would be nothing to register with. It is listed first.
OWN_GROUP = "apiregistration.k8s.io"

#: Group and version priorities of built-in groups, in discovery's order.
PRIORITIES: Mapping[str, tuple[int, Mapping[str, int]]] = {
    "": (18000, {"v1": 1}),
    "apps": (17800, {"v1": 15}),
    "events.k8s.io": (17750, {"v1": 15}),
    "authentication.k8s.io": (17700, {"v1": 15}),
    "authorization.k8s.io": (17600, {"v1": 15}),
    "autoscaling": (17500, {"v2": 30, "v1": 15}),
    "batch": (17400, {"v1": 15}),
    "certificates.k8s.io": (17300, {"v1": 15}),
    "networking.k8s.io": (17200, {"v1": 15}),
    "policy": (17100, {"v1": 15}),
    "rbac.authorization.k8s.io": (17000, {"v1": 15}),
    "storage.k8s.io": (16800, {"v1": 15}),
    "admissionregistration.k8s.io": (16700, {"v1": 15}),
    "apiextensions.k8s.io": (16700, {"v1": 15}),
    "scheduling.k8s.io": (16600, {"v1": 15}),
    "coordination.k8s.io": (16500, {"v1": 15}),
    "node.k8s.io": (16300, {"v1": 15}),
    "discovery.k8s.io": (16200, {"v1": 15}),
    "resource.k8s.io": (16200, {"v1": 20}),
    "flowcontrol.apiserver.k8s.io": (16100, {"v1": 21}),
}
#: Those of custom resources: behind all others.
CUSTOM_GROUP, CUSTOM_VERSION = 1000, 100


def group_priority(group: str) -> int:
    """Where a group that is served here stands."""
    return PRIORITIES.get(group, (CUSTOM_GROUP, {}))[0]


def version_priority(group: str, version: str) -> int:
    """Where a version that is served here stands in its group."""
    return PRIORITIES.get(group, (0, {}))[1].get(version, CUSTOM_VERSION)


def built_in(group_versions: Iterable[tuple[str, str]]) -> dict[str, Object]:
    """The APIServices of these group versions, by name."""
    made = (
        _service(group, version, *_priorities(group, version), "onstart")
        for group, version in group_versions
        if version in PRIORITIES.get(group, (0, {}))[1]
    )
    return {service["metadata"]["name"]: service for service in made}


def _priorities(group: str, version: str) -> tuple[int, int]:
    return group_priority(group), version_priority(group, version)


def custom(definitions: Iterable[Object]) -> dict[str, Object]:
    """The APIServices of established custom resource definitions, by name."""
    found: dict[str, Object] = {}
    for definition in definitions:
        conditions = (definition.get("status") or {}).get("conditions") or ()
        if not any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
            continue
        spec = definition["spec"]
        for version in spec.get("versions") or ():
            if version.get("served"):
                name = f"{version['name']}.{spec['group']}"
                found[name] = _service(spec["group"], version["name"], CUSTOM_GROUP, CUSTOM_VERSION, "true")
    return found


def _service(group: str, version: str, group_minimum: int, priority: int, managed: str) -> Object:
    spec: Object = {"version": version, "groupPriorityMinimum": group_minimum, "versionPriority": priority}
    if group:
        spec = {"group": group, **spec}
    return {
        "apiVersion": f"{OWN_GROUP}/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {MANAGED: managed}},
        "spec": spec,
    }


@dataclass(frozen=True, slots=True)
class Change:
    """What to do to one APIService: ``create``, ``update`` or ``delete``; ``object`` is what it should be."""

    verb: str
    name: str
    object: Object


def decide(existing: Mapping[str, Object], wanted: Mapping[str, Object], *, at_start: bool) -> list[Change]:
    """What is to be done for ``wanted`` (all that is served here). ``at_start``: built-in ones count, too."""
    changes: list[Change] = []
    for name, service in wanted.items():
        if _managed(service) == "onstart" and not at_start:
            continue
        present = existing.get(name)
        if present is None:
            changes.append(Change("create", name, service))
        elif _is_ours(present, at_start) and present.get("spec") != service["spec"]:
            changes.append(Change("update", name, {**present, "spec": service["spec"]}))
    for name, present in existing.items():
        if name not in wanted and _is_ours(present, at_start):
            changes.append(Change("delete", name, present))
    return changes


def _managed(service: Object) -> str:
    return str(((service.get("metadata") or {}).get("labels") or {}).get(MANAGED) or "")


def _is_ours(service: Object, at_start: bool) -> bool:
    managed = _managed(service)
    return managed == "true" or (managed == "onstart" and at_start)
