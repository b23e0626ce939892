"""What compiled expressions are made of: functions from a scope (variables by name, and the budget) to a value.

Every step pays for itself from the budget, in cel-go's units; ``BudgetError`` ends an expression that has spent it.
Errors of one side of ``&&``, ``||`` and of elements in ``all`` and ``exists`` are forgotten where the rest decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from coxswain.api.cel.costs import IDENT, NEW_LIST, NEW_MAP, Meter
from coxswain.api.cel.values import (
    NOTHING,
    BudgetError,
    EvaluationError,
    Optional,
    Struct,
    is_number,
    overload,
)

Scope: TypeAlias = dict[str, Any]
Run: TypeAlias = Callable[[Scope], Any]

#: Where a scope keeps what may still be spent: a list of one number.
BUDGET: Final = "@budget"
#: What goes wrong inside functions that were given values of other types.
MISMATCHES: Final = (TypeError, AttributeError, KeyError, IndexError, ValueError)


def spend(scope: Scope, cost: int = 1) -> None:
    """Pay. Raises ``BudgetError``."""
    left = scope[BUDGET]
    left[0] -= cost
    if left[0] < 0:
        raise BudgetError


# -- names, fields, elements


def variable(name: str, scope: Scope) -> Any:
    """The value of a variable."""
    spend(scope)
    value = scope[name]
    return value.value() if type(value) is Lazy else value


class Lazy:
    """A variable that is worked out when it is first asked for, and then kept."""

    __slots__ = ("_done", "_make", "_value")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._done = False
        self._value: Any = None

    def value(self) -> Any:
        """The value. Raises what making it raised, each time."""
        if not self._done:
            try:
                self._value = (True, self._make())
            except EvaluationError as error:
                self._value = (False, error)
            self._done = True
        good, value = self._value
        if not good:
            raise value
        return value


class LazyFields:
    """An object whose fields are worked out when they are asked for, each once."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Lazy]) -> None:
        self._fields = fields

    def get(self, name: str) -> Any:
        """A field's value."""
        found = self._fields.get(name)
        if found is None:
            raise EvaluationError(f"no such key: {name}")
        return found.value()

    def has(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in self._fields


def select(inner: Run, key: str, scope: Scope) -> Any:
    """``value.key``."""
    value = inner(scope)
    spend(scope)
    if type(value) is dict:
        if key in value:
            return value[key]
        raise EvaluationError(f"no such key: {key}")
    if type(value) is LazyFields:
        return value.get(key)
    if type(value) is Optional:
        return _field(value.value, key) if value.present else NOTHING
    if type(value) is Struct:
        return select(lambda _: value.fields, key, scope)
    raise overload(value)


def _field(value: Any, key: str) -> Optional:
    return Optional(True, value[key]) if type(value) is dict and key in value else NOTHING


def select_optional(inner: Run, key: str, scope: Scope) -> Optional:
    """``value.?key``, and every selection after one."""
    value = inner(scope)
    spend(scope)
    if type(value) is Optional:
        if not value.present:
            return NOTHING
        value = value.value
    return _field(value, key)


def present(inner: Run, key: str, scope: Scope) -> bool:
    """``has(value.key)``."""
    value = inner(scope)
    if type(value) is Optional:
        value = value.value if value.present else {}
    if type(value) is LazyFields:
        return value.has(key)
    if type(value) is Struct:
        value = value.fields
    if type(value) is not dict:
        raise overload(value)
    return key in value


def element(value: Any, key: Any) -> Any:
    """``value[key]``."""
    if isinstance(value, list):
        if is_number(key) and key == int(key):
            if 0 <= key < len(value):
                return value[int(key)]
            raise EvaluationError(f"index out of bounds: {int(key)}")
    elif type(value) is dict:
        if type(key) not in (list, dict) and key in value:
            return value[key]
        raise EvaluationError(f"no such key: {key}")
    raise overload(value)


def index(inner: Run, position: Run, scope: Scope) -> Any:
    """``value[key]``."""
    value, key = inner(scope), position(scope)
    spend(scope)
    return element(value, key)


def index_optional(inner: Run, position: Run, scope: Scope) -> Optional:
    """``value[?key]``, and every index after an optional selection."""
    value, key = inner(scope), position(scope)
    spend(scope)
    if type(value) is Optional:
        if not value.present:
            return NOTHING
        value = value.value
    try:
        return Optional(True, element(value, key))
    except EvaluationError:
        return NOTHING


# -- literals


def make_list(runs: Sequence[tuple[Run, bool]], scope: Scope) -> list[Any]:
    """``[a, ?b]``."""
    made = []
    for run, maybe in runs:
        value = run(scope)
        if not maybe:
            made.append(value)
        elif type(value) is not Optional:
            raise overload(value)
        elif value.present:
            made.append(value.value)
    spend(scope, NEW_LIST)
    return made


def make_map(entries: Sequence[tuple[Run, Run, bool]], cost: int, scope: Scope) -> dict[Any, Any]:
    """``{a: b, ?c: d}``; also the fields of a struct."""
    made: dict[Any, Any] = {}
    for key_run, run, maybe in entries:
        key, value = key_run(scope), run(scope)
        if type(key) in (list, dict, float) or key is None:
            raise EvaluationError(f"unsupported key type: {key}")
        if key in made:
            raise EvaluationError(f"Failed with repeated key: {key}")
        if not maybe:
            made[key] = value
        elif type(value) is not Optional:
            raise overload(value)
        elif value.present:
            made[key] = value.value
    spend(scope, cost)
    return made


# -- calls and logic


def call(function: Callable[..., Any], runs: Sequence[Run], meter: Meter | None, scope: Scope) -> Any:
    """A function called, and paid for by what it worked on."""
    args = [run(scope) for run in runs]
    try:
        result = function(*args)
    except EvaluationError:
        raise
    except MISMATCHES:
        raise overload(*args) from None
    except OverflowError:
        raise EvaluationError("integer overflow") from None
    spend(scope, 1 if meter is None else meter(args, result))
    return result


def no_bool(value: Any) -> bool:
    """Complains."""
    raise overload(value)


def absorb(left: Run, right: Run, decisive: bool, scope: Scope) -> bool:
    """``&&`` and ``||``: one decisive side decides, even when the other goes wrong."""
    failure: EvaluationError | None = None
    try:
        value = left(scope)
        if value is decisive:
            return bool(decisive)
        if type(value) is not bool:
            failure = overload(value)
    except BudgetError:
        raise
    except EvaluationError as error:
        failure = error
    value = right(scope)
    if value is decisive:
        return bool(decisive)
    if failure is not None:
        raise failure
    return not decisive if type(value) is bool else no_bool(value)


def choose(condition: Run, then: Run, otherwise: Run, scope: Scope) -> Any:
    """``condition ? then : otherwise``."""
    value: Any = condition(scope)
    if type(value) is not bool:
        raise overload(value)
    return then(scope) if value else otherwise(scope)


# -- comprehensions

#: What a turn of each kind costs beside what it evaluates: conditions, the result so far, its growth.
_TURN: Final = {"all": 3, "exists": 4, "exists_one": 1, "map": 11 + IDENT}


def _scopes(over: Run, names: Sequence[str], cost: int, scope: Scope) -> Any:
    values = over(scope)
    if type(values) is dict:
        pairs: Any = values.items() if len(names) == 2 else ((key, None) for key in values)
    elif isinstance(values, list):
        pairs = enumerate(values) if len(names) == 2 else ((value, None) for value in values)
    else:
        raise overload(values)
    for first, second in pairs:
        spend(scope, cost)
        inside = dict(scope)
        inside[names[0]] = first
        if len(names) == 2:
            inside[names[1]] = second
        yield inside


def _holds(test: Run, scope: Scope) -> bool:
    value = test(scope)
    return value is True if type(value) is bool else no_bool(value)


def some(over: Run, names: Sequence[str], test: Run, wanted: bool, scope: Scope) -> bool:
    """Whether an element passes (or fails) the test: ``exists``, and ``all`` the other way round."""
    failure: EvaluationError | None = None
    for inside in _scopes(over, names, _TURN["exists" if wanted else "all"], scope):
        try:
            if _holds(test, inside) is wanted:
                return True
        except BudgetError:
            raise
        except EvaluationError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    spend(scope)
    return False


def every(over: Run, names: Sequence[str], test: Run, scope: Scope) -> bool:
    """``all``."""
    return not some(over, names, test, False, scope)


def exists(over: Run, names: Sequence[str], test: Run, scope: Scope) -> bool:
    """``exists``."""
    return some(over, names, test, True, scope)


def exists_one(over: Run, names: Sequence[str], test: Run, scope: Scope) -> bool:
    """``exists_one``."""
    count = sum(_holds(test, inside) for inside in _scopes(over, names, _TURN["exists_one"], scope))
    spend(scope, 2)
    return count == 1


def map_list(over: Run, names: Sequence[str], test: Run | None, make: Run, scope: Scope) -> list[Any]:
    """``map``, ``filter`` and ``transformList``."""
    made = []
    for inside in _scopes(over, names, IDENT, scope):
        if test is None or _holds(test, inside):
            made.append(make(inside))
            spend(scope, _TURN["map"] - IDENT)
    spend(scope, NEW_LIST + IDENT)
    return made


def map_entries(over: Run, names: Sequence[str], test: Run | None, make: Run, scope: Scope) -> dict[Any, Any]:
    """``transformMap``: the same keys with other values."""
    made: dict[Any, Any] = {}
    for inside in _scopes(over, names, IDENT, scope):
        if test is None or _holds(test, inside):
            made[inside[names[0]]] = make(inside)
            spend(scope, 1 + IDENT)
    spend(scope, NEW_MAP + IDENT)
    return made


def merge_entries(
    over: Run, names: Sequence[str], test: Run | None, make: Run, scope: Scope
) -> dict[Any, Any]:
    """``transformMapEntry``: a map of what each turn makes; keys may not repeat."""
    made: dict[Any, Any] = {}
    for inside in _scopes(over, names, IDENT, scope):
        if test is None or _holds(test, inside):
            found = make(inside)
            if type(found) is not dict:
                raise overload(found)
            for key, value in found.items():
                if key in made:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                made[key] = value
            spend(scope, 1)
    spend(scope, NEW_MAP + IDENT)
    return made


def map_optional(inner: Run, name: str, body: Run, flat: bool, scope: Scope) -> Any:
    """``optMap`` and ``optFlatMap``."""
    value = inner(scope)
    if type(value) is not Optional:
        raise overload(value)
    spend(scope)
    if not value.present:
        return NOTHING
    made = body({**scope, name: value.value})
    return made if flat else Optional(True, made)


def bind(name: str, value: Run, body: Run, scope: Scope) -> Any:
    """``cel.bind``: the variable is worked out when it is asked for."""
    return body({**scope, name: Lazy(lambda: value(scope))})


def sort_by(over: Run, name: str, make: Run, scope: Scope) -> list[Any]:
    """``sortBy``: elements in the order of what is made of them."""
    from coxswain.api.cel.functions import sort_list

    values = over(scope)
    if not isinstance(values, list):
        raise overload(values)
    keys = map_list(lambda _: values, [name], None, make, scope)
    spend(scope, 1 + NEW_LIST + 2 * len(keys) ** 2)
    order = sort_list(keys, list(range(len(keys))))
    return [values[position] for position in order]
