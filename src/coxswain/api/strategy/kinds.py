"""The strategy of every kind: has it a status and a generation, and what does the server fill in itself?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coxswain.api.names import Object
from coxswain.api.strategy.claims import update_claim_status
from coxswain.api.strategy.pods import create_pod, update_pod_status
from coxswain.api.strategy.services import create_service, update_service
from coxswain.base import clock

One = Callable[[Object], None]
Two = Callable[[Object, Object], None]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How one kind is created and changed."""

    #: ``status`` may be written through the status subresource only.
    has_status: bool = False
    #: ``metadata.generation`` counts changes of the desired state.
    generation: bool = False
    #: The fields that make the desired state where that is not ``spec``.
    desired: tuple[str, ...] = ()
    #: Changed annotations count as a new generation (Deployments, for their revision annotations).
    annotations_count: bool = False
    create: One | None = None
    update: Two | None = None
    status: Two | None = None
    #: Where a pod's spec is, for kinds that have one.
    pod_spec: tuple[str, ...] = ()


def _create_namespace(namespace: Object) -> None:
    namespace["status"] = {"phase": "Active"}
    spec = namespace.setdefault("spec", {})
    finalizers = spec.get("finalizers") or []
    if "kubernetes" not in finalizers:
        spec["finalizers"] = [*finalizers, "kubernetes"]


