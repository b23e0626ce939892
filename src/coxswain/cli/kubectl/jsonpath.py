r"""kubectl's JSONPath templates: text with ``{expressions}``.

    evaluate(parse("{.metadata.name}{'\n'}"), obj) -> text
    values(parse_path(".spec.containers[0].image"), obj) -> [values]

Expressions: fields (``.a``, ``.a\.b``, ``['a.b']``), ``[n]``, ``[-1]``, ``[a:b:step]``, ``[*]``, ``.*``, ``..a``,
unions ``['a','b']``, filters ``[?(@.a=="b")]``, ``{range ...}...{end}``, ``$``, ``@``, quoted text. A field that is
missing gives nothing. Raises ``TemplateError``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coxswain.cli.kubectl.failures import UsageError


class TemplateError(UsageError):
    """The template cannot be read, or does not fit the object."""


#: A step of a path: all values that it leads to from one value.
Step: TypeAlias = Callable[[Any, Any], list[Any]]


@dataclass
class Text:
    """Text that is printed as it is."""

    text: str


@dataclass
class Path:
    """An expression: steps from the current value (or the root)."""

    steps: list[Step] = field(default_factory=list)
    rooted: bool = False


@dataclass
class Range:
    """``{range path} body {end}``."""

    over: Path
    body: list[Text | Path | Range] = field(default_factory=list)


Template: TypeAlias = list["Text | Path | Range"]

_IDENTIFIER = re.compile(r"(?:[^\s.\[\]{}()'\"\\,|*@$=!<>?]|\\.)+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_OPERATORS = ("==", "!=", "<=", ">=", "<", ">")


def parse(template: str) -> Template:
    """A template's parts."""
    parts: Template = []
    stack: list[Template] = [parts]
    position = 0
    while position < len(template):
        brace = template.find("{", position)
        if brace < 0:
            stack[-1].append(Text(template[position:]))
            break
        if brace > position:
            stack[-1].append(Text(template[position:brace]))
        end = _closing(template, brace)
        _add(template[brace + 1 : end].strip(), stack)
        position = end + 1
    if len(stack) > 1:
        raise TemplateError("error parsing jsonpath: unterminated range, no matching end")
    return parts


def _closing(template: str, start: int) -> int:
    """Where the brace that opens at ``start`` closes; quotes hide braces."""
    quote = ""
    position = start + 1
    while position < len(template):
        char = template[position]
        if quote:
            if char == "\\":
                position += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "}":
            return position
        position += 1
    raise TemplateError(f"error parsing jsonpath {template}, unclosed action")


def _add(action: str, stack: list[Template]) -> None:
    if action == "end":
        if len(stack) == 1:
            raise TemplateError("error parsing jsonpath: not in range, nothing to end")
        stack.pop()
    elif action.startswith("range") and not action[5:6].isalnum():
        loop = Range(_Parser(action[5:].strip()).whole())
        stack[-1].append(loop)
        stack.append(loop.body)
    else:
        stack[-1] += _Parser(action).sequence()


def parse_path(text: str) -> Path:
    """A path as ``--sort-by`` and custom columns take it: ``{.a.b}``, ``.a.b`` or ``a.b``."""
    match = re.fullmatch(r"\{\.?([^{}]+)\}|\.?([^{}]+)", text)
    if not match:
        raise TemplateError(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or "
            "'{.name1.name2}'"
        )
    inner = match.group(1) or match.group(2)
    return _Parser(inner if inner.startswith("[") else f".{inner}").whole()


def evaluate(template: Template, root: Any) -> str:
    """The template's text for ``root``."""
    return "".join(_render(template, root, root))


def values(path: Path, obj: Any, root: Any = None) -> list[Any]:
    """Every value that the path leads to."""
    found = [root if path.rooted and root is not None else obj]
    for step in path.steps:
        found = [value for one in found for value in step(one, obj if root is None else root)]
    return found


def _render(template: Template, current: Any, root: Any) -> Iterator[str]:
    for part in template:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, Path):
            yield " ".join(text_of(value) for value in values(part, current, root))
        else:
            over = values(part.over, current, root)
            for item in over[0] if len(over) == 1 and isinstance(over[0], list) else over:
                yield from _render(part.body, item, root)


