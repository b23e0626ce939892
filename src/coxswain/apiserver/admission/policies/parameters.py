"""Parameters: the objects that a binding hands to its policy, by name or by labels (``CollectParams``)."""

from __future__ import annotations

from coxswain.api import meta, selectors
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.admission.policies.compiled import Binding, Policy
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry


class ParameterError(Exception):
    """A policy or a binding whose parameters cannot be had; the text says why."""


class UnknownKindError(ParameterError):
    """A policy whose parameters are of a kind that nobody serves."""


class Parameters:
    """Finds parameters in memory."""

    def __init__(self, lookup: Lookup, registry: Registry) -> None:
        self._lookup = lookup
        self._registry = registry

    def check(self, policy: Policy) -> None:
        """Raises ``UnknownKindError`` for a policy whose parameters nobody serves."""
        if policy.param_kind is not None:
            self._resource(policy.param_kind)

    def collect(self, policy: Policy, binding: Binding, namespace: str) -> list[Object | None]:
        """The parameters, one evaluation each; [None] where there are none to have. Raises ``ParameterError``."""
        kind, reference = policy.param_kind, binding.params
        if kind is None or reference is None:
            return [None]
        gvr, namespaced = self._resource(kind)
        where = str(reference.get("namespace") or "")
        if where and not namespaced:
            raise ParameterError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if namespaced:
            where = where or namespace
            if not where:
                raise ParameterError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        found = self._find(gvr, where, reference)
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise ParameterError("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [_typed(obj, kind) for obj in found]

    def _find(self, gvr: GVR, namespace: str, reference: Object) -> list[Object]:
        name = reference.get("name")
        if name:
            one = self._lookup.get(gvr, namespace, name)
            return [one] if one is not None else []
        selector = selectors.label_selector_from(reference.get("selector") or {})
        return [obj for obj in self._lookup.list(gvr, namespace) if selector.matches(meta.labels(obj))]

    def _resource(self, kind: Object) -> tuple[GVR, bool]:
        group, _, version = str(kind.get("apiVersion") or "").rpartition("/")
        gvk = GVK(group, version, str(kind.get("kind") or ""))
        for entry in self._registry:
            if entry.gvk == gvk and entry.prefix:
                return entry.gvr, entry.namespaced
        shown = f"{group}/{version}, Kind={gvk.kind}" if group else f"/{version}, Kind={gvk.kind}"
        raise UnknownKindError(f"failed to find resource referenced by paramKind: '{shown}'")


def _typed(obj: Object, kind: Object) -> Object:
    if obj.get("kind"):
        return obj
    return {"apiVersion": kind.get("apiVersion"), "kind": kind.get("kind"), **obj}
