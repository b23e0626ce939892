"""The Common Expression Language, as Kubernetes has it: ``x-kubernetes-validations`` and admission policies are written in it.

    parser      text -> tree, with cel-go's complaints about syntax
    program     tree -> checked, compiled functions; macros, operators, fields
    values      what values are, their equality, order and text
    functions   the standard functions and Kubernetes' libraries

Regular expressions are Python's, in RE2's spelling (``api.patterns``). Costs are counted in comprehension steps, not
in cel-go's units; there is no estimate before an expression runs. Calls of the authorizer, formats and semantic versions are not here yet:
``UnavailableError``.
"""

from coxswain.api.cel.parser import CelError, CelSyntaxError
from coxswain.api.cel.program import BOOL, DYN, Declared, Program, UnavailableError, compile_expression
from coxswain.api.cel.values import EvaluationError, Optional

__all__ = [
    "BOOL",
    "DYN",
    "CelError",
    "CelSyntaxError",
    "Declared",
    "EvaluationError",
    "Optional",
    "Program",
    "UnavailableError",
    "compile_expression",
]
