"""Rules of metadata that hold for every kind (apimachinery ``api/validation``), and of labels and selectors.

``validate_object_meta`` for new objects, ``validate_object_meta_update`` for changed ones. Kinds differ only in
their name's shape and in whether they live in namespaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from coxswain.api.fields import Errors, Shown, forbidden, invalid, required, too_long
from coxswain.api.names import Object, split_api_version
from coxswain.api.validation import formats
from coxswain.api.validation.formats import Check, dns_label, label_value, qualified_name, report

#: All of an object's annotations together.
MAX_ANNOTATIONS = 256 * 1024

_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def validate_object_meta(
    metadata: Object,
    *,
    namespaced: bool,
    name_check: Check,
    strict_finalizers: bool = True,
    check_generate_name: bool = True,
) -> Errors:
    """The complaints about a new object's metadata, its name generated and its namespace filled in.

    ``managedFields`` are not looked at: tracking writes them anew whatever a client sent.
    ``strict_finalizers``: names must be standard or have a domain (kinds of the older groups ask for it).
    """
    errors: Errors = []
    generate = metadata.get("generateName")
    if generate and check_generate_name:
        report(name_check(_mask_trailing_dash(generate)), "metadata.generateName", generate, errors)
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        report(name_check(name), "metadata.name", name, errors)
    namespace = metadata.get("namespace")
    if namespaced:
        if not namespace:
            errors.append(required("metadata.namespace"))
        else:
            report(dns_label(namespace), "metadata.namespace", namespace, errors)
    elif namespace:
        errors.append(forbidden("metadata.namespace", "not allowed on this type"))
    formats.nonnegative("metadata.generation", metadata.get("generation"), errors)
    _validate_collections(metadata, errors)
    if strict_finalizers:
        _validate_kube_finalizers(metadata, errors)
    return errors


def validate_object_meta_update(new: Object, old: Object, *, strict_finalizers: bool = True) -> Errors:
    """The complaints about changed metadata."""
    errors: Errors = []
    if old.get("deletionTimestamp"):
        _validate_no_new_finalizers(new, old, errors)
    if not new.get("resourceVersion"):
        errors.append(invalid("metadata.resourceVersion", "", "must be specified for an update"))
    if (new.get("generation") or 0) < (old.get("generation") or 0):
        errors.append(invalid("metadata.generation", new.get("generation") or 0, "must not be decremented"))
    for field in _IMMUTABLE:
        if new.get(field) != old.get(field) and (new.get(field) or old.get(field)):
            errors.append(invalid(f"metadata.{field}", new.get(field, _empty(field)), formats.IMMUTABLE))
    _validate_collections(new, errors)
    if strict_finalizers:
        _validate_kube_finalizers(new, errors)
    return errors


_IMMUTABLE = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def _empty(field: str) -> Any:
    return "" if field in ("name", "namespace", "uid") else None


def _mask_trailing_dash(prefix: str) -> str:
    """What a generated name will at best look like: a trailing dash is going to be followed by letters."""
    return prefix[:-2] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix


def _validate_collections(metadata: Object, errors: Errors) -> None:
    labels = metadata.get("labels")
    if labels:
        validate_labels(labels, "metadata.labels", errors)
    annotations = metadata.get("annotations")
    if annotations:
        validate_annotations(annotations, "metadata.annotations", errors)
    if metadata.get("ownerReferences"):
        _validate_owner_references(metadata["ownerReferences"], errors)
    if metadata.get("finalizers"):
        _validate_finalizers(metadata["finalizers"], errors)


def validate_label_name(name: str, path: str, errors: Errors) -> None:
    """A label's key."""
    report(qualified_name(name), path, name, errors)


def validate_labels(labels: Mapping[str, str], path: str, errors: Errors) -> None:
    """Keys and values of labels (or of a node selector)."""
    for key, value in labels.items():
        if qualified_name(key):
            report(qualified_name(key), path, key, errors)
        if label_value(value or ""):
            report(label_value(value), path, value, errors)


def validate_annotations(annotations: Mapping[str, str], path: str, errors: Errors) -> None:
    """Keys of annotations and their size altogether."""
    size = 0
    for key, value in annotations.items():
        complaints = qualified_name(key.lower())
        if complaints:
            report(complaints, path, key, errors)
        size += len(key) + len(value or "")
    # Bytes are counted only when characters come near the limit: a character has at most four.
    if size * 4 > MAX_ANNOTATIONS:
        size = sum(len(key.encode()) + len((value or "").encode()) for key, value in annotations.items())
        if size > MAX_ANNOTATIONS:
            errors.append(too_long(path, "", MAX_ANNOTATIONS))


