"""Match conditions: CEL expressions that all have to be true before a webhook is asked.

Variables are ``object``, ``oldObject``, ``request`` (the AdmissionRequest) and ``authorizer``;
``namespaceObject`` is null. One that is false settles the matter; where one fails instead, the failure policy does.
All of a webhook's share one budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coxswain.api.fields import aggregate
from coxswain.api.names import Object

if TYPE_CHECKING:
    from coxswain.api.cel import Program

#: What the conditions of one webhook may cost for one request (apiserver's ``RuntimeCELCostBudgetMatchConditions``).
_BUDGET = 2_500_000


class ConditionFailedError(Exception):
    """Conditions that could not be judged, under failure policy Fail; the text is Kubernetes'."""


@dataclass(frozen=True, slots=True)
class _Condition:
    name: str
    expression: str
    #: The program, or why there is none.
    program: Program | str

    def judge(self, variables: Mapping[str, Any], budget: int) -> tuple[bool, int]:
        """The value, and what is left of the budget. Raises ``ConditionFailedError``."""
        from coxswain.api import cel

        if isinstance(self.program, str):
            raise ConditionFailedError(f"compilation error: {self.program}")
        try:
            value, cost = self.program.measured(variables, min(budget, cel.CALL_LIMIT))
        except cel.EvaluationError as error:
            raise ConditionFailedError(f"expression '{self.expression}' resulted in error: {error}") from None
        return bool(value), budget - cost


def _compile(condition: Object) -> _Condition:
    # Here, because a server without such conditions need not load the language.
    from coxswain.api.cel.admission import AdmissionExpressionError, Environment, compile_for

    expression = str(condition.get("expression") or "")
    program: Program | str
    try:
        program = compile_for(expression, Environment())
    except AdmissionExpressionError as error:
        program = str(error)
    return _Condition(str(condition.get("name") or ""), expression, program)


class Conditions:
    """The conditions of one webhook."""

    def __init__(self, conditions: Iterable[Object], *, fails_open: bool) -> None:
        self._conditions = tuple(_compile(condition) for condition in conditions)
        self._fails_open = fails_open

    def hold(self, variables: Callable[[], Mapping[str, Any]]) -> bool:
        """Whether the webhook is to be asked. Raises ``ConditionFailedError``."""
        if not self._conditions:
            return True
        values = variables()
        failures: list[str] = []
        budget = _BUDGET
        for condition in self._conditions:
            try:
                value, budget = condition.judge(values, budget)
            except ConditionFailedError as failure:
                failures.append(str(failure))
                continue
            if not value:
                return False
        if not failures:
            return True
        if self._fails_open:
            return False
        raise ConditionFailedError(aggregate(failures))
