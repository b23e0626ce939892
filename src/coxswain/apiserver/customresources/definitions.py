"""What a CustomResourceDefinition says: its versions as resources with compiled schemas, and its conditions. Pure.

    versions(definition) -> list[Version]             served versions, most preferred first
    decide_status(definition, others, now) -> status  names accepted, established, structural; None: no change
    with_condition(status, ...) -> status

Names are accepted when no other definition of the group has them; the first comes first. A definition is established
once its names are accepted and the server has installed its resources: the controller installs before it writes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coxswain.api.kinds import Resource, Subresource
from coxswain.api.names import GVK, GVR, Object
from coxswain.api.structural import CompiledSchema, checks, compile_crd_schema
from coxswain.apiserver.registry import ScalePaths

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_SCALE = GVK("autoscaling", "v1", "Scale")


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One served version."""

    resource: Resource
    schema: CompiledSchema
    #: Whether objects are stored in it.
    storage: bool
    #: Whether it has the status subresource.
    status: bool
    scale: ScalePaths | None
    columns: tuple[Object, ...]
    #: JSON paths of selectable fields, without the leading dot.
    selectable: tuple[str, ...]
    #: What users of a deprecated version are told.
    warning: str


def storage_version(definition: Object) -> str:
    """The version in which objects are stored."""
    versions = definition["spec"].get("versions") or ()
    return next((str(version["name"]) for version in versions if version.get("storage")), "")


def versions(definition: Object, *, terminating: bool = False) -> list[Version]:
    """The served versions, most preferred first; nothing new is created in what is ``terminating``."""
    rows = [version for version in definition["spec"].get("versions") or () if version.get("served")]
    rows.sort(key=lambda version: version_order(version["name"]))
    return [_version(definition, row, terminating) for row in rows]