def _validate_owner_references(references: list[Object], errors: Errors) -> None:
    path = "metadata.ownerReferences"
    controller = None
    for reference in references:
        group, version = split_api_version(reference.get("apiVersion") or "")
        if not version:
            errors.append(
                invalid(f"{path}.apiVersion", reference.get("apiVersion", ""), "version must not be empty")
            )
        for field in ("kind", "name", "uid"):
            if not reference.get(field):
                errors.append(invalid(f"{path}.{field}", reference.get(field, ""), "must not be empty"))
        if (group, version, reference.get("kind")) == ("", "v1", "Event"):
            why = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid(path, _in_order(reference, _OWNER_ORDER), why))
        if reference.get("controller"):
            if controller is not None:
                why = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {reference.get("name")}'
                )
                shown = [_in_order(each, _OWNER_ORDER).text for each in references]
                errors.append(invalid(path, Shown(f"[{','.join(shown)}]"), why))
            controller = reference.get("name")


_OWNER_ORDER = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")


def _validate_finalizers(finalizers: list[str], errors: Errors) -> None:
    path = "metadata.finalizers"
    for finalizer in finalizers:
        report(qualified_name(finalizer), path, finalizer, errors)
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        errors.append(invalid(path, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))


def _validate_kube_finalizers(metadata: Object, errors: Errors) -> None:
    for position, finalizer in enumerate(metadata.get("finalizers") or ()):
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid(f"metadata.finalizers[{position}]", finalizer, why))


def _validate_no_new_finalizers(new: Object, old: Object, errors: Errors) -> None:
    added = sorted(set(new.get("finalizers") or ()) - set(old.get("finalizers") or ()))
    if added:
        listed = ", ".join(orjson.dumps(name).decode() for name in added)
        why = (
            "no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}"
        )
        errors.append(forbidden("metadata.finalizers", why))


def validate_label_selector(selector: Object | None, path: str, errors: Errors) -> None:
    """A metav1.LabelSelector; absent is fine."""
    if not selector:
        return
    if selector.get("matchLabels"):
        validate_labels(selector["matchLabels"], f"{path}.matchLabels", errors)
    for position, requirement in enumerate(selector.get("matchExpressions") or ()):
        _validate_requirement(requirement, f"{path}.matchExpressions[{position}]", errors)


def _validate_requirement(requirement: Object, path: str, errors: Errors) -> None:
    operator = requirement.get("operator") or ""
    values = requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden(f"{path}.values", why))
    else:
        errors.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    validate_label_name(requirement.get("key") or "", f"{path}.key", errors)
    for position, value in enumerate(values):
        report(label_value(value), f"{path}.values[{position}]", value, errors)


def selector_is_valid(selector: Object) -> bool:
    """Whether the selector can be evaluated at all: its operators and keys make sense."""
    errors: Errors = []
    validate_label_selector(selector, "", errors)
    return not errors


def selector_matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a valid metav1.LabelSelector matches ``labels``."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for requirement in selector.get("matchExpressions") or ():
        operator, key = requirement.get("operator"), requirement.get("key")
        values = requirement.get("values") or ()
        met = {
            "In": key in labels and labels[key] in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not met.get(operator, False):
            return False
    return True


def selector_is_empty(selector: Object) -> bool:
    """Whether the selector selects everything."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def show_selector(selector: Object | None) -> Shown:
    """A label selector as field errors print it."""
    if selector is None:
        return Shown("null")
    parts = []
    if selector.get("matchLabels"):
        parts.append(
            '"matchLabels":' + orjson.dumps(selector["matchLabels"], option=orjson.OPT_SORT_KEYS).decode()
        )
    if selector.get("matchExpressions"):
        listed = [
            _in_order(each, ("key", "operator", "values")).text for each in selector["matchExpressions"]
        ]
        parts.append(f'"matchExpressions":[{",".join(listed)}]')
    return Shown("{" + ",".join(parts) + "}")


def _in_order(obj: Object, order: tuple[str, ...]) -> Shown:
    return Shown(
        orjson.dumps({name: obj[name] for name in order if obj.get(name) not in (None, [])}).decode()
    )
