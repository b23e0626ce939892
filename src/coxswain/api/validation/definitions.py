"""CustomResourceDefinitions: names, versions, subresources, columns; their schemas are in ``definitionschemas``.

Kubernetes checks the internal form, in which what all versions share stands once at the top: with a single version, or
with equal ones, complaints about schemas speak of ``spec.validation``, about subresources of ``spec.subresources``, and so
on. ``_Spec`` is that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from coxswain.api.fields import (
    Errors,
    Shown,
    child,
    forbidden,
    index,
    invalid,
    key,
    not_supported,
    required,
    too_many,
)
from coxswain.api.names import Object
from coxswain.api.validation import definitionschemas
from coxswain.api.validation.formats import IMMUTABLE, dns_1035_label, dns_subdomain
from coxswain.api.validation.rules import Rules

_APPROVED: Final = "api-approved.kubernetes.io"
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MAX_SELECTABLE: Final = 8
#: Parts of a version that stand at the top where all versions agree -> their name there.
_SHARED: Final = {
    "schema": "validation",
    "subresources": "subresources",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}


@dataclass(slots=True)
class _Spec:
    """A definition's spec in the form that is checked."""

    raw: Object
    versions: list[Object]
    #: What all versions share, by its name in a version.
    shared: dict[str, Any]

    def part(self, version: Object, name: str) -> Any:
        """A part of a version, wherever it stands."""
        return self.shared.get(name) or version.get(name)


def _internal(spec: Object) -> _Spec:
    versions: list[Object] = spec.get("versions") or []
    shared: dict[str, Any] = {}
    for name in _SHARED:
        first = versions[0].get(name) if versions else None
        if first and all(version.get(name) == first for version in versions):
            shared[name] = first
    return _Spec(spec, versions, shared)


def _validate(definition: Object, errors: Errors) -> None:
    spec = definition.get("spec") or {}
    _validate_spec(_internal(spec), errors)


def _validate_create(definition: Object, errors: Errors) -> None:
    spec = definition.get("spec") or {}
    name = (definition.get("metadata") or {}).get("name")
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    if name and name != wanted:
        errors.insert(0, invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    _validate_stored_versions(definition, errors)
    _validate_approval(definition, None, errors)
    _validate_preserve(definition, None, errors)


def _validate_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    names, names_before = spec.get("names") or {}, before.get("names") or {}
    if _is_established(old):
        _immutable("spec.scope", spec.get("scope"), before.get("scope"), errors)
        _immutable("spec.names.kind", names.get("kind"), names_before.get("kind"), errors)
    _immutable("spec.group", spec.get("group"), before.get("group"), errors)
    _immutable("spec.names.plural", names.get("plural"), names_before.get("plural"), errors)
    _validate_names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames", errors)
    _validate_stored_versions(new, errors)
    _validate_approval(new, old, errors)
    _validate_preserve(new, old, errors)


def _validate_status(new: Object, old: Object, errors: Errors) -> None:
    _validate_names((new.get("status") or {}).get("acceptedNames") or {}, "status.acceptedNames", errors)


def _immutable(path: str, new: Any, old: Any, errors: Errors) -> None:
    if (new or "") != (old or ""):
        errors.append(invalid(path, new or "", IMMUTABLE))


def _is_established(definition: Object) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(found.get("type") == "Established" and found.get("status") == "True" for found in conditions)


def _validate_stored_versions(definition: Object, errors: Errors) -> None:
    path = "status.storedVersions"
    stored: list[str] = (definition.get("status") or {}).get("storedVersions") or []
    if not stored:
        errors.append(invalid(path, Shown("null"), "must have at least one stored version"))
        return
    present = set()
    for version in (definition.get("spec") or {}).get("versions") or ():
        present.add(version.get("name"))
        if version.get("storage") and version.get("name") not in stored:
            errors.append(invalid(path, stored, f"must have the storage version {version.get('name')}"))
    for position, name in enumerate(stored):
        if name not in present:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {name} and removes "
                f"{name} from status.storedVersions"
            )
            errors.append(invalid(index(path, position), name, why))


