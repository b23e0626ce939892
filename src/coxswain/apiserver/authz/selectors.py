"""Selectors as authorization sees them: what narrows a list, watch or deletion of a collection.

    demands(text, field, value)          whether a field selector admits only ``field`` = ``value``
    name_demanded(text)                  metadata.name, where the selector fixes it: it is then the request's name
    to_review(attributes) / from_review  between ``Attributes`` and a SubjectAccessReview's resourceAttributes

A selector that cannot be parsed narrows nothing: authorization then judges the broad request, and the request
itself fails later with the parser's words.
"""

from __future__ import annotations

from typing import Any

from coxswain.api import fields, selectors
from coxswain.api.names import Object
from coxswain.api.selectors import FieldTerm, Requirement, SelectorError
from coxswain.apiserver.authz.attributes import Attributes

#: Names in a path may not be these nor have these in them (apimachinery ``path.IsValidPathSegmentName``).
_NO_NAMES = frozenset({".", ".."})
_NO_SIGNS = frozenset("/%")

_WORDS = {
    "in": "In",
    "=": "In",
    "==": "In",
    "notin": "NotIn",
    "!=": "NotIn",
    "exists": "Exists",
    "!": "DoesNotExist",
}
_SIGNS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def demands(text: str, field: str, value: str) -> bool:
    """Whether every object that the field selector admits has ``value`` in ``field``."""
    if not text:
        return False
    try:
        return selectors.parse_field_selector(text).requires_exact(field) == value
    except SelectorError:
        return False


def name_demanded(text: str) -> str:
    """The name that a field selector fixes, or ""."""
    if "metadata.name" not in text:
        return ""
    try:
        name = selectors.parse_field_selector(text).requires_exact("metadata.name") or ""
    except SelectorError:
        return ""
    return "" if name in _NO_NAMES or _NO_SIGNS & set(name) else name


def from_review(resource: Object) -> tuple[str, str, list[str]]:
    """Field and label selector of a review's resourceAttributes, and what of them is not understood."""
    problems: list[str] = []
    field_text = _fields_of(resource.get("fieldSelector") or {}, problems)
    label_text = _labels_of(resource.get("labelSelector") or {}, problems)
    return field_text, label_text, problems


def _fields_of(given: Object, problems: list[str]) -> str:
    raw = given.get("rawSelector")
    if raw:
        try:
            return str(selectors.parse_field_selector(raw))
        except SelectorError as error:
            problems.append(f"spec.resourceAttributes.fieldSelector ignored due to parse error: {error}")
            return ""
    terms: list[FieldTerm] = []
    for requirement in given.get("requirements") or ():
        operator = requirement.get("operator")
        values: list[Any] = requirement.get("values") or []
        if operator in ("In", "NotIn") and len(values) == 1:
            terms.append(
                FieldTerm(str(requirement["key"]), "=" if operator == "In" else "!=", str(values[0]))
            )
        else:
            problems.append(f'fields do not yet support operator "{operator}" with {len(values)} values')
    return ",".join(map(str, terms))


def _labels_of(given: Object, problems: list[str]) -> str:
    raw = given.get("rawSelector")
    if raw:
        try:
            return str(selectors.parse_label_selector(raw))
        except SelectorError as error:
            problems.append(f"spec.resourceAttributes.labelSelector ignored due to parse error: {error}")
            return ""
    terms: list[str] = []
    for requirement in given.get("requirements") or ():
        sign = _SIGNS.get(str(requirement.get("operator")))
        if sign is None:
            problems.append(f'"{requirement.get("operator")}" is not a valid label selector operator')
            continue
        values = tuple(sorted(map(str, requirement.get("values") or ())))
        terms.append(str(Requirement(str(requirement["key"]), sign, values)))
    return ",".join(terms)


def to_review(attributes: Attributes) -> Object:
    """``fieldSelector`` and ``labelSelector`` for a review that somebody else answers."""
    found: Object = {}
    if attributes.field_selector:
        try:
            terms = selectors.parse_field_selector(attributes.field_selector).requirements
        except SelectorError:
            terms = ()
        if terms:
            found["fieldSelector"] = {"requirements": [_field_requirement(term) for term in terms]}
    if attributes.label_selector:
        try:
            parsed = selectors.parse_label_selector(attributes.label_selector).requirements
        except SelectorError:
            parsed = ()
        requirements = [_label_requirement(term) for term in parsed if term.operator in _WORDS]
        if requirements:
            found["labelSelector"] = {"requirements": requirements}
    return found


def _field_requirement(term: FieldTerm) -> Object:
    return {"key": term.field, "operator": "In" if term.operator == "=" else "NotIn", "values": [term.value]}


def _label_requirement(term: Requirement) -> Object:
    requirement: Object = {"key": term.key, "operator": _WORDS[term.operator]}
    if term.values:
        requirement["values"] = list(term.values)
    return requirement


def problems_of(resource: Object) -> fields.Errors:
    """What Kubernetes refuses about the selectors of a review's resourceAttributes."""
    problems: fields.Errors = []
    for kind in ("fieldSelector", "labelSelector"):
        given = resource.get(kind)
        if given is None:
            continue
        path = f"spec.resourceAttributes.{kind}"
        raw, requirements = given.get("rawSelector"), given.get("requirements") or ()
        if raw and requirements:
            why = "may not specified at the same time as requirements"
            problems.append(fields.invalid(f"{path}.rawSelector", raw, why))
        if not raw and not requirements:
            why = f"when {path} is specified, requirements or rawSelector is required"
            problems.append(fields.required(f"{path}.requirements", why))
        for index, requirement in enumerate(requirements):
            problems += _requirement_problems(requirement, f"{path}.requirements[{index}]", kind)
    return problems


def _requirement_problems(requirement: Object, path: str, kind: str) -> fields.Errors:
    problems: fields.Errors = []
    operator, values = str(requirement.get("operator") or ""), requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            problems.append(fields.required(f"{path}.values", why))
    elif operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        problems.append(fields.forbidden(f"{path}.values", why))
    key = str(requirement.get("key") or "")
    if kind == "fieldSelector":
        if not key:
            problems.append(fields.required(f"{path}.key", "must be specified"))
    else:
        problems += [fields.invalid(f"{path}.key", key, why) for why in selectors.label_key_errors(key)]
    return problems
