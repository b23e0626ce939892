"""The spec of a PersistentVolumeClaim, alone, in ephemeral volumes and in StatefulSets."""

from __future__ import annotations

from coxswain.api.fields import Errors, Shown, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_label, dns_subdomain, report
from coxswain.api.validation.objectmeta import validate_annotations, validate_label_selector, validate_labels
from coxswain.api.validation.resources import positive_quantity, resource_quantity

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")
#: A field path as Go prints it: a struct without exported fields.
_FIELD_PATH = Shown("{}")


def validate_access_modes(modes: list[str], path: str, errors: Errors) -> None:
    """Known modes, and ReadWriteOncePod only alone."""
    for mode in modes:
        if mode not in ACCESS_MODES:
            errors.append(not_supported(path, mode, ACCESS_MODES))
    known = {mode for mode in modes if mode in ACCESS_MODES}
    if "ReadWriteOncePod" in known and len(known) > 1:
        errors.append(forbidden(path, "may not use ReadWriteOncePod with other access modes"))


def validate_claim_spec(spec: Object, path: str, errors: Errors) -> None:
    """``spec`` of a claim."""
    modes = spec.get("accessModes") or []
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    validate_label_selector(spec.get("selector"), f"{path}.selector", errors)
    validate_access_modes(modes, f"{path}.accessModes", errors)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        errors.append(required(f"{path}.resources[storage]"))
    elif positive_quantity(storage, f"{path}.resources[storage]", errors):
        resource_quantity("storage", storage, f"{path}.resources[storage]", errors)
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        report(dns_subdomain(name), f"{path}.storageClassName", name, errors)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        errors.append(not_supported(f"{path}.volumeMode", mode, VOLUME_MODES))
    _validate_data_sources(spec, path, errors)
    if spec.get("volumeAttributesClassName"):
        name = spec["volumeAttributesClassName"]
        report(dns_subdomain(name), f"{path}.volumeAttributesClassName", name, errors)


def _validate_data_sources(spec: Object, path: str, errors: Errors) -> None:
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None:
        _validate_data_source(source, f"{path}.dataSource", errors)
    if reference is not None:
        _validate_data_source(reference, f"{path}.dataSourceRef", errors)
        if reference.get("namespace"):
            name = reference["namespace"]
            report(dns_label(name), f"{path}.dataSourceRef.namespace", name, errors)
    if reference is not None and reference.get("namespace"):
        if source is not None:
            why = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(invalid(path, _FIELD_PATH, why))
    elif (
        source is not None
        and reference is not None
        and any(source.get(field) != reference.get(field) for field in ("apiGroup", "kind", "name"))
    ):
        errors.append(invalid(path, _FIELD_PATH, "must match dataSourceRef"))


def _validate_data_source(source: Object, path: str, errors: Errors) -> None:
    for field in ("name", "kind"):
        if not source.get(field):
            errors.append(required(f"{path}.{field}"))
    group = source.get("apiGroup") or ""
    if not group and source.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid(path, source.get("kind") or "", why))
    if group:
        report(dns_subdomain(group), f"{path}.apiGroup", group, errors)


def validate_claim_template_meta(metadata: Object, path: str, errors: Errors) -> None:
    """Metadata of a claim's template: labels and annotations only."""
    validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations", errors)
    validate_labels(metadata.get("labels") or {}, f"{path}.labels", errors)
    for field in metadata:
        if field not in ("annotations", "labels", "creationTimestamp") and metadata[field]:
            errors.append(forbidden(f"{path}.{field}", "cannot be set for an ephemeral volume"))
