"""Checks a policy's expressions against the types of what it matches. No IO.

Only rules that name groups, versions and resources plainly say what ``object`` is; each expression is checked
against each such kind (ten at most). A warning never keeps a policy from working: there ``object`` is anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.api.cel import CelError, compile_expression
from coxswain.api.cel.admission import Environment
from coxswain.api.cel.types import DYN, Declared
from coxswain.api.names import GVK, GVR, Object, split_api_version
from coxswain.controllers.policystatus.kindtypes import declared, kind_of

_MOST_KINDS = 10


def new_status(policy: Object, definitions: Sequence[Object]) -> Object | None:
    """The status of a policy that has changed since it was last checked, else None."""
    generation = policy["metadata"].get("generation") or 0
    status = policy.get("status") or {}
    if generation <= (status.get("observedGeneration") or 0):
        return None
    found = warnings(policy, definitions)
    checked = {"expressionWarnings": found} if found else {}
    return {**status, "observedGeneration": generation, "typeChecking": checked}


def warnings(policy: Object, definitions: Sequence[Object]) -> list[Object]:
    """The ExpressionWarnings of a policy."""
    spec = policy["spec"]
    types = {gvk: each for gvk in matched_kinds(spec, definitions) if (each := declared(gvk, definitions))}
    if not types:
        return []
    parameters = _parameters(spec, definitions)
    worlds = {gvk: _world(spec, each, parameters) for gvk, each in types.items()}
    found = []
    for position, validation in enumerate(spec.get("validations") or ()):
        for field in ("expression", "messageExpression"):
            expression = validation.get(field)
            warning = _check(expression, worlds) if expression else ""
            if warning:
                found.append({"fieldRef": f"spec.validations[{position}].{field}", "warning": warning})
    return found


def matched_kinds(spec: Object, definitions: Sequence[Object]) -> list[GVK]:
    """The kinds that the match constraints name plainly, sorted."""
    found: set[GVK] = set()
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        count = 0
        for resource in _named_resources(rule):
            gvk = kind_of(resource, definitions)
            if gvk is not None:
                found.add(gvk)
                count += 1
                if count == _MOST_KINDS:
                    return sorted(found)
    return sorted(found)


def _named_resources(rule: Object) -> list[GVR]:
    groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
    if any("*" in text for text in (*groups, *versions)):
        return []
    plain = [one for one in rule.get("resources") or () if "*" not in one and "/" not in one]
    return [
        GVR(group, version, resource)
        for group in sorted(groups)
        for version in sorted(versions)
        for resource in sorted(plain)
    ]


def _parameters(spec: Object, definitions: Sequence[Object]) -> Declared | None:
    """The type of ``params``; None if there are none."""
    kind = spec.get("paramKind")
    if not kind:
        return None
    gvk = GVK(*split_api_version(kind.get("apiVersion") or ""), kind.get("kind") or "")
    return declared(gvk, definitions) or DYN


def _world(spec: Object, of: Declared, parameters: Declared | None) -> Mapping[str, Declared]:
    """The variables of an expression that sees objects of this type."""
    typed = {"object": of, "oldObject": of} | ({"params": parameters} if parameters is not None else {})
    environment = Environment(params=parameters is not None, variables={})
    own: dict[str, Declared] = {}
    for variable in spec.get("variables") or ():
        names = {**environment.knowing(own).declared(), **typed}
        try:
            own[variable["name"]] = compile_expression(variable["expression"], names).declared
        except CelError:
            own[variable["name"]] = DYN
    return {**environment.knowing(own).declared(), **typed}


def _check(expression: str, worlds: Mapping[GVK, Mapping[str, Declared]]) -> str:
    found = []
    for gvk, world in worlds.items():
        try:
            compile_expression(expression, world)
        except CelError as error:
            found.append(f"{gvk.group}/{gvk.version}, Kind={gvk.kind}: compilation failed: {error}\n")
    return "\n".join(found)
