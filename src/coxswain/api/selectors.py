"""Label and field selectors: parsed once, matched often (apimachinery ``pkg/labels`` and ``pkg/fields``).

    parse_label_selector("app=web,tier in (a,b),!old")    -> Selector
    label_selector_from({"matchLabels": {"app": "web"}})  -> Selector; None matches nothing, {} everything
    parse_field_selector("spec.nodeName=n1,status.phase!=Failed")   -> FieldSelector

    selector.matches(labels)         labels: a mapping of strings, or None
    selector.requires_exact("app")   the one value that every match has for this key, or None: an index may serve it
    selector.requirements            sorted by key, as ``str(selector)`` writes them

Selectors are immutable; the parsers cache. A malformed selector raises ``SelectorError``, a 400 whose message is
Kubernetes' own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from coxswain.api.errors import BadRequest
from coxswain.api.fields import aggregate, child, index, invalid, key, not_supported, quote
from coxswain.api.names import Object
from coxswain.base.memo import remembered

Labels: TypeAlias = Mapping[str, str]

OPERATORS: Final = ("in", "notin", "=", "==", "!=", "gt", "lt")
_ALL_OPERATORS: Final = ("!", "=", "==", "in", "!=", "notin", "exists", "gt", "lt")


class SelectorError(BadRequest):
    """The text or object is no selector."""


# --- names and values of labels ---------------------------------------------------------------------------

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_WRONG = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_SUBDOMAIN_WRONG = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_WRONG = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


@remembered(8192)
def label_key_errors(text: str) -> tuple[str, ...]:
    """What is wrong with a label's key, in the words of ``IsQualifiedName``."""
    parts = text.split("/")
    if len(parts) > 2:
        return (
            f"a qualified name {_NAME_WRONG} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    errors = _prefix_errors(parts[0]) if len(parts) == 2 else []
    name = parts[-1]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > 63:
        errors.append("name part must be no more than 63 bytes")
    if not _NAME.fullmatch(name):
        errors.append(f"name part {_NAME_WRONG}")
    return tuple(errors)


def _prefix_errors(prefix: str) -> list[str]:
    if not prefix:
        return ["prefix part must be non-empty"]
    errors = []
    if len(prefix) > 253:
        errors.append("prefix part must be no more than 253 bytes")
    if not _SUBDOMAIN.fullmatch(prefix):
        errors.append(f"prefix part {_SUBDOMAIN_WRONG}")
    return errors


@remembered(8192)
def label_value_errors(text: str) -> tuple[str, ...]:
    """What is wrong with a label's value, in the words of ``IsValidLabelValue``."""
    errors = []
    if len(text) > 63:
        errors.append("must be no more than 63 bytes")
    if text and not _NAME.fullmatch(text):
        errors.append(_VALUE_WRONG)
    return tuple(errors)


# --- label selectors --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: ``operator`` is one of ``in notin = == != exists ! gt lt``; ``values`` are sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether ``labels`` satisfy this term; a missing key satisfies the negative operators."""
        value = labels.get(self.key)
        operator = self.operator
        if operator in ("=", "==", "in"):
            return value is not None and value in self.values
        if operator in ("!=", "notin"):
            return value is None or value not in self.values
        if operator == "exists":
            return value is not None
        if operator == "!":
            return value is None
        return value is not None and _compares(value, operator, self.values[0])

    def __str__(self) -> str:
        operator = self.operator
        if operator == "exists":
            return self.key
        if operator == "!":
            return f"!{self.key}"
        if operator in ("in", "notin"):
            return f"{self.key} {operator} ({','.join(self.values)})"
        return f"{self.key}{_SYMBOLS.get(operator, operator)}{self.values[0]}"


_SYMBOLS = {"gt": ">", "lt": "<"}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def _int64(text: str) -> int | None:
    if not _INTEGER.fullmatch(text) or len(text) > 20:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _compares(value: str, operator: str, bound: str) -> bool:
    left, right = _int64(value), _int64(bound)
    if left is None or right is None:
        return False
    return left > right if operator == "gt" else left < right


def requirement(name: str, operator: str, values: Sequence[str], path: str = "") -> Requirement:
    """A checked term. Raises ``SelectorError`` with every fault, as ``labels.NewRequirement`` does."""
    errors = (
        [invalid(child(path, "key"), name, "; ".join(wrong))] if (wrong := label_key_errors(name)) else []
    )
    values_path = child(path, "values")
    fault = _count_fault(operator, values)
    if fault:
        errors.append(invalid(values_path, list(values), fault))
    elif operator not in _ALL_OPERATORS:
        errors.append(not_supported(child(path, "operator"), operator, _ALL_OPERATORS))
    elif operator in ("gt", "lt") and _int64(values[0]) is None:
        detail = "for 'Gt', 'Lt' operators, the value must be an integer"
        errors.append(invalid(index(values_path, 0), values[0], detail))
    for position, value in enumerate(values):
        if wrong := label_value_errors(value):
            errors.append(invalid(key(index(values_path, position), name), value, "; ".join(wrong)))
    if errors:
        raise SelectorError(aggregate(map(str, errors)))
    return Requirement(name, operator, tuple(values))


def _count_fault(operator: str, values: Sequence[str]) -> str:
    if operator in ("in", "notin"):
        return "" if values else "for 'in', 'notin' operators, values set can't be empty"
    if operator in ("=", "==", "!="):
        return "" if len(values) == 1 else "exact-match compatibility requires one single value"
    if operator in ("exists", "!"):
        return "values set must be empty for exists and does not exist" if values else ""
    if operator in ("gt", "lt"):
        return "" if len(values) == 1 else "for 'Gt', 'Lt' operators, exactly one value is required"
    return ""


class Selector:
    """All of its requirements must hold; none at all matches everything."""

    __slots__ = ("_exact", "_match", "requirements")

    def __init__(self, requirements: Sequence[Requirement], *, nothing: bool = False) -> None:
        self.requirements: Final = tuple(sorted(requirements, key=lambda term: term.key))
        self._exact: Final = {
            term.key: term.values[0]
            for term in self.requirements
            if term.operator in ("=", "==", "in") and len(term.values) == 1
        }
        self._match: Final = (lambda _labels: False) if nothing else _compile(self.requirements, self._exact)

    def matches(self, labels: Labels | None) -> bool:
        """Whether an object with these labels is selected."""
        return self._match(labels or _NO_LABELS)

    @property
    def exact(self) -> Mapping[str, str]:
        """The labels that every match has with one certain value."""
        return self._exact

    def requires_exact(self, name: str) -> str | None:
        """The value that label ``name`` has on every match, or None when it may vary."""
        return self._exact.get(name)

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements and self is not NOTHING

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return "Selector(nothing)" if self is NOTHING else f"Selector({str(self)!r})"


_NO_LABELS: Labels = {}


def _compile(terms: tuple[Requirement, ...], exact: dict[str, str]) -> Callable[[Labels], bool]:
    """The cheapest closure that decides the terms."""
    if not terms:
        return lambda _labels: True
    if len(exact) == len(terms):
        if len(terms) == 1:
            ((name, value),) = exact.items()
            return lambda labels: labels.get(name) == value
        needed = exact.items()
        return lambda labels: needed <= labels.items()

    return lambda labels: all(term.matches(labels) for term in terms)


NOTHING: Final = Selector((), nothing=True)
EVERYTHING: Final = Selector(())


def label_selector_from(selector: Object | None) -> Selector:
    """The matcher of a metav1.LabelSelector (``LabelSelectorAsSelector``). Raises ``SelectorError``."""
    if selector is None:
        return NOTHING
    exact = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    if not exact and not expressions:
        return EVERYTHING
    if not expressions:
        return _from_labels(tuple(exact.items()))
    terms = [requirement(name, "=", (value,)) for name, value in exact.items()]
    for expression in expressions:
        operator = _EXPRESSIONS.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(
                f"{quote(expression.get('operator', ''))} is not a valid label selector operator"
            )
        values = sorted(set(expression.get("values") or ()))
        terms.append(requirement(expression.get("key", ""), operator, values))
    return Selector(terms)


_EXPRESSIONS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@lru_cache(maxsize=4096)
def _from_labels(items: tuple[tuple[str, str], ...]) -> Selector:
    return Selector([requirement(name, "=", (value,)) for name, value in items])


def selector_from_set(labels: Labels) -> Selector:
    """The selector of a plain map, as Services and ReplicationControllers have; unchecked, {} is everything."""
    return Selector([Requirement(name, "=", (value,)) for name, value in labels.items()])


@remembered(4096)
def parse_label_selector(text: str) -> Selector:
    """The selector that ``labelSelector=`` carries. Raises ``SelectorError``."""
    return Selector(_LabelParser(text).parse())


# --- the grammar of label selectors -----------------------------------------------------------------------

_SPECIAL: Final = frozenset("=!(),><")
_SPACE: Final = frozenset(" \t\r\n")
_KEYWORDS: Final = frozenset(["in", "notin"])
_SYMBOL_TOKENS: Final = frozenset([")", ",", "!", "==", "=", ">", "<", "!=", "("])
_IDENTIFIER: Final = "identifier"
_END: Final = ""
_Token: TypeAlias = tuple[str, str]  # (what it is: a symbol, a keyword, _IDENTIFIER or _END; its text)


def _tokens(text: str) -> Iterator[_Token]:
    position, end = 0, len(text)
    while position < end:
        char = text[position]
        if char in _SPACE:
            position += 1
            continue
        start = position
        if char in _SPECIAL:
            while (
                position < end
                and text[position] in _SPECIAL
                and (position == start or text[start : position + 1] in _SYMBOL_TOKENS)
            ):
                position += 1
            symbol = text[start:position]
            yield symbol, symbol
            continue
        while position < end and text[position] not in _SPECIAL and text[position] not in _SPACE:
            position += 1
        word = text[start:position]
        yield (word if word in _KEYWORDS else _IDENTIFIER), word


class _LabelParser:
    """Recursive descent over the tokens; every refusal says what was found and what was expected."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._position = 0

    def _peek(self) -> _Token:
        """The next token, with keywords read as identifiers."""
        if self._position >= len(self._tokens):
            return _END, ""
        kind, text = self._tokens[self._position]
        return (_IDENTIFIER if kind in _KEYWORDS else kind), text

    def _next(self) -> _Token:
        token = self._peek()
        self._position += 1
        return token

    def parse(self) -> list[Requirement]:
        terms: list[Requirement] = []
        kind, text = self._peek()
        while kind != _END:
            if kind not in (_IDENTIFIER, "!"):
                raise SelectorError(f"found '{text}', expected: !, identifier, or 'end of string'")
            try:
                terms.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error.message}") from None
            kind, text = self._next()
            if kind not in (",", _END):
                raise SelectorError(f"found '{text}', expected: ',' or 'end of string'")
            if kind == ",":
                kind, text = self._peek()
                if kind not in (_IDENTIFIER, "!"):
                    raise SelectorError(f"found '{text}', expected: identifier after ','")
        return terms

    def _requirement(self) -> Requirement:
        kind, name = self._next()
        negated = kind == "!"
        if negated:
            kind, name = self._next()
        if kind != _IDENTIFIER:
            raise SelectorError(f"found '{name}', expected: identifier")
        if wrong := label_key_errors(name):
            # Kubernetes' parser has no path to name here, and says so.
            raise SelectorError(str(invalid("<nil>", name, "; ".join(wrong))))
        if self._peek()[0] in (_END, ","):
            return requirement(name, "!" if negated else "exists", ())
        if negated:
            return requirement(name, "!", ())
        operator = self._operator()
        if operator in ("in", "notin"):
            return requirement(name, operator, sorted(self._values()))
        return requirement(name, operator, (self._exact_value(),))

    def _operator(self) -> str:
        kind, text = self._tokens[self._position] if self._position < len(self._tokens) else (_END, "")
        self._position += 1
        operator = _OPERATOR_TOKENS.get(kind)
        if operator is None:
            raise SelectorError(f"found '{text}', expected: {', '.join(OPERATORS)}")
        return operator

    def _values(self) -> set[str]:
        kind, text = self._next()
        if kind != "(":
            raise SelectorError(f"found '{text}' expected: '('")
        kind, text = self._peek()
        if kind == ")":
            self._next()
            return set()
        if kind not in (_IDENTIFIER, ","):
            raise SelectorError(f"found '{text}', expected: ',', ')' or identifier")
        values = self._identifiers()
        self._next()
        return values

    def _identifiers(self) -> set[str]:
        """The values up to the closing parenthesis, which stays; an empty place is the empty string."""
        values: set[str] = set()
        while True:
            kind, text = self._next()
            following, found = self._peek()
            if kind == _IDENTIFIER:
                values.add(text)
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{found}', expected: ',' or ')'")
            elif kind == ",":
                if not values or following in (")", ","):
                    values.add("")
                if following == ")":
                    return values
                if following == ",":
                    self._next()
            else:
                raise SelectorError(f"found '{text}', expected: ',', or identifier")

    def _exact_value(self) -> str:
        if self._peek()[0] in (_END, ","):
            return ""
        kind, text = self._next()
        if kind != _IDENTIFIER:
            raise SelectorError(f"found '{text}', expected: identifier")
        return text


_OPERATOR_TOKENS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}


# --- field selectors --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """``field operator value``; ``operator`` is ``=`` or ``!=``."""

    field: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{_escape(self.value)}"


class FieldSelector:
    """All of its terms must hold for the selectable fields of an object; a missing field is the empty string."""

    __slots__ = ("requirements",)

    def __init__(self, terms: Sequence[FieldTerm]) -> None:
        self.requirements: Final = tuple(terms)

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether an object with these selectable fields is selected."""
        for term in self.requirements:
            if (values.get(term.field, "") == term.value) != (term.operator == "="):
                return False
        return True

    def requires_exact(self, name: str) -> str | None:
        """The value that field ``name`` has on every match, or None when it may vary."""
        for term in self.requirements:
            if term.field == name and term.operator == "=":
                return term.value
        return None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it asks for, so that a server can refuse those it does not know."""
        return tuple(term.field for term in self.requirements)

    @property
    def empty(self) -> bool:
        """Whether it matches everything."""
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"


@remembered(4096)
def parse_field_selector(text: str) -> FieldSelector:
    """The selector that ``fieldSelector=`` carries. Raises ``SelectorError``."""
    terms = []
    for part in sorted(_split_terms(text)):
        if not part:
            continue
        match = _FIELD_TERM.match(part)
        if match is None:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{part}'")
        operator = "!=" if match[2] == "!=" else "="
        terms.append(FieldTerm(match[1], operator, _unescape(part[match.end() :])))
    return FieldSelector(terms)


_FIELD_TERM = re.compile(r"(.*?)(!=|==|=)", re.DOTALL)


def _split_terms(text: str) -> list[str]:
    terms, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == ",":
            terms.append(text[start:position])
            start = position + 1
        position += 1
    terms.append(text[start:])
    return terms


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    out, position = [], 0
    while position < len(value):
        char = value[position]
        if char == "\\":
            following = value[position + 1 : position + 2]
            if not following or following not in "\\,=":
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{following}")
            out.append(following)
            position += 1
        elif char in ",=":
            # Kubernetes prints the character's number.
            raise SelectorError(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            out.append(char)
        position += 1
    return "".join(out)