def text_of(value: Any) -> str:
    """A value in a template's output: text bare, objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


class _Parser:
    """Reads one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def whole(self) -> Path:
        """A path that must take all of the text."""
        path = self.path()
        if self.at < len(self.text):
            raise self._broken()
        return path

    def sequence(self) -> Template:
        """What stands between two braces: paths and quoted texts."""
        parts: Template = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char.isspace():
                self.at += 1
            elif char in "'\"":
                parts.append(Text(self._quoted()))
            else:
                before = self.at
                parts.append(self.path())
                if self.at == before:
                    raise self._broken()
        return parts

    def path(self) -> Path:
        path = Path()
        if self._peek() and self._peek() in "$@":
            path.rooted = self._take() == "$"
        while char := self._peek():
            if self.text.startswith("..", self.at):
                self.at += 2
                path.steps.append(_recursive)
                if self._peek() not in ("[", ""):
                    path.steps.append(self._name())
            elif char == ".":
                self.at += 1
                if self._peek() not in ("", " ", "[", "}"):
                    path.steps.append(self._name())
            elif char == "[":
                path.steps.append(self._brackets())
            elif not path.steps and _IDENTIFIER.match(self.text, self.at):
                raise TemplateError(f"unrecognized identifier {self.text[self.at :]}")
            else:
                break
        return path

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def _broken(self) -> TemplateError:
        return TemplateError(
            f"error parsing jsonpath: unrecognized character in action: {self.text[self.at :]!r}"
        )

    def _name(self) -> Step:
        if self._peek() == "*":
            self.at += 1
            return _children
        match = _IDENTIFIER.match(self.text, self.at)
        if not match:
            raise self._broken()
        self.at = match.end()
        return _field(re.sub(r"\\(.)", r"\1", match.group()))

    def _quoted(self) -> str:
        quote = self._take()
        made = []
        while (char := self._peek()) != quote:
            if not char:
                raise TemplateError("error parsing jsonpath: unterminated quoted string")
            self.at += 1
            if char == "\\":
                escaped = self._take()
                char = {"n": "\n", "t": "\t", "r": "\r"}.get(escaped, escaped)
            made.append(char)
        self.at += 1
        return "".join(made)

    def _brackets(self) -> Step:
        """``[...]``: an index, a slice, names, a filter."""
        self.at += 1
        if self._peek() == "?":
            return self._filter()
        choices: list[Step] = []
        while True:
            self._space()
            choices.append(self._choice())
            self._space()
            if self._peek() == ",":
                self.at += 1
                continue
            if self._peek() != "]":
                raise TemplateError("error parsing jsonpath: unterminated array")
            self.at += 1
            return choices[0] if len(choices) == 1 else _union(choices)

    def _space(self) -> None:
        while self._peek().isspace():
            self.at += 1

    def _choice(self) -> Step:
        char = self._peek()
        if char == "*":
            self.at += 1
            return _children
        if char and char in "'\"":
            return _field(self._quoted())
        match = re.compile(r"(-?\d*)(?::(-?\d*)(?::(-?\d*))?)?").match(self.text, self.at)
        if not match or not match.group():
            raise TemplateError(f"error parsing jsonpath: invalid array index {self.text[self.at :]}")
        self.at = match.end()
        if ":" not in match.group():
            return _index(int(match.group(1)))
        bounds = [int(part) if part else None for part in match.groups()]
        return _slice(slice(*bounds))

    def _filter(self) -> Step:
        self.at += 1
        if self._take() != "(":
            raise self._broken()
        left = self._operand()
        self._space()
        operator = next((sign for sign in _OPERATORS if self.text.startswith(sign, self.at)), "")
        self.at += len(operator)
        right = self._operand() if operator else None
        self._space()
        if not self.text.startswith(")]", self.at):
            raise TemplateError("error parsing jsonpath: unterminated filter")
        self.at += 2
        return _filtering(left, operator, right)

    def _operand(self) -> Path | Text | float | bool:
        self._space()
        char = self._peek()
        if char and char in "'\"":
            return Text(self._quoted())
        if match := _NUMBER.match(self.text, self.at):
            self.at = match.end()
            return float(match.group())
        for word, value in (("true", True), ("false", False)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        return self.path()


# --- steps ------------------------------------------------------------------------------------------------


def _field(name: str) -> Step:
    def step(value: Any, root: Any) -> list[Any]:
        if isinstance(value, dict) and name in value:
            return [value[name]]
        return []

    return step


def _children(value: Any, root: Any) -> list[Any]:
    if isinstance(value, list):
        return list(value)
    return [value[key] for key in sorted(value)] if isinstance(value, dict) else []


def _recursive(value: Any, root: Any) -> list[Any]:
    found = [value]
    for child in _children(value, root):
        found += _recursive(child, root)
    return found


def _index(position: int) -> Step:
    def step(value: Any, root: Any) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise TemplateError(f"{text_of(value)} is not array or slice")
        if not -len(value) <= position < len(value):
            raise TemplateError(f"array index out of bounds: index {position}, length {len(value)}")
        return [value[position]]

    return step


def _slice(bounds: slice) -> Step:
    def step(value: Any, root: Any) -> list[Any]:
        return list(value[bounds]) if isinstance(value, list) else []

    return step


def _union(steps: list[Step]) -> Step:
    return lambda value, root: [found for step in steps for found in step(value, root)]


def _filtering(left: Any, operator: str, right: Any) -> Step:
    def holds(item: Any, root: Any) -> bool:
        first = _operand_values(left, item, root)
        if not operator:
            return bool(first)
        second = _operand_values(right, item, root)
        return bool(first and second) and _compare(first[0], operator, second[0])

    return lambda value, root: [item for item in _children(value, root) if holds(item, root)]


def _operand_values(operand: Any, item: Any, root: Any) -> list[Any]:
    if isinstance(operand, Path):
        return values(operand, item, root)
    return [operand.text if isinstance(operand, Text) else operand]


def _compare(left: Any, operator: str, right: Any) -> bool:
    if operator in ("==", "!="):
        return bool(left == right) == (operator == "==")
    if isinstance(left, str) != isinstance(right, str):
        raise TemplateError("incompatible types for comparison")
    results = {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}
    return bool(results[operator])
