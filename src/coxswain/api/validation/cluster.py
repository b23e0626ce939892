"""Namespaces, nodes, service accounts, leases, and the classes that pods name."""

from __future__ import annotations

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import (
    IMMUTABLE,
    NOT_POSITIVE,
    cidr,
    dns_label,
    nonnegative,
    parse_cidr,
    qualified_name,
    report,
)
from coxswain.api.validation.objectmeta import validate_labels
from coxswain.api.validation.resources import resource_quantity, validate_requirements
from coxswain.api.validation.rules import Rules, field_immutable
from coxswain.api.validation.scheduling import validate_taints, validate_tolerations

_HIGHEST_USER_PRIORITY = 1_000_000_000
_SYSTEM_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def validate_namespace(namespace: Object, errors: Errors) -> None:
    """Finalizers of the spec; ``/finalize`` asks for the same."""
    for finalizer in (namespace.get("spec") or {}).get("finalizers") or ():
        report(qualified_name(finalizer), "spec.finalizers", finalizer, errors)
        if "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            why = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid("spec.finalizers", finalizer, why))


def _validate_namespace_status(new: Object, old: Object, errors: Errors) -> None:
    phase = (new.get("status") or {}).get("phase")
    if (new.get("metadata") or {}).get("deletionTimestamp"):
        if phase != "Terminating":
            why = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            errors.append(invalid("status.Phase", phase or "", why))
    elif phase != "Active":
        errors.append(
            invalid("status.Phase", phase or "", "may only be 'Active' if `deletionTimestamp` is empty")
        )


def _validate_node(node: Object, errors: Errors) -> None:
    spec = node.get("spec") or {}
    if spec.get("taints"):
        validate_taints(spec["taints"], "metadata.taints", errors)
    _validate_node_resources(node, errors)
    networks = spec.get("podCIDRs") or []
    for position, network in enumerate(networks):
        cidr(f"spec.podCIDRs[{position}]", network, errors)
    if len(networks) > 1:
        versions = {parsed.version for each in networks if (parsed := parse_cidr(each)) is not None}
        if len(networks) > 2 or len(versions) < 2:
            why = "may specify no more than one CIDR for each IP family"
            errors.append(invalid("spec.podCIDRs", networks, why))
        for position, network in enumerate(networks):
            if network in networks[:position]:
                errors.append(duplicate(f"spec.podCIDRs[{position}]", network))


def _validate_node_resources(node: Object, errors: Errors) -> None:
    status = node.get("status") or {}
    for kind in ("capacity", "allocatable"):
        for name, value in (status.get(kind) or {}).items():
            resource_quantity(name, value, f"status.{kind}.{name}", errors)


def _validate_node_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    addresses = (new.get("status") or {}).get("addresses") or []
    for position, address in enumerate(addresses):
        if address in addresses[:position]:
            errors.append(duplicate(f"status.addresses[{position}]", address))
    if before.get("podCIDRs") and before["podCIDRs"] != spec.get("podCIDRs"):
        why = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden("spec.podCIDRs", why))
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        why = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden("spec.providerID", why))
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        errors.append(forbidden("spec.externalID", "may not be updated"))


def _validate_node_status(new: Object, old: Object, errors: Errors) -> None:
    _validate_node_resources(new, errors)
    _validate_node_update(new, old, errors)


def _validate_lease(lease: Object, errors: Errors) -> None:
    spec = lease.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", duration, NOT_POSITIVE))
    nonnegative("spec.leaseTransitions", spec.get("leaseTransitions"), errors)
    strategy, holder = spec.get("strategy"), spec.get("preferredHolder")
    if strategy is not None:
        if strategy == "":
            errors.append(required("spec.strategy"))
        else:
            report(qualified_name(strategy), "spec.strategy", strategy, errors)
    if holder and not strategy:
        why = "may only be specified if `strategy` is defined"
        errors.append(forbidden("spec.preferredHolder", why))


def _validate_priority_class(priority: Object, errors: Errors) -> None:
    name, value = (priority.get("metadata") or {}).get("name") or "", priority.get("value") or 0
    if name.startswith("system-"):
        problem = _system_priority_problem(name, value, bool(priority.get("globalDefault")))
        if problem:
            why = (
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {problem}"
            )
            errors.append(forbidden("metadata.name", why))
    elif value > _HIGHEST_USER_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        errors.append(forbidden("value", why))
    policy = priority.get("preemptionPolicy")
    if policy is not None and policy not in ("PreemptLowerPriority", "Never"):
        errors.append(not_supported("preemptionPolicy", policy, ("PreemptLowerPriority", "Never")))


def _system_priority_problem(name: str, value: int, is_default: bool) -> str:
    if name not in _SYSTEM_PRIORITIES:
        return f"{name} is not a known system priority class"
    if value != _SYSTEM_PRIORITIES[name]:
        return f"value of {name} PriorityClass must be {_SYSTEM_PRIORITIES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def _validate_priority_class_update(new: Object, old: Object, errors: Errors) -> None:
    if (new.get("value") or 0) != (old.get("value") or 0):
        errors.append(forbidden("value", "may not be changed in an update."))
    field_immutable(new, old, "preemptionPolicy", errors)


def _validate_runtime_class(runtime: Object, errors: Errors) -> None:
    handler = runtime.get("handler") or ""
    report(dns_label(handler), "handler", handler, errors)
    fixed = (runtime.get("overhead") or {}).get("podFixed")
    if fixed:
        validate_requirements({"limits": fixed}, "overhead", errors, set())
    scheduling = runtime.get("scheduling")
    if scheduling:
        if scheduling.get("nodeSelector"):
            validate_labels(scheduling["nodeSelector"], "scheduling.nodeSelector", errors)
        tolerations = scheduling.get("tolerations") or []
        validate_tolerations(tolerations, "scheduling.tolerations", errors)
        for position, toleration in enumerate(tolerations):
            if toleration in tolerations[:position]:
                errors.append(duplicate(f"scheduling.tolerations[{position}]", toleration))


def _validate_runtime_class_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("handler") != old.get("handler"):
        errors.append(invalid("handler", new.get("handler"), IMMUTABLE))


RULES = {
    ("", "Namespace"): Rules(
        validate=validate_namespace,
        status=_validate_namespace_status,
        name_check=dns_label,
        namespaced=False,
    ),
    ("", "Node"): Rules(
        validate=_validate_node, update=_validate_node_update, status=_validate_node_status, namespaced=False
    ),
    ("", "ServiceAccount"): Rules(metadata_on_update=True),
    ("coordination.k8s.io", "Lease"): Rules(validate=_validate_lease, strict_finalizers=False),
    ("scheduling.k8s.io", "PriorityClass"): Rules(
        validate=_validate_priority_class, update=_validate_priority_class_update, namespaced=False
    ),
    ("node.k8s.io", "RuntimeClass"): Rules(
        validate=_validate_runtime_class,
        update=_validate_runtime_class_update,
        namespaced=False,
        strict_finalizers=False,
    ),
}
