"""Who may ask for administrative access to devices, and who may write what into the status of a resource claim.

    spec, adminAccess: true                          the namespace says so: resource.kubernetes.io/admin-access: "true"
    status.allocation, status.reservedFor            permission for resourceclaims/binding, cluster-wide
    status.devices of a driver                       permission for resourceclaims/driver of that name, with the verb
                                                     arbitrary-node:update (or patch); associated-node:update is enough
                                                     for a service account whose token is bound to the claim's node

Kubernetes asks this among its validations (``registry/resource``), so it is asked here beside them: as a guard of the
registry's entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from coxswain.api.fields import Errors, child, forbidden, index
from coxswain.api.names import NAMESPACES, Object
from coxswain.api.strategy.claims import device_identity, results_of
from coxswain.api.validation.devices import device_key
from coxswain.apiserver.authz import attributes as asked
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.client.interface import UserInfo

if TYPE_CHECKING:
    from coxswain.apiserver.registry import Guard
    from coxswain.apiserver.request import Context, Core

ADMIN_LABEL: Final = "resource.kubernetes.io/admin-access"
_NODE_NAME: Final = "authentication.kubernetes.io/node-name"
_SERVICE_ACCOUNT: Final = "system:serviceaccount:"


def _guard_claim(core: Core, ctx: Context, new: Object, old: Object | None) -> Errors:
    if ctx.subresource == "status" and old is not None:
        status, before = new.get("status") or {}, old.get("status") or {}
        return [
            *_admin_status(core, ctx.namespace, status, before),
            *_binding(core, ctx, status, before),
            *_drivers(core, ctx, status, before),
        ]
    return _admin(core, ctx.namespace, new.get("spec") or {}, "spec") if old is None else []


def _guard_template(core: Core, ctx: Context, new: Object, old: Object | None) -> Errors:
    # Kubernetes names the claim's own path for templates, too.
    spec = (new.get("spec") or {}).get("spec") or {}
    return _admin(core, ctx.namespace, spec, "spec") if old is None else []


GUARDS: Final[dict[tuple[str, str], Guard]] = {
    ("resource.k8s.io", "resourceclaims"): _guard_claim,
    ("resource.k8s.io", "resourceclaimtemplates"): _guard_template,
}


# -- administrative access


def _admin(core: Core, namespace: str, spec: Object, path: str) -> Errors:
    requests = [each.get("exactly") or {} for each in (spec.get("devices") or {}).get("requests") or ()]
    return _label_asked_for(core, namespace, requests, f"{path}.devices.requests")


def _admin_status(core: Core, namespace: str, status: Object, before: Object) -> Errors:
    if any(each.get("adminAccess") for each in results_of(before)):
        return []  # granted before, and an allocation does not change
    return _label_asked_for(core, namespace, results_of(status), "status.allocation.devices.results")


def _label_asked_for(core: Core, namespace: str, items: Iterable[Object], path: str) -> Errors:
    """The refusal at the first item that wants access, unless the namespace has the label."""
    for position, item in enumerate(items):
        if item.get("adminAccess"):
            if core.registry.lookup.labels(NAMESPACES, "", namespace).get(ADMIN_LABEL) == "true":
                return []
            why = f"admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
            return [forbidden(child(index(path, position), "adminAccess"), why)]
    return []


# -- parts of the status


def _binding(core: Core, ctx: Context, status: Object, before: Object) -> Errors:
    if all(
        (status.get(part) or None) == (before.get(part) or None) for part in ("allocation", "reservedFor")
    ):
        return []
    problem = _may(core, ctx, ctx.verb, "binding", "", "")
    if problem is None:
        return []
    why = (
        'changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", '
        f'verb="{ctx.verb}" permission: {problem}'
    )
    return [forbidden("status", why)]


def _drivers(core: Core, ctx: Context, status: Object, before: Object) -> Errors:
    verbs = [f"arbitrary-node:{ctx.verb}"]
    if _is_on_node(ctx.user, _node_of(status.get("allocation"))):
        verbs.insert(0, f"associated-node:{ctx.verb}")
    errors: Errors = []
    for driver in sorted(_changed_drivers(status, before)):
        problems = [_may(core, ctx, verb, "driver", ctx.namespace, driver) for verb in verbs]
        if all(problems):
            shown = f'resource="resourceclaims/driver", verb="[{" ".join(verbs)}]"'
            why = f"changing status.devices requires {shown} permission: {problems[0]}"
            errors.append(forbidden("status.devices", why))
    return errors


def _may(core: Core, ctx: Context, verb: str, subresource: str, namespace: str, name: str) -> str | None:
    """None, or why not."""
    gvr = ctx.entry.gvr
    question = Attributes(ctx.user, verb, gvr.group, gvr.version, gvr.resource, subresource, namespace, name)
    decision = core.authorizer.authorize(question)
    return None if decision.allowed else asked.forbidden(question, decision.reason).message


def _changed_drivers(status: Object, before: Object) -> set[str]:
    """Drivers whose devices were added, changed or taken away; what goes with its allocation is nobody's change."""
    allocated = {device_identity(result) for result in results_of(status)}
    released = {device_identity(result) for result in results_of(before)} - allocated
    old = {device_key(each): each for each in before.get("devices") or ()}
    changed: set[str] = set()
    for each in status.get("devices") or ():
        if old.pop(device_key(each), None) != each:
            changed.add(each.get("driver") or "")
    return changed | {
        each.get("driver") or "" for each in old.values() if device_identity(each) not in released
    }


def _node_of(allocation: Object | None) -> str:
    """The one node that an allocation is for, if it says so plainly."""
    terms: list[Object] = ((allocation or {}).get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions") or len(terms[0].get("matchFields") or ()) != 1:
        return ""
    wanted = terms[0]["matchFields"][0]
    values = wanted.get("values") or []
    plain = wanted.get("key") == "metadata.name" and wanted.get("operator") == "In" and len(values) == 1
    return str(values[0]) if plain else ""


def _is_on_node(user: UserInfo, node: str) -> bool:
    if not node or not user.name.startswith(_SERVICE_ACCOUNT):
        return False
    return tuple(user.extra.get(_NODE_NAME) or ()) == (node,)
