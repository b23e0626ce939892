"""Expressions compiled to functions: checked against declared variables, then run on values.

    program = compile_expression("self.a > oldSelf.a", {"self": type, "oldSelf": type})
    program.run({"self": {...}, "oldSelf": {...}})        raises ``EvaluationError``
    program.type, program.declared, program.names         the result's type ("dyn" if open), the variables used
    program.estimate                                      what running it costs, from least to most

Declared types are ``Declared`` trees. What cannot be is found when an expression is compiled; what is open (``dyn``) is
judged when it runs. A run that costs more than its limit ends with ``BudgetError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from coxswain.api.cel.costs import Range
from coxswain.api.cel.parser import CelSyntaxError, parse
from coxswain.api.cel.running import BUDGET, MISMATCHES, Run
from coxswain.api.cel.types import DYN, Declared
from coxswain.api.cel.values import EvaluationError, overload

#: What one run may cost (apiserver's ``PerCallLimit``).
CALL_LIMIT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression."""

    type: str
    declared: Declared
    names: frozenset[str]
    estimate: Range
    _run: Run

    def run(self, variables: Mapping[str, Any], limit: int = CALL_LIMIT) -> Any:
        """The value for these variables. Raises ``EvaluationError``."""
        return self.measured(variables, limit)[0]

    def measured(self, variables: Mapping[str, Any], limit: int = CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost. What raises has ``spent`` as well."""
        left = [limit]
        try:
            return self._run({**variables, BUDGET: left}), limit - left[0]
        except EvaluationError as error:
            error.spent = limit - left[0]
            raise
        except (*MISMATCHES, RecursionError):
            failure = overload()
        except OverflowError:
            failure = EvaluationError("integer overflow")
        failure.spent = limit - left[0]
        raise failure


def compile_expression(
    text: str,
    variables: Mapping[str, Declared],
    *,
    structs: Any = None,
    mutation: bool = False,
) -> Program:
    """The program of an expression. Raises ``CelError`` with cel-go's report.

    ``structs``: from a struct's name to the types of its fields, or None. ``mutation``: with the functions of mutations.
    """
    from coxswain.api.cel.compiler import Compiler, Local

    env = {name: Local(declared, reached=True) for name, declared in variables.items()}
    root = variables.get("self", DYN)
    try:
        compiler = Compiler(text, root, structs, mutation)
        made = compiler.whole(parse(text), env)
    except RecursionError:
        raise CelSyntaxError("ERROR: <input>:-1:0: expression recursion limit exceeded") from None
    return Program(made.type.kind, made.type, frozenset(compiler.used & set(variables)), made.cost, made.run)
