"""Selectors parse, match and complain as apimachinery's labels and fields packages do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.selectors import (
    EVERYTHING,
    NOTHING,
    SelectorError,
    label_selector_from,
    parse_field_selector,
    parse_label_selector,
    selector_from_set,
)

WEB = {"app": "web", "tier": "front", "level": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier = front", True),
        ("app=db", False),
        ("app!=web", False),
        ("gone!=web", True),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app notin (db)", True),
        ("gone notin (db)", True),
        ("app", True),
        ("gone", False),
        ("!gone", True),
        ("! app", False),
        ("level>4", True),
        ("level<5", False),
        ("app>4", False),
        ("app in (web),!gone,level>1", True),
        ("in in (in)", False),
    ],
)
def test_matching(text, matches):
    assert parse_label_selector(text).matches(WEB) is matches


def test_missing_labels_count_as_none_at_all():
    assert parse_label_selector("!a").matches(None)
    assert not parse_label_selector("a").matches(None)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("b=1,a=2", "a=2,b=1"),
        ("x in (c,a,b)", "x in (a,b,c)"),
        ("x notin (,a)", "x notin (,a)"),
        ("x in (a,)", "x in (,a)"),
        ("x in (a,,b)", "x in (,a,b)"),
        ("!x", "!x"),
        ("x>3", "x>3"),
        ("a==b", "a==b"),
        ("a=", "a="),
        ("a in(b)", "a in (b)"),
    ],
)
def test_canonical_text(text, canonical):
    assert str(parse_label_selector(text)) == canonical
    assert str(parse_label_selector(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a==>b", "unable to parse requirement: found '>', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_malformed_selectors_are_refused_in_kubernetes_words(text, message):
    with pytest.raises(SelectorError) as error:
        parse_label_selector(text)
    assert error.value.message == message
    assert error.value.code == 400


def test_malformed_keys_and_values_name_their_place():
    with pytest.raises(SelectorError) as error:
        parse_label_selector("a/b/c=1")
    assert error.value.message.startswith(
        'unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name must consist of'
    )
    with pytest.raises(SelectorError) as error:
        parse_label_selector("a=-b")
    assert error.value.message.startswith(
        'unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be an empty string'
    )


def test_label_selector_objects():
    assert label_selector_from(None) is NOTHING
    assert not label_selector_from(None).matches({})
    assert label_selector_from({}) is EVERYTHING
    assert not NOTHING.empty
    assert EVERYTHING.empty
    selector = label_selector_from(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "level", "operator": "Exists"},
                {"key": "zone", "operator": "NotIn", "values": ["b"]},
            ],
        }
    )
    assert str(selector) == "app=web,level,!old,tier in (back,front),zone notin (b)"
    assert selector.matches(WEB)
    assert not selector.matches({**WEB, "zone": "b"})
    with pytest.raises(SelectorError, match='"Near" is not a valid label selector operator'):
        label_selector_from({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_exact_values_serve_an_index():
    selector = parse_label_selector("app=web,tier in (a,b),zone in (z)")
    assert selector.requires_exact("app") == "web"
    assert selector.requires_exact("zone") == "z"
    assert selector.requires_exact("tier") is None
    fields = parse_field_selector("spec.nodeName=n1,status.phase!=Failed")
    assert fields.requires_exact("spec.nodeName") == "n1"
    assert fields.requires_exact("status.phase") is None


def test_contradicting_terms_match_nothing():
    assert not parse_label_selector("a=1,a=2").matches({"a": "1"})
    assert not parse_label_selector("a=1,a=2").matches({"a": "2"})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,spec.x=", True),
        ("metadata.name!=a", False),
        ("gone!=a", True),
        (r"odd=a\,b\=c\\", True),
    ],
)
def test_field_matching(text, matches):
    assert parse_field_selector(text).matches({"metadata.name": "a", "odd": "a,b=c\\"}) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\x", "invalid field selector: invalid escape sequence: \\x"),
    ],
)
def test_malformed_field_selectors(text, message):
    with pytest.raises(SelectorError) as error:
        parse_field_selector(text)
    assert error.value.message == message


LABELS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["x", "y", ""]), max_size=4)


@given(LABELS, LABELS)
def test_a_set_selects_its_supersets(wanted, labels):
    assert selector_from_set(wanted).matches(labels) == all(labels.get(k) == v for k, v in wanted.items())


@given(st.dictionaries(st.text(min_size=1, alphabet="ab.c"), st.text(alphabet="ab\\,=")))
def test_field_selectors_survive_their_text(values):
    from coxswain.api.selectors import FieldSelector, FieldTerm

    selector = FieldSelector([FieldTerm(name, "=", value) for name, value in sorted(values.items())])
    assert sorted(map(str, parse_field_selector(str(selector)).requirements)) == sorted(
        map(str, selector.requirements)
    )


@given(st.text(alphabet="ab=!<>(), in", max_size=16))
def test_any_text_parses_or_is_refused(text):
    for parse in (parse_label_selector, parse_field_selector):
        try:
            parse(text)
        except SelectorError:
            pass
