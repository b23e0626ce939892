"""YAML bodies follow sigs.k8s.io/yaml; JSON that is none is explained as Go does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import codec, errors, jsonscan, yamlio
from coxswain.api.names import GVK

POD = GVK("", "v1", "Pod")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("On", True), ("y", True), ("no", False), ("OFF", False), ("yEs", "yEs"),
        ("~", None), ("null", None), ("", None), ('""', ""), ("'yes'", "yes"), ("!!str yes", "yes"),
        ("0755", 493), ("0o17", 15), ("0x1F", 31), ("0b101", 5), ("1_000", 1000), ("-7", -7), ("+7", 7),
        ("089", 89), ("1:30", "1:30"), ("1.0", 1), ("1.5", 1.5), (".5", 0.5), ("1e3", "1e3"), ("1e+3", 1000), ("1.", 1),
        ("2020-01-02", "2020-01-02"), ("-", [None]), ("1.2.3", "1.2.3"), ("18446744073709551615", 2**64 - 1),
        ("{a: [1, x]}", {"a": [1, "x"]}), ("1: a", {"1": "a"}), ("true: a", {"true": "a"}), ("!!binary YWJj", "abc"),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"d": 2, "b": 1}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)  # fmt: skip
def test_scalars_become_jsons_types(text: str, value: Any) -> None:
    made, problems = yamlio.loads(text.encode())
    assert (made, type(made)) == (value, type(value))
    assert problems == []


def test_aliases_are_copies() -> None:
    made, _ = yamlio.loads(b"a: &x {b: 1}\nc: *x")
    made["a"]["b"] = 2
    assert made["c"] == {"b": 1}


def test_only_the_first_document_counts() -> None:
    assert yamlio.loads(b"a: 1\n---\nb: 2\n") == ({"a": 1}, [])


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(yamlio.YamlError, match="excessive aliasing"):
        yamlio.loads("\n".join(lines).encode())


def test_an_anchor_in_itself_is_refused() -> None:
    with pytest.raises(yamlio.YamlError):
        yamlio.loads(b"a: &x [*x]")


@pytest.mark.parametrize("text", ["a: b: c", "a: [", "\t- a", "a: 'x", "@x", "{[a]: b}", ".inf", "&x"])
def test_broken_yaml_never_gets_through(text: str) -> None:
    if text == "&x":
        assert yamlio.loads(text.encode())[0] is None
        return
    with pytest.raises(yamlio.YamlError):
        yamlio.loads(text.encode())


def test_syntax_errors_name_the_line() -> None:
    with pytest.raises(
        yamlio.YamlError, match=r"^yaml: line 2: mapping values are not allowed in this context$"
    ):
        yamlio.loads(b"a: 1\nb: c: d\n")


def test_keys_given_twice_are_refused_in_strict_bodies() -> None:
    body = b"metadata:\n  name: v\n  name: w\nspec:\n  foo: 1\n"
    with pytest.raises(errors.BadRequest) as caught:
        codec.decode(body, "application/yaml", POD, "Strict")
    assert caught.value.message == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: yaml: unmarshal errors:\n'
        '  line 3: key "name" already set in map, unknown field "spec.foo"'
    )
    assert codec.decode(body, "application/yaml", POD, "Ignore").obj["metadata"] == {"name": "w"}


def test_a_yaml_body_is_an_object_like_any_other() -> None:
    body = b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: yes}\n"
    made = codec.decode(body, "application/yaml", POD, "Strict").obj
    assert made == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
        "spec": {"hostNetwork": True},
    }


def test_broken_yaml_is_unrecognized() -> None:
    with pytest.raises(errors.BadRequest, match=r"unrecognized \(must be of type Pod\): yaml: "):
        codec.decode(b"a: b: c", "application/yaml", POD, "Strict")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_what_is_written_as_yaml_reads_back(value: Any) -> None:
    written = codec.encode_yaml(value)
    assert yamlio.loads(written)[0] == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} x", "invalid character 'x' after top-level value"),
        ('"\n"', "invalid character '\\n' in string literal"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('"\\u12g4"', "invalid character 'g' in \\u hexadecimal character escape"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("trve", "invalid character 'v' in literal true (expecting 'u')"),
        ("nil", "invalid character 'i' in literal null (expecting 'u')"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("'", "invalid character '\\'' looking for beginning of value"),
        ("01", "invalid character '1' after top-level value"),
        ('{"a":', "unexpected end of JSON input"),
        ("[" * 10_001, "invalid character '[' exceeded max depth"),
    ],
)
def test_json_errors_are_gos(text: str, why: str) -> None:
    assert jsonscan.explain(text.encode()) == why
    with pytest.raises(jsonscan.JsonError):
        jsonscan.loads(text.encode())


def test_go_takes_broken_text_that_other_parsers_refuse() -> None:
    assert jsonscan.loads(b'{"a":"\xff"}') == {"a": "\ufffd"}
    assert jsonscan.loads(b'"\\ud800x"') == "\ufffdx"


@given(json_values)
def test_the_scanner_takes_all_json(value: Any) -> None:
    text = json.dumps(value, indent=1)
    assert jsonscan.explain(text.encode()) is None
    assert jsonscan.loads(text.encode()) == value


@given(st.text(alphabet='{}[]":,0.e-1tfn \\u', max_size=12))
def test_the_scanner_agrees_with_a_parser(text: str) -> None:
    try:
        json.loads(text)
        good = True
    except ValueError:
        good = False
    assert (jsonscan.explain(text.encode()) is None) == good


def test_shared_parts_are_written_twice() -> None:
    part = {"a": ["x"]}
    assert codec.encode_yaml({"p": part, "q": part}) == b"p:\n  a:\n  - x\nq:\n  a:\n  - x\n"


def test_an_apply_patch_stays_as_it_was_sent() -> None:
    body = b"apiVersion: v1\nkind: Pod\nspec: {hostNetwork: false, foo: null, cpu: 1000m}\n"
    decoded = codec.decode_apply(body, "Strict")
    assert decoded.gvk == POD
    assert decoded.obj["spec"] == {"hostNetwork": False, "foo": None, "cpu": "1000m"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"a: b: c",
            "error decoding patch: error converting YAML to JSON: yaml: mapping values are not allowed",
        ),
        (
            b"[1]",
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array",
        ),
        (
            b"a: 1\na: 2",
            "error strict decoding patch: error converting YAML to JSON: yaml: unmarshal errors:",
        ),
    ],
)
def test_a_broken_apply_patch_says_why(body: bytes, message: str) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        codec.decode_apply(body, "Strict")
    assert caught.value.message.startswith(message)


def test_keys_given_twice_in_an_apply_patch_may_be_only_warned_of() -> None:
    assert len(codec.decode_apply(b"a: 1\na: 2", "Warn").warnings) == 1
    assert codec.decode_apply(b"a: 1\na: 2", "Ignore").obj == {"a": 2}
