"""What a new cluster begins with, and what every start makes sure of.

    items(config)     namespaces, RBAC roles and bindings, priority classes, flow control, the service
                      ``kubernetes`` and where it leads, the service range, the client CA for extensions

The server creates what is missing, in this order, through its own pipeline as ``system:masters``. What
exists stays as its owner changed it, with one exception, as in Kubernetes: ``reconcile`` adds rules and
subjects that a bootstrap role or binding lost, unless its annotation ``autoupdate`` says "false".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources as package_files
from typing import Any, NamedTuple

import orjson

from coxswain.api.names import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIGMAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    GVR,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_CIDRS,
    SERVICES,
    Object,
)
from coxswain.apiserver.authz.aggregation import aggregate
from coxswain.apiserver.service_ranges import networks
from coxswain.base import clock

RBAC = "rbac.authorization.k8s.io"
FLOW_CONTROL = "flowcontrol.apiserver.k8s.io"
PRIORITY_CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
FLOW_SCHEMAS = GVR(FLOW_CONTROL, "v1", "flowschemas")
PRIORITY_LEVELS = GVR(FLOW_CONTROL, "v1", "prioritylevelconfigurations")

SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", "default")
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"


@dataclass(frozen=True, slots=True)
class BootstrapConfig:
    """What differs from cluster to cluster."""

    #: The ranges of cluster addresses, one or one a family; the first one's first address is that of the service
    #: ``kubernetes``.
    service_cidr: str = "10.96.0.0/16"
    #: Where pods reach this server. A loopback address is not published (Endpoints may not carry it), and neither is
    #: any where several servers keep the list of themselves (empty).
    advertise_address: str = "127.0.0.1"
    port: int = 6443
    #: PEM of the authority of client certificates, for extension API servers.
    client_ca: bytes = b""


#: The user of a process that runs hollow nodes.
HOLLOW_NODES_USER = "coxswain:hollow-nodes"


class Item(NamedTuple):
    """One object to ensure. ``namespace`` is empty for cluster-scoped resources."""

    resource: GVR
    namespace: str
    object: Object

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])


def items(config: BootstrapConfig) -> Iterator[Item]:
    """Everything to ensure, in order: namespaces first, the rest may refer to what came before."""
    for name in SYSTEM_NAMESPACES:
        yield Item(NAMESPACES, "", _object("v1", "Namespace", {"name": name}))
    yield from rbac()
    yield from _priority()
    yield from flow_control()
    yield from _network(config)
    yield Item(CONFIGMAPS, "kube-system", _legacy_token_tracking())
    if config.client_ca:
        meta = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
        data = {"client-ca-file": config.client_ca.decode()}
        yield Item(CONFIGMAPS, "kube-system", _object("v1", "ConfigMap", meta, data=data))


def _legacy_token_tracking() -> Object:
    """Since when uses of tokens of the old kind are written down; it is made once and then stays as it is."""
    meta = {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"}
    return _object("v1", "ConfigMap", meta, data={"since": clock.timestamp().partition("T")[0]})


def rbac() -> Iterator[Item]:
    """The bootstrap roles and bindings; aggregated roles come with their rules."""
    table = _table()
    roles = [_role("ClusterRole", row) for row in table["clusterroles"]]
    # Three times, because admin aggregates edit, which aggregates view.
    for _ in range(3):
        for role in roles:
            rules = aggregate(role, roles)
            if rules is not None:
                role["rules"] = rules
    for role in roles:
        yield Item(CLUSTER_ROLES, "", role)
    for row in table["clusterrolebindings"]:
        yield Item(CLUSTER_ROLE_BINDINGS, "", _binding("ClusterRoleBinding", row))
    yield from _own_roles(roles)
    for row in table["roles"]:
        yield Item(ROLES, row[1], _role("Role", row))
        if row[0].startswith("system:controller:"):
            yield _own_role_binding(row[0], row[1])
    for row in table["rolebindings"]:
        yield Item(ROLE_BINDINGS, row[1], _binding("RoleBinding", row))


def _own_roles(roles: Iterable[Object]) -> Iterator[Item]:
    """What Kubernetes has no role for: our controller manager and our hollow nodes.

    Kubernetes' controller manager gives each controller a service account of its own; ours acts as one user
    with the union of their bootstrap roles. Hollow nodes of one process share a user with a node's role.
    """
    rules: list[Object] = []
    for role in roles:
        if role["metadata"]["name"].startswith("system:controller:"):
            rules += [rule for rule in role.get("rules") or () if rule not in rules]
    name = "coxswain:controller-manager"
    manager = {**_object("rbac.authorization.k8s.io/v1", "ClusterRole", {"name": name}), "rules": rules}
    yield Item(CLUSTER_ROLES, "", manager)
    yield _own_binding(name, name, "system:kube-controller-manager")
    yield _own_binding(HOLLOW_NODES_USER, "system:node", HOLLOW_NODES_USER)


def _own_role_binding(role: str, namespace: str) -> Item:
    """What a controller may do in one namespace only: our controller manager acts for it."""
    subject = _subject("User", "system:kube-controller-manager")
    metadata = {"name": f"coxswain:{role.removeprefix('system:')}", "namespace": namespace}
    binding = _object(
        f"{RBAC}/v1",
        "RoleBinding",
        metadata,
        roleRef={"apiGroup": RBAC, "kind": "Role", "name": role},
        subjects=[subject],
    )
    return Item(ROLE_BINDINGS, namespace, binding)


def _own_binding(name: str, role: str, user: str) -> Item:
    group = "rbac.authorization.k8s.io"
    binding = _object(
        f"{group}/v1",
        "ClusterRoleBinding",
        {"name": name},
        roleRef={"apiGroup": group, "kind": "ClusterRole", "name": role},
        subjects=[{"apiGroup": group, "kind": "User", "name": user}],
    )
    return Item(CLUSTER_ROLE_BINDINGS, "", binding)


def reconcile(existing: Object, wanted: Object) -> Object | None:
    """``existing`` with the rules or subjects of ``wanted`` that it lacks; None when it lacks none.

    Also None where the owner switched updates off. Neither argument is changed. A ServiceCIDR gets the second
    network when the cluster has become a dual-stack one.
    """
    if wanted.get("kind") == "ServiceCIDR":
        return _with_second_network(existing, wanted["spec"]["cidrs"])
    if (existing["metadata"].get("annotations") or {}).get(AUTOUPDATE) != "true":
        return None
    if existing.get("roleRef") != wanted.get("roleRef"):
        return None  # a role reference cannot be changed
    changed = dict(existing)
    for field in ("rules", "subjects"):
        have = existing.get(field) or []
        lacking = [entry for entry in wanted.get(field) or () if entry not in have]
        if lacking and not existing.get("aggregationRule"):
            changed[field] = [*have, *lacking]
    return changed if changed != existing else None


def _with_second_network(existing: Object, cidrs: list[str]) -> Object | None:
    if len(cidrs) == 2 and (existing.get("spec") or {}).get("cidrs") == cidrs[:1]:
        return {**existing, "spec": {**existing["spec"], "cidrs": cidrs}}
    return None


@cache
def _table() -> dict[str, Any]:
    data = package_files.files("coxswain.apiserver").joinpath("data", "bootstrap.json").read_bytes()
    table: dict[str, Any] = orjson.loads(data)
    return table


def _object(api_version: str, kind: str, metadata: Object, **parts: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts}


def _rbac_metadata(name: str, namespace: str, labels: list[str]) -> Object:
    meta: Object = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **dict.fromkeys(labels, "true")},
        "annotations": {AUTOUPDATE: "true"},
    }
    if namespace:
        meta["namespace"] = namespace
    return meta


def _role(kind: str, row: list[Any]) -> Object:
    name, namespace, labels, aggregated, rules = row
    role = _object(f"{RBAC}/v1", kind, _rbac_metadata(name, namespace, labels))
    if aggregated:
        role["aggregationRule"] = {
            "clusterRoleSelectors": [{"matchLabels": {label: "true"}} for label in aggregated]
        }
    role["rules"] = [_rule(rule) for rule in rules]
    return role


def _rule(row: list[list[str]]) -> Object:
    if len(row) == 2:
        return {"verbs": row[0], "nonResourceURLs": row[1]}
    rule: Object = {"verbs": row[0], "apiGroups": row[1], "resources": row[2]}
    if len(row) > 3:
        rule["resourceNames"] = row[3]
    return rule


def _binding(kind: str, row: list[Any]) -> Object:
    name, namespace, role_kind, role, subjects = row
    return _object(
        f"{RBAC}/v1",
        kind,
        _rbac_metadata(name, namespace, []),
        roleRef={"apiGroup": RBAC, "kind": role_kind, "name": role},
        **({"subjects": [_subject(*subject) for subject in subjects]} if subjects else {}),
    )


def _subject(kind: str, name: str, namespace: str = "") -> Object:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "apiGroup": RBAC, "name": name}


def _priority() -> Iterator[Item]:
    for name, value, description in _table()["priorityclasses"]:
        yield Item(
            PRIORITY_CLASSES,
            "",
            _object(
                "scheduling.k8s.io/v1",
                "PriorityClass",
                {"name": name},
                value=value,
                description=description,
                preemptionPolicy="PreemptLowerPriority",
            ),
        )


def flow_control() -> Iterator[Item]:
    """Priority levels and flow schemas."""
    now = clock.timestamp()
    for name, spec in _table()["prioritylevels"]:
        meta = _flow_metadata(name)
        level = _object(f"{FLOW_CONTROL}/v1", "PriorityLevelConfiguration", meta, spec=spec, status={})
        yield Item(PRIORITY_LEVELS, "", level)
    for name, spec in _table()["flowschemas"]:
        level_name = spec["priorityLevelConfiguration"]["name"]
        condition = {
            "type": "Dangling",
            "status": "False",
            "lastTransitionTime": now,
            "reason": "Found",
            "message": f'This FlowSchema references the PriorityLevelConfiguration object named "{level_name}" and it exists',
        }
        meta = _flow_metadata(name)
        status = {"conditions": [condition]}
        schema = _object(f"{FLOW_CONTROL}/v1", "FlowSchema", meta, spec=spec, status=status)
        yield Item(FLOW_SCHEMAS, "", schema)


def _flow_metadata(name: str) -> Object:
    return {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}


def _network(config: BootstrapConfig) -> Iterator[Item]:
    ranges = networks(config.service_cidr)
    address = str(ranges[0][1])
    spec = {"cidrs": [str(network) for network in ranges]}
    yield Item(
        SERVICE_CIDRS,
        "",
        _object("networking.k8s.io/v1", "ServiceCIDR", {"name": "kubernetes"}, spec=spec),
    )
    yield Item(SERVICES, "default", _kubernetes_service(address, config.port))
    address = config.advertise_address
    if address and not ipaddress.ip_address(address).is_loopback:
        yield from kubernetes_endpoints([address], config.port)


def _kubernetes_service(address: str, port: int) -> Object:
    meta = {
        "name": "kubernetes",
        "namespace": "default",
        "labels": {"component": "apiserver", "provider": "kubernetes"},
    }
    spec = {
        "type": "ClusterIP",
        "clusterIP": address,
        "clusterIPs": [address],
        "ipFamilies": ["IPv6" if ":" in address else "IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
    }
    return _object("v1", "Service", meta, spec=spec)


def kubernetes_endpoints(addresses: Sequence[str], port: int) -> Iterator[Item]:
    """Where the service ``kubernetes`` leads: the Endpoints, then the EndpointSlice."""
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    meta = {"name": "kubernetes", "namespace": "default"}
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    subsets = [{"addresses": [{"ip": address} for address in addresses], "ports": ports}]
    endpoints = _object("v1", "Endpoints", {**meta, "labels": labels}, subsets=subsets)
    yield Item(ENDPOINTS, "default", endpoints)
    yield Item(
        ENDPOINT_SLICES,
        "default",
        _object(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
            addressType="IPv6" if any(":" in address for address in addresses) else "IPv4",
            endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            ports=ports,
        ),
    )
