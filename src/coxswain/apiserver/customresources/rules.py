"""What makes and keeps a custom object right: the strategy and validation of apiextensions' ``customresource``."""

from __future__ import annotations

from typing import Any

from coxswain.api.fields import Errors, ErrorType, FieldError, Shown, invalid, quote
from coxswain.api.names import Object
from coxswain.api.structural.model import lookup
from coxswain.api.validation.formats import dns_subdomain, qualified_name
from coxswain.api.validation.objectmeta import validate_object_meta, validate_object_meta_update
from coxswain.apiserver.customresources.definitions import Version
from coxswain.apiserver.registry import Rules, ScalePaths

_MAX_INT32 = 2**31 - 1


class CustomRules:
    """The rules of one version's objects; ``rules()`` is what the registry takes."""

    def __init__(self, version: Version) -> None:
        self._schema = version.schema
        self._gvk = version.resource.gvk
        self._namespaced = version.resource.namespaced
        self._status = version.status
        self._scale = version.scale

    def rules(self) -> Rules:
        """As the registry's entries have them."""
        return Rules(
            default=self._schema.default,
            prepare_create=self.prepare_create,
            prepare_update=self.prepare_update,
            prepare_status_update=self.prepare_status_update,
            validate_create=self.validate_create,
            validate_update=self.validate_update,
            validate_status_update=self.validate_status_update,
            warnings=finalizer_warnings,
            noting_update=self.noting_update,
            noting_status_update=self.validate_status_update,
        )

    # -- strategy

    def prepare_create(self, obj: Object) -> None:
        """No status yet, the first generation."""
        if self._status:
            obj.pop("status", None)
        metadata = obj["metadata"]
        metadata["generation"] = 1
        if not self._namespaced:
            metadata.pop("namespace", None)

    def prepare_update(self, new: Object, old: Object) -> None:
        """The status stays as it is; any other change beside metadata is a new generation."""
        if self._status:
            if "status" in old:
                new["status"] = old["status"]
            else:
                new.pop("status", None)
        if _without_metadata(new) != _without_metadata(old):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1

    def prepare_status_update(self, new: Object, old: Object) -> None:
        """Everything stays as it is but the status and who manages what."""
        managed = new["metadata"].get("managedFields")
        for name in [name for name in new if name not in ("status", "metadata")]:
            if name not in old:
                del new[name]
        new.update({name: value for name, value in old.items() if name not in ("status", "metadata")})
        metadata = dict(old["metadata"])
        if managed is not None:
            metadata["managedFields"] = managed
        else:
            metadata.pop("managedFields", None)
        new["metadata"] = metadata

    # -- validation

    def validate_create(self, obj: Object) -> Errors:
        """The complaints about a new object."""
        errors = self._type_meta(obj)
        if errors:
            return errors
        errors = validate_object_meta(
            obj["metadata"],
            namespaced=self._namespaced,
            name_check=dns_subdomain,
            strict_finalizers=False,
        )
        errors += self._schema.validate(obj)
        errors += _scale_errors(obj, self._scale, with_spec=True)
        errors += self._schema.check_embedded(obj)
        errors += self._schema.check_unique(obj)
        return self._with_rules(errors, obj, None)

    def noting_update(self, new: Object, old: Object, warnings: list[str]) -> Errors:
        """As ``validate_update``; a sound object is warned about by its new finalizers."""
        errors = self.validate_update(new, old, warnings)
        if not errors:
            warnings.extend(finalizer_warnings(new, old))
        return errors

    def validate_update(self, new: Object, old: Object, warnings: list[str] | None = None) -> Errors:
        """The complaints about a changed object; what has not changed is warned about at most."""
        errors = self._type_meta(new)
        if errors:
            return errors
        errors = validate_object_meta_update(new["metadata"], old["metadata"], strict_finalizers=False)
        errors += self._schema.validate_update(new, old)
        errors += _scale_errors(new, self._scale, with_spec=True)
        errors += self._schema.check_embedded(new)
        errors += self._schema.check_unique(new, old)
        return self._with_rules(errors, new, old, warnings)

    def validate_status_update(self, new: Object, old: Object, warnings: list[str] | None = None) -> Errors:
        """The complaints about a changed status."""
        errors = validate_object_meta_update(new["metadata"], old["metadata"], strict_finalizers=False)
        errors += self._schema.validate_status(new, old)
        errors += _scale_errors(new, self._scale, with_spec=False)
        errors += self._schema.check_unique(new, old)
        return self._with_rules(errors, new, old, warnings)

    def _type_meta(self, obj: Object) -> Errors:
        errors: Errors = []
        for name, wanted in (("kind", self._gvk.kind), ("apiVersion", self._gvk.api_version)):
            if obj.get(name) != wanted:
                errors.append(invalid(name, obj.get(name), f"must be {wanted}"))
        return errors

    def _with_rules(
        self, errors: Errors, new: Object, old: Object | None, warnings: list[str] | None = None
    ) -> Errors:
        """Rules are not asked when the object's very shape is wrong."""
        if not self._schema.structural.any_rules:
            return errors
        if any(error.type in _BLOCKING for error in errors):
            return [*errors, _UNCHECKED]
        return errors + self._schema.check_rules(new, old, warnings)


_BLOCKING = frozenset(
    {
        ErrorType.NOT_SUPPORTED,
        ErrorType.REQUIRED,
        ErrorType.TOO_LONG,
        ErrorType.TOO_MANY,
        ErrorType.TYPE_INVALID,
    }
)
_UNCHECKED = FieldError(
    ErrorType.INVALID,
    "<nil>",
    Shown("null"),
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation",
)


_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_PREFER = "to avoid accidental conflicts with other finalizer writers"


def finalizer_warnings(obj: Object, old: Object | None = None) -> list[str]:
    """What is told about finalizers (new ones, of a changed object) that others may use, too."""
    before = (old["metadata"].get("finalizers") or ()) if old is not None else ()
    found: list[str] = []
    for name in sorted({*(obj["metadata"].get("finalizers") or ())} - {*before}):
        found += [f"metadata.finalizers: {quote(name)}: {why}" for why in qualified_name(name)]
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            path = "name including a path (/)" if "." in name else "name"
            found.append(
                f"metadata.finalizers: {quote(name)}: prefer a domain-qualified finalizer {path} {_PREFER}"
            )
    return found


def _without_metadata(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name != "metadata"}


def _scale_errors(obj: Object, scale: ScalePaths | None, *, with_spec: bool) -> Errors:
    errors: Errors = []
    if scale is None:
        return errors
    if with_spec:
        _check_count(obj, scale.spec, errors)
    _check_count(obj, scale.status, errors)
    if scale.selector:
        found = lookup(obj, scale.selector)
        if found is not None and not isinstance(found, str):
            why = f".{'.'.join(scale.selector)} accessor error: {found} is of the type {_go(found)}, expected string"
            errors.append(invalid(f".{'.'.join(scale.selector)}", "", why))
    return errors


def _check_count(obj: Object, path: tuple[str, ...], errors: Errors) -> None:
    value, where = lookup(obj, path), f".{'.'.join(path)}"
    if value is None:
        return
    if type(value) is not int:
        why = f"{where} accessor error: {value} is of the type {_go(value)}, expected int64"
        errors.append(invalid(where, 0, why))
    elif value < 0:
        errors.append(invalid(where, value, "should be a non-negative integer"))
    elif value > _MAX_INT32:
        errors.append(invalid(where, value, f"should be less than or equal to {_MAX_INT32}"))


def _go(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = {str: "string", int: "int64", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}")
