"""Why a text is not JSON, in the words of Go's decoder; and where JSON names a field twice.

Both are slow paths: bodies are parsed by orjson, and only what it refuses (or what lost a key) comes here.

    explain(b'{not json')    -> "invalid character 'n' looking for beginning of object key string"
    loads(body)              -> the value; raises JsonError
    pairs(body)              -> the value with every object as ``Pairs``, its keys in order, twice if given twice
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

_SPACE: Final = b" \t\r\n"
_DEPTH: Final = 10_000
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_LITERALS: Final = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}


class JsonError(ValueError):
    """The text is not JSON; the text of the error is Go's."""


class Pairs(list[tuple[str, Any]]):
    """An object's members in order, duplicates kept."""


def loads(data: bytes) -> Any:
    """The value of a JSON text, as Go's decoder takes it. Raises ``JsonError``."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    _refuse(data)
    # Go takes what orjson does not: broken UTF-8, lone surrogates, deep nesting.
    try:
        return _scrub(json.loads(data.decode(errors="replace")))
    except (ValueError, RecursionError):
        raise JsonError("exceeded max depth") from None


def pairs(data: bytes) -> Any:
    """The value with objects as ``Pairs``; ``data`` must be what ``loads`` took."""
    return json.loads(data.decode(errors="replace"), object_pairs_hook=Pairs)


def _refuse(data: bytes) -> None:
    problem = explain(data)
    if problem is not None:
        raise JsonError(problem)


def _scrub(value: Any) -> Any:
    """Lone surrogates become U+FFFD, as in Go."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrub(element) for element in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(element) for key, element in value.items()}
    return value


def explain(data: bytes) -> str | None:
    """What is wrong with a JSON text; None when nothing is."""
    try:
        _Scanner(data).run()
    except JsonError as error:
        return str(error)
    return None


class _Scanner:
    """A checker of one text. Brackets are kept on a stack, so that depth costs no recursion."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def run(self) -> None:
        stack: list[int] = []  # b"{" or b"["
        self._space()
        while True:
            self._value(stack)
            while self._close(stack):
                pass
            if not stack:
                break
            self._next(stack)
        self._space()
        if self.at < len(self.data):
            raise self._bad("after top-level value")

    def _value(self, stack: list[int]) -> None:
        """One scalar, an empty container, or the way into a container's first scalar."""
        while True:
            char = self._peek()
            if char not in b"{[":
                self._scalar(char)
                return
            stack.append(char)
            if len(stack) > _DEPTH:
                raise self._bad("exceeded max depth")
            self.at += 1
            self._space()
            inner = self._peek()
            if inner == (0x7D if char == 0x7B else 0x5D):
                stack.pop()
                self.at += 1
                return
            if char == 0x7B:
                self._key()

    def _close(self, stack: list[int]) -> bool:
        """After a value: whether a container ended here."""
        self._space()
        if not stack:
            return False
        char = self._peek()
        if char == (0x7D if stack[-1] == 0x7B else 0x5D):
            stack.pop()
            self.at += 1
            return True
        if char != 0x2C:
            raise self._bad("after object key:value pair" if stack[-1] == 0x7B else "after array element")
        return False

    def _next(self, stack: list[int]) -> None:
        """The comma, and the next key in an object."""
        self.at += 1
        self._space()
        if stack[-1] == 0x7B:
            self._key()

    def _key(self) -> None:
        if self._peek() != 0x22:
            raise self._bad("looking for beginning of object key string")
        self._string()
        self._space()
        if self._peek() != 0x3A:
            raise self._bad("after object key")
        self.at += 1
        self._space()

    def _scalar(self, char: int) -> None:
        if char == 0x22:
            self._string()
        elif char in _LITERALS:
            self._literal(_LITERALS[char])
        elif char == 0x2D or 0x30 <= char <= 0x39:
            self._number()
        else:
            raise self._bad("looking for beginning of value")

    def _literal(self, word: bytes) -> None:
        for expected in word:
            if self._peek() != expected:
                raise self._bad(f"in literal {word.decode()} (expecting {chr(expected)!r})")
            self.at += 1

    def _string(self) -> None:
        self.at += 1
        while True:
            match = _PLAIN.match(self.data, self.at)
            assert match is not None  # the pattern takes nothing, too
            self.at = match.end()
            char = self._peek()
            if char == 0x22:
                self.at += 1
                return
            if char != 0x5C:
                raise self._bad("in string literal")
            self.at += 1
            self._escape()

    def _escape(self) -> None:
        char = self._peek()
        if char not in b'bfnrt\\/"u':
            raise self._bad("in string escape code")
        self.at += 1
        if char == 0x75:
            for _ in range(4):
                if self._peek() not in b"0123456789abcdefABCDEF":
                    raise self._bad("in \\u hexadecimal character escape")
                self.at += 1

    def _number(self) -> None:
        if self.data[self.at] == 0x2D:
            self.at += 1
            self._digit("in numeric literal")
            self.at -= 1
        if self.data[self.at] == 0x30:
            self.at += 1
        else:
            self._digits()
        if self._have(b"."):
            self.at += 1
            self._digit("after decimal point in numeric literal")
            self._digits()
        if self._have(b"eE"):
            self.at += 1
            if self._have(b"+-"):
                self.at += 1
            self._digit("in exponent of numeric literal")
            self._digits()

    def _digit(self, where: str) -> None:
        if not 0x30 <= self._peek() <= 0x39:
            raise self._bad(where)
        self.at += 1

    def _digits(self) -> None:
        while self._have(b"0123456789"):
            self.at += 1

    def _have(self, chars: bytes) -> bool:
        return self.at < len(self.data) and self.data[self.at] in chars

    def _space(self) -> None:
        while self._have(_SPACE):
            self.at += 1

    def _peek(self) -> int:
        if self.at >= len(self.data):
            raise JsonError("unexpected end of JSON input")
        return self.data[self.at]

    def _bad(self, where: str) -> JsonError:
        return JsonError(f"invalid character {_quote_char(self.data[self.at])} {where}")


_NAMED: Final = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 0x5C: "\\\\"}


def _quote_char(code: int) -> str:
    """A byte as Go's scanner shows it: as the rune of the same number."""
    if code == 0x27:
        return "'\\''"
    if code == 0x22:
        return "'\"'"
    if code in _NAMED:
        return f"'{_NAMED[code]}'"
    char = chr(code)
    if char.isprintable():
        return f"'{char}'"
    return f"'\\x{code:02x}'" if code < 0x80 else f"'\\u{code:04x}'"
