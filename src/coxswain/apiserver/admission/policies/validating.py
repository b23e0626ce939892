"""ValidatingAdmissionPolicy: expressions that have to be true of a request.

Each binding says what is done where one is not: Deny refuses, Warn tells the client, Audit notes it. What cannot be
evaluated or configured is decided by the failure policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.admission.policies import metrics
from coxswain.apiserver.admission.policies.compiled import Binding, Expression, Policy, Validation
from coxswain.apiserver.admission.policies.evaluation import (
    Evaluation,
    EvaluationFailedError,
    OutOfBudgetError,
    conditions_hold,
)
from coxswain.apiserver.admission.policies.matching import Seen
from coxswain.apiserver.admission.policies.meeting import MisconfiguredError, Policies, Values, configuring
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry
from coxswain.base import clock

_MAX_MESSAGE: Final = 5 * 1024
_MAX_ANNOTATION: Final = 10 * 1024
_MAX_FAILURES: Final = 50
_FAILURES: Final = "validation.policy.admission.k8s.io/validation_failure"
_CODES: Final = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class _Denial:
    """A validation that does not hold (or could not be told), and what is said."""

    message: str
    reason: str = ""
    index: int = 0
    #: For the metrics: what went wrong, and how long it took.
    error: str = metrics.NO_ERROR
    seconds: float = 0.0
    #: Could not be told, and the policy lets that pass.
    ignored: bool = False


@dataclass(slots=True)
class _Outcome:
    """What the policies say of one request."""

    denied: list[tuple[Policy, Binding | None, _Denial]] = field(default_factory=list)
    failures: list[Object] = field(default_factory=list)

    def misconfigured(self, policy: Policy, binding: Binding | None, error: MisconfiguredError) -> None:
        """Deny for what could not even be evaluated, unless the policy fails open."""
        if not policy.fails_open:
            self.denied.append((policy, binding, _Denial(str(error))))


class ValidatingPolicies(Policies):
    """See the module's text."""

    def __init__(
        self, lookup: Lookup, registry: Registry, versions: Versions, authorizer: Authorizer
    ) -> None:
        super().__init__("validatingadmissionpolicies", lookup, registry, versions, authorizer)

    def validate(self, request: Request) -> None:
        """Raises ``ApiError`` for what a policy denies."""
        policies = self._concerned(request.operation, request.resource, request.subresource)
        if not policies:
            return
        outcome = _Outcome()
        values = Values(self._matcher, self._authorizer, request)
        for policy in policies:
            self._judge(policy, request, values, outcome)
        if outcome.failures:
            request.annotations[_FAILURES] = orjson.dumps(outcome.failures[:_MAX_FAILURES]).decode()
        if outcome.denied:
            raise _refusal(request, *outcome.denied[0])

    def _judge(self, policy: Policy, request: Request, values: Values, outcome: _Outcome) -> None:
        try:
            seen = self._seen(policy, request)
        except MisconfiguredError as error:
            outcome.misconfigured(policy, None, error)
            return
        if seen is None:
            return
        notes: dict[str, list[str]] = {}
        for binding in policy.bindings:
            try:
                self._bound(policy, binding, seen, request, values, outcome, notes)
            except MisconfiguredError as error:
                outcome.misconfigured(policy, binding, error)
        for key, texts in notes.items():
            request.annotations[f"{policy.name}/{key}"] = ", ".join(texts)

    def _bound(
        self,
        policy: Policy,
        binding: Binding,
        seen: Seen,
        request: Request,
        values: Values,
        outcome: _Outcome,
        notes: dict[str, list[str]],
    ) -> None:
        with configuring("binding"):
            params = self._params(policy, binding, request)
            obj = self._matcher.shown(seen, request, request.object) if params else None
        for param in params:
            seen_values = values.of(seen, obj, param)
            for denial in _validations(policy, seen_values):
                _act(policy, binding, denial, request, outcome)
            for key, text, problem in _annotations(policy, seen_values):
                if problem:
                    outcome.denied.append((policy, binding, _Denial(problem)))
                elif text not in notes.setdefault(key, []):
                    notes[key].append(text)


