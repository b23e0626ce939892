"""Structural schemas: what a custom resource's objects look like, and what the server does to them because of it.

    schema = compile_crd_schema(openapi_v3_schema)     once a version of a definition
    schema.conform(obj) -> unknown fields              metadata typed, unknown fields pruned (in place)
    schema.default(obj)                                defaults filled in (in place)
    schema.validate(obj) -> Errors                     schema, embedded resources, sets and maps
    schema.validate_update(new, old) -> Errors         the same; what has not changed is let be
    schema.type                                        the ``api.schema.Type`` for field ownership (or None)

The house: ``model`` (the schema parsed), ``prune``, ``defaulting``, ``metadata``, ``unique`` and ``validate`` (the
walks), ``rules`` (CEL), ``checks`` (is a schema structural?), ``types``. Pure; messages and order
are those of Kubernetes' apiextensions-apiserver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coxswain.api.fields import Errors
from coxswain.api.names import GVK, Object
from coxswain.api.schema import Type
from coxswain.api.structural import metadata, unique
from coxswain.api.structural.defaulting import default
from coxswain.api.structural.metadata import CoerceError
from coxswain.api.structural.model import Structural, free, parse
from coxswain.api.structural.prune import prune
from coxswain.api.structural.types import type_of
from coxswain.api.structural.validate import ABSENT, Check, compile_schema, relocated

if TYPE_CHECKING:
    from coxswain.api.structural.rules import RuleTree

__all__ = ["CoerceError", "CompiledSchema", "Structural", "compile_crd_schema"]


class CompiledSchema:
    """The schema of one version of a custom resource, ready for use. Never changes."""

    def __init__(self, raw: Mapping[str, Any] | None, gvk: GVK) -> None:
        """``raw`` is an ``openAPIV3Schema`` that has passed validation; None: everything goes."""
        self.raw: Mapping[str, Any] = raw or {}
        self.structural = parse(raw) if raw else free()
        self.type: Type | None = type_of(self.structural, gvk)
        self._check: Check = compile_schema(self.raw, root=True)
        self._rules = _rules_of(self.structural)
        status = (self.raw.get("properties") or {}).get("status")
        self._check_status: Check | None = compile_schema(status) if status else None

    def conform(self, obj: Object) -> list[str]:
        """Type the metadata and prune, in place; the paths of fields that went. Raises ``CoerceError``."""
        unknown = metadata.coerce(obj, self.structural)
        unknown += prune(obj, self.structural)
        return unknown

    def default(self, obj: Object) -> None:
        """Fill in defaults, in place."""
        default(obj, self.structural)

    def validate(self, obj: Object) -> Errors:
        """The complaints about a new object."""
        errors: Errors = []
        self._check(obj, "", errors, ABSENT)
        return errors

    def validate_update(self, new: Object, old: Object) -> Errors:
        """The complaints about what changed."""
        errors: Errors = []
        self._check(new, "", errors, old)
        return errors

    def validate_status(self, new: Object, old: Object) -> Errors:
        """The complaints about a changed status."""
        errors: Errors = []
        if self._check_status is not None and "status" in new:
            self._check_status(new["status"], "", errors, old.get("status", ABSENT))
        return relocated(errors, "status")

    def check_embedded(self, obj: Object) -> Errors:
        """The complaints about embedded resources."""
        return metadata.check_embedded(obj, self.structural)

    def check_unique(self, new: Object, old: Object | None = None) -> Errors:
        """Duplicates in sets and maps; none are told when the old object had some already."""
        errors = unique.check_unique(new, self.structural)
        if errors and old is not None and unique.check_unique(old, self.structural):
            return []
        return errors

    def check_rules(
        self, new: Object, old: Object | None = None, warnings: list[str] | None = None
    ) -> Errors:
        """What the schema's own rules (``x-kubernetes-validations``) say; ``warnings``: of what has not changed."""
        if self._rules is None:
            return []
        from coxswain.api.structural.rules import check_object

        return check_object(self._rules, new, old, warnings)


def _rules_of(structural: Structural) -> RuleTree | None:
    """The compiled rules; the language is loaded when the first schema has some."""
    if not structural.any_rules:
        return None
    from coxswain.api.structural.rules import compile_rules

    return compile_rules(structural)


def compile_crd_schema(raw: Mapping[str, Any] | None, gvk: GVK) -> CompiledSchema:
    """The compiled schema of one version."""
    return CompiledSchema(raw, gvk)
