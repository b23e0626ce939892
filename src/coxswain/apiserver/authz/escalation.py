"""Nobody grants what they do not hold: the checks around roles and bindings.

To create or change a role one needs every permission in it (or the verb ``escalate`` on it); to bind a role
one needs every permission of it (or ``bind`` on it). As ``pkg/registry/rbac/*/policybased``. It runs as the
last mutating step of admission, so before validation, as in Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import errors
from coxswain.api.fields import quote
from coxswain.api.names import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR, ROLE_BINDINGS, ROLES, Object
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.authz.authorizer import MASTERS, Authorizer
from coxswain.apiserver.authz.rules import ALL, Rule, compact, quoted, rules_of, uncovered
from coxswain.client.interface import UserInfo

GROUP = "rbac.authorization.k8s.io"
FULL_AUTHORITY = (
    Rule((ALL,), (ALL,), (ALL,)),
    Rule((ALL,), non_resource_urls=(ALL,)),
)


def check(
    authorizer: Authorizer, user: UserInfo, resource: GVR, namespace: str, obj: Object, old: Object | None
) -> None:
    """Refuse a role or binding that would give away more than ``user`` has. Raises ``ApiError``."""
    if MASTERS in user.groups:
        return
    if resource in (ROLES, CLUSTER_ROLES):
        _check_role(authorizer, user, resource, namespace, obj, old)
    elif resource in (ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
        _check_binding(authorizer, user, resource, namespace, obj, old)


def _check_role(
    authorizer: Authorizer, user: UserInfo, resource: GVR, namespace: str, obj: Object, old: Object | None
) -> None:
    rules_changed = old is None or old.get("rules") != obj.get("rules")
    aggregation_changed = bool(obj.get("aggregationRule")) and (
        old is None or old.get("aggregationRule") != obj.get("aggregationRule")
    )
    if not (rules_changed or aggregation_changed):
        return
    name = str(obj["metadata"].get("name") or "")
    if _allowed(authorizer, user, "escalate", resource.resource, namespace, name):
        return
    if aggregation_changed and missing(authorizer, user, namespace, FULL_AUTHORITY):
        raise errors.forbidden(
            resource, name, "must have cluster-admin privileges to use the aggregationRule"
        )
    _confirm(authorizer, user, resource, namespace, name, rules_of(obj))


def _check_binding(
    authorizer: Authorizer, user: UserInfo, resource: GVR, namespace: str, obj: Object, old: Object | None
) -> None:
    if (
        old is not None
        and old.get("roleRef") == obj.get("roleRef")
        and old.get("subjects") == obj.get("subjects")
    ):
        return
    ref = obj.get("roleRef") or {}
    kind, role = str(ref.get("kind") or ""), str(ref.get("name") or "")
    if kind not in ("Role", "ClusterRole"):
        return  # validation words that refusal
    roles = "roles" if kind == "Role" else "clusterroles"
    if _allowed(authorizer, user, "bind", roles, namespace, role):
        return
    rules = authorizer.rbac.role_rules(kind, namespace, role)
    if rules is None:
        raise errors.not_found(GVR(GROUP, "v1", kind.lower()), role)
    _confirm(authorizer, user, resource, namespace, str(obj["metadata"].get("name") or ""), rules)


def _allowed(
    authorizer: Authorizer, user: UserInfo, verb: str, resource: str, namespace: str, name: str
) -> bool:
    return authorizer.authorize(
        Attributes(user, verb, GROUP, "v1", resource, namespace=namespace, name=name)
    ).allowed


def missing(authorizer: Authorizer, user: UserInfo, namespace: str, wanted: Iterable[Rule]) -> list[Rule]:
    """What of ``wanted`` the user does not hold in ``namespace``, in compact form."""
    grants, _ = authorizer.rbac.grants(user, namespace)
    return compact(uncovered([grant.rule for grant in grants], wanted))


def _confirm(
    authorizer: Authorizer, user: UserInfo, resource: GVR, namespace: str, name: str, rules: Iterable[Rule]
) -> None:
    lacking = missing(authorizer, user, namespace, rules)
    if not lacking:
        return
    listed = "\n".join(sorted({str(rule) for rule in lacking}))
    why = (
        f"user {quote(user.name)} (groups={quoted(user.groups)}) is attempting to grant RBAC permissions "
        f"not currently held:\n{listed}"
    )
    problems = authorizer.rbac.grants(user, namespace)[1]
    if problems:
        why += f"; resolution errors: [{' '.join(problems)}]"
    raise errors.forbidden(resource, name, why)
