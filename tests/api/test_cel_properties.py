"""CEL over random expressions: the values of a naive twin, and costs that stay below their estimate."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.api.cel import EvaluationError, compile_expression
from coxswain.api.structural.celtypes import shape
from coxswain.api.structural.model import parse

#: An expression, and what it is worth: an exception where it goes wrong.
Twin: TypeAlias = tuple[str, Any]

WRONG = object()


def both(left: Twin, right: Twin, sign: str, work: Callable[[Any, Any], Any]) -> Twin:
    text = f"({left[0]} {sign} {right[0]})"
    if left[1] is WRONG or right[1] is WRONG:
        return text, WRONG
    made = work(left[1], right[1])
    return text, made if not isinstance(made, int) or -(2**63) <= made < 2**63 else WRONG


def logic(left: Twin, right: Twin, sign: str) -> Twin:
    decisive = sign == "||"
    text = f"({left[0]} {sign} {right[0]})"
    if left[1] is decisive or right[1] is decisive:
        return text, decisive
    return text, WRONG if left[1] is WRONG or right[1] is WRONG else not decisive


def divided(left: int, right: int) -> Any:
    if right == 0:
        return WRONG
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) is (right < 0) else -quotient


INTS = st.integers(-9, 9).map(lambda value: (f"({value})", value)) | st.just((str(2**62), 2**62))
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": divided}
COMPARED = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt}


def numbers(inner: st.SearchStrategy[Twin]) -> st.SearchStrategy[Twin]:
    return st.builds(
        lambda left, right, sign: both(left, right, sign, ARITHMETIC[sign]),
        inner,
        inner,
        st.sampled_from(sorted(ARITHMETIC)),
    )


NUMBERS = st.recursive(INTS, numbers, max_leaves=5)
TESTS = st.builds(
    lambda left, right, sign: both(left, right, sign, COMPARED[sign]),
    NUMBERS,
    NUMBERS,
    st.sampled_from(sorted(COMPARED)),
)
BOOLS = st.recursive(
    TESTS,
    lambda inner: st.builds(logic, inner, inner, st.sampled_from(["&&", "||"])),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(BOOLS)
def test_values_are_those_of_a_naive_twin(twin: Twin) -> None:
    text, wanted = twin
    program = compile_expression(text, {})
    assert program.type == "bool"
    try:
        assert program.run({}) is wanted
    except EvaluationError:
        assert wanted is WRONG


LISTS = st.lists(st.integers(-5, 5), max_size=6)


@settings(max_examples=100, deadline=None)
@given(LISTS, LISTS)
def test_lists_are_pythons(first: list[int], second: list[int]) -> None:
    from coxswain.api.cel import Declared

    many = Declared("list", Declared("int"))

    def run(text: str) -> Any:
        return compile_expression(text, {"a": many, "b": many}).run({"a": first, "b": second})

    assert run("a.sort()") == sorted(first)
    assert run("a.distinct()") == list(dict.fromkeys(first))
    assert run("a.reverse()") == first[::-1]
    assert run("a.sum()") == sum(first)
    assert run("a.isSorted()") is (first == sorted(first))
    assert run("a.filter(x, x > 0).map(x, x * 2)") == [x * 2 for x in first if x > 0]
    assert run("a.all(x, x in b)") is set(first).issubset(second)
    assert run("sets.contains(b, a)") is set(first).issubset(second)
    assert run("sets.intersects(a, b)") is bool(set(first) & set(second))
    assert run("a.exists_one(x, x == 1)") is (first.count(1) == 1)
    assert run("a.transformMap(i, v, v)") == dict(enumerate(first))
    assert run("[a, b].flatten()") == first + second


SCHEMA = {
    "type": "object",
    "properties": {
        "s": {"type": "string", "maxLength": 8},
        "t": {"type": "string", "maxLength": 8},
        "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 8}},
        "n": {"type": "array", "maxItems": 5, "items": {"type": "integer"}},
        "m": {
            "type": "object",
            "maxProperties": 4,
            "additionalProperties": {"type": "string", "maxLength": 8},
        },
    },
}
TEXTS = st.sampled_from(
    ["self.s", "self.t", "'abc'", "self.l[0]", "(self.s + self.t)", "self.s.lowerAscii()"]
)
SIMPLE = st.one_of(
    st.builds("{}.startsWith({})".format, TEXTS, TEXTS),
    st.builds("{}.contains({})".format, TEXTS, TEXTS),
    st.builds("{} == {}".format, TEXTS, TEXTS),
    st.builds("{} < {}".format, TEXTS, TEXTS),
    st.builds("{}.matches('^(a|b)+')".format, TEXTS),
    st.builds("size({}) > 2".format, TEXTS),
    st.builds("{} in self.l".format, TEXTS),
    st.sampled_from(
        [
            "self.l.all(x, x != '')",
            "self.l.exists(x, x.startsWith(self.s))",
            "self.l.map(x, x + self.s).join(',') != ''",
            "self.n.filter(x, x > 1).size() == 1",
            "self.m.all(k, self.m[k] != k)",
            "self.m.exists(k, v, k == v)",
            "self.l.isSorted()",
            "self.n.sort() == self.n",
            "self.n.distinct().size() > 0",  # of texts, cel-go's estimate too is below what it counts
            "has(self.s) && self.?t.orValue('') != ''",
            "self.s.split('a').size() > 1",
            "self.l.all(x, self.l.exists(y, x == y))",
        ]
    ),
)
RULES = st.recursive(
    SIMPLE,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
        | st.builds("!({})".format, inner)
    ),
    max_leaves=4,
)
SHORT = st.text("abAB", max_size=8)
OBJECTS = st.fixed_dictionaries(
    {
        "s": SHORT,
        "t": SHORT,
        "l": st.lists(SHORT, min_size=1, max_size=5),
        "n": st.lists(st.integers(0, 3), max_size=5),
        "m": st.dictionaries(SHORT, SHORT, max_size=4),
    }
)


@settings(max_examples=150, deadline=None)
@given(RULES, OBJECTS)
def test_no_run_costs_more_than_was_estimated(rule: str, value: dict[str, Any]) -> None:
    found = shape(parse(SCHEMA))
    assert found is not None
    program = compile_expression(rule, {"self": found.type})
    try:
        _, cost = program.measured({"self": value})
    except EvaluationError as error:
        cost = error.spent
    assert cost <= program.estimate.most, (rule, cost, program.estimate)
