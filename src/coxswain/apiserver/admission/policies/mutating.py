"""MutatingAdmissionPolicy: expressions that change an object on its way to the store, one after the other.

When one changed something, all mutating plugins run once more; of policies then those with ``reinvocationPolicy:
IfNeeded`` that ran before a change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.admission.policies.compiled import Binding, Policy
from coxswain.apiserver.admission.policies.evaluation import (
    Evaluation,
    EvaluationFailedError,
    conditions_hold,
)
from coxswain.apiserver.admission.policies.matching import Seen
from coxswain.apiserver.admission.policies.meeting import MisconfiguredError, Policies, Values, configuring
from coxswain.apiserver.admission.policies.mutations import MutationError, mutated
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.rounds import Rounds, image
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry


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


_NAME: Final = "MutatingAdmissionPolicy"

#: A policy, perhaps its binding, what went wrong, and the reason to give ("" : that of a refusal).
_Problem = tuple[Policy, Binding | None, str, str]


class MutatingPolicies(Policies):
    """See the module's text."""

    def __init__(
        self, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        super().__init__("mutatingadmissionpolicies", lookup, registry, versions, authorizer)

    def admit(self, request: Request) -> None:
        """Change ``request.object``. Raises ``ApiError`` for what cannot be done under failure policy Fail."""
        policies = self._concerned(request.operation, request.resource, request.subresource)
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
            seen = self._seen(policy, request)
        except MisconfiguredError as error:
            problems.append((policy, None, str(error), ""))
            return []
        if seen is None:
            return []
        found = []
        for binding in policy.bindings:
            try:
                with configuring("binding"):
                    params = self._params(policy, binding, request)
            except MisconfiguredError as error:
                problems.append((policy, binding, str(error), ""))
                continue
            found += [_Invocation(policy, binding, seen, param) for param in params]
        return found

    def _invoke(self, invocations: list[_Invocation], request: Request, problems: list[_Problem]) -> None:
        rounds = Rounds.begin(request, _NAME)
        values = Values(self._matcher, self._authorizer, request)
        for invocation in invocations:
            if rounds.passes_over(request, invocation.key):
                continue
            changed = self._mutate(invocation, request, values, problems)
            rounds.note(request, invocation.key, changed=changed, wants_to_know=invocation.policy.reinvoked)
        rounds.end(request)

    def _mutate(self, found: _Invocation, request: Request, values: Values, problems: list[_Problem]) -> bool:
        """Whether the object is another now."""
        policy, binding = found.policy, found.binding
        obj = self._matcher.shown(found.seen, request, request.object)
        assert obj is not None and request.object is not None
        before = image(obj)
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
                problems.append((policy, binding, str(failure), "Invalid"))
        if before == image(obj):
            return False
        if found.seen.resource != request.resource:
            obj = self._versions.convert(obj, found.seen.resource, request.resource)
        request.object.clear()
        request.object.update(obj)
        return True


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
