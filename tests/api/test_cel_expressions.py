"""CEL: syntax, types, macros, Kubernetes' functions; and the rules of schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.api.cel import CelError, Declared, EvaluationError, compile_expression
from coxswain.api.names import GVK
from coxswain.api.structural import compile_crd_schema
from coxswain.api.structural.model import parse
from coxswain.api.structural.rulechecks import check_expressions

SELF = Declared(
    "object",
    fields={
        "a": Declared("int"),
        "d": Declared("double"),
        "s": Declared("string"),
        "l": Declared("list", Declared("int")),
        "m": Declared("map", Declared("string")),
        "x-y": Declared("int"),
        "any": Declared("dyn"),
    },
)
VALUE = {"a": 3, "d": 1.5, "s": "hello", "l": [3, 1, 2], "m": {"k": "v"}, "x-y": 5, "any": {"b": [1]}}


def run(text: str) -> Any:
    return compile_expression(text, {"self": SELF}).run({"self": VALUE})


@pytest.mark.parametrize(
    "text",
    [
        "self.a > 2 && self.s.startsWith('he')",
        "!has(self.s) || self.a > 2",
        "has(self.m.k) && !has(self.m.z)",
        "self.l.all(x, x > 0) && self.l.exists(x, x == 2) && self.l.exists_one(x, x == 1)",
        "self.l.map(x, x * 2) == [6, 2, 4] && self.l.map(x, x > 1, x) == [3, 2]",
        "self.l.filter(x, x > 1).size() == 2",
        "self.m.all(k, v, k != v)",
        "self.x__dash__y == 5",
        "self.d < 2 && self.d * 2.0 == 3.0",
        "'%s has %d of %.2f'.format([self.s, self.a, self.d]) == 'hello has 3 of 1.50'",
        "self.any.b[0] == 1 && 1 in self.any.b",
        "self.?a.orValue(1) == 3 && self.m.?z.orValue('q') == 'q'",
        "self.m[?'k'].hasValue()",
        "cel.bind(x, self.a, x + x) == 6",
        "-7 / 2 == -3 && -7 % 2 == -1",
        "1/0 > 0 || true",
        "!(1/0 > 0 && false)",
        "quantity('1Gi').isGreaterThan(quantity('1Mi')) && quantity('2').add(1).asInteger() == 3",
        "isQuantity('5m') && !isQuantity('x')",
        "duration('1h30m') > duration('89m') && duration('90s').getMinutes() == 1",
        "timestamp('2024-02-03T04:05:06Z').getMonth() == 1",
        "url('https://u@a.b:80/c?x=1').getHost() == 'a.b:80' && url('https://a/b').getScheme() == 'https'",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && !isCIDR('10.0.0.0')",
        "ip('fe80::1').family() == 6 && ip('127.0.0.1').isLoopback()",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && ['a', 'b'].join('-') == 'a-b'",
        "'Abc'.lowerAscii() == 'abc' && 'abc'.replace('b', 'x') == 'axc' && 'abcd'.substring(1, 3) == 'bc'",
        "'abc'.find('b+') == 'b' && 'aXbX'.findAll('[a-z]') == ['a', 'b'] && 'abc'.matches('^a')",
        "[1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [1, 2].isSorted() && [1, 2, 1].lastIndexOf(1) == 2",
        "sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2])",
        "type(1) == int && string(1.0) == '1' && int('5') == 5 && 5u == uint(5)",
        "r'\\d' == '\\\\d' && b'abc'.size() == 3 && 'é'.size() == 1",
        "(self.a == 3 ? 'yes' : 'no') == 'yes' // a comment",
        "{'a': 1}.a == 1 && dyn({'a': 1}) == {'a': 1.0}",
        "dyn('a') != 1",
        # optionals
        "[1, ?self.?any.?nope, 2] == [1, 2] && {?'a': self.?any.?nope, 'b': 1} == {'b': 1}",
        "optional.of(2).optMap(x, x + 1).value() == 3 && !optional.none().hasValue()",
        "self.m.?k.optFlatMap(x, optional.of(x + '!')).orValue('') == 'v!'",
        "optional.ofNonZeroValue('').or(optional.of('z')).value() == 'z'",
        "optional.unwrap([optional.of(1), optional.none()]) == [1] && [1, 2].first().value() == 1",
        # comprehensions of two variables
        "self.l.all(i, v, i < v || v > 0) && self.l.exists(i, v, i == 0 && v == 3)",
        "[1, 2].transformList(i, v, i * 10 + v) == [1, 12] && [1, 2].transformList(i, v, i > 0, v) == [2]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "{'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
        "[1, 2, 2].existsOne(i, v, v == 1)",
        # lists
        "[3, 1, 2].sort() == [1, 2, 3] && [3, 1].reverse() == [1, 3] && lists.range(3) == [0, 1, 2]",
        "[1, 1, 2].distinct() == [1, 2] && [[1], [2, 3]].flatten() == [1, 2, 3] && [1, 2, 3].slice(1, 3) == [2, 3]",
        "['bb', 'a'].sortBy(x, x.size()) == ['a', 'bb']",
        # versions, formats, networks
        "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('v1.2', true) == semver('1.2.0')",
        "!isSemver('1.2') && isSemver('01.2.3', true) && semver('1.2.3').minor() == 2",
        "semver('1.0.0-alpha.2').compareTo(semver('1.0.0-alpha.10')) == -1",
        "!format.dns1123Label().validate('ok').hasValue() && format.uuid().validate('x').hasValue()",
        "format.named('dns1123Label').value().validate('-').value().size() == 1",
        "!format.named('nope').hasValue()",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16')) && cidr('10.0.0.1/8').ip() == ip('10.0.0.1')",
        "ip.isCanonical('127.0.0.1') && !ip.isCanonical('2001:DB8::1') && string(ip('::1')) == '::1'",
        "!isIP('::ffff:1.2.3.4') && ip('8.8.8.8').isGlobalUnicast() && ip('169.254.1.1').isLinkLocalUnicast()",
        "quantity('1.5').isInteger() == false && quantity('2k').sub(1).asInteger() == 1999 && quantity('-1').sign() == -1",
        "quantity('50k').compareTo(quantity('50000')) == 0 && quantity('1.5').asApproximateFloat() == 1.5",
        "url('https://[::1]:80/a').getHostname() == '::1' && url('https://a/b?k=v&k=w').getQuery() == {'k': ['v', 'w']}",
        # conversions and text
        "type(self.a) == int && type('a') == string && type(ip('::1')) == net.IP && type(type(1)) == type",
        "type(timestamp('2024-01-01T00:00:00Z')) == google.protobuf.Timestamp",
        "strings.quote('a\"b') == '\"a\\\\\"b\"' && '%s'.format([['a', 1]]) == '[\"a\", 1]'",
        "'%s'.format([{'b': 1, 'a': true}]) == '{\"a\":true, \"b\":1}' && '%x %X %b %o'.format([255, 'a', 5, 8]) == 'ff 61 101 10'",
        "int(duration('1s')) == 1000000000 && string(duration('1h')) == '3600s'",
        "timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')",
        "'tacocat'.indexOf('a', 2) == 5 && 'tacocat'.lastIndexOf('a', 4) == 1 && 'abc'.charAt(3) == ''",
        "1 < 1.5 && 2u > 1 && 1.0 <= 1u && 'a' < 'b' && false < true",
        "[duration('1s')].filter(x, false).sum() == duration('0s') && [1.5].filter(x, false).sum() == 0.0",
        "!optional.ofNonZeroValue(duration('0s')).hasValue()",
        "!optional.ofNonZeroValue(timestamp('0001-01-01T00:00:00Z')).hasValue()",
        "url('https://example.com/with space/').getEscapedPath() == '/with%20space/'",
        "'%e %.2e'.format([3.14, 0.0125]) == '3.140000\u00d710⁰⁰ 1.25\u00d710⁻⁰²'",
        "string(timestamp('2011-08-18T19:03:37.01+01:00')) == '2011-08-18T19:03:37.01+01:00'",
        "{'a': {'b': 1}}.exists(k, k == 'a') && 'a' in {'a': 1} && [1, 2] + [3] == [1, 2, 3]",
    ],
)
def test_expressions_hold(text: str) -> None:
    assert run(text) is True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self.foo", "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^"),
        ("other", "undeclared reference to 'other' (in container '')"),
        ("self.a + 'x'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.s && true", "found no matching overload for '_&&_' applied to '(string, bool)'"),
        ("self.a.b", "type 'int' does not support field selection"),
        ("self.foo >", "ERROR: <input>:1:11: Syntax error: mismatched input '<EOF>' expecting"),
        ("nope(1)", "undeclared reference to 'nope'"),
        ("(1", "mismatched input '<EOF>' expecting ')'"),
        ("99999999999999999999", "invalid int literal"),
        ("(" * 300 + "1" + ")" * 300, "recursion limit exceeded"),
        ("!" * 300 + "true", "recursion limit exceeded"),
        ("self.s.contains(1)", "found no matching overload for 'contains' applied to 'string.(int)'"),
        ("size(1)", "found no matching overload for 'size' applied to '(int)'"),
        ("1 == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
        ("self.l[self.s]", "found no matching overload for '_[_]' applied to '(list(int), string)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("self.a.all(x, x)", "expression of type 'int' cannot be range of a comprehension"),
        ("self.l.all(x, x)", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("self.l.filter(x, x)", "found no matching overload for '_?_:_' applied to '(int)'"),
        ("has(self)", "invalid argument to has() macro"),
        ("duration('1x') > duration('1s')", "ERROR: <input>:1:10: invalid duration argument"),
        ("timestamp('today') == timestamp('2024-01-01T00:00:00Z')", "invalid timestamp argument"),
        ("timestamp(-62135596801) < timestamp(0)", "invalid timestamp argument"),
        ("self.s.matches('x++')", "invalid matches argument"),
        ("self.s.matches('(')", "ERROR: <input>:1:16: invalid matches argument"),
        ("self.m.nope()", "undeclared reference to 'nope' (in container '')"),
        ("math.greatest(1, 2) == 2", "undeclared reference to 'math' (in container '')"),
        (
            "self.foo + bar",
            "undefined field 'foo'\n | self.foo + bar\n | ....^\nERROR: <input>:1:12: undeclared",
        ),
        ("quantity('1') + 1", "applied to '(kubernetes.Quantity, int)'"),
        ("self.?m == 1", "applied to '(optional_type(map(string, string)), int)'"),
        ("Object{a: 1}", "undeclared reference to 'Object' (in container '')"),
    ],
)
def test_wrong_expressions_are_refused_when_compiled(text: str, message: str) -> None:
    with pytest.raises(CelError) as caught:
        compile_expression(text, {"self": SELF})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1/0 == 1", "division by zero"),
        ("'%.999999999f'.format([1.0]) == ''", "precision exceeds maximum allowed precision"),
        ("self.l[9] == 1", "index out of bounds: 9"),
        ("self.m.z == 'a'", "no such key: z"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("int('x') == 1", "type conversion error"),
        ("dyn(1) + dyn('a') == 2", "no such overload"),
        ("self.any.all(x, x)", "no such overload"),
        ("'abc'.substring(2, 1) == ''", "invalid substring range. start: 2, end: 1"),
        ("'abc'.charAt(4) == ''", "index out of range: 4"),
        ("optional.none().value() == 1", "optional.none\\(\\) dereference"),
        ("[].max() == 1", "max called on empty list"),
        ("semver('1.2') == semver('1.2.3')", "No Major.Minor.Patch elements found"),
        ("quantity('1.5').asInteger() == 1", "cannot convert value to integer"),
        ("ip('x') == ip('::1')", 'IP Address "x" parse error during conversion from string'),
        ("'%d'.format(['a']) == ''", "decimal clause can only be used on integers, was given string"),
        ("[1].slice(0, 2) == []", "cannot slice"),
        ("{'a': 1}.transformMapEntry(k, v, {'x': v}).nope == 1", "no such key: nope"),
    ],
)
def test_what_goes_wrong_when_run(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        run(text)


def test_steps_are_counted() -> None:
    program = compile_expression("self.l.all(x, self.l.all(y, self.l.all(z, x + y + z > 0)))", {"self": SELF})
    assert program.run({"self": VALUE}, limit=400) is True
    with pytest.raises(EvaluationError, match="cost limit exceeded"):
        program.run({"self": VALUE}, limit=20)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="self.a<>=!&|+-*/%()[]{}'\"\\?:, 0123xyu", max_size=40))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    try:
        program = compile_expression(text, {"self": SELF})
    except CelError:
        return
    try:
        program.run({"self": VALUE})
    except EvaluationError:
        pass


# -- rules of schemas


def complaints(spec_rules: list[dict[str, Any]], new: Any, old: Any = None, **properties: Any) -> list[str]:
    fields = {"a": {"type": "integer"}, "s": {"type": "string"}, **properties}
    spec = {"type": "object", "properties": fields, "x-kubernetes-validations": spec_rules}
    compiled = compile_crd_schema({"type": "object", "properties": {"spec": spec}}, GVK("g.io", "v1", "K"))
    before = {"spec": old} if old is not None else None
    return [str(error) for error in compiled.check_rules({"spec": new}, before)]


def test_a_broken_rule_says_its_message() -> None:
    rule = {"rule": "!has(self.s) || self.a > 2", "message": "s needs a > 2"}
    assert complaints([rule], {"a": 1, "s": "x"}) == ["spec: Invalid value: s needs a > 2"]
    assert complaints([rule], {"a": 3, "s": "x"}) == []
    assert complaints([{"rule": "self.a > 2"}], {"a": 1}) == ["spec: Invalid value: failed rule: self.a > 2"]


def test_messages_reasons_and_places() -> None:
    rule = {
        "rule": "self.a > 2",
        "messageExpression": "'a is %d'.format([self.a])",
        "reason": "FieldValueForbidden",
    }
    assert complaints([{**rule, "fieldPath": ".a"}], {"a": 1}) == ["spec.a: Forbidden: a is 1"]
    assert complaints([{"rule": "self.s == 'x'"}], {"a": 1}) == [
        "spec: Invalid value: \"object\": no such key: s evaluating rule: self.s == 'x'"
    ]


def test_transition_rules_need_an_old_value() -> None:
    rule = {"rule": "self.a >= oldSelf.a", "message": "a must not shrink"}
    assert complaints([rule], {"a": 1}) == []
    assert complaints([rule], {"a": 1}, {"a": 2}) == ["spec: Invalid value: a must not shrink"]
    always = {
        "rule": "!oldSelf.hasValue() || self.a >= oldSelf.value().a",
        "optionalOldSelf": True,
        "message": "no",
    }
    assert complaints([always], {"a": 1}) == []
    assert complaints([always], {"a": 1}, {"a": 2}) == ["spec: Invalid value: no"]


def test_unchanged_values_are_not_complained_about() -> None:
    rule = {"rule": "self.a > 2", "message": "m"}
    assert complaints([rule], {"a": 1}, {"a": 1}) == []


def test_elements_of_keyed_lists_have_an_old_self() -> None:
    crew = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "rank": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.rank >= oldSelf.rank", "message": "no demotion"}],
        },
    }
    new, old = (
        {"crew": [{"name": "b", "rank": 1}, {"name": "a", "rank": 1}]},
        {"crew": [{"name": "a", "rank": 2}]},
    )
    assert complaints([], new, old, crew=crew) == ["spec.crew[1]: Invalid value: no demotion"]


def test_values_have_the_types_of_their_schema() -> None:
    parts = {
        "n": {"type": "number"},
        "when": {"type": "string", "format": "date-time"},
        "data": {"type": "string", "format": "byte"},
        "port": {"x-kubernetes-int-or-string": True},
    }
    rule = "self.n == 2.0 && self.when.getFullYear() == 2024 && self.data.size() == 2 && self.port == 80"
    value = {"n": 2, "when": "2024-01-01T00:00:00Z", "data": "aGk=", "port": 80}
    assert complaints([{"rule": rule}], value, **parts) == []


def test_definitions_with_bad_rules_are_refused() -> None:
    raw = {"type": "object", "x-kubernetes-validations": [{"rule": "self.foo >"}, {"rule": "1"}]}
    first, second = [str(error) for error in check_expressions(parse(raw), "s")]
    assert first.startswith('s.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.foo \\u003e",')
    assert "compilation failed: ERROR: <input>:1:11: Syntax error" in first
    assert second.endswith("cel expression must evaluate to a bool")
    root = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name != ''"}]}
    assert check_expressions(parse(root), "s") == []