def _validate_approval(new: Object, old: Object | None, errors: Errors) -> None:
    """Groups of the Kubernetes project itself need a sign of its approval."""
    group = str((new.get("spec") or {}).get("group") or "")
    if not any(group == known or group.endswith(f".{known}") for known in ("k8s.io", "kubernetes.io")):
        return
    state, why = _approval(new)
    if old is not None and _approval(old)[0] == state:
        return
    path = key("metadata.annotations", _APPROVED)
    if state == "missing":
        errors.append(required(path, why))
    elif state == "invalid":
        annotations = (new.get("metadata") or {}).get("annotations") or {}
        errors.append(invalid(path, annotations.get(_APPROVED), why))


_PULL_REQUEST: Final = "https://github.com/kubernetes/enhancements/pull/1111"


def _approval(definition: Object) -> tuple[str, str]:
    note = ((definition.get("metadata") or {}).get("annotations") or {}).get(_APPROVED) or ""
    start = f'protected groups must have approval annotation "{_APPROVED}"'
    if not note:
        return "missing", f"{start}, see {_PULL_REQUEST}"
    if note.startswith("unapproved"):
        return "bypassed", ""
    parts = urlsplit(note)
    if parts.scheme and parts.netloc:
        return "approved", ""
    return "invalid", f'{start} with either a URL or a reason starting with "unapproved", see {_PULL_REQUEST}'


def _validate_preserve(new: Object, old: Object | None, errors: Errors) -> None:
    if old is not None and (old.get("spec") or {}).get("preserveUnknownFields"):
        return
    if (new.get("spec") or {}).get("preserveUnknownFields"):
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema "
            "instead"
        )
        errors.append(invalid("spec.preserveUnknownFields", True, why))


# -- the spec


def _validate_spec(spec: _Spec, errors: Errors) -> None:
    raw = spec.raw
    group = raw.get("group") or ""
    if not group:
        errors.append(required("spec.group"))
    elif complaints := dns_subdomain(group):
        errors.append(invalid("spec.group", group, ",".join(complaints)))
    elif "." not in group:
        errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    _one_of("spec.scope", raw.get("scope"), ("Cluster", "Namespaced"), errors)
    if "schema" not in spec.shared:
        for position, version in enumerate(spec.versions):
            if (version.get("schema") or {}).get("openAPIV3Schema") is None:
                errors.append(required(f"spec.versions[{position}].schema.openAPIV3Schema"))
    for position, version in enumerate(spec.versions):
        _validate_version(spec, version, f"spec.versions[{position}]", errors)
    _validate_version_set(spec, errors)
    names = raw.get("names") or {}
    for name in ("plural", "singular", "kind", "listKind"):
        if not names.get(name):
            errors.append(required(f"spec.names.{name}"))
    _validate_names(names, "spec.names", errors)
    statuses = [_has_status(spec.part(version, "subresources")) for version in spec.versions]
    schema = next(((version.get("schema") or {}).get("openAPIV3Schema") for version in spec.versions), None)
    _validate_parts(spec.shared, "spec", any(statuses), True, errors, schema)
    _validate_conversion(raw.get("conversion"), errors)


def _one_of(path: str, value: str | None, options: tuple[str, ...], errors: Errors) -> None:
    if not value:
        errors.append(required(path))
    elif value not in options:
        errors.append(not_supported(path, value, options))


def _has_status(subresources: Object | None) -> bool:
    return bool(subresources) and (subresources or {}).get("status") is not None


