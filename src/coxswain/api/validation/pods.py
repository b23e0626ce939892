"""Pods: what a new one may have, what may change later, and what its subresources may do."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.meta import qos_class
from coxswain.api.names import Object
from coxswain.api.validation.containers import validate_image_is_trimmed
from coxswain.api.validation.formats import IMMUTABLE, dns_subdomain, ip, ip_families, qualified_name, report
from coxswain.api.validation.objectmeta import (
    validate_annotations,
    validate_labels,
    validate_object_meta_update,
)
from coxswain.api.validation.podspec import (
    MIRROR,
    validate_pod_annotations,
    validate_pod_spec,
    validate_pod_template,
)
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.scheduling import validate_tolerations

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_MAX_INT32 = 2147483647
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)


def _validate_pod(pod: Object, errors: Errors) -> None:
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    if metadata.get("annotations"):
        validate_pod_annotations(metadata["annotations"], spec, "metadata.annotations", errors)
    validate_pod_spec(spec, metadata.get("name") or "", "spec", errors, is_pod=True)
    if not spec.get("serviceAccountName"):
        _validate_no_tokens(spec, errors)
    for group in ("containers", "initContainers"):
        for position, container in enumerate(spec.get(group) or ()):
            image = container.get("image")
            if image and (image[0].isspace() or image[-1].isspace()):
                validate_image_is_trimmed(container, f"spec.{group}[{position}]", errors)


def _validate_no_tokens(spec: Object, errors: Errors) -> None:
    for position, volume in enumerate(spec.get("volumes") or ()):
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                path = f"spec.volumes[{position}].projected.sources[{number}].serviceAccountToken"
                errors.append(forbidden(path, "must not be specified when serviceAccountName is not set"))


def _validate_new_pod(pod: Object, errors: Errors) -> None:
    spec = pod.get("spec") or {}
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        why = "cannot be set until all schedulingGates have been cleared"
        errors.append(forbidden("spec.nodeName", why))


def _validate_pod_update(new: Object, old: Object, errors: Errors) -> None:
    """Images, deadlines, more tolerations, fewer gates: anything else of a pod's spec stays."""
    _validate_annotation_update(new, old, errors)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec == before:
        return
    for group in ("containers", "initContainers"):
        containers, others = spec.get(group) or [], before.get(group) or []
        if len(containers) != len(others):
            errors.append(forbidden(f"spec.{group}", "pod updates may not add or remove containers"))
            return
        for position, container in enumerate(containers):
            if not container.get("image"):
                errors.append(required(f"spec.{group}[{position}].image"))
            validate_image_is_trimmed(container, f"spec.{group}[{position}]", errors)
    if not _validate_deadline_update(spec, before, errors):
        return
    _validate_added_tolerations(spec.get("tolerations") or [], before.get("tolerations") or [], errors)
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for position, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in known:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(forbidden(f"spec.schedulingGates[{position}].name", why))
    _validate_the_rest(spec, before, errors)


def _validate_annotation_update(new: Object, old: Object, errors: Errors) -> None:
    after = (new.get("metadata") or {}).get("annotations") or {}
    before = (old.get("metadata") or {}).get("annotations") or {}
    for name in {*after, *before}:
        if after.get(name) == before.get(name):
            continue
        verb = "add" if name not in before else "remove or update"
        if name.startswith(_APPARMOR):
            errors.append(forbidden(f"metadata.annotations[{name}]", f"may not {verb} AppArmor annotations"))
        if name == MIRROR:
            errors.append(forbidden(f"metadata.annotations[{name}]", f"may not {verb} mirror pod annotation"))


def _validate_deadline_update(spec: Object, before: Object, errors: Errors) -> bool:
    """A deadline may be set or shortened; whether to go on."""
    path = "spec.activeDeadlineSeconds"
    deadline, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is not None:
        if not 0 <= deadline <= _MAX_INT32:
            errors.append(invalid(path, deadline, f"must be between 0 and {_MAX_INT32}, inclusive"))
            return False
        if old is not None and old < deadline:
            errors.append(invalid(path, deadline, "must be less than or equal to previous value"))
            return False
    elif old is not None:
        errors.append(invalid(path, None, "must not update from a positive integer to nil value"))
    return True


def _validate_added_tolerations(new: list[Object], old: list[Object], errors: Errors) -> None:
    def bare(toleration: Object) -> Object:
        return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}

    kept = [bare(each) for each in new]
    if any(bare(each) not in kept for each in old):
        why = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden("spec.tolerations", why))
        return
    if new != old:
        validate_tolerations(new, "spec.tolerations", errors)


