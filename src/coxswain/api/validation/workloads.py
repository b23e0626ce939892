"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers: selectors, templates, roll-outs."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import Errors, Shown, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.claims import validate_claim_spec
from coxswain.api.validation.formats import (
    IMMUTABLE,
    dns_label,
    dns_subdomain,
    int_or_percent,
    nonnegative,
    not_over_100_percent,
    percent_value,
    report,
)
from coxswain.api.validation.objectmeta import (
    selector_is_empty,
    selector_is_valid,
    selector_matches,
    show_selector,
    validate_annotations,
    validate_label_selector,
    validate_labels,
)
from coxswain.api.validation.podspec import validate_pod_template
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.shown import go_struct

_MISMATCH = "`selector` does not match template `labels`"


def _template_labels(template: Object) -> dict[str, str]:
    return (template.get("metadata") or {}).get("labels") or {}


def _validate_selector(
    selector: Object | None, template: Object, path: str, errors: Errors, why: str
) -> bool:
    """A selector that is there, not empty and valid; whether it can be used."""
    if selector is None:
        errors.append(required(f"{path}.selector"))
        return False
    validate_label_selector(selector, f"{path}.selector", errors)
    if selector_is_empty(selector):
        errors.append(invalid(f"{path}.selector", show_selector(selector), why))
    if not selector_is_valid(selector):
        errors.append(invalid(f"{path}.selector", show_selector(selector), "invalid label selector"))
        return False
    return True


def _validate_template_labels(selector: Object | None, template: Object, path: str, errors: Errors) -> None:
    """The selector finds the pods of the template."""
    if selector is not None and selector_is_empty(selector):
        return
    labels = _template_labels(template)
    if selector is None or not selector_matches(selector, labels):
        errors.append(invalid(f"{path}.metadata.labels", labels or None, _MISMATCH))


def _validate_always_restarts(template: Object, path: str, kind: str, errors: Errors) -> None:
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy") or ""
    if policy != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", policy, ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", why))


def _validate_replicated_template(
    selector: Object | None, template: Object, kind: str, errors: Errors, path: str = "spec.template"
) -> None:
    _validate_template_labels(selector, template, path, errors)
    validate_pod_template(template, path, errors)
    _validate_always_restarts(template, path, kind, errors)


def _validate_deployment(deployment: Object, errors: Errors) -> None:
    spec = deployment.get("spec") or {}
    nonnegative("spec.replicas", spec.get("replicas"), errors)
    selector, template = spec.get("selector"), spec.get("template") or {}
    why = "empty selector is invalid for deployment"
    if selector is None or _validate_selector(selector, template, "spec", errors, why):
        if selector is None:
            errors.append(required("spec.selector"))
        _validate_replicated_template(selector, template, "ReplicaSet", errors)
    _validate_deployment_strategy(spec.get("strategy") or {}, errors)
    ready, deadline = spec.get("minReadySeconds") or 0, spec.get("progressDeadlineSeconds")
    nonnegative("spec.minReadySeconds", ready, errors)
    nonnegative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), errors)
    if deadline is not None:
        nonnegative("spec.progressDeadlineSeconds", deadline, errors)
        if deadline <= ready:
            why = "must be greater than minReadySeconds"
            errors.append(invalid("spec.progressDeadlineSeconds", deadline, why))


def _validate_deployment_strategy(strategy: Object, errors: Errors) -> None:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    path = "spec.strategy.rollingUpdate"
    if kind == "Recreate":
        if rolling is not None:
            errors.append(forbidden(path, "may not be specified when strategy `type` is 'Recreate'"))
    elif kind == "RollingUpdate":
        if rolling is None:
            errors.append(required(path, "this should be defaulted and never be nil"))
        else:
            _validate_rolling(rolling, path, errors, required_by="maxSurge")
    else:
        value = go_struct(
            {**strategy, "rollingUpdate": rolling and go_struct(rolling, "maxUnavailable", "maxSurge")},
            "type",
            "rollingUpdate",
        )
        errors.append(not_supported("spec.strategy", value, ("Recreate", "RollingUpdate")))


def _is_zero(value: Any) -> bool:
    return (percent_value(value) or 0) == 0 if isinstance(value, str) else not value


def _validate_rolling(rolling: Object, path: str, errors: Errors, *, required_by: str) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    int_or_percent(f"{path}.maxUnavailable", unavailable, errors)
    int_or_percent(f"{path}.maxSurge", surge, errors)
    if _is_zero(unavailable) and _is_zero(surge):
        why = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid(f"{path}.maxUnavailable", unavailable or 0, why))
    not_over_100_percent(f"{path}.maxUnavailable", unavailable, errors)


def _selector_immutable(new: Object, old: Object, errors: Errors) -> None:
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        errors.append(invalid("spec.selector", show_selector(selector), IMMUTABLE))


_COUNTS = ("replicas", "readyReplicas", "availableReplicas")
_AT_MOST_ALL = "cannot be greater than status.replicas"


