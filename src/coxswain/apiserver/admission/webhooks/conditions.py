"""Match conditions: CEL expressions that all have to be true before a webhook is asked.

Variables are ``object``, ``oldObject``, ``request`` (the AdmissionRequest) and ``authorizer``. One that is false
settles the matter; where one fails instead, the failure policy does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coxswain.api.names import Object

if TYPE_CHECKING:
    from coxswain.api.cel import Program

_VARIABLES = ("object", "oldObject", "request", "authorizer")


class ConditionFailedError(Exception):
    """Conditions that could not be judged, under failure policy Fail; the text is Kubernetes'."""


@dataclass(frozen=True, slots=True)
class _Condition:
    name: str
    expression: str
    #: The program, or why there is none.
    program: Program | str

    def judge(self, variables: Mapping[str, Any]) -> bool:
        """Raises ``ConditionFailedError``."""
        from coxswain.api import cel

        if isinstance(self.program, str):
            raise ConditionFailedError(f"compilation error: {self.program}")
        try:
            return bool(self.program.run(variables))
        except cel.EvaluationError as error:
            raise ConditionFailedError(f"expression '{self.expression}' resulted in error: {error}") from None


def _compile(condition: Object) -> _Condition:
    # Here, because a server without such conditions need not load the language.
    from coxswain.api import cel

    expression = str(condition.get("expression") or "")
    program: Program | str
    try:
        program = cel.compile_expression(expression, dict.fromkeys(_VARIABLES, cel.DYN))
    except cel.CelError as error:
        program = str(error)
    return _Condition(str(condition.get("name") or ""), expression, program)


class Conditions:
    """The conditions of one webhook."""

    def __init__(self, conditions: Iterable[Object], *, fails_open: bool) -> None:
        self._conditions = tuple(_compile(condition) for condition in conditions)
        self._fails_open = fails_open

    def __bool__(self) -> bool:
        return bool(self._conditions)

    def hold(self, variables: Callable[[], Mapping[str, Any]]) -> bool:
        """Whether the webhook is to be asked. Raises ``ConditionFailedError``."""
        if not self._conditions:
            return True
        values = variables()
        failures: list[str] = []
        for condition in self._conditions:
            try:
                if not condition.judge(values):
                    return False
            except ConditionFailedError as failure:
                failures.append(str(failure))
        if not failures:
            return True
        if self._fails_open:
            return False
        unique = list(dict.fromkeys(failures))
        raise ConditionFailedError(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
