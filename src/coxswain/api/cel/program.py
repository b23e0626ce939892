"""Expressions compiled to functions: checked against declared variables, then run on values.

    program = compile_expression("self.a > oldSelf.a", {"self": type, "oldSelf": type})
    program.run({"self": {...}, "oldSelf": {...}})        raises ``EvaluationError``
    program.type, program.names                           the result's type ("dyn" if open), the variables used

Declared types are ``Declared`` trees (see ``declarations``); selecting a field that an object has not is found when the
expression is compiled, and so are unknown names and operators on types that they do not take. What is open (``dyn``) is
judged when it runs. Every step of a comprehension counts against a budget.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from coxswain.api.cel import functions
from coxswain.api.cel.parser import CelError, CelSyntaxError, Node, UInt, parse, report
from coxswain.api.cel.values import NOTHING, EvaluationError, Optional, equal, is_number, less, overload

Scope: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[Scope], Any]

#: Comprehension steps that one run may take.
BUDGET: Final = 1_000_000
_BUDGET_KEY: Final = "@budget"


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """A type: ``kind`` is bool, int, double, string ..., list, map, object or dyn."""

    kind: str
    element: Declared | None = None
    fields: Mapping[str, Declared] | None = None


DYN: Final = Declared("dyn")
BOOL: Final = Declared("bool")
INT: Final = Declared("int")
_SCALARS: Final = {
    name: Declared(name)
    for name in ("string", "double", "uint", "bytes", "null_type", "timestamp", "duration")
} | {"bool": BOOL, "int": INT}
_LITERALS: Final = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", UInt: "uint"}


class UnavailableError(CelError):
    """An expression that Kubernetes would accept and this server cannot run."""


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression."""

    type: str
    names: frozenset[str]
    _run: Run

    def run(self, variables: Mapping[str, Any], budget: int = BUDGET) -> Any:
        """The value for these variables. Raises ``EvaluationError``."""
        try:
            return self._run({**variables, _BUDGET_KEY: [budget]})
        except EvaluationError:
            raise
        except (AttributeError, TypeError, KeyError, IndexError, RecursionError):
            raise overload() from None
        except OverflowError:
            raise EvaluationError("integer overflow") from None


def compile_expression(text: str, variables: Mapping[str, Declared]) -> Program:
    """The program of an expression. Raises ``CelError`` with cel-go's report."""
    try:
        compiler = _Compiler(text)
        run, declared = compiler.compile(parse(text), dict(variables))
    except RecursionError:
        raise CelSyntaxError("ERROR: <input>:-1:0: expression recursion limit exceeded") from None
    return Program(declared.kind, frozenset(compiler.used), run)


_Made: TypeAlias = tuple[Run, Declared]


