"""NamespaceLifecycle: nothing is made where there is no namespace, or in one that goes away."""

from __future__ import annotations

from coxswain.api import errors
from coxswain.api.names import GVR, NAMESPACES, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

#: These namespaces are never deleted.
IMMORTAL = frozenset({"default", "kube-system", "kube-public"})

#: Made in a terminating namespace all the same: they say whether deleting may go on.
_ACCESS_REVIEWS = ("authorization.k8s.io", "localsubjectaccessreviews")


class NamespaceLifecycle(Plugin):
    """See the module's text."""

    NAME = "NamespaceLifecycle"
    READS = (NAMESPACES,)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE", "DELETE")

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        if request.resource == NAMESPACES:
            if request.operation == "DELETE" and request.name in IMMORTAL:
                raise request.forbidden("this namespace may not be deleted")
            return
        # Updates and deletes only concern what exists, so its namespace does too.
        if not request.namespace or request.operation != "CREATE":
            return
        if (request.resource.group, request.resource.resource) == _ACCESS_REVIEWS:
            return
        namespace = self._lookup.get(NAMESPACES, "", request.namespace)
        if namespace is None:
            raise errors.not_found(NAMESPACES, request.namespace)
        if _terminating(namespace):
            raise _refusal(request)


def _terminating(namespace: Object) -> bool:
    if (namespace.get("status") or {}).get("phase") == "Terminating":
        return True
    return bool(namespace["metadata"].get("deletionTimestamp"))


def _refusal(request: Request) -> errors.Forbidden:
    name = request.namespace
    refusal = request.forbidden(
        f"unable to create new content in namespace {name} because it is being terminated"
    )
    refusal.details = {
        **(refusal.details or {}),
        "causes": [
            {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
        ],
    }
    return refusal