def _validate_version(spec: _Spec, version: Object, path: str, errors: Errors) -> None:
    name = version.get("name") or ""
    if complaints := dns_1035_label(name):
        errors.append(invalid(child(path, "name"), name, ",".join(complaints)))
    _validate_deprecation(version, child(path, "deprecationWarning"), errors)
    own = {part: version.get(part) for part in _SHARED if part not in spec.shared}
    status = _has_status(spec.part(version, "subresources"))
    shared = (spec.shared.get("schema") or {}).get("openAPIV3Schema")
    _validate_parts(own, path, status, False, errors, shared)


def _validate_deprecation(version: Object, path: str, errors: Errors) -> None:
    warning = version.get("deprecationWarning")
    if warning is None:
        return
    complaints: list[str] = []
    if not version.get("deprecated"):
        complaints = ["can only be set for deprecated versions"]
    else:
        if len(warning.encode()) > 256:
            complaints.append("must be <= 256 characters long")
        if not warning:
            complaints.append("must not be an empty string")
        for position, char in enumerate(warning):
            if not char.isprintable():
                complaints.append(
                    f"must only contain printable UTF-8 characters; non-printable character found at index {position}"
                )
                break
    errors += [invalid(path, warning, why) for why in complaints]


def _validate_parts(
    parts: Mapping[str, Any], path: str, status: bool, top: bool, errors: Errors, known: Object | None
) -> None:
    """Schema, subresources, columns and selectable fields of a version, or of all.

    ``known``: the schema that selectable fields are looked up in where ``parts`` has none.
    """
    names = _SHARED if top else {name: name for name in _SHARED}
    schema = (parts.get("schema") or {}).get("openAPIV3Schema")
    if schema is not None:
        definitionschemas.validate_schema(
            schema, child(path, names["schema"], "openAPIV3Schema"), status, errors
        )
    scale = (parts.get("subresources") or {}).get("scale")
    if scale is not None:
        _validate_scale(scale, child(path, names["subresources"]), errors)
    for position, column in enumerate(parts.get("additionalPrinterColumns") or ()):
        _validate_column(column, index(child(path, names["additionalPrinterColumns"]), position), errors)
    if parts.get("selectableFields"):
        where = child(path, names["selectableFields"])
        _validate_selectable(parts["selectableFields"], schema or known, where, errors)