def _update_namespace(new: Object, old: Object) -> None:
    new["spec"] = {**(new.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers") or []}


def _create_persistent_volume(volume: Object) -> None:
    volume["status"] = {"phase": "Pending", "lastPhaseTransitionTime": clock.timestamp()}


def _status_persistent_volume(new: Object, old: Object) -> None:
    status, before = new.setdefault("status", {}), old.get("status") or {}
    if status.get("phase") != before.get("phase"):
        if status.get("lastPhaseTransitionTime") == before.get("lastPhaseTransitionTime"):
            status["lastPhaseTransitionTime"] = clock.timestamp()
    elif before.get("lastPhaseTransitionTime"):
        status["lastPhaseTransitionTime"] = before["lastPhaseTransitionTime"]


def _create_claim(claim: Object) -> None:
    claim["status"] = {"phase": "Pending"}
    spec = claim.get("spec") or {}
    if (spec.get("dataSourceRef") or {}).get("namespace"):
        del spec["dataSourceRef"]  # a source in another namespace: a feature that is off by default
    if spec.get("dataSourceRef") is None and not _is_old_source(spec.get("dataSource") or {}):
        spec.pop("dataSource", None)
    _normalize_data_sources(spec)


def _is_old_source(source: Object) -> bool:
    """What ``dataSource`` has always been able to name; anything else in it is dropped without a word."""
    named = (source.get("apiGroup") or "", source.get("kind"))
    return named in (("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot"))


def _normalize_data_sources(spec: Object) -> None:
    """The older dataSource and the newer dataSourceRef say the same unless a namespace is named."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _create_daemon_set(daemon_set: Object) -> None:
    metadata = daemon_set["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _TEMPLATE_GENERATION: "1"}


def _update_daemon_set(new: Object, old: Object) -> None:
    before = ((old.get("metadata") or {}).get("annotations") or {}).get(_TEMPLATE_GENERATION) or "1"
    count = int(before) if before.isdecimal() else 1
    if (new.get("spec") or {}).get("template") != (old.get("spec") or {}).get("template"):
        count += 1
    metadata = new["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _TEMPLATE_GENERATION: str(count)}


def _create_job(job: Object) -> None:
    """A job selects its pods by its own uid, unless its author does the selecting."""
    spec, metadata = job.setdefault("spec", {}), job["metadata"]
    uid = metadata.get("uid")
    if spec.get("manualSelector") or not uid:
        return
    labels = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    for prefix in ("", "batch.kubernetes.io/"):
        labels.setdefault(f"{prefix}controller-uid", uid)
        labels.setdefault(f"{prefix}job-name", metadata.get("name") or "")
    if spec.get("selector") is None:
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _create_stateful_set(stateful_set: Object) -> None:
    # A field behind a feature that is off by default: kept out until it is on.
    rolling = ((stateful_set.get("spec") or {}).get("updateStrategy") or {}).get("rollingUpdate")
    if rolling is not None:
        rolling.pop("maxUnavailable", None)


def _update_csr(new: Object, old: Object) -> None:
    new["spec"] = old.get("spec") or {}


def _status_csr(new: Object, old: Object) -> None:
    """Approval has a door of its own: here it stays as it was, where it is there as often as before."""
    conditions = (new.get("status") or {}).get("conditions") or []
    before = (old.get("status") or {}).get("conditions") or []
    for kind in ("Approved", "Denied"):
        kept = [one for one in before if one.get("type") == kind]
        places = [place for place, one in enumerate(conditions) if one.get("type") == kind]
        if len(kept) == len(places):
            for place, one in zip(places, kept, strict=True):
                conditions[place] = one
    now = clock.timestamp()
    for one in conditions:
        for moment in ("lastUpdateTime", "lastTransitionTime"):
            if not one.get(moment):
                one[moment] = now


def _restore_status(new: Object, old: Object) -> None:
    """A node's status may come with its creation (nodes register themselves), later only by its subresource."""
    if "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)


def _update_node(new: Object, old: Object) -> None:
    _restore_status(new, old)
    if (old.get("spec") or {}).get("configSource") is None:
        # Kubelets take no configuration from here any more.
        (new.get("spec") or {}).pop("configSource", None)


def _update_csi_driver(new: Object, old: Object) -> None:
    """Changes are counted, though a new driver has no generation yet."""
    if (new.get("spec") or {}) != (old.get("spec") or {}):
        new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1


def _create_lease(lease: Object) -> None:
    # Coordinated leader election is off by default.
    for field in ("strategy", "preferredHolder"):
        (lease.get("spec") or {}).pop(field, None)


def _update_lease(new: Object, old: Object) -> None:
    for field in ("strategy", "preferredHolder"):
        if (old.get("spec") or {}).get(field) is None:
            (new.get("spec") or {}).pop(field, None)


def _create_slice(resource_slice: Object) -> None:
    # Fields behind features that are off by default: kept out until they are on.
    for device in (resource_slice.get("spec") or {}).get("devices") or ():
        device.pop("nodeAllocatableResourceMappings", None)
        for attribute in (device.get("attributes") or {}).values():
            for field in ("ints", "bools", "strings", "versions"):
                attribute.pop(field, None)


def _update_slice(new: Object, old: Object) -> None:
    _create_slice(new)


_SPEC = Strategy(has_status=True, generation=True)
_TEMPLATE = ("spec", "template", "spec")
_STATUS_ONLY = Strategy(has_status=True)
_COUNTED = Strategy(generation=True)
_PLAIN = Strategy()
_WEBHOOKS = Strategy(generation=True, desired=("webhooks",))
_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"


def _create_definition(definition: Object) -> None:
    # The empty names are written, as Go's encoding does: nothing has been accepted yet.
    names = {"plural": "", "kind": ""}
    definition["status"] = {"acceptedNames": names, "storedVersions": _stored_versions(definition, [])}


def _update_definition(new: Object, old: Object) -> None:
    status = old.get("status") or {}
    before = status.get("storedVersions") or []
    new["status"] = {**status, "storedVersions": _stored_versions(new, before)}


def _stored_versions(definition: Object, before: list[str]) -> list[str]:
    """The versions in which objects of a custom resource may lie in the store: every storage version so far."""
    versions = (definition.get("spec") or {}).get("versions") or ()
    stored = next((str(version.get("name")) for version in versions if version.get("storage")), "")
    return [*before, stored] if stored and stored not in before else before


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Pod"): Strategy(
        has_status=True, generation=True, create=create_pod, status=update_pod_status, pod_spec=("spec",)
    ),
    ("", "PodTemplate"): Strategy(generation=True, desired=("template",), pod_spec=("template", "spec")),
    ("", "Service"): Strategy(has_status=True, create=create_service, update=update_service),
    ("", "ReplicationController"): Strategy(has_status=True, generation=True, pod_spec=_TEMPLATE),
    ("", "Namespace"): Strategy(has_status=True, create=_create_namespace, update=_update_namespace),
    ("", "Node"): Strategy(update=_update_node),
    ("", "PersistentVolume"): Strategy(
        has_status=True, create=_create_persistent_volume, status=_status_persistent_volume
    ),
    ("", "PersistentVolumeClaim"): Strategy(has_status=True, create=_create_claim),
    ("", "ResourceQuota"): _STATUS_ONLY,
    **{
        ("", kind): _PLAIN
        for kind in ("ConfigMap", "Secret", "ServiceAccount", "Endpoints", "Event", "LimitRange", "Binding")
    },
    ("apps", "Deployment"): Strategy(
        has_status=True, generation=True, annotations_count=True, pod_spec=_TEMPLATE
    ),
    ("apps", "ReplicaSet"): Strategy(has_status=True, generation=True, pod_spec=_TEMPLATE),
    ("apps", "StatefulSet"): Strategy(
        has_status=True, generation=True, create=_create_stateful_set, pod_spec=_TEMPLATE
    ),
    ("apps", "DaemonSet"): Strategy(
        has_status=True,
        generation=True,
        create=_create_daemon_set,
        update=_update_daemon_set,
        pod_spec=_TEMPLATE,
    ),
    ("apps", "ControllerRevision"): _PLAIN,
    ("batch", "Job"): Strategy(has_status=True, generation=True, create=_create_job, pod_spec=_TEMPLATE),
    ("batch", "CronJob"): Strategy(
        has_status=True, generation=True, pod_spec=("spec", "jobTemplate", *_TEMPLATE)
    ),
    ("autoscaling", "HorizontalPodAutoscaler"): _STATUS_ONLY,
    ("policy", "PodDisruptionBudget"): _SPEC,
    ("networking.k8s.io", "Ingress"): _SPEC,
    ("networking.k8s.io", "NetworkPolicy"): _COUNTED,
    ("networking.k8s.io", "IngressClass"): _COUNTED,
    ("networking.k8s.io", "ServiceCIDR"): _STATUS_ONLY,
    ("networking.k8s.io", "IPAddress"): _PLAIN,
    ("discovery.k8s.io", "EndpointSlice"): Strategy(
        generation=True, desired=("addressType", "endpoints", "ports")
    ),
    ("coordination.k8s.io", "Lease"): Strategy(create=_create_lease, update=_update_lease),
    ("events.k8s.io", "Event"): _PLAIN,
    **{
        ("rbac.authorization.k8s.io", kind): _PLAIN
        for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    },
    ("scheduling.k8s.io", "PriorityClass"): Strategy(
        generation=True, desired=("value", "globalDefault", "description", "preemptionPolicy")
    ),
    ("node.k8s.io", "RuntimeClass"): _PLAIN,
    ("storage.k8s.io", "VolumeAttachment"): _STATUS_ONLY,
    ("storage.k8s.io", "CSIDriver"): Strategy(update=_update_csi_driver),
    **{
        ("storage.k8s.io", kind): _PLAIN
        for kind in ("StorageClass", "CSINode", "CSIStorageCapacity", "VolumeAttributesClass")
    },
    (_ADMISSION, "ValidatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "MutatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingAdmissionPolicy"): _SPEC,
    (_ADMISSION, "MutatingAdmissionPolicy"): _COUNTED,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _COUNTED,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _COUNTED,
    ("certificates.k8s.io", "CertificateSigningRequest"): Strategy(
        has_status=True, update=_update_csr, status=_status_csr
    ),
    ("apiregistration.k8s.io", "APIService"): _STATUS_ONLY,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Strategy(
        has_status=True, generation=True, create=_create_definition, update=_update_definition
    ),
    (_FLOW, "FlowSchema"): _SPEC,
    (_FLOW, "PriorityLevelConfiguration"): _SPEC,
    ("resource.k8s.io", "DeviceClass"): _COUNTED,
    ("resource.k8s.io", "ResourceSlice"): Strategy(
        generation=True, create=_create_slice, update=_update_slice
    ),
    ("resource.k8s.io", "ResourceClaim"): Strategy(has_status=True, status=update_claim_status),
    ("resource.k8s.io", "ResourceClaimTemplate"): _PLAIN,
}
