"""What an object must be before it is stored: Kubernetes' rules, kind by kind.

    validate_create(obj, gvk)              a new object, defaulted, its name generated
    validate_update(new, old, gvk)         a changed one
    validate_status_update(new, old, gvk)  a change through the status subresource

Each returns the list of everything that is wrong (``FieldError``), empty when nothing is. Nothing is raised and
nothing changed; the objects' JSON types have been checked before. Kinds without rules of their own here
(custom resources among them) get those of metadata.

The house: ``formats`` (names, ports, addresses), ``objectmeta`` (metadata, labels, selectors), ``resources``
(quantities), then what pods are made of (``podspec`` and the modules that it names), then the kinds. A kind's
module is imported when its first object comes.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from coxswain.api.fields import Errors
from coxswain.api.names import GVK, Object
from coxswain.api.validation.formats import path_segment
from coxswain.api.validation.objectmeta import validate_object_meta, validate_object_meta_update
from coxswain.api.validation.rules import Rules

#: Which module has the rules of a group's kinds; each has ``RULES``, by kind or by (group, kind).
_MODULES = {
    "": ("pods", "services", "config", "cluster", "endpoints", "events", "workloads", "storage", "policy"),
    "apps": ("workloads",),
    "batch": ("batch",),
    "coordination.k8s.io": ("cluster",),
    "discovery.k8s.io": ("endpoints",),
    "events.k8s.io": ("events",),
    "rbac.authorization.k8s.io": ("rbac",),
    "storage.k8s.io": ("storage",),
    "networking.k8s.io": ("networking",),
    "autoscaling": ("autoscaling",),
    "policy": ("policy",),
    "scheduling.k8s.io": ("cluster",),
    "node.k8s.io": ("cluster",),
    "admissionregistration.k8s.io": ("admission",),
    "certificates.k8s.io": ("certificates",),
    "apiregistration.k8s.io": ("apiservices",),
    "apiextensions.k8s.io": ("definitions",),
    "flowcontrol.apiserver.k8s.io": ("flowcontrol",),
    "resource.k8s.io": ("dra",),
}


@lru_cache(maxsize=1024)
def rules_for(group: str, kind: str) -> Rules | None:
    """The rules of a kind (they are the same for all its versions), or None."""
    for module in _MODULES.get(group, ()):
        rules: Rules | None = import_module(f"coxswain.api.validation.{module}").RULES.get((group, kind))
        if rules is not None:
            return rules
    return None


def validate_create(obj: Object, gvk: GVK) -> Errors:
    """The complaints about a new object."""
    rules = rules_for(gvk.group, gvk.kind)
    metadata = obj.get("metadata") or {}
    if rules is None:
        return validate_object_meta(
            metadata,
            namespaced=bool(metadata.get("namespace")),
            name_check=path_segment,
            strict_finalizers=False,
        )
    errors = validate_object_meta(
        metadata,
        namespaced=rules.namespaced,
        name_check=rules.name_check,
        strict_finalizers=rules.strict_finalizers,
        check_generate_name=rules.check_generate_name,
    )
    if rules.validate is not None:
        rules.validate(obj, errors)
    if rules.create is not None:
        rules.create(obj, errors)
    return errors


def validate_update(new: Object, old: Object, gvk: GVK) -> Errors:
    """The complaints about a changed object. ``new.metadata`` carries what the server keeps (uid, times)."""
    rules = rules_for(gvk.group, gvk.kind)
    metadata = new.get("metadata") or {}
    strict = rules is not None and rules.strict_finalizers
    errors = validate_object_meta_update(metadata, old.get("metadata") or {}, strict_finalizers=strict)
    if rules is None:
        return errors
    if rules.update is not None and rules.update_first:
        rules.update(new, old, errors)
    if rules.metadata_on_update:
        errors += validate_object_meta(
            metadata, namespaced=rules.namespaced, name_check=rules.name_check, strict_finalizers=strict
        )
    if rules.validate is not None:
        rules.validate(new, errors)
    if rules.update is not None and not rules.update_first:
        rules.update(new, old, errors)
    return errors


def validate_status_update(new: Object, old: Object, gvk: GVK) -> Errors:
    """The complaints about an object changed through its status subresource."""
    rules = rules_for(gvk.group, gvk.kind)
    strict = rules is not None and rules.strict_finalizers
    errors = validate_object_meta_update(
        new.get("metadata") or {}, old.get("metadata") or {}, strict_finalizers=strict
    )
    if rules is not None and rules.status is not None:
        rules.status(new, old, errors)
    return errors
