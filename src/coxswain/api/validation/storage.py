"""Persistent volumes and claims, storage classes, CSI drivers, attachments."""

from __future__ import annotations

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required, too_long
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.claims import VOLUME_MODES, validate_access_modes, validate_claim_spec
from coxswain.api.validation.formats import IMMUTABLE, dns_subdomain, nonnegative, qualified_name, report
from coxswain.api.validation.objectmeta import show_selector, validate_label_name, validate_label_selector
from coxswain.api.validation.resources import positive_quantity, resource_quantity
from coxswain.api.validation.rules import Rules, field_immutable
from coxswain.api.validation.scheduling import validate_node_selector
from coxswain.api.validation.sources import PERSISTENT, csi_driver_name

_MAX_NODE_ID = 256
_RECLAIM = ("Delete", "Recycle", "Retain")
_MAX_PARAMETERS = 256 * 1024
_MORE = "may not specify more than 1 volume type"
_ORDER = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)


def _validate_volume(volume: Object, errors: Errors) -> None:
    spec = volume.get("spec") or {}
    modes, capacity = spec.get("accessModes") or [], spec.get("capacity") or {}
    if not modes:
        errors.append(required("spec.accessModes"))
    validate_access_modes(modes, "spec.accessModes", errors)
    if not capacity:
        errors.append(required("spec.capacity"))
    if capacity and ("storage" not in capacity or len(capacity) > 1):
        errors.append(not_supported("spec.capacity", capacity, ("storage",)))
    for name, value in capacity.items():
        resource_quantity(name, value, f"spec.capacity[{name}]", errors)
        positive_quantity(value, f"spec.capacity[{name}]", errors)
    reclaim = spec.get("persistentVolumeReclaimPolicy")
    if reclaim and reclaim not in _RECLAIM:
        errors.append(not_supported("spec.persistentVolumeReclaimPolicy", reclaim, _RECLAIM))
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            errors.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            validate_node_selector(affinity["required"], "spec.nodeAffinity.required", errors)
    _validate_volume_source(spec, errors)
    if spec.get("storageClassName"):
        report(
            dns_subdomain(spec["storageClassName"]), "spec.storageClassName", spec["storageClassName"], errors
        )
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported("spec.volumeMode", mode, VOLUME_MODES))
    name = spec.get("volumeAttributesClassName")
    if name is not None:
        if not name:
            errors.append(required("spec.volumeAttributesClassName", "an empty string is disallowed"))
        else:
            report(dns_subdomain(name), "spec.volumeAttributesClassName", name, errors)
        if spec.get("csi") is None:
            errors.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))


def _validate_volume_source(spec: Object, errors: Errors) -> None:
    found = [kind for kind in _ORDER if spec.get(kind) is not None]
    if not found:
        errors.append(required("spec", "must specify a volume type"))
        return
    first = found[0]
    PERSISTENT[first](spec[first], f"spec.{first}", errors)
    # Kubernetes does not count a second source of this one kind.
    for kind in [each for each in found[1:] if each != "flexVolume"]:
        errors.append(forbidden(f"spec.{'cephFS' if kind == 'cephfs' else kind}", _MORE))
    if first == "local" and spec.get("nodeAffinity") is None:
        errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    root = first == "hostPath" and spec["hostPath"].get("path") == "/"
    if root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden("spec.persistentVolumeReclaimPolicy", why))


def _validate_volume_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if any(spec.get(kind) != before.get(kind) for kind in _ORDER):
        why = "spec.persistentvolumesource is immutable after creation"
        errors.append(forbidden("spec.persistentvolumesource", why))
    field_immutable(spec, before, "volumeMode", errors, "volumeMode")
    if before.get("nodeAffinity") is not None and spec.get("nodeAffinity") != before["nodeAffinity"]:
        why = f"{IMMUTABLE}, except for updating from beta label to GA"
        errors.append(invalid("spec.nodeAffinity", spec.get("nodeAffinity"), why))


def _validate_claim(claim: Object, errors: Errors) -> None:
    validate_claim_spec(claim.get("spec") or {}, "spec", errors)


def _storage(spec: Object) -> Quantity:
    return Quantity.parse(((spec.get("resources") or {}).get("requests") or {}).get("storage", 0))


def _validate_claim_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    smaller = _storage(spec) < _storage(before)
    if not before.get("volumeName") and spec.get("volumeName"):
        before["volumeName"] = spec["volumeName"]
    if before.get("storageClassName") is None and spec.get("storageClassName") is not None:
        before["storageClassName"] = spec["storageClassName"]
    if (new.get("status") or {}).get("phase") == "Bound":
        for field in ("resources", "volumeAttributesClassName"):
            if field in before:
                spec[field] = before[field]
            else:
                spec.pop(field, None)
    if spec != before:
        changed = sorted(key for key in {*spec, *before} if spec.get(key) != before.get(key))
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName "
            f"for bound claims\n{', '.join(changed)}"
        )
        errors.append(forbidden("spec", why))
    if smaller:
        size = Quantity.parse(((old.get("status") or {}).get("capacity") or {}).get("storage", 0))
        if _storage(new.get("spec") or {}) <= size:
            why = "field can not be less than status.capacity"
            errors.append(forbidden("spec.resources.requests.storage", why))
    field_immutable(spec, before, "volumeMode", errors, "volumeMode")


