"""The Common Expression Language, as Kubernetes has it: ``x-kubernetes-validations`` and admission policies are written in it.

    parser        text -> tree, with cel-go's complaints about syntax
    types         what the checker knows of a value; ``declarations``: which functions there are
    compiler      tree -> checked functions and their estimated cost; ``macros``: all, exists, map, cel.bind ...
    running       what the functions are made of; costs are counted while they run
    costs         cel-go's and Kubernetes' units, estimated and actual
    values        what values are, their equality, order and text
    operators, functions, kubernetes, authorizer    the libraries

Regular expressions are Python's, in RE2's spelling (``api.patterns``).
"""

from coxswain.api.cel.costs import Range
from coxswain.api.cel.parser import CelError, CelProgramError, CelSyntaxError
from coxswain.api.cel.program import CALL_LIMIT, Program, compile_expression
from coxswain.api.cel.running import Lazy
from coxswain.api.cel.types import BOOL, DYN, Declared
from coxswain.api.cel.values import BudgetError, EvaluationError, Optional

__all__ = [
    "BOOL",
    "CALL_LIMIT",
    "DYN",
    "BudgetError",
    "CelError",
    "CelProgramError",
    "CelSyntaxError",
    "Declared",
    "EvaluationError",
    "Lazy",
    "Optional",
    "Program",
    "Range",
    "compile_expression",
]
