"""Discovery documents: which groups, versions and resources are served. Pure builders over Resources.

    api_versions()               /api                       APIVersions
    api_groups(catalog)          /apis                      APIGroupList
    api_group(catalog, name)     /apis/<group>              APIGroup
    api_resources(catalog, gv)   /api/v1, /apis/<g>/<v>     APIResourceList
    aggregated(catalog, legacy)  /api, /apis as apidiscovery.k8s.io/v2 APIGroupDiscoveryList
    aggregated_v2beta1(...)      the same as v2beta1

A ``Catalog`` is what is served at one moment: the built-in resources, custom ones added behind them, and what extension
servers serve (as they describe it themselves).
Which document a client gets is negotiated by ``Accept``; the content types are below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coxswain.api import kinds
from coxswain.api.kinds import Group, Resource, Subresource
from coxswain.api.names import GVK, Object

JSON = "application/json"
AGGREGATED_V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
AGGREGATED_V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """A group version that an extension server serves. ``resources`` are in the form of aggregated discovery.

    ``fresh``: they are what the server says now; else what it said last, if anything.
    """

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: tuple[Object, ...] = ()
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Catalog:
    """Groups in the order in which they are listed, and resources by (group, version)."""

    groups: tuple[Group, ...]
    resources: Mapping[tuple[str, str], Sequence[Resource]]
    remote: Mapping[tuple[str, str], RemoteVersion] = field(default_factory=dict)

    @classmethod
    def built_in(cls) -> Catalog:
        """What is always served."""
        return cls.of(kinds.groups(), kinds.resources())

    @classmethod
    def of(cls, groups: Iterable[Group], resources: Iterable[Resource]) -> Catalog:
        """A catalog of these groups; resources keep their order within a version."""
        by_version: dict[tuple[str, str], list[Resource]] = {}
        for resource in resources:
            by_version.setdefault((resource.gvr.group, resource.gvr.version), []).append(resource)
        return cls(tuple(groups), by_version)

    def with_custom(self, groups: Iterable[Group], resources: Iterable[Resource]) -> Catalog:
        """This catalog with custom groups and resources behind the built-in ones.

        A group that exists already gets the further versions and resources.
        """
        known = {group.name: group for group in self.groups}
        for group in groups:
            present = known.get(group.name)
            if present is not None:
                versions = tuple(dict.fromkeys((*present.versions, *group.versions)))
                group = Group(group.name, versions, present.preferred)
            known[group.name] = group
        merged: dict[tuple[str, str], list[Resource]] = {
            key: list(served) for key, served in self.resources.items()
        }
        for resource in resources:
            merged.setdefault((resource.gvr.group, resource.gvr.version), []).append(resource)
        return Catalog(tuple(known.values()), merged)

    def group(self, name: str) -> Group | None:
        """The group of this name."""
        return next((group for group in self.groups if group.name == name), None)


def api_versions(server_address: str) -> Object:
    """``/api``; ``server_address`` is ``host:port`` as clients reach it."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    }