def _validate_version_set(spec: _Spec, errors: Errors) -> None:
    names = [version.get("name") for version in spec.versions]
    if len(set(names)) != len(names):
        errors.append(invalid("spec.versions", _shown(spec), "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in spec.versions) != 1:
        why = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", _shown(spec), why))


def _shown(spec: _Spec) -> Shown:
    """The versions as Go prints its internal structs."""
    rows = [
        {
            "Name": version.get("name") or "",
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
            "Schema": None if "schema" in spec.shared else version.get("schema"),
            "Subresources": None if "subresources" in spec.shared else version.get("subresources"),
            "AdditionalPrinterColumns": None,
            "SelectableFields": None,
        }
        for version in spec.versions
    ]
    return Shown(orjson.dumps(rows).decode())


def _validate_names(names: Object, path: str, errors: Errors) -> None:
    for name in ("plural", "singular"):
        value = names.get(name)
        if value and (complaints := dns_1035_label(value)):
            errors.append(invalid(child(path, name), value, ",".join(complaints)))
    for name in ("kind", "listKind"):
        value = names.get(name)
        if value and (complaints := dns_1035_label(value.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(complaints)
            errors.append(invalid(child(path, name), value, why))
    _validate_labels(names.get("shortNames"), child(path, "shortNames"), errors)
    kind = names.get("kind")
    if kind and kind == names.get("listKind"):
        errors.append(invalid(child(path, "listKind"), kind, "kind and listKind may not be the same"))
    _validate_labels(names.get("categories"), child(path, "categories"), errors)


def _validate_labels(values: list[str] | None, path: str, errors: Errors) -> None:
    for position, value in enumerate(values or ()):
        if complaints := dns_1035_label(value):
            errors.append(invalid(index(path, position), value, ",".join(complaints)))


def _validate_scale(scale: Object, path: str, errors: Errors) -> None:
    for name, start in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        where, value = child(path, f"scale.{name}"), scale.get(name)
        if not value:
            errors.append(required(where))
        elif not value.startswith("."):
            errors.append(invalid(where, value, "must be a simple json path starting with ."))
        elif not value.startswith(start):
            errors.append(invalid(where, value, f"should be a json path under {start[:-1]}"))
    where, value = child(path, "scale.labelSelectorPath"), scale.get("labelSelectorPath")
    if value and not value.startswith("."):
        errors.append(invalid(where, value, "must be a simple json path starting with ."))
    elif value and not value.startswith((".spec.", ".status.")):
        errors.append(invalid(where, value, "should be a json path under either .spec or .status"))


def _validate_column(column: Object, path: str, errors: Errors) -> None:
    if not column.get("name"):
        errors.append(required(child(path, "name")))
    kind, words = column.get("type"), f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        errors.append(required(child(path, "type"), words))
    elif kind not in _COLUMN_TYPES:
        errors.append(invalid(child(path, "type"), kind, words))
    form = column.get("format")
    if form and form not in _COLUMN_FORMATS:
        errors.append(invalid(child(path, "format"), form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    where, value = child(path, "JSONPath"), column.get("jsonPath")
    if not value:
        errors.append(required(where))
    elif not value.startswith("."):
        errors.append(invalid(where, value, "must be a simple json path starting with ."))


def _validate_selectable(fields: list[Object], schema: Object | None, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for position, selectable in enumerate(fields):
        where, value = child(index(path, position), "jsonPath"), selectable.get("jsonPath")
        if not value:
            errors.append(required(where))
            continue
        found = definitionschemas.field_at(schema or {}, value, brackets=False)
        if found is None:
            why = f"is an invalid path: does not refer to a valid field: {value}"
            errors.append(invalid(where, value, why))
            continue
        if value.startswith(".metadata"):
            errors.append(invalid(where, value, "must not point to fields in metadata"))
        if found.get("type") not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                "formats are allowed."
            )
            errors.append(invalid(where, value, why))
        seen.add(value)
    if len(seen) > _MAX_SELECTABLE:
        errors.append(too_many(path, len(seen), _MAX_SELECTABLE))


def _validate_conversion(conversion: Object | None, errors: Errors) -> None:
    if conversion is None:
        return
    path = "spec.conversion"
    strategy = conversion.get("strategy")
    _one_of(child(path, "strategy"), strategy, ("None", "Webhook"), errors)
    webhook = conversion.get("webhook") or {}
    client, reviews = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    where = child(path, "webhookClientConfig")
    if strategy != "Webhook":
        if client is not None:
            errors.append(forbidden(where, "should not be set when strategy is not set to Webhook"))
        if reviews:
            why = "should not be set when strategy is not set to Webhook"
            errors.append(forbidden(child(path, "conversionReviewVersions"), why))
        return
    if client is None:
        errors.append(required(where, "required when strategy is set to Webhook"))
    elif (client.get("url") is None) is (client.get("service") is None):
        errors.append(required(where, "exactly one of url or service is required"))
    _validate_reviews(reviews, child(path, "conversionReviewVersions"), errors)


def _validate_reviews(versions: list[str], path: str, errors: Errors) -> None:
    if not versions:
        errors.append(required(path))
        return
    for position, version in enumerate(versions):
        if version in versions[:position]:
            errors.append(invalid(index(path, position), version, "duplicate version"))
        else:
            errors += [invalid(index(path, position), version, why) for why in dns_1035_label(version)]
    if not {"v1", "v1beta1"} & set(versions):
        errors.append(invalid(path, versions, "must include at least one of v1, v1beta1"))


RULES = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Rules(
        validate=_validate,
        create=_validate_create,
        update=_validate_update,
        status=_validate_status,
        name_check=dns_subdomain,
        namespaced=False,
        strict_finalizers=False,
    ),
}