def _validate_deployment_status(new: Object, old: Object, errors: Errors) -> None:
    status = new.get("status") or {}
    for field in (
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ):
        nonnegative(f"status.{field}", status.get(field), errors)
    _validate_counts(status, ("updatedReplicas", "readyReplicas", "availableReplicas"), errors)
    count, before = status.get("collisionCount"), (old.get("status") or {}).get("collisionCount")
    if before is not None and (count is None or count < before):
        errors.append(invalid("status.collisionCount", count or 0, "cannot be decremented"))


def _validate_counts(status: Object, fields: tuple[str, ...], errors: Errors) -> None:
    total = status.get("replicas") or 0
    for field in fields:
        if (status.get(field) or 0) > total:
            errors.append(invalid(f"status.{field}", status.get(field) or 0, _AT_MOST_ALL))
    if (status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        why = "cannot be greater than readyReplicas"
        errors.append(invalid("status.availableReplicas", status.get("availableReplicas") or 0, why))


def _validate_replica_status(new: Object, old: Object, errors: Errors) -> None:
    status = new.get("status") or {}
    fields = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    for field in ("replicas", *fields, "observedGeneration"):
        nonnegative(f"status.{field}", status.get(field), errors)
    _validate_counts(status, fields, errors)


def _validate_replica_set(replica_set: Object, errors: Errors) -> None:
    spec = replica_set.get("spec") or {}
    nonnegative("spec.replicas", spec.get("replicas"), errors)
    nonnegative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    selector, template = spec.get("selector"), spec.get("template") or {}
    why = "empty selector is invalid for deployment"
    if selector is None:
        errors.append(required("spec.selector"))
        _validate_replicated_template(None, template, "ReplicaSet", errors)
    elif _validate_selector(selector, template, "spec", errors, why):
        _validate_replicated_template(selector, template, "ReplicaSet", errors)


def _validate_replication_controller(controller: Object, errors: Errors) -> None:
    spec = controller.get("spec") or {}
    nonnegative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    selector = spec.get("selector") or {}
    if not selector:
        errors.append(required("spec.selector"))
    nonnegative("spec.replicas", spec.get("replicas"), errors)
    template = spec.get("template")
    if template is None:
        errors.append(required("spec.template"))
    else:
        wanted = {"matchLabels": selector}
        _validate_replicated_template(wanted, template, "ReplicationController", errors)


def _validate_daemon_set(daemon_set: Object, errors: Errors) -> None:
    spec = daemon_set.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is not None:
        validate_label_selector(selector, "spec.selector", errors)
    if selector is None or (
        selector_is_valid(selector)
        and not selector_is_empty(selector)
        and not selector_matches(selector, _template_labels(template))
    ):
        labels = _template_labels(template) or None
        errors.append(invalid("spec.template.metadata.labels", labels, _MISMATCH))
    if selector is not None and selector_is_empty(selector):
        why = "empty selector is invalid for daemonset"
        errors.append(invalid("spec.selector", show_selector(selector), why))
    validate_pod_template(template, "spec.template", errors)
    _validate_always_restarts(template, "spec.template", "DaemonSet", errors)
    nonnegative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    _validate_daemon_strategy(spec.get("updateStrategy") or {}, errors)
    nonnegative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), errors)