def api_groups(catalog: Catalog) -> Object:
    """``/apis``."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(group) for group in catalog.groups],
    }


def api_group(catalog: Catalog, name: str) -> Object | None:
    """``/apis/<name>``, or None where no such group is served."""
    group = catalog.group(name)
    return None if group is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}


def _group(group: Group) -> Object:
    versions = [_version(group.name, version) for version in group.versions]
    return {
        "name": group.name,
        "versions": versions,
        "preferredVersion": _version(group.name, group.preferred),
    }


def _version(group: str, version: str) -> Object:
    return {"groupVersion": f"{group}/{version}", "version": version}


def api_resources(catalog: Catalog, group: str, version: str) -> Object | None:
    """``/api/v1`` (group "") or ``/apis/<group>/<version>``, or None where it is not served.

    The core document has no apiVersion, because Kubernetes' has none.
    """
    served = catalog.resources.get((group, version))
    if served is None:
        return None
    document: Object = {"kind": "APIResourceList"}
    if group:
        document["apiVersion"] = "v1"
    document["groupVersion"] = f"{group}/{version}" if group else version
    entries = [entry for resource in served for entry in _entries(resource)]
    document["resources"] = sorted(entries, key=lambda entry: str(entry["name"]))
    return document


def _entries(resource: Resource) -> Iterable[Object]:
    entry: Object = {
        "name": resource.gvr.resource,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.storage_version_hash:
        entry["storageVersionHash"] = resource.storage_version_hash
    yield entry
    for subresource in resource.subresources:
        yield _subresource(resource, subresource)


def _subresource(resource: Resource, subresource: Subresource) -> Object:
    entry: Object = {
        "name": f"{resource.gvr.resource}/{subresource.name}",
        "singularName": "",
        "namespaced": subresource.namespaced,
    }
    if subresource.foreign:
        if subresource.kind.group:
            entry["group"] = subresource.kind.group
        entry["version"] = subresource.kind.version
    entry["kind"] = subresource.kind.kind
    entry["verbs"] = list(subresource.verbs)
    return entry


def aggregated(catalog: Catalog, *, legacy: bool) -> Object:
    """All of ``/api`` (``legacy``) or ``/apis`` in one apidiscovery.k8s.io/v2 document."""
    return _aggregated(catalog, "v2", legacy=legacy)


def aggregated_v2beta1(catalog: Catalog, *, legacy: bool) -> Object:
    """The same for clients that know v2beta1 only."""
    return _aggregated(catalog, "v2beta1", legacy=legacy)


def _aggregated(catalog: Catalog, version: str, *, legacy: bool) -> Object:
    groups = (Group("", ("v1",), "v1"),) if legacy else catalog.groups
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_group_discovery(catalog, group) for group in groups],
    }


def _group_discovery(catalog: Catalog, group: Group) -> Object:
    versions = [_version_discovery(catalog, group.name, version) for version in group.versions]
    return {"metadata": {"name": group.name} if group.name else {}, "versions": versions}


def _version_discovery(catalog: Catalog, group: str, version: str) -> Object:
    remote = catalog.remote.get((group, version))
    if remote is not None:
        known: Object = {"resources": list(remote.resources)} if remote.resources else {}
        return {"version": version, **known, "freshness": "Current" if remote.fresh else "Stale"}
    served = sorted(catalog.resources.get((group, version), ()), key=lambda r: r.gvr.resource)
    resources = [_resource_discovery(resource) for resource in served]
    return {"version": version, "resources": resources, "freshness": "Current"}


def version_of_list(listed: Object, group: str, version: str) -> tuple[Object, ...]:
    """The resources of an APIResourceList in the form of aggregated discovery."""
    found: dict[str, Object] = {}
    below: list[Object] = []
    for one in listed.get("resources") or ():
        name, _, subresource = str(one.get("name") or "").partition("/")
        kind = {
            "group": one.get("group") or group,
            "version": one.get("version") or version,
            "kind": one.get("kind") or "",
        }
        if subresource:
            verbs = one.get("verbs") or []
            below.append({"of": name, "subresource": subresource, "responseKind": kind, "verbs": verbs})
            continue
        entry: Object = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": one.get("singularName") or "",
            "verbs": one.get("verbs") or [],
        }
        for key in ("shortNames", "categories"):
            if one.get(key):
                entry[key] = one[key]
        found[name] = entry
    for one in below:
        owner = found.get(one.pop("of"))
        if owner is not None:
            owner.setdefault("subresources", []).append(one)
    return tuple(found.values())


def _resource_discovery(resource: Resource) -> Object:
    entry: Object = {
        "resource": resource.gvr.resource,
        "responseKind": _kind(resource.gvk),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.subresources:
        entry["subresources"] = [
            {
                "subresource": subresource.name,
                "responseKind": _kind(subresource.kind),
                "verbs": list(subresource.verbs),
            }
            for subresource in resource.subresources
        ]
    return entry


def _kind(kind: GVK) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}
