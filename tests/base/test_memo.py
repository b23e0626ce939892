"""What is remembered of texts: answers to short ones, so many and no more."""

from __future__ import annotations

import pytest

from coxswain.base.memo import LONGEST, remembered


def test_short_texts_are_remembered_up_to_a_bound() -> None:
    asked: list[str] = []

    @remembered(3)
    def length(text: str) -> int:
        asked.append(text)
        return len(text)

    assert [length(text) for text in ("a", "bb", "a", "bb", "ccc", "a")] == [1, 2, 1, 2, 3, 1]
    assert asked == ["a", "bb", "ccc"]
    assert [length(text) for text in ("dddd", "a", "dddd")] == [4, 1, 4]
    assert asked == ["a", "bb", "ccc", "dddd", "a"]


@pytest.mark.parametrize("several", [False, True])
def test_long_texts_are_answered_and_not_remembered(several: bool) -> None:
    asked: list[str] = []

    @remembered(8)
    def one(text: str) -> int:
        asked.append(text)
        return len(text)

    @remembered(8)
    def two(text: str, number: int) -> int:
        asked.append(text)
        return len(text) + number

    long, short = "x" * (LONGEST + 1), "x" * LONGEST
    for text in (long, short, long, short):
        assert (two(text, 1) if several else one(text)) == len(text) + several
    assert asked == [long, short, long]


def test_mistakes_are_not_remembered() -> None:
    tries = []

    @remembered(8)
    def strict(text: str) -> int:
        tries.append(text)
        return int(text)

    for _ in range(2):
        with pytest.raises(ValueError, match="invalid literal"):
            strict("x")
    assert tries == ["x", "x"]