def version_order(name: str) -> tuple[int, int, int, str]:
    """The sort key of Kubernetes' version names: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name."""
    found = re.fullmatch(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?", name)
    if found is None:
        return (3, 0, 0, name)
    level = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (level, -int(found[1]), -int(found[3] or 0), "")


def _version(definition: Object, row: Object, terminating: bool) -> Version:
    spec = definition["spec"]
    names = (definition.get("status") or {}).get("acceptedNames") or spec["names"]
    gvk = GVK(spec["group"], row["name"], names["kind"])
    namespaced = spec.get("scope") == "Namespaced"
    subresources = row.get("subresources") or {}
    below: list[Subresource] = []
    if subresources.get("status") is not None:
        below.append(Subresource("status", gvk, ("get", "patch", "update"), namespaced))
    scale = _scale(subresources.get("scale"))
    if scale is not None:
        below.append(Subresource("scale", _SCALE, ("get", "patch", "update"), namespaced, foreign=True))
    resource = Resource(
        gvr=GVR(spec["group"], row["name"], names["plural"]),
        kind=names["kind"],
        singular=names.get("singular") or "",
        namespaced=namespaced,
        verbs=tuple(verb for verb in _VERBS if verb != "create" or not terminating),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(below),
        storage_version_hash=_hash(spec["group"], storage_version(definition), names["kind"]),
        own_list_kind=names.get("listKind") or "",
    )
    return Version(
        resource,
        compile_crd_schema((row.get("schema") or {}).get("openAPIV3Schema"), gvk),
        bool(row.get("storage")),
        subresources.get("status") is not None,
        scale,
        tuple(row.get("additionalPrinterColumns") or ()),
        tuple(field["jsonPath"].removeprefix(".") for field in row.get("selectableFields") or ()),
        _deprecation(row, gvk),
    )


def _hash(group: str, version: str, kind: str) -> str:
    digest = hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _scale(raw: Object | None) -> ScalePaths | None:
    if raw is None:
        return None
    paths = (raw.get(name) or "" for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath"))
    return ScalePaths(*(tuple(path.split(".")[1:]) for path in paths))


def _deprecation(row: Object, gvk: GVK) -> str:
    if not row.get("deprecated"):
        return ""
    return str(row.get("deprecationWarning") or f"{gvk.api_version} {gvk.kind} is deprecated")


# -- conditions


def is_true(definition: Object, kind: str) -> bool:
    """Whether a condition of the definition holds."""
    for condition in (definition.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind:
            return bool(condition.get("status") == "True")
    return False


def with_condition(status: Object, kind: str, value: str, reason: str, message: str, now: str) -> Object:
    """``status`` with this condition; when it did not change, its time of transition stays."""
    made: Object = {
        "type": kind,
        "status": value,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }
    conditions: list[Object] = []
    found = False
    for condition in status.get("conditions") or ():
        if condition.get("type") == kind:
            found = True
            if condition.get("status") == value:
                made["lastTransitionTime"] = condition.get("lastTransitionTime") or now
            # What Kubernetes calls the condition's place in the list is kept.
            conditions.append({**condition, **made})
        else:
            conditions.append(condition)
    if not found:
        conditions.append(made)
    return {**status, "conditions": conditions}


def decide_status(definition: Object, others: Iterable[Object], now: str) -> Object | None:
    """The status that a definition should have; None when it has it. ``others``: the rest of its group."""
    status: Object = dict(definition.get("status") or {})
    before = status
    wanted = definition["spec"]["names"]
    accepted = status.get("acceptedNames") or {}
    if wanted != accepted or not is_true(definition, "NamesAccepted"):
        names, problem = _accept(wanted, accepted, others)
        status = {**status, "acceptedNames": names}
        if problem is None:
            status = with_condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        else:
            status = with_condition(status, "NamesAccepted", "False", *problem, now)
    accepted_now = is_true({"status": status}, "NamesAccepted")
    if not is_true({"status": status}, "Established"):
        status = _establish(status, accepted_now, now)
    status = _structural(definition, status, now)
    return status if status != before else None


def _establish(status: Object, accepted: bool, now: str) -> Object:
    if accepted:
        return with_condition(
            status,
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
            now,
        )
    return with_condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)


def _accept(
    wanted: Object, accepted: Object, others: Iterable[Object]
) -> tuple[Object, tuple[str, str] | None]:
    """The names that the definition may have, and what is wrong with those that it may not (reason, message)."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        taken = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update(taken.get(name) or "" for name in ("plural", "singular"))
        resources.update(taken.get("shortNames") or ())
        kinds.update(taken.get(name) or "" for name in ("kind", "listKind"))
    names = dict(accepted)
    problem: tuple[str, str] | None = None
    # The last that clashes is told, in this order.
    for name, used in (
        ("plural", resources),
        ("singular", resources),
        ("shortNames", resources),
        ("kind", kinds),
        ("listKind", kinds),
    ):
        if name == "shortNames":
            clashes = _clashes(wanted.get(name) or [], accepted.get(name) or [], used)
            if clashes:
                problem = ("ShortNamesConflict", clashes)
            else:
                _put(names, name, wanted.get(name))
            continue
        value = wanted.get(name) or ""
        if value != (accepted.get(name) or "") and value in used:
            problem = (f"{name[0].upper()}{name[1:]}Conflict", f'"{value}" is already in use')
        elif value:
            names[name] = value
    _put(names, "categories", wanted.get("categories"))
    return names, problem


def _clashes(wanted: list[str], accepted: list[str], used: set[str]) -> str:
    """What is wrong with short names that somebody else has; "" where nothing is."""
    found = [f'"{name}" is already in use' for name in wanted if name not in accepted and name in used]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]" if found else ""


def _put(names: Object, name: str, value: Any) -> None:
    if value:
        names[name] = value
    else:
        names.pop(name, None)


def _structural(definition: Object, status: Object, now: str) -> Object:
    """The condition NonStructuralSchema, which only old definitions can have."""
    problems: list[str] = []
    if definition["spec"].get("preserveUnknownFields"):
        problems.append("spec.preserveUnknownFields: Invalid value: true: must be false")
    for position, version in enumerate(definition["spec"].get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is not None:
            path = f"spec.versions[{position}].schema.openAPIV3Schema"
            problems += [str(error) for error in checks.check_structural(schema, path)]
    kind = "NonStructuralSchema"
    if problems:
        text = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return with_condition(status, kind, "True", "Violations", text, now)
    conditions = status.get("conditions") or []
    if any(condition.get("type") == kind for condition in conditions):
        return {**status, "conditions": [found for found in conditions if found.get("type") != kind]}
    return status
