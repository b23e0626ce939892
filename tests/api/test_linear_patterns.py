"""Patterns in linear time: the same answers as Python's, and none that takes for ever."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coxswain.api import linear, patterns

ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\b", "^", "$", "x-", r"[a-c_]", "(?i:A)"]
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    )


PATTERNS = st.recursive(ATOMS, grown, max_leaves=8)


@settings(max_examples=400, deadline=None)
@example("(a+)+$", "aaab")
@example(r"(\w*\b)*-", "ab-")
@given(PATTERNS, st.text("abcx-_ \n1A", max_size=12))
def test_answers_are_pythons(pattern: str, text: str) -> None:
    translated = patterns._translate(pattern)
    tree = linear.parser.parse(translated, re.ASCII)
    automaton = linear._Automaton(tree)
    assert automaton.search(text) == (re.search(translated, text, re.ASCII) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(a+)+$", "a" * 5000 + "b", False),
        ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 5000, False),
        ("(a|aa)+$", "a" * 5000 + "b", False),
        ("(.*a){12}", "a" * 11 + "b" * 5000, False),
        (".*.*.*=.*", "x" * 5000, False),
        ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-" * 3000 + "a", True),
        (r"^(\d+\.)*\d+$", "1." * 3000 + "1", True),
        ("(a*)*b{0,2}c", "a" * 3000 + "bbc", True),
    ],
)
def test_no_text_takes_for_ever(pattern: str, text: str, found: bool) -> None:
    assert patterns.finder(pattern)(text) is found


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^(?i)\.?[a-z_]+$", ".ABC", "1"),
        ("^a(?i)b|c$", "aB", "Ab"),
        ("^a(?i)b|^c$", "C", "A"),
        ("^(a(?i)b)c$", "aBc", "aBC"),
        ("(?i)abc", "xABCx", "ab"),
        ("(?s)a.b", "a\nb", "ab"),
        ("^(?<year>[0-9]{4})$", "2024", "24"),
        ("^(?U)a+$", "aa", ""),
        ("^a{2}$", "aa", "a"),
    ],
)
def test_flags_and_names_mean_what_they_mean_in_go(pattern: str, good: str, bad: str) -> None:
    finder = patterns.finder(pattern)
    assert finder(good) and not finder(bad)


@pytest.mark.parametrize("pattern", ["a++", "a*+", "a{2}+", "(?>a)", "(?=a)", "a**", "(", ")"])
def test_what_go_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(re.error):
        patterns.finder(pattern)


def test_harmless_patterns_are_left_to_python() -> None:
    assert linear.searcher(r"^a+\Z") is None
    assert linear.searcher(r"^[a-z]{1,10}(foo|bar)\Z") is None
    assert linear.searcher(r"(a+)+\Z") is not None


def test_what_is_kept_is_bounded() -> None:
    automaton = linear._Automaton(linear.parser.parse(r"(a|b)*a(a|b){12}\Z", re.ASCII))
    text = "".join("ab"[number * number % 7 % 2] for number in range(20000))
    automaton.search(text)
    assert len(automaton._known) <= linear._MAX_STATES
