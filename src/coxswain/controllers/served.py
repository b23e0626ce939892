"""What the API server serves: built-in resources and those of established CustomResourceDefinitions.

Controllers that treat all kinds alike (namespace, garbage collector) ask here. The built-in part is a
fact of the version; the custom part follows the definitions through an informer, so it is as fresh as a
watch and costs no polling. Each resource appears once, in its preferred version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from coxswain.api import kinds
from coxswain.api.meta import is_condition_true
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS, EVENTS_V1, GVR, Object, split_api_version
from coxswain.client.informer import Informer, InformerFactory


@dataclass(frozen=True, slots=True)
class Served:
    """One resource: where, what, and whether its objects live in namespaces."""

    gvr: GVR
    kind: str
    namespaced: bool
    verbs: frozenset[str]


def _built_in() -> Iterator[Served]:
    seen: set[tuple[str, str]] = set()
    for resource in kinds.resources():
        identity = (resource.gvr.group, resource.gvr.resource)
        # events.k8s.io shows the same objects as the core group's events.
        if identity in seen or resource.gvr == EVENTS_V1:
            continue
        seen.add(identity)
        yield Served(resource.gvr, resource.kind, resource.namespaced, frozenset(resource.verbs))


def of_definition(definition: Object) -> Served | None:
    """What an established CustomResourceDefinition serves, in the version that discovery prefers."""
    spec = definition["spec"]
    if not is_condition_true(definition, "Established"):
        return None
    versions = sorted((v["name"] for v in spec["versions"] if v.get("served")), key=version_order)
    if not versions:
        return None
    gvr = GVR(spec["group"], versions[0], spec["names"]["plural"])
    verbs = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
    return Served(gvr, spec["names"]["kind"], spec["scope"] == "Namespaced", verbs)


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions most preferred first: v2, v1, v1beta2, v1beta1, v1alpha1, then the rest by name."""
    digits = version[1:] if version.startswith("v") else ""
    for rank, word in ((1, "beta"), (2, "alpha")):
        major, found, minor = digits.partition(word)
        if found and major.isdigit() and minor.isdigit():
            return (rank, -int(major), -int(minor), "")
    return (0, -int(digits), 0, "") if digits.isdigit() else (3, 0, 0, version)


class ServedResources:
    """The served resources of a cluster, from ``factory``'s informer of definitions."""

    def __init__(self, factory: InformerFactory) -> None:
        self.definitions: Informer = factory.informer(CUSTOM_RESOURCE_DEFINITIONS)
        self._built_in = tuple(_built_in())
        self._by_kind: dict[tuple[str, str], Served] = {(s.gvr.group, s.kind): s for s in self._built_in}

    def all(self) -> Iterable[Served]:
        """Every resource that is served now."""
        yield from self._built_in
        for definition in self.definitions.list():
            served = of_definition(definition)
            if served is not None:
                yield served

    def by_kind(self, api_version: str, kind: str) -> Served | None:
        """The resource of a kind in any of its versions; None when nothing serves it."""
        group, _ = split_api_version(api_version)
        found = self._by_kind.get((group, kind))
        if found is not None:
            return found
        for definition in self.definitions.list():
            spec = definition["spec"]
            if spec["group"] == group and spec["names"]["kind"] == kind:
                return of_definition(definition)
        return None