def _act(policy: Policy, binding: Binding, denial: _Denial, request: Request, outcome: _Outcome) -> None:
    for action in ("Allow",) if denial.ignored else binding.actions:
        metrics.checked(policy.name, binding.name, denial.error, action.lower(), denial.seconds)
        if action == "Deny":
            outcome.denied.append((policy, binding, denial))
        elif action == "Warn":
            request.warnings.append(
                f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding "
                f"'{binding.name}': {denial.message}"
            )
        elif action == "Audit":
            outcome.failures.append(
                {
                    "message": denial.message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": denial.index,
                    "validationActions": list(binding.actions),
                }
            )


def _refusal(request: Request, policy: Policy, binding: Binding | None, denial: _Denial) -> errors.ApiError:
    bound = f" with binding '{binding.name}'" if binding is not None else ""
    message = f"ValidatingAdmissionPolicy '{policy.name}'{bound} denied request: {denial.message}"
    error = request.forbidden(message)
    reason = denial.reason or "Invalid"
    details = {**(error.details or {}), "causes": [{"message": message}]}
    return errors.ApiError(error.message, details=details, code=_CODES.get(reason, 422), reason=reason)


# -- what expressions say


def _validations(policy: Policy, values: dict[str, Any]) -> list[_Denial]:
    """What does not hold, or could not be told under failure policy Fail."""
    try:
        if not conditions_hold(policy, values):
            return []
    except EvaluationFailedError as failure:
        return [_Denial(str(failure), error=metrics.INVALID)]
    evaluation = Evaluation(policy, values)
    ignored = policy.fails_open
    found: list[tuple[int, Validation, Any, str, float]] = []
    try:
        for index, validation in enumerate(policy.validations):
            started, value, problem = clock.monotonic(), None, ""
            try:
                value = evaluation.value(validation.check)
            except OutOfBudgetError:
                raise
            except EvaluationFailedError as failure:
                problem = str(failure)
            found.append((index, validation, value, problem, clock.monotonic() - started))
    except OutOfBudgetError as failure:
        return [_Denial(str(failure), error=metrics.OUT_OF_BUDGET, ignored=ignored)]
    denials = []
    for index, validation, value, problem, seconds in found:
        if problem:
            denials.append(_Denial(problem, "", index, metrics.INVALID, seconds, ignored))
        elif value is not True:
            words = _message(validation, evaluation)
            denials.append(_Denial(words, validation.reason, index, seconds=seconds))
    return denials


def _message(validation: Validation, evaluation: Evaluation) -> str:
    if validation.message is not None:
        try:
            made = evaluation.value(validation.message)
        except EvaluationFailedError:
            made = None
        text = made.strip() if isinstance(made, str) else ""
        if text and len(text.encode()) <= _MAX_MESSAGE and "\n" not in text:
            return text
    return validation.words or f"failed expression: {validation.check.text.strip()}"


def _annotations(policy: Policy, values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Key, text and problem of each audit annotation that has something to say."""
    if not policy.annotations:
        return
    try:
        if not conditions_hold(policy, values):
            return
    except EvaluationFailedError:
        return
    evaluation = Evaluation(policy, values)
    for annotation in policy.annotations:
        yield from _annotation(policy, annotation, evaluation)


def _annotation(
    policy: Policy, annotation: Expression, evaluation: Evaluation
) -> Iterator[tuple[str, str, str]]:
    try:
        value = evaluation.value(annotation)
    except EvaluationFailedError as failure:
        if not policy.fails_open:
            yield annotation.name, "", str(failure)
        return
    if isinstance(value, str) and value.strip():
        yield annotation.name, value.strip().encode()[:_MAX_ANNOTATION].decode(errors="ignore"), ""
