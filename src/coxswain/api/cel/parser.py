"""CEL's grammar: an expression's text into a tree of ``Node``s, macros left as calls. Errors in cel-go's words.

parse("self.a > 2 && has(self.b)") -> Node          raises ``CelSyntaxError``, whose text has line, column and a pointer
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

#: Trees deeper than this are refused, and so are longer texts.
MAX_DEPTH: Final = 200
MAX_LENGTH: Final = 100_000

_TOKEN: Final = re.compile(
    r"""(?P<space>[\ \t\n\r\f]+|//[^\n]*)
      | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
      | (?P<uint>(?:0x[0-9a-fA-F]+|\d+)[uU])
      | (?P<int>0x[0-9a-fA-F]+|\d+)
      | (?P<string>[bB]?[rR]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''
                     |\"(?:\\.|[^\\\"\n\r])*\"|'(?:\\.|[^\\'\n\r])*'))
      | (?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,\[\](){}])
    """,
    re.VERBOSE | re.DOTALL,
)
_RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)
_EXPECTED: Final = (
    "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, "
    "IDENTIFIER}"
)


class Token(NamedTuple):
    """One word of the text; ``kind`` "end" closes it."""

    kind: str
    text: str
    offset: int


@dataclass(slots=True)
class Node:
    """A part of an expression.

    const (``value``), ident (``name``), select (``args[0]``.``name``; ``optional``), index (args), call (``name``, args;
    ``target`` for methods), list (args), map (args: keys and values in turn), struct (``name``; args: values, ``value``:
    the fields' names). ``maybe``: places in ``args`` of elements and entries that are left out when they are none.
    """

    kind: str
    offset: int
    name: str = ""
    value: Any = None
    args: list[Node] = field(default_factory=list)
    target: Node | None = None
    optional: bool = False
    maybe: frozenset[int] = frozenset()


class CelError(ValueError):
    """An expression that is wrong, or goes wrong."""


class CelSyntaxError(CelError):
    """A text that is no expression; ``str`` is cel-go's report."""


def report(text: str, offset: int, message: str) -> str:
    """A message with its place, as cel-go prints it."""
    before = text[:offset]
    line = before.count("\n") + 1
    column = offset - (before.rfind("\n") + 1)
    shown = text.split("\n")[line - 1]
    return f"ERROR: <input>:{line}:{column + 1}: {message}\n | {shown}\n | {'.' * column}^"


class CelProgramError(CelError):
    """An expression that is well formed and typed, and cannot be made to run all the same."""


def path_of(node: Node | None) -> str:
    """``a.b.c`` where a node is nothing but names; "" for all others."""
    names: list[str] = []
    while node is not None and node.kind == "select" and not node.optional:
        names.append(node.name)
        node = node.args[0]
    if node is None or node.kind != "ident":
        return ""
    return ".".join([node.name, *reversed(names)])


class UInt(int):
    """A CEL uint; other integers are ints."""

    __slots__ = ()


def parse(text: str) -> Node:
    """The tree of an expression."""
    if len(text) > MAX_LENGTH:
        raise CelSyntaxError(
            f"expression code point size exceeds limit: size: {len(text)}, limit {MAX_LENGTH}"
        )
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._scan(text)
        self._at = 0
        self._depth = 0

    def _fail(self, token: Token, message: str) -> CelSyntaxError:
        return CelSyntaxError(report(self._text, token.offset, f"Syntax error: {message}"))

    def _scan(self, text: str) -> list[Token]:
        tokens, position = [], 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                token = Token("op", text[position], position)
                raise self._fail(token, f"token recognition error at: '{text[position]}'")
            kind = str(found.lastgroup)
            if kind != "space":
                tokens.append(Token(kind, found[0], position))
            position = found.end()
        tokens.append(Token("end", "<EOF>", len(text)))
        return tokens

    # -- helpers

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> Token | None:
        token = self._next
        if token.kind in ("op", "name") and token.text in texts:
            self._at += 1
            return token
        return None

    def _need(self, text: str) -> Token:
        token = self._take(text)
        if token is None:
            raise self._unexpected(f"expecting '{text}'")
        return token

    def _unexpected(self, expected: str = _EXPECTED) -> CelSyntaxError:
        token = self._next
        words = "extraneous" if token.kind != "end" and expected is _EXPECTED else "mismatched"
        return self._fail(token, f"{words} input '{token.text}' {expected}")

    # -- the grammar

    def whole(self) -> Node:
        node = self._expression()
        if self._next.kind != "end":
            raise self._unexpected("expecting <EOF>")
        return node

    def _expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CelSyntaxError(f"ERROR: <input>:-1:0: expression recursion limit exceeded: {MAX_DEPTH}")
        node = self._binary(0)
        token = self._take("?")
        if token is not None:
            then = self._binary(0)
            self._need(":")
            otherwise = self._expression()
            node = Node("call", token.offset, "_?_:_", args=[node, then, otherwise])
        self._depth -= 1
        return node

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while (token := self._take(*_LEVELS[level])) is not None:
            right = self._binary(level + 1)
            name = "@in" if token.text == "in" else f"_{token.text}_"
            node = Node("call", token.offset, name, args=[node, right])
        return node

    def _unary(self) -> Node:
        token = self._take("!", "-")
        if token is None:
            return self._member()
        if (
            token.text == "-"
            and self._next.kind in ("int", "float")
            and self._next.offset == token.offset + 1
        ):
            node = self._member(sign=-1)
            node.offset = token.offset
            return node
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CelSyntaxError(f"ERROR: <input>:-1:0: expression recursion limit exceeded: {MAX_DEPTH}")
        inner = self._unary()
        self._depth -= 1
        return Node("call", token.offset, "!_" if token.text == "!" else "-_", args=[inner])

    def _member(self, sign: int = 1) -> Node:
        node = self._primary(sign)
        while (token := self._take(".", "[")) is not None:
            optional = self._take("?") is not None
            if token.text == "[":
                node = Node("index", token.offset, args=[node, self._expression()], optional=optional)
                self._need("]")
                continue
            name = self._name_after_dot()
            if not optional and self._next.text == "(" and self._next.kind == "op":
                opened = self._need("(")
                node = Node("call", opened.offset, name, args=self._arguments(")")[0], target=node)
                continue
            node = Node("select", token.offset, name, args=[node], optional=optional)
            if self._next.text == "{" and self._next.kind == "op" and (path := path_of(node)):
                node = self._struct(path)
        return node

    def _struct(self, name: str) -> Node:
        opened = self._need("{")
        fields: list[str] = []
        values: list[Node] = []
        maybe: set[int] = set()
        while self._take("}") is None:
            if fields:
                self._need(",")
                if self._take("}"):
                    break
            if self._take("?"):
                maybe.add(len(fields))
            fields.append(self._name_after_dot())
            self._need(":")
            values.append(self._expression())
        return Node("struct", opened.offset, name, fields, values, maybe=frozenset(maybe))

    def _name_after_dot(self) -> str:
        token = self._next
        if token.kind == "quoted":
            self._at += 1
            return token.text[1:-1]
        if token.kind != "name":
            raise self._fail(
                token, f"no viable alternative at input '.{'' if token.kind == 'end' else token.text}'"
            )
        self._at += 1
        return token.text

    def _arguments(self, close: str) -> tuple[list[Node], frozenset[int]]:
        found: list[Node] = []
        maybe: set[int] = set()
        while self._take(close) is None:
            if found:
                self._need(",")
                if close != ")" and self._take(close):
                    break
            if close != ")" and self._take("?"):
                maybe.add(len(found))
            found.append(self._expression())
        return found, frozenset(maybe)

    def _primary(self, sign: int) -> Node:
        token = self._next
        self._at += 1
        if token.kind in ("int", "uint", "float", "string"):
            return Node("const", token.offset, value=self._literal(token, sign))
        if token.kind == "name" or token.text == ".":
            return self._named(token)
        if token.text == "(":
            node = self._expression()
            self._need(")")
            return node
        if token.text == "[":
            found, maybe = self._arguments("]")
            return Node("list", token.offset, args=found, maybe=maybe)
        if token.text == "{":
            found, maybe = self._entries()
            return Node("map", token.offset, args=found, maybe=maybe)
        self._at -= 1
        raise self._unexpected()

    def _entries(self) -> tuple[list[Node], frozenset[int]]:
        found: list[Node] = []
        maybe: set[int] = set()
        while self._take("}") is None:
            if found:
                self._need(",")
                if self._take("}"):
                    break
            if self._take("?"):
                maybe.add(len(found))
            found.append(self._expression())
            self._need(":")
            found.append(self._expression())
        return found, frozenset(maybe)

    def _named(self, token: Token) -> Node:
        name = token.text
        if name == ".":
            token = self._next
            name = self._name_after_dot()
        if name in ("true", "false", "null"):
            return Node("const", token.offset, value={"true": True, "false": False, "null": None}[name])
        if name in _RESERVED:
            raise CelSyntaxError(report(self._text, token.offset, f"reserved identifier: {name}"))
        if name == "in":
            self._at -= 1
            raise self._unexpected()
        opened = self._take("(")
        if opened is not None:
            return Node("call", opened.offset, name, args=self._arguments(")")[0])
        if self._next.text == "{" and self._next.kind == "op":
            return self._struct(name)
        return Node("ident", token.offset, name)

    def _literal(self, token: Token, sign: int) -> Any:
        text = token.text
        if token.kind == "float":
            return sign * float(text)
        if token.kind == "string":
            return _string(text, lambda why: self._fail(token, why))
        if token.kind == "uint":
            value = int(text[:-1], 0) if text[:2].lower() == "0x" else int(text[:-1])
            if value >= 2**64:
                raise self._fail(token, "invalid uint literal")
            return UInt(value)
        value = sign * (int(text, 16) if text[:2].lower() == "0x" else int(text))
        if not -(2**63) <= value < 2**63:
            raise self._fail(token, "invalid int literal")
        return value


_LEVELS: Final = (("||",), ("&&",), ("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_SIMPLE: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?",
}  # fmt: skip


def _string(text: str, fail: Any) -> str | bytes:
    quote = min(position for position in (text.find("'"), text.find('"')) if position >= 0)
    prefix = text[:quote].lower()
    width = 3 if text[quote : quote + 3] in ('"""', "'''") and len(text) - quote >= 6 else 1
    body = text[quote + width : -width]
    if "r" not in prefix:

        def replace(found: re.Match[str]) -> str:
            code = found[1] or found[2] or found[3]
            if code:
                return chr(int(code, 16))
            if found[4]:
                return chr(int(found[4], 8))
            if found[5] not in _SIMPLE:
                raise fail(f"unable to unescape string: \\{found[5]}")
            return _SIMPLE[found[5]]

        body = _ESCAPE.sub(replace, body)
    return body.encode() if "b" in prefix else body
