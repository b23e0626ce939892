"""MutatingAdmissionPolicy: expressions that change an object on its way to the store, one after the other.

When one changed something, all mutating plugins run once more; of policies then those with ``reinvocationPolicy:
IfNeeded`` that ran before a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.policies.compiled import Binding, Policy, Source
from coxswain.apiserver.admission.policies.evaluation import (
    Evaluation,
    EvaluationFailedError,
    conditions_hold,
)
from coxswain.apiserver.admission.policies.matching import Matcher, Seen
from coxswain.apiserver.admission.policies.mutations import MutationError, mutated
from coxswain.apiserver.admission.policies.parameters import ParameterError, Parameters
from coxswain.apiserver.admission.policies.validating import Values
from coxswain.apiserver.admission.request import Operation, Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry

_IMAGE: Final = orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True)
class _Invocation:
    """One policy with one binding and one parameter."""

    policy: Policy
    binding: Binding
    seen: Seen
    param: Object | None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What tells it from all others."""
        metadata = (self.param or {}).get("metadata") or {}
        return (
            self.policy.name,
            self.binding.name,
            metadata.get("namespace") or "",
            metadata.get("name") or "",
        )


@dataclass(slots=True)
class _Rounds:
    """What one request's rounds remember (Kubernetes' ``policyReinvokeContext``)."""

    waiting: set[tuple[str, str, str, str]] = field(default_factory=set)
    again: set[tuple[str, str, str, str]] = field(default_factory=set)
    output: bytes = b""

    def changed(self) -> None:
        """What ran already and wants to know of changes is to run again."""
        self.again |= self.waiting
        self.waiting = set()


#: A policy, perhaps its binding, what went wrong, and the reason to give ("" : that of a refusal).
_Problem = tuple[Policy, Binding | None, str, str]


_NAME: Final = "MutatingAdmissionPolicy"


class MutatingPolicies:
    """See the module's text."""

    def __init__(
        self, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        self._source = Source(lookup, "mutatingadmissionpolicies")
        self._registry = registry
        self._versions = versions
        self._matcher = Matcher(lookup, versions)
        self._parameters = Parameters(lookup, registry)
        self._authorizer = authorizer

    def concern(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        """Whether some policy may be about such requests."""
        others = self._versions.equivalents(resource)
        return bool(self._source.concerned(operation, resource, subresource, others))

    def admit(self, request: Request) -> None:
        """Change ``request.object``. Raises ``ApiError`` for what cannot be done under failure policy Fail."""
        others = self._versions.equivalents(request.resource)
        policies = self._source.concerned(request.operation, request.resource, request.subresource, others)
        if not policies:
            return
        problems: list[_Problem] = []
        invocations = [found for policy in policies for found in self._bound(policy, request, problems)]
        if invocations and request.object is not None:
            self._invoke(invocations, request, problems)
        told = [problem for problem in problems if not problem[0].fails_open]
        if told:
            raise _refusal(request, told)

    def _bound(self, policy: Policy, request: Request, problems: list[_Problem]) -> list[_Invocation]:
        try:
            seen = self._matcher.match(policy.criteria, request)
            if seen is None:
                return []
            self._parameters.check(policy)
        except (errors.ApiError, ParameterError) as error:
            problems.append((policy, None, f"failed to configure policy: {_text(error)}", ""))
            return []
        found = []
        for binding in policy.bindings:
            try:
                if binding.criteria is not None and self._matcher.match(binding.criteria, request) is None:
                    continue
                params = self._parameters.collect(policy, binding, request.namespace)
            except (errors.ApiError, ParameterError) as error:
                problems.append((policy, binding, f"failed to configure binding: {_text(error)}", ""))
                continue
            found += [_Invocation(policy, binding, seen, param) for param in params]
        return found

    def _invoke(self, invocations: list[_Invocation], request: Request, problems: list[_Problem]) -> None:
        memory = request.memory = {} if request.memory is None else request.memory
        rounds: _Rounds = memory.setdefault(_NAME, _Rounds())
        if request.reinvoked and rounds.output and rounds.output != _image(request.object):
            rounds.changed()  # by the plugins that ran again before this one
        values = Values(self._matcher, self._authorizer, request)
        for invocation in invocations:
            if request.reinvoked and invocation.key not in rounds.again:
                continue
            if self._mutate(invocation, request, values, problems):
                rounds.changed()
                request.reinvoke = True
            if invocation.policy.reinvoked:
                rounds.waiting.add(invocation.key)
        rounds.output = b"" if request.reinvoked else _image(request.object)

    def _mutate(self, found: _Invocation, request: Request, values: Values, problems: list[_Problem]) -> bool:
        """Whether the object is another now."""
        policy, binding = found.policy, found.binding
        obj = self._matcher.shown(found.seen, request, request.object)
        assert obj is not None and request.object is not None
        before = _image(obj)
        try:
            if not conditions_hold(policy, values.of(found.seen, obj, found.param)):
                return False
        except EvaluationFailedError as failure:
            problems.append((policy, binding, str(failure), "Invalid"))
            return False
        entry = self._registry.get(found.seen.resource)
        own_type = entry.type if entry is not None and entry.gvk == found.seen.kind else None
        for mutation in policy.mutations:
            evaluation = Evaluation(policy, values.of(found.seen, obj, found.param))
            try:
                value = evaluation.value(mutation.change)
                obj = mutated(mutation, value, obj, own_type)
                obj = orjson.loads(orjson.dumps(obj))  # it shares parts with what it was made of
                obj = self._versions.settle(found.seen.resource, found.seen.kind, obj)
            except (EvaluationFailedError, MutationError, errors.ApiError) as failure:
                problems.append((policy, binding, _text(failure), "Invalid"))
        if before == _image(obj):
            return False
        if found.seen.resource != request.resource:
            obj = self._versions.convert(obj, found.seen.resource, request.resource)
        request.object.clear()
        request.object.update(obj)
        return True


def _text(error: Exception) -> str:
    return error.message if isinstance(error, errors.ApiError) else str(error)


def _refusal(request: Request, problems: list[_Problem]) -> errors.ApiError:
    messages = []
    for policy, binding, why, _ in problems:
        if binding is not None:
            messages.append(f"policy '{policy.name}' with binding '{binding.name}' denied request: {why}")
        else:
            messages.append(f'policy "{policy.name}" denied request: {why}')
    error = request.forbidden("admission request denied by policy")
    details = {**(error.details or {}), "causes": [{"message": message} for message in messages]}
    return errors.ApiError(
        messages[0], details=details, code=error.code, reason=problems[0][3] or error.reason
    )


def _image(obj: Object | None) -> bytes:
    return b"" if obj is None else orjson.dumps(obj, option=_IMAGE)
