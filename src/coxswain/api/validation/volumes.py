"""Volumes of pods: exactly one source each, and the rules of every source.

``validate_volumes`` returns the well-formed ones by name: mounts may only name those. Paths repeat
Kubernetes' own, slips included (``downwarAPI``, ``persistentDisk``, ``cephfs``), because clients read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.claims import validate_claim_spec, validate_claim_template_meta
from coxswain.api.validation.fieldrefs import VOLUME_FIELDS, validate_field_ref, validate_resource_ref
from coxswain.api.validation.formats import (
    dns_label,
    dns_subdomain,
    file_mode,
    local_path,
    no_backsteps,
    report,
)
from coxswain.api.validation.objectmeta import validate_label_selector
from coxswain.api.validation.sources import SOURCES

_MORE = "may not specify more than 1 volume type"
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")


def validate_volumes(
    volumes: list[Object], pod_name: str, path: str, errors: Errors, is_pod: bool
) -> dict[str, Object]:
    """Check ``spec.volumes``; the good ones by name. ``pod_name`` is empty in templates."""
    good: dict[str, Object] = {}
    created = {
        f"{pod_name}-{each.get('name')}" for each in volumes if pod_name and each.get("ephemeral") is not None
    }
    for position, volume in enumerate(volumes):
        here = f"{path}[{position}]"
        before = len(errors)
        name = volume.get("name") or ""
        _validate_source(volume, name, here, pod_name, errors, is_pod)
        if not name:
            errors.append(required(f"{here}.name"))
        else:
            report(dns_label(name), f"{here}.name", name, errors)
        if name in good:
            errors.append(duplicate(f"{here}.name", name))
        if len(errors) == before:
            good[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and claim in created:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid(f"{here}.persistentVolumeClaim.claimName", claim, why))
    return good


def _validate_source(
    volume: Object, name: str, path: str, pod_name: str, errors: Errors, is_pod: bool
) -> None:
    found = (
        [kind for kind in _ORDER if volume.get(kind) is not None]
        if len(volume) > 2
        else [kind for kind in volume if kind in _ORDER and volume[kind] is not None]
    )
    if not found:
        errors.append(required(path, "must specify a volume type"))
        return
    first = found[0]
    source = volume[first]
    if first == "ephemeral":
        _validate_ephemeral(source, name, path, pod_name, errors)
    elif first == "image":
        _validate_image(source, f"{path}.image", errors, is_pod)
    else:
        _ORDER[first](source, f"{path}.{_VALID_PATHS.get(first, first)}", errors)
    for kind in found[1:]:
        errors.append(forbidden(f"{path}.{_REPEATED_PATHS.get(kind, kind)}", _MORE))
    iscsi = volume.get("iscsi")
    named = iscsi is not None and iscsi.get("initiatorName") is not None
    if named and len(f"{name}:{volume['iscsi'].get('targetPortal') or ''}") > 64:
        why = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters "
            "if iscsi.initiatorName is specified."
        )
        errors.append(invalid(f"{path}.name", name, why))


def _empty_dir(source: Object, path: str, errors: Errors) -> None:
    if source.get("sizeLimit") is not None and Quantity.parse(source["sizeLimit"]) < Quantity(0):
        errors.append(forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _git_repo(source: Object, path: str, errors: Errors) -> None:
    if not source.get("repository"):
        errors.append(required(f"{path}.repository"))
    directory = source.get("directory") or ""
    if directory.startswith("/"):
        errors.append(invalid(f"{path}.directory", directory, "must be a relative path"))
    no_backsteps(f"{path}.directory", directory, errors)


def _keyed(name_field: str) -> Callable[[Object, str, Errors], None]:
    """The check of a secret or config map volume, whose name is in ``name_field``."""

    def validate(source: Object, path: str, errors: Errors) -> None:
        if not source.get(name_field):
            errors.append(required(f"{path}.{name_field}"))
        file_mode(f"{path}.defaultMode", source.get("defaultMode"), errors)
        _validate_items(source, path, errors)

    return validate


def _validate_items(source: Object, path: str, errors: Errors) -> None:
    for position, item in enumerate(source.get("items") or ()):
        here = f"{path}.items[{position}]"
        if not item.get("key"):
            errors.append(required(f"{here}.key"))
        if not item.get("path"):
            errors.append(required(f"{here}.path"))
        local_path(f"{here}.path", item.get("path") or "", errors)
        file_mode(f"{here}.mode", item.get("mode"), errors)


def _downward_api(source: Object, path: str, errors: Errors) -> None:
    file_mode(f"{path}.defaultMode", source.get("defaultMode"), errors)
    for item in source.get("items") or ():
        _validate_downward_file(item, path, errors)


def _validate_downward_file(item: Object, path: str, errors: Errors) -> None:
    if not item.get("path"):
        errors.append(required(f"{path}.path"))
    local_path(f"{path}.path", item.get("path") or "", errors)
    field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field is not None:
        validate_field_ref(field, VOLUME_FIELDS, f"{path}.fieldRef", errors)
        if resource is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(path, "resource", why))
    elif resource is not None:
        validate_resource_ref(resource, f"{path}.resourceFieldRef", errors, in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    file_mode(f"{path}.mode", item.get("mode"), errors)


def _projected(source: Object, path: str, errors: Errors) -> None:
    file_mode(f"{path}.defaultMode", source.get("defaultMode"), errors)
    paths: set[str] = set()
    for position, each in enumerate(source.get("sources") or ()):
        here = f"{path}.sources[{position}]"
        kinds = 0
        for kind, validate in _PROJECTIONS.items():
            if each.get(kind) is not None:
                kinds += 1
                validate(each[kind], f"{here}.{kind}", path, paths, errors)
        if kinds > 1:
            errors.append(forbidden(here, "may not specify more than 1 volume type per source"))


def _note_path(target: str, shown: str, path: str, paths: set[str], errors: Errors) -> None:
    if target:
        if target in paths:
            errors.append(invalid(path, shown, "conflicting duplicate paths"))
        paths.add(target)


def _project_keyed(source: Object, here: str, path: str, paths: set[str], errors: Errors) -> None:
    if not source.get("name"):
        errors.append(required(f"{here}.name"))
    _validate_items(source, here, errors)
    for item in source.get("items") or ():
        _note_path(item.get("path") or "", source.get("name") or "", path, paths, errors)


def _project_downward(source: Object, here: str, path: str, paths: set[str], errors: Errors) -> None:
    for item in source.get("items") or ():
        _validate_downward_file(item, here, errors)
        _note_path(item.get("path") or "", item.get("path") or "", path, paths, errors)


def _project_token(source: Object, here: str, path: str, paths: set[str], errors: Errors) -> None:
    seconds = source.get("expirationSeconds") or 0
    if seconds < 600:
        why = "may not specify a duration less than 10 minutes"
        errors.append(invalid(f"{here}.expirationSeconds", seconds, why))
    if seconds > 1 << 32:
        why = "may not specify a duration larger than 2^32 seconds"
        errors.append(invalid(f"{here}.expirationSeconds", seconds, why))
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        local_path(f"{path}.path", source["path"], errors)


def _project_trust_bundle(source: Object, here: str, path: str, paths: set[str], errors: Errors) -> None:
    name, signer = source.get("name"), source.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid(here, source, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            errors.append(required(f"{here}.name", "must be a valid object name"))
        for complaint in dns_subdomain(name.replace(":", ".")):
            errors.append(invalid(f"{here}.name", name, f"not a valid clustertrustbundlename: {complaint}"))
        if source.get("labelSelector") is not None:
            why = "labelSelector must be unset if name is specified"
            errors.append(invalid(f"{here}.labelSelector", source["labelSelector"], why))
    elif signer is not None:
        if not signer:
            errors.append(required(f"{here}.signerName", "must be a valid signer name"))
        validate_label_selector(source.get("labelSelector"), f"{here}.labelSelector", errors)
    else:
        errors.append(required(here, "either name or signerName must be specified"))
    if not source.get("path"):
        errors.append(required(f"{here}.path"))
    local_path(f"{here}.path", source.get("path") or "", errors)
    _note_path(source.get("path") or "", source.get("path") or "", path, paths, errors)


def _project_certificate(source: Object, here: str, path: str, paths: set[str], errors: Errors) -> None:
    if not source.get("signerName"):
        errors.append(required(f"{here}.signerName"))
    if not source.get("keyType"):
        errors.append(required(f"{here}.keyType"))
    for field in ("credentialBundlePath", "keyPath", "certificateChainPath"):
        if source.get(field):
            local_path(f"{here}.{field}", source[field], errors)
            _note_path(source[field], source[field], path, paths, errors)


_PROJECTIONS: dict[str, Callable[[Object, str, str, set[str], Errors], None]] = {
    "secret": _project_keyed,
    "configMap": _project_keyed,
    "downwardAPI": _project_downward,
    "serviceAccountToken": _project_token,
    "clusterTrustBundle": _project_trust_bundle,
    "podCertificate": _project_certificate,
}


def _validate_ephemeral(source: Object, name: str, path: str, pod_name: str, errors: Errors) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        errors.append(required(f"{path}.ephemeral.volumeClaimTemplate"))
    else:
        here = f"{path}.ephemeral.volumeClaimTemplate"
        validate_claim_template_meta(template.get("metadata") or {}, f"{here}.metadata", errors)
        validate_claim_spec(template.get("spec") or {}, f"{here}.spec", errors)
    if pod_name and name:
        claim = f"{pod_name}-{name}"
        for complaint in dns_subdomain(claim):
            errors.append(invalid(f"{path}.name", name, f'PVC name "{claim}": {complaint}'))


def _validate_image(source: Object, path: str, errors: Errors, is_pod: bool) -> None:
    if is_pod and not source.get("reference"):
        errors.append(required(f"{path}.reference"))
    policy = source.get("pullPolicy") or ""
    if not policy:
        errors.append(required(f"{path}.pullPolicy"))
    elif policy not in _PULL_POLICIES:
        errors.append(not_supported(f"{path}.pullPolicy", policy, _PULL_POLICIES))


def _elsewhere(source: Any, path: str, errors: Errors) -> None:
    """Sources that need more of the volume than themselves; ``_validate_source`` calls their checks."""


#: Sources in the order Kubernetes looks for them: the first is checked, the others are too many.
_ORDER: dict[str, Callable[[Object, str, Errors], None]] = {
    "emptyDir": _empty_dir,
    "hostPath": SOURCES["hostPath"],
    "gitRepo": _git_repo,
    "gcePersistentDisk": SOURCES["gcePersistentDisk"],
    "awsElasticBlockStore": SOURCES["awsElasticBlockStore"],
    "secret": _keyed("secretName"),
    "nfs": SOURCES["nfs"],
    "iscsi": SOURCES["iscsi"],
    "glusterfs": SOURCES["glusterfs"],
    "flocker": SOURCES["flocker"],
    "persistentVolumeClaim": SOURCES["persistentVolumeClaim"],
    "rbd": SOURCES["rbd"],
    "cinder": SOURCES["cinder"],
    "cephfs": SOURCES["cephfs"],
    "quobyte": SOURCES["quobyte"],
    "downwardAPI": _downward_api,
    "fc": SOURCES["fc"],
    "flexVolume": SOURCES["flexVolume"],
    "configMap": _keyed("name"),
    "azureFile": SOURCES["azureFile"],
    "vsphereVolume": SOURCES["vsphereVolume"],
    "photonPersistentDisk": SOURCES["photonPersistentDisk"],
    "portworxVolume": SOURCES["portworxVolume"],
    "azureDisk": SOURCES["azureDisk"],
    "storageos": SOURCES["storageos"],
    "projected": _projected,
    "scaleIO": SOURCES["scaleIO"],
    "csi": SOURCES["csi"],
    "ephemeral": _elsewhere,
    "image": _elsewhere,
}
_VALID_PATHS = {"gcePersistentDisk": "persistentDisk"}
_REPEATED_PATHS = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
