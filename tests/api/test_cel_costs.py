"""What expressions cost: estimated before they run, and counted while they do."""

from __future__ import annotations

from typing import Any

import pytest

from coxswain.api.cel import BudgetError, Declared, compile_expression
from coxswain.api.structural.celtypes import shape
from coxswain.api.structural.model import parse
from coxswain.api.structural.rulechecks import check_expressions

STRING = {"type": "string"}


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def mapping(values: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values}


def formatted(name: str) -> dict[str, Any]:
    return {"type": "string", "format": name}


NUMBER, BOOLEAN, EITHER = {"type": "number"}, {"type": "boolean"}, {"x-kubernetes-int-or-string": True}
ONE_REQUIRED = {
    "type": "object",
    "properties": {"required": STRING, "optional": STRING},
    "required": ["required"],
}

#: schema, expression, estimate without limits, the limit that is then set, estimate with it (Kubernetes' figures).
ESTIMATES: list[tuple[dict[str, Any], str, int, int, int]] = [
    (array(NUMBER), "self.all(x, true)", 4718591, 10, 32),
    (array(STRING), "self.all(x, true)", 3145727, 20, 62),
    (array(BOOLEAN), "self.all(x, true)", 1887437, 5, 17),
    (array(array(NUMBER)), "self.all(x, true)", 3145727, 100, 302),
    (array(ONE_REQUIRED), "self.all(x, true)", 555128, 50, 152),
    (mapping(NUMBER), "self.all(x, true)", 1348169, 10, 32),
    (mapping(STRING), "self.all(x, true)", 1179647, 3, 11),
    (mapping(BOOLEAN), "self.all(x, true)", 943718, 100, 302),
    (STRING, "self.contains('test')", 314574, 10, 5),
    (STRING, "self.startsWith('test')", 2, 15, 2),
    (STRING, 'size(self + "hello") > size("hello")', 314578, 4, 7),
    (array(NUMBER), "self[1] == 0.0", 2, 5000, 2),
    (array(STRING), "self[1] == self[1]", 314577, 8, 314577),
    (STRING, 'self.matches("x")', 314574, 50, 22),
    (STRING, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7),
    (STRING, 'self.matches("")', 1, 100, 1),
    (STRING, 'self == "x"', 2, 0, 1),
    (formatted("byte"), 'self == b"x"', 2, 0, 1),
    (array(NUMBER), "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
    (array(EITHER), "self.all(x, true)", 4718591, 10, 32),
    (array(EITHER), "self[0] == 5", 3, 10, 3),
    (array(BOOLEAN), "self[0] == false", 2, 25, 2),
    (array(mapping(NUMBER)), "self[0].x > 2.0", 4, 3000, 4),
    (array(formatted("duration")), "self.all(x, true)", 2359295, 5, 17),
    (array(formatted("duration")), "self[0].getHours() == 2", 4, 525, 4),
    (array(formatted("date")), "self.all(x, true)", 725936, 15, 47),
    (array(formatted("date")), "self[2].getDayOfMonth() == 13", 4, 42, 4),
    (array(formatted("date-time")), "self.all(x, true)", 428963, 25, 77),
    (mapping(EITHER), "self.all(x, true)", 1348169, 15, 47),
    (mapping(ONE_REQUIRED), "self.all(x, true)", 428963, 20, 62),
    (mapping(formatted("duration")), "self.all(x, true)", 1048577, 5, 17),
    (mapping(formatted("date-time")), "self.all(x, true)", 349526, 25, 77),
    (mapping(formatted("date-time")), 'self["a"] == self["b"]', 8, 7, 8),
    (mapping(formatted("duration")), 'self["c"] == self["d"]', 8, 42, 8),
    (STRING, "self.find('[0-9]+') == ''", 629147, 10, 11),
    (STRING, "self.lowerAscii() == 'lower!'", 314575, 10, 6),
    (mapping({"type": "integer"}), "oldSelf.size() == self.size()", 5, 10, 5),
    ({"type": "string", "enum": ["A", "B", "C", "LongValue"]}, "self.contains('A')", 2, 1000, 401),
    (EITHER, "isQuantity(self)", 314574, 20, 9),
]


def estimate(schema: dict[str, Any], text: str) -> int:
    found = shape(parse(schema))
    assert found is not None
    return compile_expression(text, {"self": found.type, "oldSelf": found.type}).estimate.most


@pytest.mark.parametrize(("schema", "text", "free", "limit", "bounded"), ESTIMATES)
def test_estimates_are_kubernetes(
    schema: dict[str, Any], text: str, free: int, limit: int, bounded: int
) -> None:
    assert estimate(schema, text) == free
    name = {"array": "maxItems", "object": "maxProperties"}.get(str(schema.get("type")), "maxLength")
    assert estimate({**schema, name: limit}, text) == bounded


@pytest.mark.parametrize(
    ("schema", "text", "cost"),
    [
        ({**array(NUMBER), "maxItems": 10}, "self.all(x, self.all(y, true))", 352),
        ({**array(NUMBER), "maxItems": 10}, "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (array(STRING), "self.join(' ') == 'aa bb'", 329853068905),
        (array(STRING), "self.isSorted() == true", 329854432052),
        (
            {**array({"type": "string", "maxLength": 10}), "maxItems": 10},
            "self.join(' ') == 'aa bb'",
            43,
        ),
        ({**array({"type": "string", "maxLength": 10}), "maxItems": 10}, "self.isSorted() == true", 52),
        (
            {"type": "object", "properties": {"str": STRING, "separator": STRING}},
            "self.str.split(self.separator) == []",
            629160,
        ),
    ],
)
def test_estimates_of_nested_values(schema: dict[str, Any], text: str, cost: int) -> None:
    assert estimate(schema, text) == cost


LISTS = {"l": Declared("list", Declared("string")), "s": Declared("string"), "m": Declared("map")}
VALUES = {"l": ["aa", "bb", "cc"], "s": "x" * 40, "m": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("1 + 1 == 2", 2),
        ("s == s", 2 + 4),
        ("s.contains('0123456789')", 1 + 4 * 1),
        ("s.matches('a+b+')", 1 + 5 * 1),
        ("s + s == s", 3 + 8 + 4),
        ("l.all(x, x != '')", 1 + 3 * (3 + 1) + 1),
        ("l.map(x, x).size() == 3", 1 + 3 * (1 + 11 + 1) + 11 + 2),
        ("has(m.a) && m.a == 1", 1 + 3),
        ("'a' in l", 1 + 3),
        ("l[0] == 'aa'", 3),
        ("quantity('12345678901').isGreaterThan(quantity('1'))", 2 + 1 + 1),
    ],
)
def test_runs_are_counted(text: str, cost: int) -> None:
    assert compile_expression(text, LISTS).measured(VALUES)[1] == cost


def test_what_costs_more_than_it_may_is_ended() -> None:
    program = compile_expression("l.all(x, l.all(y, l.all(z, x + y + z != '')))", LISTS)
    assert program.run(VALUES) is True
    with pytest.raises(BudgetError, match="operation cancelled: actual cost limit exceeded"):
        program.run({**VALUES, "l": ["a"] * 200})


@pytest.mark.parametrize(
    "text",
    [
        "lists.range(1000000000000).size() > 0",
        "s.replace('', s).replace('', s).replace('', s).replace('', s).size() > 0",
        "lists.range(1000).map(x, s).join(s.replace('', s).replace('', s)) != ''",
        "cel.bind(a, lists.range(900000), cel.bind(b, a + a, b.size() > 0))",
    ],
)
def test_what_would_fill_the_memory_is_ended_first(text: str) -> None:
    with pytest.raises(BudgetError):
        compile_expression(text, LISTS).run({**VALUES, "s": "x" * 400}, limit=10**12)


def rule(schema: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
    return {**schema, "x-kubernetes-validations": [{"rule": text, **more}]}


def test_rules_that_may_cost_too_much_are_refused() -> None:
    schema = {"type": "object", "properties": {"a": rule(array(NUMBER), "self.all(x, self.all(y, true))")}}
    hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength"
    told = [str(error) for error in check_expressions(parse(schema), "s")]
    place = "s.properties[a].x-kubernetes-validations[0].rule: Forbidden: "
    assert told[0].startswith(f"{place}estimated rule cost exceeds budget by factor of more than 100x {hint}")
    assert told[1] == (
        f"{place}contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    )
    assert told[2].startswith(
        "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget"
    )
    bounded = {**schema, "properties": {"a": {**schema["properties"]["a"], "maxItems": 1000}}}  # type: ignore[index]
    assert check_expressions(parse(bounded), "s") == []


@pytest.mark.parametrize(("most", "factor"), [(20, "1.258294x"), (40, "2.5x")])
def test_how_much_too_much_is_told(most: int, factor: str) -> None:
    items = rule({"type": "string"}, "self.contains('abcdefghijkl')")
    schema = {"type": "object", "properties": {"a": {**array(items), "maxItems": most}}}
    (told,) = check_expressions(parse(schema), "s")
    assert f"estimated rule cost exceeds budget by factor of {factor} (try" in str(told)


def test_what_cannot_be_compared_has_no_old_self() -> None:
    schema = {"type": "object", "properties": {"a": array(rule({"type": "integer"}, "self >= oldSelf"))}}
    (told,) = check_expressions(parse(schema), "s")
    assert str(told) == (
        's.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: "self >= oldSelf": '
        "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[a]"
    )
