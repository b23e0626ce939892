"""Policies and their bindings, compiled; a ``Source`` compiles them again only when one of them has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from coxswain.api.cel.admission import RETURNS, AdmissionExpressionError, Environment, compile_for
from coxswain.api.cel.program import Program
from coxswain.api.cel.types import BOOL, DYN, NULL, STRING, Declared
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.policies.matching import Criteria
from coxswain.apiserver.lookup import Lookup

GROUP: Final = "admissionregistration.k8s.io"
#: Reviews are questions, not writes: no policy is asked about them.
_REVIEWS: Final = frozenset(
    {
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
    }
)


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with its program, or why there is none."""

    text: str
    program: Program | None
    problem: str = ""
    #: Of a condition, a variable, an audit annotation's key.
    name: str = ""


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation of a policy."""

    check: Expression
    message: Expression | None
    #: What is said where there is no message expression, or none that works; may be empty.
    words: str
    reason: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mutation of a policy; ``kind`` is ApplyConfiguration or JSONPatch."""

    kind: str
    change: Expression


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding of a policy."""

    name: str
    criteria: Criteria | None
    params: Object | None
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy with its bindings, by name."""

    name: str
    criteria: Criteria
    fails_open: bool
    param_kind: Object | None
    conditions: tuple[Expression, ...]
    variables: tuple[Expression, ...]
    validations: tuple[Validation, ...] = ()
    annotations: tuple[Expression, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    reinvoked: bool = False
    bindings: tuple[Binding, ...] = field(default=())


def compile_policy(policy: Object, bindings: Iterable[Object]) -> Policy:
    """A policy and its bindings, as they are stored."""
    spec = policy.get("spec") or {}
    mutating = policy.get("kind") == "MutatingAdmissionPolicy" or "mutations" in spec
    base = Environment(params=spec.get("paramKind") is not None)
    known: dict[str, Declared] = {}
    variables = []
    for variable in spec.get("variables") or ():
        made = _expression(variable.get("expression"), base.knowing(known), None, variable.get("name"))
        known[str(variable.get("name"))] = made.program.declared if made.program is not None else DYN
        variables.append(made)
    inside = base.knowing(known)
    quiet = Environment(params=base.params, authorizer=False).knowing(known)
    return Policy(
        name=policy["metadata"]["name"],
        criteria=Criteria.compile(spec.get("matchConstraints") or {}),
        fails_open=spec.get("failurePolicy") == "Ignore",
        param_kind=spec.get("paramKind"),
        conditions=tuple(
            _expression(each.get("expression"), base, (BOOL,), each.get("name"))
            for each in spec.get("matchConditions") or ()
        ),
        variables=tuple(variables),
        validations=tuple(_validation(each, inside, quiet) for each in spec.get("validations") or ()),
        annotations=tuple(
            _expression(each.get("valueExpression"), inside, (STRING, NULL), each.get("key"))
            for each in spec.get("auditAnnotations") or ()
        ),
        mutations=tuple(_mutation(each, base, known) for each in spec.get("mutations") or ())
        if mutating
        else (),
        reinvoked=spec.get("reinvocationPolicy") == "IfNeeded",
        bindings=tuple(_binding(each) for each in bindings),
    )


def _expression(
    text: str | None, environment: Environment, returns: tuple[Declared, ...] | None, name: str | None = None
) -> Expression:
    text = str(text or "")
    try:
        return Expression(text, compile_for(text, environment, returns), name=str(name or ""))
    except AdmissionExpressionError as error:
        return Expression(text, None, str(error), str(name or ""))


def _validation(raw: Object, inside: Environment, quiet: Environment) -> Validation:
    message = raw.get("messageExpression")
    return Validation(
        _expression(raw.get("expression"), inside, (BOOL,)),
        _expression(message, quiet, (STRING,)) if message else None,
        str(raw.get("message") or "").strip(),
        str(raw.get("reason") or "Invalid"),
    )


def _mutation(raw: Object, base: Environment, known: Mapping[str, Declared]) -> Mutation:
    kind = str(raw.get("patchType") or "")
    body = raw.get("applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch") or {}
    environment = Environment(params=base.params, mutation=True).knowing(known)
    returns = (RETURNS[kind],) if kind in RETURNS else None
    return Mutation(kind, _expression(body.get("expression"), environment, returns))


def _binding(raw: Object) -> Binding:
    spec = raw.get("spec") or {}
    match = spec.get("matchResources")
    return Binding(
        raw["metadata"]["name"],
        Criteria.compile(match) if match is not None else None,
        spec.get("paramRef"),
        tuple(spec.get("validationActions") or ()),
    )


class Source:
    """The bound policies of one kind, as of now."""

    def __init__(self, lookup: Lookup, policies: str) -> None:
        """``policies``: the resource, "validatingadmissionpolicies" or "mutatingadmissionpolicies"."""
        self.policies_gvr, self.bindings_gvr = resources(policies)
        self._lookup = lookup
        self._state = (-1, -1)
        self._policies: tuple[Policy, ...] = ()
        self._concerned: dict[tuple[str, GVR, str], tuple[Policy, ...]] = {}

    def concerned(
        self, operation: str, resource: GVR, subresource: str, others: Iterable[GVR] = ()
    ) -> tuple[Policy, ...]:
        """The bound policies that may be about such requests; ``others`` are equivalent resources."""
        state = (self._lookup.generation(self.policies_gvr), self._lookup.generation(self.bindings_gvr))
        if state != self._state:
            self._policies = self._compile()
            self._state = state
            self._concerned.clear()
        key = (operation, resource, subresource)
        found = self._concerned.get(key)
        if found is None:
            found = ()
            if resource.group != GROUP and (resource.group, resource.resource) not in _REVIEWS:
                around = tuple(others)
                found = tuple(
                    policy
                    for policy in self._policies
                    if policy.criteria.could_match(operation, resource, subresource, around)
                )
            self._concerned[key] = found
        return found

    def _compile(self) -> tuple[Policy, ...]:
        bindings: dict[str, list[Object]] = {}
        for binding in self._lookup.list(self.bindings_gvr):
            bindings.setdefault(str((binding.get("spec") or {}).get("policyName")), []).append(binding)
        return tuple(
            compile_policy(policy, bindings[policy["metadata"]["name"]])
            for policy in self._lookup.list(self.policies_gvr)
            if policy["metadata"]["name"] in bindings
        )


def resources(policies: str) -> tuple[GVR, GVR]:
    """The resources of policies and of their bindings."""
    bindings = policies.removesuffix("policies") + "policybindings"
    return GVR(GROUP, "v1", policies), GVR(GROUP, "v1", bindings)