def _validate_the_rest(spec: Object, before: Object, errors: Errors) -> None:
    munged = dict(spec)
    for group in ("containers", "initContainers"):
        if group in spec and group in before:
            pairs = zip(spec[group], before[group], strict=False)
            munged[group] = [{**each, "image": other.get("image")} for each, other in pairs]
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        _restore(munged, before, field)
    grace = before.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0 and munged.get("terminationGracePeriodSeconds") == 1:
        munged["terminationGracePeriodSeconds"] = grace
    if before.get("schedulingGates"):
        _validate_gated(munged, before, errors)
    if munged != before:
        # Kubernetes adds a diff of Go structs; the changed fields say the same.
        changed = sorted(key for key in {*munged, *before} if munged.get(key) != before.get(key))
        why = f"pod updates may not change fields other than {_UPDATABLE}\n{', '.join(changed)}"
        errors.append(forbidden("spec", why))


def _restore(munged: Object, before: Object, field: str) -> None:
    if field in before:
        munged[field] = before[field]
    else:
        munged.pop(field, None)


def _validate_gated(munged: Object, before: Object, errors: Errors) -> None:
    """A pod that waits behind gates may still get stricter about its nodes."""
    new, old = munged.get("nodeSelector") or {}, before.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(invalid("spec.nodeSelector", new, why))
    _restore(munged, before, "nodeSelector")
    affinity, previous = munged.get("affinity") or {}, before.get("affinity") or {}
    if affinity.get("nodeAffinity") == previous.get("nodeAffinity"):
        return
    _validate_affinity_additions(affinity.get("nodeAffinity"), previous.get("nodeAffinity"), errors)
    rest = {key: value for key, value in affinity.items() if key != "nodeAffinity"}
    if previous.get("nodeAffinity") is not None:
        rest["nodeAffinity"] = previous["nodeAffinity"]
    munged["affinity"] = rest
    if not rest and "affinity" not in before:
        del munged["affinity"]


def _validate_affinity_additions(new: Object | None, old: Object | None, errors: Errors) -> None:
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    path = f"spec.affinity.nodeAffinity.{field}.nodeSelectorTerms"
    before = ((old or {}).get(field) or {}).get("nodeSelectorTerms") or []
    after = ((new or {}).get(field) or {}).get("nodeSelectorTerms") or []
    if not before:
        return
    if len(before) != len(after):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid(path, after, why))
        return
    for position, (term, previous) in enumerate(zip(after, before, strict=True)):
        if not _only_adds(term, previous):
            why = "only additions are allowed (no mutations or deletions)"
            errors.append(invalid(f"{path}[{position}]", term, why))


def _only_adds(new: Object, old: Object) -> bool:
    lists = ("matchExpressions", "matchFields")
    if not any(old.get(key) for key in lists):
        return not any(new.get(key) for key in lists)
    return all((new.get(key) or [])[: len(old.get(key) or [])] == (old.get(key) or []) for key in lists)


def _validate_pod_status(new: Object, old: Object, errors: Errors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    spec, old_spec = new.get("spec") or {}, old.get("spec") or {}
    _validate_annotation_update(new, old, errors)
    for position, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if qualified_name(kind):
            report(qualified_name(kind), f"metadata.conditions[{position}].Type", kind, errors)
    if spec.get("nodeName") != old_spec.get("nodeName"):
        errors.append(forbidden("status.nodeName", "may not be changed directly"))
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        report(dns_subdomain(nominated), "status.nominatedNodeName", nominated, errors)
    if before.get("qosClass") and status.get("qosClass") != before["qosClass"]:
        errors.append(invalid("status.qosClass", status.get("qosClass") or "", IMMUTABLE))
    policy = old_spec.get("restartPolicy")
    _validate_transitions(status, before, "containerStatuses", old_spec, policy, errors)
    _validate_transitions(status, before, "initContainerStatuses", old_spec, policy, errors)
    _validate_transitions(status, before, "ephemeralContainerStatuses", old_spec, "Never", errors)
    _validate_addresses(status, "podIPs", errors)
    hosts = status.get("hostIPs")
    if hosts and hosts[0].get("ip") != status.get("hostIP"):
        errors.append(invalid("status.hostIPs[0].ip", hosts[0].get("ip") or "", "must be equal to `hostIP`"))
    _validate_addresses(status, "hostIPs", errors)


def _validate_transitions(
    status: Object, before: Object, field: str, spec: Object, policy: str | None, errors: Errors
) -> None:
    """A container that ended for good does not run again."""
    if policy == "Always" or not before.get(field):
        return
    restartable = {
        each.get("name")
        for group in ("containers", "initContainers")
        for each in spec.get(group) or ()
        if each.get("restartPolicy") == "Always" or each.get("restartPolicyRules")
    }
    current = {each.get("name"): each for each in status.get(field) or ()}
    for position, old in enumerate(before[field]):
        ended = (old.get("state") or {}).get("terminated")
        if ended is None or old.get("name") in restartable:
            continue
        if ended.get("exitCode") and policy == "OnFailure":
            continue
        new = current.get(old.get("name"))
        if new is not None and (new.get("state") or {}).get("terminated") is None:
            why = "may not be transitioned to non-terminated state"
            errors.append(forbidden(f"status.{field}[{position}].state", why))


def _validate_addresses(status: Object, field: str, errors: Errors) -> None:
    entries = status.get(field) or []
    addresses = [entry.get("ip") or "" for entry in entries]
    for position, address in enumerate(addresses):
        ip(f"status.{field}[{position}]", address, errors)
    if len(addresses) > 1:
        if len(addresses) > 2 or len(ip_families(addresses)) < 2:
            why = "may specify no more than one IP for each IP family"
            errors.append(invalid(f"status.{field}", entries, why))
        for position, entry in enumerate(entries):
            if entry in entries[:position]:
                errors.append(duplicate(f"status.{field}[{position}]", entry))


def validate_binding(binding: Object) -> Errors:
    """The complaints about a Binding: it names a node, and its labels and annotations can be a pod's.

    Kubernetes does not look at those, and stores a pod that it would not take.
    """
    errors: Errors = []
    metadata, target = binding.get("metadata") or {}, binding.get("target") or {}
    if metadata.get("labels"):
        validate_labels(metadata["labels"], "metadata.labels", errors)
    if metadata.get("annotations"):
        validate_annotations(metadata["annotations"], "metadata.annotations", errors)
    if target.get("kind") not in (None, "", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ("Node", "<empty>")))
    if not target.get("name"):
        errors.append(required("target.name"))
    return errors