def _validate_daemon_strategy(strategy: Object, errors: Errors) -> None:
    kind, path = strategy.get("type") or "", "spec.updateStrategy"
    if kind == "OnDelete":
        return
    rolling = strategy.get("rollingUpdate")
    if kind != "RollingUpdate":
        rules = rolling and go_struct(rolling, "maxUnavailable", "maxSurge")
        value = go_struct({"type": kind, "rollingUpdate": rules}, "type", "rollingUpdate")
        errors.append(not_supported(path, value, ("RollingUpdate", "OnDelete")))
        return
    if rolling is None:
        errors.append(required(f"{path}.rollingUpdate"))
        return
    here = f"{path}.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        int_or_percent(f"{here}.{field}", value, errors)
    if not _is_zero(unavailable) and not _is_zero(surge):
        why = "may not be set when maxUnavailable is non-zero"
        errors.append(invalid(f"{here}.maxSurge", surge, why))
    elif _is_zero(unavailable) and _is_zero(surge):
        errors.append(required(f"{here}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    for field, value in (("maxUnavailable", unavailable), ("maxSurge", surge)):
        not_over_100_percent(f"{here}.{field}", value, errors)


def _validate_stateful_set(stateful_set: Object, errors: Errors) -> None:
    spec = stateful_set.get("spec") or {}
    policy = spec.get("podManagementPolicy") or ""
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        why = "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid("spec.podManagementPolicy", policy, why))
    _validate_stateful_strategy(spec.get("updateStrategy") or {}, errors)
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        value = retention.get(field)
        if value and value not in ("Retain", "Delete"):
            path = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            errors.append(not_supported(path, value, ("Retain", "Delete")))
    nonnegative("spec.replicas", spec.get("replicas"), errors)
    nonnegative("spec.minReadySeconds", spec.get("minReadySeconds"), errors)
    nonnegative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"), errors)
    nonnegative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"), errors)
    for position, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        validate_claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{position}].spec", errors)
    _validate_stateful_template(spec, errors)


def _validate_stateful_template(spec: Object, errors: Errors) -> None:
    selector, template = spec.get("selector"), spec.get("template") or {}
    name = spec.get("serviceName")
    if name:
        report(dns_label(name), "spec.serviceName", name, errors)
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        validate_label_selector(selector, "spec.selector", errors)
        if selector_is_empty(selector):
            why = "empty selector is invalid for statefulset"
            errors.append(invalid("spec.selector", show_selector(selector), why))
    if selector is not None and not selector_is_valid(selector):
        errors.append(invalid("spec.selector", show_selector(selector), ""))
    else:
        path = "spec.template"
        _validate_template_labels(selector, template, path, errors)
        metadata = template.get("metadata") or {}
        validate_labels(metadata.get("labels") or {}, f"{path}.labels", errors)
        validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations", errors)
        validate_stateful_pods(spec, template, path, errors)
    _validate_always_restarts(template, "spec.template", "StatefulSet", errors)


def validate_stateful_pods(spec: Object, template: Object, path: str, errors: Errors) -> None:
    """The template with the volumes that claim templates add: containers may mount those, too."""
    pods = template.get("spec") or {}
    claims = [
        {"name": name, "persistentVolumeClaim": {"claimName": name}}
        for each in spec.get("volumeClaimTemplates") or ()
        if (name := (each.get("metadata") or {}).get("name"))
    ]
    taken = {each["name"] for each in claims}
    own = [volume for volume in pods.get("volumes") or () if volume.get("name") not in taken]
    whole = {**template, "metadata": {}, "spec": {**pods, "volumes": [*own, *claims]}}
    validate_pod_template(whole, path, errors)


def _validate_stateful_strategy(strategy: Object, errors: Errors) -> None:
    kind, rolling = strategy.get("type") or "", strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if not kind:
        errors.append(required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            why = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid(f"{path}.rollingUpdate", _show_rolling(rolling), why))
    elif kind == "RollingUpdate":
        if rolling is not None:
            nonnegative(f"{path}.rollingUpdate.partition", rolling.get("partition"), errors)
            if rolling.get("maxUnavailable") is not None:
                here = f"{path}.rollingUpdate.maxUnavailable"
                int_or_percent(here, rolling["maxUnavailable"], errors)
                if _is_zero(rolling["maxUnavailable"]):
                    errors.append(invalid(here, rolling["maxUnavailable"], "cannot be 0"))
                not_over_100_percent(here, rolling["maxUnavailable"], errors)
    else:
        value = go_struct(
            {"type": kind, "rollingUpdate": rolling and _show_rolling(rolling)}, "type", "rollingUpdate"
        )
        errors.append(invalid(path, value, "must be 'RollingUpdate' or 'OnDelete'"))


def _show_rolling(rolling: Object) -> Shown:
    return go_struct({"partition": 0, **rolling}, "partition", "maxUnavailable")


_STATEFUL_MUTABLE = (
    "replicas",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "ordinals",
)


def _validate_stateful_set_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    fixed = {*spec, *before} - set(_STATEFUL_MUTABLE)
    if any(spec.get(field) != before.get(field) for field in fixed):
        why = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
            "'minReadySeconds' are forbidden"
        )
        errors.append(forbidden("spec", why))


def _validate_stateful_status(new: Object, old: Object, errors: Errors) -> None:
    status = new.get("status") or {}
    fields = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    for field in ("replicas", *fields, "observedGeneration", "collisionCount"):
        nonnegative(f"status.{field}", status.get(field), errors)
    _validate_counts(status, fields, errors)


def _validate_daemon_status(new: Object, old: Object, errors: Errors) -> None:
    for field, value in (new.get("status") or {}).items():
        if isinstance(value, int):
            nonnegative(f"status.{field}", value, errors)


def _validate_revision(revision: Object, errors: Errors) -> None:
    if revision.get("data") is None:
        errors.append(required("data", "data is mandatory"))
    nonnegative("revision", revision.get("revision"), errors)


def _validate_revision_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("data") != old.get("data"):
        errors.append(invalid("data", new.get("data"), IMMUTABLE))


RULES = {
    ("apps", "Deployment"): Rules(
        validate=_validate_deployment, update=_selector_immutable, status=_validate_deployment_status
    ),
    ("apps", "ReplicaSet"): Rules(
        validate=_validate_replica_set, update=_selector_immutable, status=_validate_replica_status
    ),
    ("", "ReplicationController"): Rules(
        validate=_validate_replication_controller,
        status=_validate_replica_status,
        check_generate_name=False,
    ),
    ("apps", "DaemonSet"): Rules(
        validate=_validate_daemon_set, update=_selector_immutable, status=_validate_daemon_status
    ),
    ("apps", "StatefulSet"): Rules(
        validate=_validate_stateful_set,
        update=_validate_stateful_set_update,
        status=_validate_stateful_status,
        name_check=dns_label,
    ),
    ("apps", "ControllerRevision"): Rules(
        validate=_validate_revision, update=_validate_revision_update, name_check=dns_subdomain
    ),
}