def _validate_parameters(parameters: Object, errors: Errors) -> None:
    """Parameters of classes: at most 512, of 256 KiB together."""
    if len(parameters) > 512:
        errors.append(too_long("parameters", "", 512))
        return
    if "" in parameters:
        errors.append(invalid("parameters", "", "field can not be empty."))
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > _MAX_PARAMETERS:
        errors.append(too_long("parameters", "", _MAX_PARAMETERS))


def _validate_class(storage: Object, errors: Errors) -> None:
    provisioner = storage.get("provisioner") or ""
    if not provisioner:
        errors.append(required("provisioner"))
    else:
        report(qualified_name(provisioner.lower()), "provisioner", provisioner, errors)
    parameters = storage.get("parameters") or {}
    _validate_parameters(parameters, errors)
    _validate_topologies(storage.get("allowedTopologies") or [], errors)
    policy, mode = storage.get("reclaimPolicy"), storage.get("volumeBindingMode")
    if policy and policy not in ("Delete", "Retain"):
        errors.append(not_supported("reclaimPolicy", policy, ("Delete", "Retain")))
    if mode is None:
        errors.append(required("volumeBindingMode"))
    elif mode not in ("Immediate", "WaitForFirstConsumer"):
        errors.append(not_supported("volumeBindingMode", mode, ("Immediate", "WaitForFirstConsumer")))


def _validate_topologies(terms: list[Object], errors: Errors) -> None:
    """Where volumes may be; the paths lack the term's number, as Kubernetes' do."""
    seen: list[dict[str, set[str]]] = []
    for position, term in enumerate(terms):
        keys: dict[str, set[str]] = {}
        for number, requirement in enumerate(term.get("matchLabelExpressions") or ()):
            here, key = f"allowedTopologies.matchLabelExpressions[{number}]", requirement.get("key") or ""
            values = _validate_values(requirement.get("values") or [], f"{here}.values", errors)
            validate_label_name(key, f"{here}.key", errors)
            if key in keys:
                errors.append(duplicate(f"{here}.key", key))
            keys[key] = values
        if keys in seen:
            errors.append(duplicate(f"allowedTopologies[{position}].matchLabelExpressions", ""))
        seen.append(keys)


def _validate_values(values: list[str], path: str, errors: Errors) -> set[str]:
    seen: set[str] = set()
    if not values:
        errors.append(required(path))
    for position, value in enumerate(values):
        if value in seen:
            errors.append(duplicate(f"{path}[{position}]", value))
        seen.add(value)
    return seen


def _validate_class_update(new: Object, old: Object, errors: Errors) -> None:
    why = "updates to {} are forbidden."
    for field in ("parameters", "provisioner", "reclaimPolicy"):
        if (new.get(field) or None) != (old.get(field) or None):
            errors.append(forbidden(field, why.format(field)))
    field_immutable(new, old, "volumeBindingMode", errors)


_FS_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")


def _validate_driver(driver: Object, errors: Errors) -> None:
    spec = driver.get("spec") or {}
    # The path of the first is Kubernetes' own slip.
    for field, shown in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if spec.get(field) is None:
            errors.append(required(f"spec.{shown}"))
    policy = spec.get("fsGroupPolicy")
    if policy is not None and policy not in _FS_POLICIES:
        errors.append(not_supported("spec.fsGroupPolicy", policy, _FS_POLICIES))
    audiences: set[str] = set()
    for position, request in enumerate(spec.get("tokenRequests") or ()):
        audience, seconds = request.get("audience") or "", request.get("expirationSeconds")
        path = f"spec.tokenRequests[{position}]"
        if audience in audiences:
            errors.append(duplicate(f"{path}.audience", audience))
            continue
        audiences.add(audience)
        if seconds is not None and seconds < 600:
            why = "may not specify a duration less than 10 minutes"
            errors.append(invalid(f"{path}.expirationSeconds", seconds, why))
        if seconds is not None and seconds > 1 << 32:
            why = "may not specify a duration larger than 2^32 seconds"
            errors.append(invalid(f"{path}.expirationSeconds", seconds, why))
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Persistent", "Ephemeral"):
            errors.append(not_supported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral")))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        why = "must be greater than or equal to 10 seconds"
        errors.append(invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, why))


def _validate_driver_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    field_immutable(spec, before, "attachRequired", errors, "spec.attachedRequired")
    field_immutable(spec, before, "volumeLifecycleModes", errors, "spec.volumeLifecycleModes")


def _validate_capacity(capacity: Object, errors: Errors) -> None:
    validate_label_selector(capacity.get("nodeTopology"), "nodeTopology", errors)
    name = capacity.get("storageClassName") or ""
    report(dns_subdomain(name), "storageClassName", name, errors)
    if capacity.get("capacity") is not None:
        resource_quantity("storage", capacity["capacity"], "capacity", errors)


