"""Sets of completion indexes, kept as ordered intervals: what ``status.completedIndexes`` says.

Written as Kubernetes writes them: runs of three and more as ``first-last``, pairs as two numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Indexes:
    """An immutable set of non-negative integers."""

    __slots__ = ("_firsts", "_runs")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted(runs):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self._runs = tuple(merged)
        self._firsts = [first for first, _ in merged]

    @classmethod
    def parse(cls, text: str | None, completions: int) -> Indexes:
        """The indexes below ``completions`` that ``text`` names; none when it is not well formed."""
        runs = []
        for part in (text or "").split(",") if text else ():
            first, _, last = part.partition("-")
            if not first.isdecimal() or (last and not last.isdecimal()):
                return cls()
            start, end = int(first), min(int(last or first), completions - 1)
            if start <= end:
                runs.append((start, end))
        return cls(runs)

    def __contains__(self, index: int) -> bool:
        at = bisect_right(self._firsts, index) - 1
        return at >= 0 and index <= self._runs[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self._runs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Indexes) and self._runs == other._runs

    def __hash__(self) -> int:
        return hash(self._runs)

    def __or__(self, more: Iterable[int] | Indexes) -> Indexes:
        runs = more._runs if isinstance(more, Indexes) else tuple((index, index) for index in more)
        return Indexes((*self._runs, *runs)) if runs else self

    def common(self, other: Indexes) -> int:
        """How many indexes both have."""
        return len(self) + len(other) - len(self | other)

    def absent(self, below: int) -> Iterator[int]:
        """The indexes under ``below`` that are not in the set, ascending."""
        start = 0
        for first, last in self._runs:
            yield from range(start, min(first, below))
            start = last + 1
        yield from range(start, below)

    def __str__(self) -> str:
        parts = []
        for first, last in self._runs:
            parts.append(str(first))
            if last > first:
                parts[-1] += f"{'-' if last > first + 1 else ','}{last}"
        return ",".join(parts)
