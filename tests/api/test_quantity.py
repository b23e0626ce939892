"""Quantities keep every nano unit and write themselves as Kubernetes does."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.quantity import FORMAT_WRONG, SUFFIX_WRONG, Quantity, QuantityError, canonicalize


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Ki", "0"),
        ("-0.0", "0"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1000Ki", "1000Ki"),
        ("512", "512"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("0.001Ki", "1024m"),
        ("+1G", "1G"),
        ("-1G", "-1G"),
        ("1000k", "1M"),
        ("1000000000", "1G"),
        ("100000000", "100M"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e4", "120e3"),
        ("1e-3", "1e-3"),
        ("1e0", "1"),
        ("1E", "1E"),
        ("0.1n", "1n"),
        ("1.1n", "2n"),
        ("100u", "100u"),
        ("9999999999999999999999Ki", "9223372036854775807"),
        ("1e21", "1e21"),
        (4, "4"),
        (0.25, "250m"),
        (1000.0, "1k"),
    ],
)
def test_canonical_form(text, canonical):
    assert canonicalize(text) == canonical
    assert canonicalize(canonical) == canonical


@pytest.mark.parametrize("text", ["", "a", "1 Gi", "1.2.3", "1Gi ", "1K1k", "\u0661"])
def test_malformed_text_shows_the_expression(text):
    with pytest.raises(QuantityError) as error:
        canonicalize(text)
    assert str(error.value) == FORMAT_WRONG


@pytest.mark.parametrize("text", ["1K", "--1", "1mi", "1e", "1kk", "1e1000000000"])
def test_unknown_suffix(text):
    with pytest.raises(QuantityError) as error:
        canonicalize(text)
    assert str(error.value) == SUFFIX_WRONG


def test_values_round_away_from_zero():
    assert Quantity.parse("1500m").value() == 2
    assert Quantity.parse("-1500m").value() == -2
    assert Quantity.parse("1100u").milli() == 2
    assert Quantity.parse("2Gi").value() == 2 << 30
    assert Quantity.parse("100m").milli() == 100


def test_sum_keeps_the_format_of_its_first_summand_unless_that_is_zero():
    assert str(Quantity.parse("1Gi") + Quantity.parse("1024M")) == "2048576Ki"
    assert str(Quantity.parse("0") + Quantity.parse("1Gi")) == "1Gi"
    assert str(Quantity.parse("1") - Quantity.parse("100m")) == "900m"
    assert str(-Quantity.parse("1Gi") * 2) == "-2Gi"


SUFFIXES = st.sampled_from(
    ["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "e3", "e-3"]
)
NUMBERS = st.decimals(min_value=-(10**6), max_value=10**6, places=3).map(lambda d: format(d, "f"))
TEXTS = st.builds(lambda number, suffix: number + suffix, NUMBERS, SUFFIXES)
UNITS = {
    "n": -9,
    "u": -6,
    "m": -3,
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "P": 15,
    "E": 18,
    "e3": 3,
    "e-3": -3,
}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40}


@given(NUMBERS, SUFFIXES)
def test_amounts_are_exact_down_to_nano(number, suffix):
    exact = Fraction(number) * (2 ** BINARY[suffix] if suffix in BINARY else Fraction(10) ** UNITS[suffix])
    amount = Fraction(Quantity.parse(number + suffix).nano, 10**9)
    assert abs(amount) >= abs(exact)
    assert abs(amount - exact) < Fraction(1, 10**9)


@given(TEXTS)
def test_canonical_form_is_stable_and_means_the_same(text):
    quantity = Quantity.parse(text)
    written = Quantity.parse(str(quantity))
    assert written == quantity
    assert str(written) == str(quantity)
    assert hash(written) == hash(quantity)


@given(TEXTS, TEXTS)
def test_comparison_follows_the_amount(left, right):
    a, b = Quantity.parse(left), Quantity.parse(right)
    assert (a < b) == (a.nano < b.nano)
    assert (a + b) - b == a


@given(st.text(max_size=12))
def test_any_text_parses_or_is_refused(text):
    try:
        Quantity.parse(text)
    except QuantityError:
        pass
