"""Regular expressions in linear time, for patterns with which Python's own would backtrack without end.

    search = linear.searcher(translated)          None: the pattern is harmless, or beyond what is done here
    search("text") -> bool                        whether the pattern is found

A pattern becomes a nondeterministic automaton; its sets of states are worked out as texts need them and kept, so that
the usual character costs one look into a dict. Time grows with the text, never with the ways to read it: whoever writes
an object cannot stall the server with a value that a definition's pattern is slow on.

Where states are kept, they are bounded: beyond ``_MAX_STATES`` all is forgotten and made anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, TypeAlias

#: Counts up to this are no reason to worry.
_SMALL: Final = 16
#: Texts up to this length are left to Python where several repetitions follow each other, but none contains another.
_SHORT: Final = 128
_MAX_NODES: Final = 4000
_MAX_STATES: Final = 2000
_START, _WORD, _OTHER, _NEWLINE, _END = range(5)
_ACCEPT: Final = -1

#: Whether a character fits.
_Test: TypeAlias = Callable[[str], bool]
#: Whether a place fits, by what is before and after it.
_Place: TypeAlias = Callable[[int, int], bool]


def searcher(pattern: str) -> Callable[[str], bool] | None:
    """What finds a pattern (in Python's spelling) in linear time; None where Python's own is as good."""
    try:
        tree = parser.parse(pattern, re.ASCII)
        risk = _risk(tree)
        if not risk:
            return None
        automaton = _Automaton(tree)
    except (re.error, _TooMuchError, RecursionError):
        return None
    if risk > 1:
        return automaton.search
    quick = re.compile(pattern, re.ASCII).search

    def search(text: str) -> bool:
        return quick(text) is not None if len(text) <= _SHORT else automaton.search(text)

    return search


class _TooMuchError(Exception):
    """A pattern that is not worth an automaton, or has what none can do."""


def _risk(tree: Any) -> int:
    """0: harmless; 1: several repetitions one after the other; 2: repetitions in repetitions."""
    many, nested = _count(tree, False)
    return 2 if nested else 1 if many > 1 else 0


def _count(tree: Any, inside: bool) -> tuple[int, bool]:
    many, nested = 0, False
    for operator, value in tree:
        parts: list[Any] = []
        within = inside
        if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            _, most, body = value
            if most is codes.MAXREPEAT or most > _SMALL:
                many += 1
                nested = nested or inside
                within = True
            parts = [body]
        elif operator is codes.SUBPATTERN:
            parts = [value[3]]
        elif operator is codes.BRANCH:
            nested = nested or inside
            parts = value[1]
        for part in parts:
            more, deeper = _count(part, within)
            many += more
            nested = nested or deeper
    return many, nested


class _Automaton:
    """States are numbers: 0 is the match. ``_steps`` go on with a character, ``_free`` without one."""

    def __init__(self, tree: Any) -> None:
        self._steps: dict[int, tuple[_Test, int]] = {}
        self._free: dict[int, list[tuple[_Place | None, int]]] = {}
        self._size = 1
        self._start = self._build(tree, 0, tree.state.flags)
        self._forget()

    # -- building, from the end to the start

    def _node(self) -> int:
        self._size += 1
        if self._size > _MAX_NODES:
            raise _TooMuchError
        return self._size - 1

    def _build(self, tree: Any, then: int, flags: int) -> int:
        for operator, value in reversed(list(tree)):
            then = self._one(operator, value, then, flags)
        return then

    def _one(self, operator: Any, value: Any, then: int, flags: int) -> int:
        if operator in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
            node = self._node()
            self._steps[node] = (_test(operator, value, flags), then)
            return node
        if operator is codes.SUBPATTERN:
            _, add, drop, body = value
            return self._build(body, then, (flags | add) & ~drop)
        if operator is codes.BRANCH:
            node = self._node()
            self._free[node] = [(None, self._build(part, then, flags)) for part in value[1]]
            return node
        if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            least, most, body = value
            return self._repeat(least, most, body, then, flags)
        if operator is codes.AT:
            node = self._node()
            self._free[node] = [(_place(value, flags), then)]
            return node
        raise _TooMuchError

    def _repeat(self, least: int, most: Any, body: Any, then: int, flags: int) -> int:
        if most is codes.MAXREPEAT:
            loop = self._node()
            self._free[loop] = [(None, then)]
            self._free[loop].append((None, self._build(body, loop, flags)))
            node = loop
        else:
            node = then
            for _ in range(most - least):
                choice = self._node()
                self._free[choice] = [(None, then), (None, self._build(body, node, flags))]
                node = choice
        for _ in range(least):
            node = self._build(body, node, flags)
        return node

    # -- searching

    def _forget(self) -> None:
        self._sets: dict[tuple[frozenset[int], int], int] = {}
        self._known: list[tuple[frozenset[int], int]] = []
        self._next: list[dict[str, int]] = []

    def search(self, text: str) -> bool:
        """Whether the pattern is found."""
        state = self._state(frozenset((self._start,)), _START)
        for char in text:
            found = self._next[state].get(char)
            if found is None:
                found = self._step(state, char)
            if found == _ACCEPT:
                return True
            state = found
        nodes, before = self._known[state]
        return 0 in self._reach(nodes, before, _END)

    def _step(self, state: int, char: str) -> int:
        nodes, before = self._known[state]
        kind = _kind(char)
        reached = self._reach(nodes, before, kind)
        if 0 in reached:
            self._next[state][char] = _ACCEPT
            return _ACCEPT
        # A match may begin at every place.
        after = {self._start}
        for node in reached:
            step = self._steps.get(node)
            if step is not None and step[0](char):
                after.add(step[1])
        if len(self._known) >= _MAX_STATES:
            self._forget()
            return self._state(frozenset(after), kind)
        found = self._state(frozenset(after), kind)
        self._next[state][char] = found
        return found

    def _state(self, nodes: frozenset[int], before: int) -> int:
        key = (nodes, before)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = len(self._known)
            self._known.append(key)
            self._next.append({})
        return found

    def _reach(self, nodes: frozenset[int], before: int, after: int) -> set[int]:
        """All that can be reached without a character."""
        reached = set(nodes)
        left = list(nodes)
        while left:
            for place, node in self._free.get(left.pop(), ()):
                if node not in reached and (place is None or place(before, after)):
                    reached.add(node)
                    left.append(node)
        return reached


def _kind(char: str) -> int:
    if char == "\n":
        return _NEWLINE
    return _WORD if char.isascii() and (char.isalnum() or char == "_") else _OTHER


def _test(operator: Any, value: Any, flags: int) -> _Test:
    if operator is codes.ANY:
        return (lambda char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    if operator is codes.IN:
        plain = _class(value)
        if flags & re.IGNORECASE:
            return lambda char: plain(char) or plain(char.lower()) or plain(char.upper())
        return plain
    wanted = {chr(value)}
    if flags & re.IGNORECASE:
        wanted |= {chr(value).lower(), chr(value).upper()}
    if operator is codes.LITERAL:
        return lambda char: char in wanted
    return lambda char: char not in wanted


_DIGIT: Final = frozenset("0123456789")
_SPACE: Final = frozenset(" \t\n\r\f\v")
_CATEGORIES: Final[dict[Any, _Test]] = {
    codes.CATEGORY_DIGIT: lambda char: char in _DIGIT,
    codes.CATEGORY_NOT_DIGIT: lambda char: char not in _DIGIT,
    codes.CATEGORY_SPACE: lambda char: char in _SPACE,
    codes.CATEGORY_NOT_SPACE: lambda char: char not in _SPACE,
    codes.CATEGORY_WORD: lambda char: _kind(char) == _WORD,
    codes.CATEGORY_NOT_WORD: lambda char: _kind(char) != _WORD,
}


def _class(parts: Any) -> _Test:
    """``[...]``."""
    negated = bool(parts) and parts[0][0] is codes.NEGATE
    singles: set[str] = set()
    ranges: list[tuple[int, int]] = []
    tests: list[_Test] = []
    for operator, value in parts[1:] if negated else parts:
        if operator is codes.LITERAL:
            singles.add(chr(value))
        elif operator is codes.RANGE:
            ranges.append(value)
        elif operator is codes.CATEGORY and value in _CATEGORIES:
            tests.append(_CATEGORIES[value])
        else:
            raise _TooMuchError

    def test(char: str) -> bool:
        code = ord(char)
        found = (
            char in singles
            or any(low <= code <= high for low, high in ranges)
            or any(each(char) for each in tests)
        )
        return found is not negated

    return test


def _place(value: Any, flags: int) -> _Place:
    lines = bool(flags & re.MULTILINE)
    if value is codes.AT_BEGINNING:
        return lambda before, after: before == _START or (lines and before == _NEWLINE)
    if value is codes.AT_BEGINNING_STRING:
        return lambda before, after: before == _START
    if value is codes.AT_END_STRING:
        return lambda before, after: after == _END
    if value is codes.AT_END and lines:
        return lambda before, after: after in (_END, _NEWLINE)
    if value is codes.AT_BOUNDARY:
        return lambda before, after: (before == _WORD) is not (after == _WORD)
    if value is codes.AT_NON_BOUNDARY:
        return lambda before, after: (before == _WORD) is (after == _WORD)
    raise _TooMuchError
