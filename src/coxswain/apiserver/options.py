"""Request options: what the query and, for deletions, the body ask for beyond the object itself.

Create-, Update-, Patch- and DeleteOptions of metav1, decoded and checked in Kubernetes' words
(apimachinery ``meta/v1/validation``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from coxswain.api import errors, fields
from coxswain.api.fields import Errors
from coxswain.api.names import Object

FieldValidation = Literal["Strict", "Warn", "Ignore"]
_PROPAGATION = ("Foreground", "Background", "Orphan")
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


@dataclass(slots=True)
class WriteOptions:
    """Options of a create, update or patch. ``raw`` is the options object as admission sees it."""

    dry_run: bool
    field_manager: str
    field_validation: FieldValidation
    force: bool | None
    raw: Object


@dataclass(slots=True)
class DeleteOptions:
    """Options of a deletion. ``propagation`` is empty where the client leaves it to the kind."""

    dry_run: bool = False
    grace_period_seconds: int | None = None
    propagation: str = ""
    orphan_dependents: bool | None = None
    uid: str | None = None
    resource_version: str | None = None
    raw: Object | None = None


def flag(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    """A boolean query parameter in Go's spelling."""
    text = query.get(name)
    if text is None:
        return default
    # Kubernetes' query conversion takes any text but these as true.
    return text not in _FALSE


def number(query: Mapping[str, str], name: str) -> int | None:
    """An integer query parameter. Raises ``BadRequest`` in Go's words."""
    text = query.get(name)
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        raise errors.BadRequest(f"strconv.ParseInt: parsing {fields.quote(text)}: invalid syntax") from None
    if not -(1 << 63) <= value < 1 << 63:
        raise errors.BadRequest(f"strconv.ParseInt: parsing {fields.quote(text)}: value out of range")
    return value


def write_options(query: Mapping[str, str], kind: str) -> WriteOptions:
    """Options of a write. ``kind`` is CreateOptions, UpdateOptions or PatchOptions. Raises ``Invalid``."""
    if not query:
        return WriteOptions(False, "", "Warn", None, {"kind": kind, "apiVersion": "meta.k8s.io/v1"})
    problems: Errors = []
    raw: Object = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    dry_run = _dry_run([query["dryRun"]] if "dryRun" in query else [], raw, problems)
    manager = query.get("fieldManager") or ""
    if manager:
        raw["fieldManager"] = manager
        _check_manager(manager, problems)
    validation = query.get("fieldValidation") or ""
    if validation not in ("", "Ignore", "Strict", "Warn"):
        problems.append(fields.not_supported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    elif validation:
        raw["fieldValidation"] = validation
    force = flag(query, "force") if "force" in query else None
    if force is not None:
        raw["force"] = force
    if problems:
        raise errors.invalid("meta.k8s.io", kind, "", problems)
    checked: FieldValidation = validation or "Warn"  # type: ignore[assignment]
    return WriteOptions(dry_run, manager, checked, force, raw)


def check_patch_options(options: WriteOptions, *, apply: bool) -> None:
    """What only patches demand of their options. Raises ``Invalid``."""
    problems: Errors = []
    if apply:
        if not options.field_manager:
            problems.append(fields.required("fieldManager", "is required for apply patch"))
    elif options.force is not None:
        problems.append(fields.forbidden("force", "may not be specified for non-apply patch"))
    if problems:
        raise errors.invalid("meta.k8s.io", "PatchOptions", "", problems)


def _check_manager(manager: str, problems: Errors) -> None:
    if len(manager.encode()) > 128:
        problems.append(fields.too_long("fieldManager", manager, 128))
    for position, char in enumerate(manager):
        if not char.isprintable():
            problems.append(
                fields.invalid(
                    "fieldManager", manager, f"invalid character {char!r} (at position {position})"
                )
            )


def _dry_run(values: list[Any], raw: Object, problems: Errors) -> bool:
    if not values:
        return False
    raw["dryRun"] = values
    if any(value != "All" for value in values):
        problems.append(fields.not_supported("dryRun", values, ("All",)))
    return True


def delete_options(query: Mapping[str, str], body: bytes) -> DeleteOptions:
    """Options of a deletion: the body's where there is one, else the query's. Raises ``ApiError``."""
    raw = _delete_body(body) if body.strip() else _delete_query(query)
    problems: Errors = []
    dry = raw.get("dryRun") or []
    options = DeleteOptions(
        dry_run=_dry_run(dry if isinstance(dry, list) else [dry], raw, problems),
        grace_period_seconds=raw.get("gracePeriodSeconds"),
        propagation=raw.get("propagationPolicy") or "",
        orphan_dependents=raw.get("orphanDependents"),
        raw=raw,
    )
    preconditions = raw.get("preconditions") or {}
    options.uid = preconditions.get("uid")
    options.resource_version = preconditions.get("resourceVersion")
    if options.orphan_dependents is not None and options.propagation:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        problems.append(fields.invalid("propagationPolicy", options.propagation, detail))
    elif options.propagation and options.propagation not in _PROPAGATION:
        problems.append(
            fields.not_supported("propagationPolicy", options.propagation, (*_PROPAGATION, "nil"))
        )
    if problems:
        raise errors.invalid("meta.k8s.io", "DeleteOptions", "", problems)
    return options


def _delete_body(body: bytes) -> Object:
    if body.startswith(b"k8s\x00"):
        from coxswain.api import codec
        from coxswain.api.names import GVK

        gvk = GVK("meta.k8s.io", "v1", "DeleteOptions")
        return codec.decode(body, "application/vnd.kubernetes.protobuf", gvk, "Ignore").obj
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        raw = _yaml(body)
    if not isinstance(raw, dict):
        raise errors.BadRequest("couldn't get version/kind; json parse error: the body is not an object")
    if raw.get("kind") not in (None, "", "DeleteOptions"):
        version = raw.get("apiVersion") or ""
        raise errors.BadRequest(f'no kind "{raw["kind"]}" is registered for version "{version}"')
    _check_types(raw)
    return raw


def _yaml(body: bytes) -> Any:
    from coxswain.api import yamlio

    try:
        return yamlio.loads(body)[0]
    except ValueError:
        raise errors.BadRequest("couldn't get version/kind; json parse error: invalid body") from None


_TYPES: dict[str, tuple[type, str]] = {
    "gracePeriodSeconds": (int, "int64"),
    "propagationPolicy": (str, "string"),
    "orphanDependents": (bool, "bool"),
    "preconditions": (dict, "v1.Preconditions"),
    "dryRun": (list, "[]string"),
}


def _check_types(raw: Object) -> None:
    for name, (kind, go) in _TYPES.items():
        value = raw.get(name)
        if value is None:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise errors.BadRequest(
                f"json: cannot unmarshal {fields.json_kind(value)} into Go struct field DeleteOptions.{name} of type {go}"
            )
    preconditions = raw.get("preconditions") or {}
    for name in ("uid", "resourceVersion"):
        value = preconditions.get(name)
        if value is not None and not isinstance(value, str):
            raise errors.BadRequest(
                f"json: cannot unmarshal {fields.json_kind(value)} into Go struct field Preconditions.{name} of type string"
            )


def _delete_query(query: Mapping[str, str]) -> Object:
    raw: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if not query:
        return raw
    grace = number(query, "gracePeriodSeconds")
    if grace is not None:
        raw["gracePeriodSeconds"] = grace
    if query.get("propagationPolicy"):
        raw["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        raw["orphanDependents"] = flag(query, "orphanDependents")
    if "dryRun" in query:
        raw["dryRun"] = [query["dryRun"]]
    return raw
