"""The registry: for each resource one entry that says everything about serving it.

An ``Entry`` joins the facts of ``api.kinds`` (names, scope, verbs, subresources) with the rules of
``api.defaults``, ``api.strategy`` and ``api.validation``, the fields that can be selected by, the place in
the store and its cache. Versions of one resource (Events, HorizontalPodAutoscalers) share place and cache:
the entries that are not the storage version carry a ``Conversion``. A custom resource is the same entry
with other ``Rules``, added while the server runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from coxswain.api import codec, defaults, kinds, schema, strategy, validation
from coxswain.api.fields import Errors
from coxswain.api.kinds import Resource
from coxswain.api.managedfields import Versions
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver import conversion, selecting
from coxswain.apiserver.claims import GUARDS
from coxswain.apiserver.conversion import Conversion
from coxswain.apiserver.selecting import Selectable
from coxswain.apiserver.storage import CacheLookup, Storage, prefix_of
from coxswain.apiserver.watchcache import CacheSpec, ResourceCache

if TYPE_CHECKING:
    from coxswain.apiserver.request import Context, Core

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the ``scale`` subresource finds its numbers, as field names from the root."""

    spec: tuple[str, ...]
    status: tuple[str, ...]
    selector: tuple[str, ...] = ()


#: Complaints of a kind that need more than the objects: (core, request, new, old or None).
Guard = Callable[["Core", "Context", Object, Object | None], Errors]
Noting = Callable[[Object, Object, list[str]], Errors]


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes and keeps objects of a kind right. ``prepare_*`` and ``default`` change objects in place."""

    default: Callable[[Object], None]
    prepare_create: Callable[[Object], None]
    prepare_update: Callable[[Object, Object], None]
    prepare_status_update: Callable[[Object, Object], None]
    validate_create: Callable[[Object], Errors]
    validate_update: Callable[[Object, Object], Errors]
    validate_status_update: Callable[[Object, Object], Errors]
    warnings: Callable[[Object], list[str]]
    #: Like the validations of updates, for kinds that warn by what changed: (new, old, where warnings go).
    noting_update: Noting | None = None
    noting_status_update: Noting | None = None


def built_in_rules(gvk: GVK) -> Rules:
    """The rules of a built-in kind."""
    return Rules(
        default=partial(_swap1, defaults.default, gvk),
        prepare_create=partial(_swap1, strategy.prepare_for_create, gvk),
        prepare_update=partial(_swap2, strategy.prepare_for_update, gvk),
        prepare_status_update=partial(_swap2, strategy.prepare_for_status_update, gvk),
        validate_create=partial(_swap1, validation.validate_create, gvk),
        validate_update=partial(_swap2, validation.validate_update, gvk),
        validate_status_update=partial(_swap2, validation.validate_status_update, gvk),
        warnings=partial(_swap1, strategy.warnings, gvk),
    )


def _swap1(rule: Callable[[Object, GVK], R], gvk: GVK, obj: Object) -> R:
    return rule(obj, gvk)


def _swap2(rule: Callable[[Object, Object, GVK], R], gvk: GVK, new: Object, old: Object) -> R:
    return rule(new, old, gvk)


@dataclass(slots=True, eq=False)
class Entry:
    """One served resource. ``cache`` is None for what is never stored (reviews, bindings)."""

    resource: Resource
    rules: Rules
    selectable: Selectable
    prefix: str = ""
    cache: ResourceCache | None = None
    conversion: Conversion | None = None
    type: schema.Type | None = None
    #: PUT of an object that does not exist creates it.
    create_on_update: bool = False
    #: PUT without a resourceVersion is accepted.
    unconditional_update: bool = True
    custom: bool = False
    #: Custom resources: types metadata and prunes unknown fields in place; the paths of those.
    conform: Callable[[Object], list[str]] | None = None
    #: Custom resources: the columns of their table.
    columns: Sequence[Object] | None = None
    #: What every request about an outdated kind is told; empty for the others.
    deprecation: str = ""
    guard: Guard | None = None
    #: The versions that managed fields may be in; None: they are all alike (custom resources).
    versions: Versions | None = None
    #: Where ``/scale`` finds its numbers; None: in spec.replicas, status.replicas and spec.selector.
    scale: ScalePaths | None = None

    @property
    def gvr(self) -> GVR:
        return self.resource.gvr

    @property
    def gvk(self) -> GVK:
        return self.resource.gvk

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def namespaced(self) -> bool:
        return self.resource.namespaced

    @property
    def error_group(self) -> str:
        """The group that messages about invalid objects name: that of the version stored."""
        return self.conversion.storage.group if self.conversion else self.gvr.group

    def key(self, namespace: str, name: str) -> str:
        """The store's key of an object."""
        if self.resource.namespaced:
            return f"{self.prefix}{namespace}/{name}"
        return self.prefix + name

    def encode(self, obj: Object) -> bytes:
        """The JSON of ``obj``, in whatever version it is, without resourceVersion."""
        metadata = obj["metadata"]
        revision = metadata.pop("resourceVersion", None)
        try:
            return codec.encode(obj)
        finally:
            if revision is not None:
                metadata["resourceVersion"] = revision

    def stored_form(self, obj: Object) -> Object:
        """``obj`` in the storage version."""
        return self.conversion.to_storage(obj) if self.conversion else obj


