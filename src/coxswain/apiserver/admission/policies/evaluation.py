"""One policy's look at one request: its variables, what it may still spend, and errors in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from coxswain.api.cel import CALL_LIMIT, BudgetError, EvaluationError, Lazy
from coxswain.api.cel.admission import NAMESPACE
from coxswain.api.cel.running import LazyFields
from coxswain.api.cel.types import Declared
from coxswain.api.cel.values import parse_timestamp
from coxswain.api.fields import aggregate
from coxswain.api.names import Object
from coxswain.apiserver.admission.policies.compiled import Expression, Policy

#: What all expressions of a policy may cost for one binding and parameter, and what its conditions may.
BUDGET: Final = 10_000_000
CONDITIONS_BUDGET: Final = 2_500_000
OUT_OF_BUDGET: Final = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class EvaluationFailedError(Exception):
    """An expression that gave no value; the text is Kubernetes'."""


class OutOfBudgetError(EvaluationFailedError):
    """Nothing more may be evaluated."""


class Evaluation:
    """The variables of one evaluation; what is spent is spent for all its expressions."""

    def __init__(self, policy: Policy, values: Mapping[str, Any], budget: int = BUDGET) -> None:
        self._left = budget
        self._values = dict(values)
        self._values["variables"] = LazyFields(
            {each.name: Lazy(partial(self._variable, each)) for each in policy.variables}
        )

    def value(self, expression: Expression) -> Any:
        """The value. Raises ``EvaluationFailedError``."""
        if expression.program is None:
            raise EvaluationFailedError(f"compilation error: {expression.problem}")
        try:
            return self._run(expression)
        except BudgetError:
            raise OutOfBudgetError(OUT_OF_BUDGET) from None
        except EvaluationError as error:
            raise EvaluationFailedError(
                f"expression '{expression.text}' resulted in error: {error}"
            ) from None

    def _run(self, expression: Expression) -> Any:
        assert expression.program is not None
        limit = min(CALL_LIMIT, self._left)
        try:
            value, cost = expression.program.measured(self._values, limit)
        except EvaluationError as error:
            self._spend(error.spent)
            raise
        self._spend(cost)
        return value

    def _spend(self, cost: int) -> None:
        self._left -= cost
        if self._left < 0:
            raise BudgetError(OUT_OF_BUDGET)

    def _variable(self, variable: Expression) -> Any:
        name = f'composited variable "{variable.name}"'
        if variable.program is None:
            raise EvaluationError(f"{name} fails to compile: {variable.problem}")
        try:
            return self._run(variable)
        except BudgetError:
            raise
        except EvaluationError as error:
            raise EvaluationError(f"{name} fails to evaluate: {error}") from None


def conditions_hold(policy: Policy, values: Mapping[str, Any]) -> bool:
    """Whether all match conditions hold. Raises ``EvaluationFailedError`` where the policy fails closed."""
    if not policy.conditions:
        return True
    evaluation = Evaluation(policy, values, CONDITIONS_BUDGET)
    failures: list[str] = []
    for condition in policy.conditions:
        try:
            if evaluation.value(condition) is False:
                return False
        except OutOfBudgetError:
            if policy.fails_open:
                return False
            raise
        except EvaluationFailedError as failure:
            failures.append(str(failure))
    if not failures:
        return True
    if policy.fails_open:
        return False
    raise EvaluationFailedError(aggregate(failures))


def namespace_object(namespace: Object | None) -> Object | None:
    """A namespace as expressions see it: what its type says, times as times."""
    if namespace is None:
        return None
    made: Object = {}
    for part, declared in (NAMESPACE.fields or {}).items():
        made[part] = _picked(namespace.get(part) or {}, declared)
    metadata, given = made["metadata"], namespace.get("metadata") or {}
    if "uid" in given:
        metadata["UID"] = given["uid"]
    return made


def _picked(value: Any, declared: Declared) -> Any:
    if declared.kind == "object" and isinstance(value, dict):
        fields = declared.fields or {}
        return {name: _picked(value[name], below) for name, below in fields.items() if name in value}
    if declared.kind == "list" and declared.element is not None and isinstance(value, list):
        return [_picked(each, declared.element) for each in value]
    if declared.kind == "timestamp" and isinstance(value, str):
        return parse_timestamp(value)
    return value
