"""The built-in resources: names, verbs, subresources and table columns, in discovery's order.

    kinds.resources()                 every Resource: the core group first, then discovery's order of groups
    kinds.by_gvr(PODS)                -> Resource or None
    kinds.by_gvk(GVK("", "v1", "Pod")) -> the Resource that serves this kind, or None
    kinds.groups()                    -> Group(name, versions, preferred), without the core group
    kinds.columns(PODS)               -> Column(name, type, format, priority) of server-printed tables

Facts only, read once from ``data/kinds.json`` and ``data/columns.json``; custom resources make Resources of
their own at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import resources as package_files
from typing import Any

import orjson

from coxswain.api.names import GVK, GVR


@dataclass(frozen=True, slots=True)
class Subresource:
    """``pods/status``, ``deployments/scale`` ...: what lies below one object's path."""

    #: ``status``, ``scale``, ``eviction`` ...
    name: str
    #: The kind it takes and gives: the resource's own, or Scale, Eviction, TokenRequest, PodExecOptions ...
    kind: GVK
    #: As discovery lists them, in its order.
    verbs: tuple[str, ...]
    namespaced: bool
    #: Whether discovery names the group and version (it does when they are not the resource's own).
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource."""

    gvr: GVR
    kind: str
    #: ``pod``.
    singular: str
    namespaced: bool
    #: As discovery lists them, in its order.
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    #: ``all``, ``api-extensions``.
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    #: Empty for what is never stored (reviews, bindings).
    storage_version_hash: str = ""
    #: The kind of its lists, where that is not simply the kind's name and ``List`` (custom resources).
    own_list_kind: str = ""
    #: The kind of its objects. Every write asks for it a few times.
    gvk: GVK = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gvk", GVK(self.gvr.group, self.gvr.version, self.kind))

    @property
    def list_kind(self) -> str:
        """``PodList``."""
        return self.own_list_kind or f"{self.kind}List"

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of this name, if there is one."""
        for candidate in self.subresources:
            if candidate.name == name:
                return candidate
        return None


@dataclass(frozen=True, slots=True)
class Group:
    """An API group with its served versions, most preferred first."""

    name: str
    versions: tuple[str, ...]
    preferred: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a server-printed table; ``priority`` above 0 shows with ``-o wide`` only."""

    name: str
    type: str
    format: str
    priority: int


@cache
def resources() -> tuple[Resource, ...]:
    """Every built-in resource, in discovery's order."""
    made: list[Resource] = []
    for group_version, rows in _read("kinds.json")["resources"].items():
        group, _, version = group_version.rpartition("/")
        made += _resources_of(group, version, rows)
    return tuple(made)


@cache
def groups() -> tuple[Group, ...]:
    """Every named group, in discovery's order; the core group is not one of them."""
    rows = _read("kinds.json")["groups"]
    return tuple(Group(row["name"], tuple(row["versions"]), row["preferred"]) for row in rows)


def by_gvr(gvr: GVR) -> Resource | None:
    """The resource of this name."""
    return _by_gvr().get(gvr)


def by_gvk(gvk: GVK) -> Resource | None:
    """The resource that serves objects of this kind."""
    return _by_gvk().get(gvk)


def columns(gvr: GVR) -> tuple[Column, ...]:
    """The columns of this resource's table; empty when it has no printer of its own."""
    rows = _columns().get(f"{gvr.api_version}/{gvr.resource}", ())
    return tuple(Column(*row) for row in rows)


@cache
def _by_gvr() -> dict[GVR, Resource]:
    return {resource.gvr: resource for resource in resources()}


@cache
def _by_gvk() -> dict[GVK, Resource]:
    return {resource.gvk: resource for resource in resources()}


@cache
def _columns() -> dict[str, Any]:
    return _read("columns.json")


def _read(name: str) -> dict[str, Any]:
    data = package_files.files("coxswain.api").joinpath("data", name).read_bytes()
    table: dict[str, Any] = orjson.loads(data)
    return table


def _resources_of(group: str, version: str, rows: list[dict[str, Any]]) -> list[Resource]:
    below: dict[str, list[Subresource]] = {}
    for row in rows:
        parent, slash, name = row["name"].partition("/")
        if slash:
            kind = GVK(row.get("group", group), row.get("version", version), row["kind"])
            below.setdefault(parent, []).append(
                Subresource(name, kind, tuple(row["verbs"]), row["namespaced"], "version" in row)
            )
    return [
        Resource(
            gvr=GVR(group, version, row["name"]),
            kind=row["kind"],
            singular=row["singularName"],
            namespaced=row["namespaced"],
            verbs=tuple(row["verbs"]),
            short_names=tuple(row.get("shortNames", ())),
            categories=tuple(row.get("categories", ())),
            subresources=tuple(below.get(row["name"], ())),
            storage_version_hash=row.get("storageVersionHash", ""),
        )
        for row in rows
        if "/" not in row["name"]
    ]