#: Resources whose PUT creates (``AllowCreateOnUpdate`` of Kubernetes' strategies).
_CREATE_ON_UPDATE = frozenset(
    {
        ("", "endpoints"),
        ("", "events"),
        ("", "limitranges"),
        ("", "podtemplates"),
        ("", "services"),
        ("coordination.k8s.io", "leases"),
        ("events.k8s.io", "events"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
    }
)

#: Resources whose PUT must carry a resourceVersion (``AllowUnconditionalUpdate`` false).
_CONDITIONAL_UPDATE = frozenset(
    {
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
        ("coordination.k8s.io", "leases"),
        ("node.k8s.io", "runtimeclasses"),
        ("policy", "poddisruptionbudgets"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "volumeattachments"),
    }
)

#: Resources that admission and authorization ask for so often that parsed objects are kept.
_KEEP_DECODED = frozenset(
    {
        ("", "limitranges"),
        ("", "namespaces"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("node.k8s.io", "runtimeclasses"),
        ("policy", "poddisruptionbudgets"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "storageclasses"),
    }
)


class Registry:
    """All entries of a server; ``lookup`` reads their caches."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._entries: dict[GVR, Entry] = {}
        self._prefixes: dict[GVR, str] = {}
        self.lookup = CacheLookup(storage, self._prefixes)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, gvr: GVR) -> Entry | None:
        """The entry of a resource, if it is served."""
        return self._entries.get(gvr)

    def serves(self, gvr: GVR, subresource: str = "") -> bool:
        """Whether a resource, and that subresource of it, is served."""
        entry = self._entries.get(gvr)
        return entry is not None and (not subresource or entry.resource.subresource(subresource) is not None)

    def add_built_in(self) -> None:
        """Serve every built-in resource."""
        for resource in kinds.resources():
            self.add(self._built_in(resource))

    def _built_in(self, resource: Resource) -> Entry:
        gvr = resource.gvr
        name = (gvr.group, gvr.resource)
        entry = Entry(
            resource,
            built_in_rules(resource.gvk),
            selecting.SELECTABLE.get(name, selecting.NOTHING),
            type=schema.type_of(resource.gvk),
            create_on_update=name in _CREATE_ON_UPDATE,
            unconditional_update=name not in _CONDITIONAL_UPDATE,
            conversion=conversion.CONVERSIONS.get(gvr),
            versions=conversion.versions_of(gvr, resource.gvk),
            deprecation=strategy.deprecation(resource.gvk) or "",
            guard=GUARDS.get(name),
        )
        if {"list", "create"} <= set(resource.verbs):
            storage_gvr = entry.conversion.storage if entry.conversion else gvr
            entry.prefix = prefix_of(storage_gvr)
        return entry

    def add(self, entry: Entry) -> None:
        """Serve ``entry``; a resource that shares its prefix with an earlier one shares the cache."""
        self._entries[entry.gvr] = entry
        if not entry.prefix:
            return
        self._prefixes[entry.gvr] = entry.prefix
        cache = self.storage.caches.get(entry.prefix)
        if cache is None:
            cache = self.storage.add(self._spec(entry))
        entry.cache = cache

    def _spec(self, entry: Entry) -> CacheSpec:
        gvr = entry.conversion.storage if entry.conversion else entry.gvr
        name = (gvr.group, gvr.resource)
        selectable = (
            selecting.SELECTABLE.get(name, entry.selectable) if not entry.custom else entry.selectable
        )
        return CacheSpec(
            prefix=entry.prefix,
            namespaced=entry.namespaced,
            field_names=selectable.names,
            field_values=selectable.values,
            indexed=selectable.indexed,
            keep_decoded=name in _KEEP_DECODED,
            shown_as=name,
        )

    def remove(self, gvr: GVR) -> None:
        """Serve a resource no longer."""
        entry = self._entries.pop(gvr, None)
        if entry is None:
            return
        self._prefixes.pop(gvr, None)
        if entry.prefix and entry.prefix not in self._prefixes.values():
            self.storage.remove(entry.prefix)