class _Compiler:
    def __init__(self, text: str) -> None:
        self._text = text
        self.used: set[str] = set()

    def _error(self, node: Node, message: str) -> CelError:
        return CelError(report(self._text, node.offset, message))

    def compile(self, node: Node, types: dict[str, Declared]) -> _Made:
        made: _Made = getattr(self, f"_{node.kind}")(node, types)
        return made

    def _const(self, node: Node, types: dict[str, Declared]) -> _Made:
        value = node.value
        return (lambda scope: value), _SCALARS[_LITERALS.get(type(value), "null_type")]

    def _ident(self, node: Node, types: dict[str, Declared]) -> _Made:
        name = node.name
        if name in types:
            self.used.add(name)
            return (lambda scope: scope[name]), types[name]
        if name in _TYPE_NAMES:
            return (lambda scope: _TYPE_NAMES[name]), DYN
        raise self._error(node, f"undeclared reference to '{name}' (in container '')")

    # -- fields, elements

    def _select(self, node: Node, types: dict[str, Declared]) -> _Made:
        inner, declared = self.compile(node.args[0], types)
        key, result = self._field(node, declared)
        if node.optional or declared.kind == "optional_type":
            return partial(_select_optional, inner, key), Declared("optional_type")
        return partial(_select_field, inner, key), result

    def _field(self, node: Node, declared: Declared) -> tuple[str, Declared]:
        if declared.kind == "object":
            key = unescape(node.name)
            found = (declared.fields or {}).get(key)
            if found is None:
                raise self._error(node, f"undefined field '{node.name}'")
            return key, found
        if declared.kind == "map":
            return node.name, declared.element or DYN
        if declared.kind not in ("dyn", "optional_type"):
            raise self._error(node, f"type '{declared.kind}' does not support field selection")
        return node.name, DYN

    def _index(self, node: Node, types: dict[str, Declared]) -> _Made:
        inner, declared = self.compile(node.args[0], types)
        position, _ = self.compile(node.args[1], types)
        if node.optional:
            return partial(_index_optional, inner, position), Declared("optional_type")
        return partial(_index_value, inner, position), declared.element or DYN

    def _list(self, node: Node, types: dict[str, Declared]) -> _Made:
        made = [self.compile(each, types) for each in node.args]
        runs = [run for run, _ in made]
        kinds = {declared.kind for _, declared in made}
        element = made[0][1] if len(kinds) == 1 else DYN
        return (lambda scope: [run(scope) for run in runs]), Declared("list", element)

    def _map(self, node: Node, types: dict[str, Declared]) -> _Made:
        runs = [self.compile(each, types)[0] for each in node.args]
        pairs = list(zip(runs[::2], runs[1::2], strict=True))
        return (lambda scope: {key(scope): value(scope) for key, value in pairs}), Declared("map", DYN)

    # -- calls

    def _call(self, node: Node, types: dict[str, Declared]) -> _Made:
        if node.target is None and node.name == "has" and len(node.args) == 1:
            return self._has(node, types)
        if node.target is not None and node.name in _MACROS and _is_macro(node):
            made: _Made = getattr(self, f"_macro_{_MACROS[node.name]}")(node, types)
            return made
        if node.name in _LOGIC:
            return self._logic(node, types)
        made_args = [self.compile(each, types) for each in node.args]
        if node.name in _OPERATORS:
            return self._operator(node, made_args)
        namespace = node.target.name if node.target is not None and node.target.kind == "ident" else ""
        if node.name in _UNAVAILABLE or (namespace in _UNAVAILABLE and namespace not in types):
            raise UnavailableError(
                report(self._text, node.offset, f"function '{node.name}' is not available in this server")
            )
        name = f"{namespace}.{node.name}"
        if namespace and namespace not in types and name in functions.FUNCTIONS:
            return self._function(functions.FUNCTIONS[name], name, made_args)
        if node.target is not None:
            made_args.insert(0, self.compile(node.target, types))
            found = functions.METHODS.get(node.name)
        else:
            found = functions.FUNCTIONS.get(node.name)
        if found is None:
            raise self._error(node, f"undeclared reference to '{node.name}' (in container '')")
        return self._function(found, node.name, made_args)

    def _function(self, function: Callable[..., Any], name: str, made: list[_Made]) -> _Made:
        runs = [run for run, _ in made]
        result = _SCALARS.get(functions.RESULTS.get(name, ""), DYN)
        if len(runs) == 1:
            only = runs[0]
            return (lambda scope: function(only(scope))), result
        return (lambda scope: function(*[run(scope) for run in runs])), result

    def _has(self, node: Node, types: dict[str, Declared]) -> _Made:
        field = node.args[0]
        if field.kind != "select":
            raise self._error(node, "invalid argument to has() macro")
        inner, declared = self.compile(field.args[0], types)
        key, _ = self._field(field, declared)

        def run(scope: Scope) -> bool:
            value = inner(scope)
            if isinstance(value, Optional):
                value = value.value if value.present else {}
            if not isinstance(value, dict):
                raise overload(value)
            return key in value

        return run, BOOL

    def _logic(self, node: Node, types: dict[str, Declared]) -> _Made:
        made = [self.compile(each, types) for each in node.args]
        conditions = made[:1] if node.name == "_?_:_" else made
        if any(declared.kind not in ("bool", "dyn") for _, declared in conditions):
            raise self._no_overload(node, made)
        runs = [run for run, _ in made]
        if node.name == "_?_:_":
            same = made[1][1] if made[1][1].kind == made[2][1].kind else DYN
            return partial(_choose, runs[0], runs[1], runs[2]), same
        return partial(_either if node.name == "_||_" else _both, runs[0], runs[1]), BOOL

    def _no_overload(self, node: Node, made: list[_Made]) -> CelError:
        kinds = ", ".join(declared.kind for _, declared in made)
        return self._error(node, f"found no matching overload for '{node.name}' applied to '({kinds})'")

    def _operator(self, node: Node, made: list[_Made]) -> _Made:
        operation, result = _OPERATORS[node.name]
        kinds = [declared.kind for _, declared in made]
        known = all(kind in _CHECKED for kind in kinds)
        if known and not _applies(node.name, kinds):
            raise self._no_overload(node, made)
        runs = [run for run, _ in made]
        declared = _SCALARS[result] if result else (made[0][1] if known else DYN)
        if kinds[0] == "list" and node.name == "_+_":
            declared = made[0][1]
        if len(runs) == 1:
            only = runs[0]
            return (lambda scope: operation(only(scope))), declared
        left, right = runs
        return (lambda scope: operation(left(scope), right(scope))), declared

    # -- macros

    def _comprehension(
        self, node: Node, types: dict[str, Declared], names: list[Node]
    ) -> tuple[Run, dict[str, Declared], Declared]:
        assert node.target is not None
        over, declared = self.compile(node.target, types)
        if declared.kind not in ("list", "map", "dyn", "object"):
            raise self._error(
                node.target,
                f"expression of type '{declared.kind}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        element = (declared.element or DYN) if declared.kind == "list" else DYN
        if declared.kind == "map":
            element = _SCALARS["string"]
        inside = {**types}
        for name in names:
            if name.kind != "ident":
                raise self._error(name, "argument must be a simple name")
            inside[name.name] = DYN if len(names) == 2 else element
        return over, inside, element

    def _macro_quantifier(self, node: Node, types: dict[str, Declared]) -> _Made:
        names = node.args[:-1]
        over, inside, _ = self._comprehension(node, types, names)
        test, declared = self.compile(node.args[-1], inside)
        if declared.kind not in ("bool", "dyn"):
            raise self._no_overload(node, [(test, declared)])
        quantify = {"all": _all, "exists": _exists}.get(node.name, _exists_one)
        return partial(quantify, over, [name.name for name in names], test), BOOL

    def _macro_map(self, node: Node, types: dict[str, Declared]) -> _Made:
        over, inside, element = self._comprehension(node, types, node.args[:1])
        name = [node.args[0].name]
        last, declared = self.compile(node.args[-1], inside)
        if node.name == "filter":
            return partial(_map, over, name, last, None), Declared("list", element)
        test = self.compile(node.args[1], inside)[0] if len(node.args) == 3 else None
        return partial(_map, over, name, test, last), Declared("list", declared)

    def _macro_optional(self, node: Node, types: dict[str, Declared]) -> _Made:
        assert node.target is not None
        inner, _ = self.compile(node.target, types)
        name = node.args[0].name
        body, _ = self.compile(node.args[1], {**types, name: DYN})
        flat = node.name == "optFlatMap"

        def run(scope: Scope) -> Any:
            value = inner(scope)
            if not isinstance(value, Optional):
                raise overload(value)
            if not value.present:
                return NOTHING
            made = body({**scope, name: value.value})
            return made if flat else Optional(True, made)

        return run, Declared("optional_type")

    def _macro_bind(self, node: Node, types: dict[str, Declared]) -> _Made:
        name = node.args[0].name
        value, declared = self.compile(node.args[1], types)
        body, result = self.compile(node.args[2], {**types, name: declared})
        return (lambda scope: body({**scope, name: value(scope)})), result


_MACROS: Final = {
    "all": "quantifier",
    "exists": "quantifier",
    "exists_one": "quantifier",
    "existsOne": "quantifier",
    "map": "map",
    "filter": "map",
    "optMap": "optional",
    "optFlatMap": "optional",
    "bind": "bind",
}


def _is_macro(node: Node) -> bool:
    count = len(node.args)
    kind = _MACROS[node.name]
    if kind == "bind":
        return count == 3 and node.target is not None and node.target.name == "cel"
    if kind == "optional":
        return count == 2
    if node.name in ("map", "all", "exists", "exists_one", "existsOne"):
        return count in (2, 3)
    return count == 2


_TYPE_NAMES: Final = {
    "int": "int", "uint": "uint", "double": "double", "bool": "bool", "string": "string", "bytes": "bytes",
    "list": "list", "map": "map", "null_type": "null_type", "type": "type",
}  # fmt: skip

_ESCAPES: Final = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_KEYWORDS: Final = (
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return",
)  # fmt: skip


def unescape(name: str) -> str:
    """A property's name from the form that CEL can say: ``a__dash__b`` is ``a-b``."""
    if "__" not in name:
        return name
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _KEYWORDS:
        return name[2:-2]
    out, position = [], 0
    while position < len(name):
        for written, meant in _ESCAPES.items():
            if name.startswith(written, position):
                out.append(meant)
                position += len(written)
                break
        else:
            out.append(name[position])
            position += 1
    return "".join(out)


# -- running


def _select_field(inner: Run, key: str, scope: Scope) -> Any:
    value = inner(scope)
    if type(value) is dict:
        if key in value:
            return value[key]
        raise EvaluationError(f"no such key: {key}")
    raise overload(value)


def _select_optional(inner: Run, key: str, scope: Scope) -> Optional:
    value = inner(scope)
    if isinstance(value, Optional):
        if not value.present:
            return NOTHING
        value = value.value
    return Optional(True, value[key]) if isinstance(value, dict) and key in value else NOTHING


def _index_value(inner: Run, position: Run, scope: Scope) -> Any:
    value, key = inner(scope), position(scope)
    if type(value) is list:
        if is_number(key) and key == int(key):
            if 0 <= key < len(value):
                return value[int(key)]
            raise EvaluationError(f"index out of bounds: {int(key)}")
    elif type(value) is dict:
        if key in value and not isinstance(key, list | dict):
            return value[key]
        raise EvaluationError(f"no such key: {key}")
    raise overload(value)


def _index_optional(inner: Run, position: Run, scope: Scope) -> Optional:
    value = inner(scope)
    if isinstance(value, Optional):
        if not value.present:
            return NOTHING
        value = value.value
    try:
        return Optional(True, _index_value(lambda _: value, position, scope))
    except EvaluationError:
        return NOTHING


def _both(left: Run, right: Run, scope: Scope) -> bool:
    return _absorb(left, right, scope, False)


def _either(left: Run, right: Run, scope: Scope) -> bool:
    return _absorb(left, right, scope, True)


def _no_bool(value: Any) -> bool:
    raise overload(value)


def _absorb(left: Run, right: Run, scope: Scope, decisive: bool) -> bool:
    """``&&`` and ``||``: one decisive side decides, even when the other goes wrong."""
    failure: Exception | None = None
    try:
        value = left(scope)
        if value is decisive:
            return bool(decisive)
        if type(value) is not bool:
            failure = overload(value)
    except (EvaluationError, TypeError, AttributeError, KeyError) as error:
        if isinstance(error, BudgetError):
            raise
        failure = error
    value = right(scope)
    if value is decisive:
        return bool(decisive)
    if failure is not None:
        raise failure
    return not decisive if type(value) is bool else _no_bool(value)


def _choose(condition: Run, then: Run, otherwise: Run, scope: Scope) -> Any:
    value: Any = condition(scope)
    if type(value) is not bool:
        raise overload(value)
    return then(scope) if value else otherwise(scope)


class BudgetError(EvaluationError):
    """Too many steps."""


def spend(scope: Scope, steps: int = 1) -> None:
    """Take steps off the budget. Raises ``BudgetError``."""
    left = scope[_BUDGET_KEY]
    left[0] -= steps
    if left[0] < 0:
        raise BudgetError("operation cancelled: actual cost limit exceeded")


def _scopes(over: Run, names: list[str], scope: Scope) -> list[Scope]:
    values = over(scope)
    if not isinstance(values, list | dict):
        raise overload(values)
    spend(scope, len(values) + 1)
    if len(names) == 2:
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        return [{**scope, names[0]: key, names[1]: value} for key, value in pairs]
    return [{**scope, names[0]: value} for value in values]


def _test(test: Run, scope: Scope) -> bool:
    value = test(scope)
    return value is True if type(value) is bool else _no_bool(value)


def _all(over: Run, names: list[str], test: Run, scope: Scope) -> bool:
    return not _some(over, names, test, scope, False)


def _exists(over: Run, names: list[str], test: Run, scope: Scope) -> bool:
    return _some(over, names, test, scope, True)


def _some(over: Run, names: list[str], test: Run, scope: Scope, wanted: bool) -> bool:
    failure: EvaluationError | None = None
    for inside in _scopes(over, names, scope):
        try:
            if _test(test, inside) is wanted:
                return True
        except BudgetError:
            raise
        except EvaluationError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return False


def _exists_one(over: Run, names: list[str], test: Run, scope: Scope) -> bool:
    return sum(_test(test, inside) for inside in _scopes(over, names, scope)) == 1


def _map(over: Run, names: list[str], test: Run | None, make: Run | None, scope: Scope) -> list[Any]:
    chosen = (inside for inside in _scopes(over, names, scope) if test is None or _test(test, inside))
    return [make(inside) if make is not None else inside[names[0]] for inside in chosen]


# -- operators


def _arithmetic(name: str) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        if is_number(left) and type(left) is type(right):
            return _numbers(name, left, right)
        if name == "+" and type(left) is type(right) and isinstance(left, str | bytes | list):
            return left + right
        times = (datetime.datetime, datetime.timedelta)
        if name in "+-" and isinstance(left, times) and isinstance(right, times):
            try:
                return left + right if name == "+" else left - right  # type: ignore[operator]
            except TypeError:
                pass
        raise overload(left, right)

    return apply


def _numbers(name: str, left: Any, right: Any) -> Any:
    if isinstance(left, float):
        if name == "/":
            return left / right if right else _divided_by_zero(left)
        if name == "%":
            raise overload(left, right)
        return left + right if name == "+" else left - right if name == "-" else left * right
    if name in "/%" and right == 0:
        raise EvaluationError("division by zero" if name == "/" else "modulus by zero")
    if name in "/%":
        quotient = abs(left) // abs(right) * (1 if (left < 0) is (right < 0) else -1)
        made = quotient if name == "/" else left - quotient * right
    else:
        made = left + right if name == "+" else left - right if name == "-" else left * right
    if isinstance(left, UInt):
        if not 0 <= made < 2**64:
            raise EvaluationError("unsigned integer overflow")
        return UInt(made)
    if not -(2**63) <= made < 2**63:
        raise EvaluationError("integer overflow")
    return int(made)


def _divided_by_zero(value: float) -> float:
    return float("nan") if value == 0 else float("inf") if value > 0 else float("-inf")


def _negate(value: Any) -> Any:
    if not is_number(value) or isinstance(value, UInt):
        raise overload(value)
    return -value


def _not(value: Any) -> bool:
    return value is False if type(value) is bool else _no_bool(value)


def _in(value: Any, values: Any) -> bool:
    if isinstance(values, list):
        return any(equal(value, each) for each in values)
    if isinstance(values, dict):
        return not isinstance(value, list | dict) and value in values
    raise overload(value, values)


_OPERATORS: Final[Mapping[str, tuple[Callable[..., Any], str]]] = {
    "_==_": (equal, "bool"),
    "_!=_": (lambda left, right: not equal(left, right), "bool"),
    "_<_": (less, "bool"),
    "_>_": (lambda left, right: less(right, left), "bool"),
    "_<=_": (lambda left, right: less(left, right) or equal(left, right), "bool"),
    "_>=_": (lambda left, right: less(right, left) or equal(left, right), "bool"),
    "@in": (_in, "bool"),
    "!_": (_not, "bool"),
    "-_": (_negate, ""),
    **{f"_{name}_": (_arithmetic(name), "") for name in "+-*/%"},
}
#: Functions and libraries that Kubernetes has and this server does not run yet.
_UNAVAILABLE: Final = frozenset(
    (
        *("base64", "jsonpatch", "semver", "isSemver", "major", "minor", "patch", "group", "resource"),
        *("subresource", "namespace", "name", "check", "allowed", "errored", "error", "reason", "path"),
        *("serviceAccount", "fieldSelector", "labelSelector", "validate", "dns1123Label", "dns1123Subdomain"),
        *("dns1035Label", "qualifiedName", "labelValue", "uri", "uuid", "byte", "date", "datetime", "named"),
    )
)
_LOGIC: Final = frozenset({"_&&_", "_||_", "_?_:_"})
#: Types that operators are checked for when an expression is compiled.
_CHECKED: Final = frozenset({"bool", "int", "uint", "double", "string", "bytes"})
_NUMERIC: Final = frozenset({"int", "uint", "double"})


def _applies(name: str, kinds: list[str]) -> bool:
    first, last = kinds[0], kinds[-1]
    if name == "!_":
        return first == "bool"
    if name == "-_":
        return first in ("int", "double")
    if name in ("_==_", "_!=_"):
        return first == last
    if name in ("_<_", "_<=_", "_>_", "_>=_"):
        return first == last or {first, last} <= _NUMERIC
    if name == "@in":
        return False
    if first != last:
        return False
    return (first in _NUMERIC and (name != "_%_" or first != "double")) or (
        name == "_+_" and first in ("string", "bytes")
    )