def _validate_capacity_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("nodeTopology") != old.get("nodeTopology"):
        errors.append(invalid("nodeTopology", show_selector(new.get("nodeTopology")), IMMUTABLE))
    field_immutable(new, old, "storageClassName", errors)


def _validate_attachment(attachment: Object, errors: Errors) -> None:
    spec = attachment.get("spec") or {}
    name, source = spec.get("attacher") or "", spec.get("source") or {}
    if not name:
        errors.append(required("spec.attacher"))
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if inline is None and volume is None:
        errors.append(
            required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
        )
    if inline is not None and volume is not None:
        why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        errors.append(forbidden("spec.source", why))
    node = spec.get("nodeName") or ""
    report(dns_subdomain(node), "spec.nodeName", node, errors)


def _validate_new_attachment(attachment: Object, errors: Errors) -> None:
    """What only new ones have to obey: older versions of the kind were laxer."""
    spec = attachment.get("spec") or {}
    volume = (spec.get("source") or {}).get("persistentVolumeName")
    csi_driver_name(spec.get("attacher") or "", "spec.attacher", errors)
    if volume is not None:
        report(dns_subdomain(volume), "spec.source.persistentVolumeName", volume, errors)


def _validate_attachment_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("spec") != old.get("spec"):
        errors.append(invalid("spec", new.get("spec"), IMMUTABLE))


def _validate_attributes_class(attributes: Object, errors: Errors) -> None:
    name, parameters = attributes.get("driverName") or "", attributes.get("parameters") or {}
    if not name:
        errors.append(required("driverName"))
    else:
        report(qualified_name(name.lower()), "driverName", name, errors)
    _validate_parameters(parameters, errors)
    if not parameters:
        errors.append(required("parameters", "must contain at least one key/value pair"))


def _validate_attributes_class_update(new: Object, old: Object, errors: Errors) -> None:
    for field in ("driverName", "parameters"):
        if (new.get(field) or None) != (old.get(field) or None):
            errors.append(forbidden(field, f"updates to {field} are forbidden."))


def _validate_csi_node(node: Object, errors: Errors) -> None:
    seen: set[str] = set()
    for position, driver in enumerate((node.get("spec") or {}).get("drivers") or ()):
        path, name = f"spec.drivers[{position}]", driver.get("name") or ""
        csi_driver_name(name, f"{path}.name", errors)
        if not driver.get("nodeID"):
            errors.append(required(f"{path}.nodeID"))
        elif len(driver["nodeID"]) > _MAX_NODE_ID:
            why = f"must be {_MAX_NODE_ID} characters or less"
            errors.append(invalid(f"{path}.nodeID", driver["nodeID"], why))
        count = (driver.get("allocatable") or {}).get("count")
        nonnegative(f"{path}.allocatable.count", count, errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        _validate_topology_keys(driver.get("topologyKeys") or [], path, errors)


def _validate_topology_keys(keys: list[str], path: str, errors: Errors) -> None:
    for position, key in enumerate(keys):
        if not key:
            errors.append(required(path))
        if key in keys[:position]:
            errors.append(duplicate(path, key))
        report(qualified_name(key), path, key, errors)


def _validate_csi_node_update(new: Object, old: Object, errors: Errors) -> None:
    """What a driver said of a node stays, but for how many volumes fit."""
    before = {each.get("name"): each for each in (old.get("spec") or {}).get("drivers") or ()}
    for driver in (new.get("spec") or {}).get("drivers") or ():
        if driver.get("name") in before:
            now, then = ({**each, "allocatable": None} for each in (driver, before[driver["name"]]))
            if now != then:
                errors.append(invalid("spec.drivers", driver, IMMUTABLE))


_GROUP = "storage.k8s.io"
RULES = {
    ("", "PersistentVolume"): Rules(
        validate=_validate_volume, update=_validate_volume_update, namespaced=False, metadata_on_update=True
    ),
    ("", "PersistentVolumeClaim"): Rules(
        validate=_validate_claim, update=_validate_claim_update, metadata_on_update=True
    ),
    (_GROUP, "StorageClass"): Rules(
        validate=_validate_class, update=_validate_class_update, namespaced=False
    ),
    (_GROUP, "CSIDriver"): Rules(validate=_validate_driver, update=_validate_driver_update, namespaced=False),
    (_GROUP, "CSINode"): Rules(
        validate=_validate_csi_node, update=_validate_csi_node_update, namespaced=False
    ),
    (_GROUP, "CSIStorageCapacity"): Rules(validate=_validate_capacity, update=_validate_capacity_update),
    (_GROUP, "VolumeAttachment"): Rules(
        validate=_validate_attachment,
        create=_validate_new_attachment,
        update=_validate_attachment_update,
        namespaced=False,
    ),
    (_GROUP, "VolumeAttributesClass"): Rules(
        validate=_validate_attributes_class,
        update=_validate_attributes_class_update,
        namespaced=False,
    ),
}