def validate_ephemeral_containers_update(new: Object, old: Object) -> Errors:
    """The complaints about a change through the ephemeralcontainers subresource: it may only add."""
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or {}):
        return [forbidden("", "static pods do not support ephemeral containers")]
    errors = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    _validate_pod(new, errors)
    after = {each.get("name"): each for each in (new.get("spec") or {}).get("ephemeralContainers") or ()}
    for container in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in after:
            why = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.append(forbidden("spec.ephemeralContainers", why))
        elif after[name] != container:
            why = f'existing ephemeral containers "{name}" may not be changed\n'
            errors.append(forbidden("spec.ephemeralContainers", why))
    return errors


def validate_resize(new: Object, old: Object) -> Errors:
    """The complaints about a change through the resize subresource: cpu and memory of containers only."""
    if MIRROR in ((old.get("metadata") or {}).get("annotations") or {}):
        return [forbidden("", "static pods cannot be resized")]
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if (before.get("os") or {}).get("name") == "windows":
        return [forbidden("", "windows pods cannot be resized")]
    errors = validate_object_meta_update(new.get("metadata") or {}, old.get("metadata") or {})
    _validate_pod(new, errors)
    if qos_class(old) != qos_class(new):
        why = "Pod QOS Class may not change as a result of resizing"
        errors.append(invalid("spec", (new.get("status") or {}).get("qosClass") or "", why))
    for group in ("initContainers", "containers"):
        pairs = list(zip(spec.get(group) or (), before.get(group) or (), strict=False))
        for position, (container, other) in enumerate(pairs):
            path = f"spec.{group}[{position}].resources"
            resizable = group == "containers" or container.get("restartPolicy") == "Always"
            _validate_container_resize(container, other, path, errors, resizable)
    if not errors and _without_compute(spec) != _without_compute(before):
        errors.append(forbidden("spec", "only cpu and memory resources are mutable"))
    return errors


def _validate_container_resize(new: Object, old: Object, path: str, errors: Errors, resizable: bool) -> None:
    after, before = new.get("resources") or {}, old.get("resources") or {}
    if not resizable:
        if after != before:
            errors.append(forbidden("spec", "resources for non-sidecar init containers are immutable"))
        return
    for kind, words in (("requests", "resource requests"), ("limits", "resource limits")):
        if set(before.get(kind) or ()) - set(after.get(kind) or ()):
            errors.append(forbidden(f"{path}.{kind}", f"{words} cannot be removed"))


def _without_compute(spec: Object) -> Object:
    def amounts(resources: Object) -> dict[str, Any]:
        kinds = {}
        for kind in ("requests", "limits"):
            kinds[kind] = {k: v for k, v in (resources.get(kind) or {}).items() if k not in ("cpu", "memory")}
        return kinds

    out = dict(spec)
    for group in ("containers", "initContainers"):
        out[group] = [
            {**each, "resources": amounts(each.get("resources") or {}), "resizePolicy": None}
            for each in spec.get(group) or ()
        ]
    return out


def _validate_template_object(obj: Object, errors: Errors) -> None:
    validate_pod_template(obj.get("template") or {}, "template", errors)


RULES = {
    ("", "Pod"): Rules(
        validate=_validate_pod,
        create=_validate_new_pod,
        update=_validate_pod_update,
        status=_validate_pod_status,
        metadata_on_update=True,
    ),
    ("", "PodTemplate"): Rules(validate=_validate_template_object),
}
