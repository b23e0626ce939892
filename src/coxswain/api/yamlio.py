"""YAML bodies, as sigs.k8s.io/yaml understands them: YAML 1.1 scalars turned into JSON's types.

    loads(text) -> (value, [messages about keys given twice]); raises YamlError with Go's message
    dumps(value) -> text, keys sorted

``yes``, ``on`` and ``y`` are true; ``0755`` is 493; ``1.0`` is 1; dates stay strings; keys become strings.
Aliases are copied, never shared, and a document that would explode is refused.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.resolver import BaseResolver

_MAX_DEPTH: Final = 500
_PREFIX: Final = "tag:yaml.org,2002:"
_PLAIN: Final = "?"

_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_FLOAT = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+][0-9]+)?|[-+]?[0-9]+\.([eE][-+][0-9]+)?", re.ASCII)
_NUMERIC_START: Final = frozenset("0123456789+-.")


class YamlError(ValueError):
    """The text is not YAML; the text of the error is Go's."""


class _Loader(CParser, BaseResolver):
    """libyaml's parser and composer; plain scalars keep the tag ``?`` for us to resolve."""

    def __init__(self, stream: bytes) -> None:
        CParser.__init__(self, stream)
        BaseResolver.__init__(self)
        self._depth = 0

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Called for every node on the way down: the composer recurses on the C stack, so depth is limited."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise YamlError("yaml: exceeded max depth")

    def ascend_resolver(self) -> None:
        """Called on the way up."""
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _PREFIX + "str"
        return _PREFIX + ("map" if kind is yaml.MappingNode else "seq")


def loads(data: bytes) -> tuple[Any, list[str]]:
    """The first document's value as JSON would have it, and what a strict reader objects to."""
    try:
        loader = _Loader(data)
        try:
            node = loader.get_node() if loader.check_node() else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise YamlError(_syntax(error)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise YamlError(f"yaml: {error}") from None
    if node is None:
        return None, []
    building = _Building()
    try:
        value = building.value(node, False)
    except RecursionError:
        raise YamlError("yaml: exceeded max depth") from None
    return value, building.problems()


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Go's form of libyaml's message; its line counts from one only for the scanner."""
    line = error.problem_mark.line if error.problem_mark else 0
    if line:
        line += isinstance(error, yaml.scanner.ScannerError)
    elif error.context_mark:
        line = error.context_mark.line
    where = f"line {line}: " if line else ""
    return f"yaml: {where}{error.problem or error.context}"


class _Building:
    """Turns composed nodes into values; counts what aliases repeat."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._decoded = 0
        self._aliased = 0
        self._twice: list[str] = []

    def problems(self) -> list[str]:
        """At most one message, with a line for every key that was given twice."""
        if not self._twice:
            return []
        return ["yaml: unmarshal errors:\n  " + "\n  ".join(self._twice)]

    def value(self, node: yaml.Node, aliased: bool) -> Any:
        if isinstance(node, yaml.ScalarNode):
            self._account(aliased)
            return _scalar(node.tag, node.value)
        identity = id(node)
        if identity in self._open:
            raise YamlError("yaml: anchor contains itself")
        aliased = aliased or identity in self._seen
        self._account(aliased)
        self._open.add(identity)
        self._seen.add(identity)
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(element, aliased) for element in node.value]
            return self._mapping(node, aliased)
        finally:
            self._open.discard(identity)

    def _account(self, aliased: bool) -> None:
        """Refuse a small document that stands for a huge one (go-yaml's own limit)."""
        self._decoded += 1
        self._aliased += aliased
        if self._aliased > 100 and self._decoded > 1000:
            spread = min(max(self._decoded - 400_000, 0) / 3_600_000, 1.0)
            if self._aliased / self._decoded > 0.99 - 0.89 * spread:
                raise YamlError("yaml: document contains excessive aliasing")

    def _mapping(self, node: yaml.Node, aliased: bool) -> dict[str, Any]:
        made: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag in (_PLAIN, _PREFIX + "merge") and key_node.value == "<<":
                merged.append(value_node)
                continue
            key = _key(self.value(key_node, aliased))
            if key in made:
                line = key_node.start_mark.line + 1
                self._twice.append(f'line {line}: key "{key}" already set in map')
            made[key] = self.value(value_node, aliased)
        for source in merged:
            self._merge(source, made, aliased)
        return made

    def _merge(self, source: yaml.Node, into: dict[str, Any], aliased: bool) -> None:
        sources = source.value if isinstance(source, yaml.SequenceNode) else [source]
        for one in sources:
            value = self.value(one, aliased)
            if not isinstance(value, dict):
                raise YamlError("yaml: map merge requires map or sequence of maps as the value")
            for key, inner in value.items():
                into.setdefault(key, inner)


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    kind = "slice" if isinstance(value, list) else "map" if isinstance(value, dict) else "invalid"
    raise YamlError(f"unsupported map key of type: {kind}, key: {value}, value: ")


def _scalar(tag: str, text: str) -> Any:
    if tag == _PLAIN:
        return _resolve(text)
    short = tag.removeprefix(_PREFIX)
    if short == "binary":
        try:
            return base64.b64decode(text).decode(errors="replace")
        except binascii.Error:
            raise YamlError("yaml: !!binary value contains invalid base64 data") from None
    if short in ("int", "float", "bool", "null"):
        return _resolve(text)
    return text


def _resolve(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in _NUMERIC_START:
        return text
    plain = text.replace("_", "")
    integer = _integer(plain)
    if integer is not None:
        return integer
    if text.lstrip("+-").lower() == ".inf" or text.lower() == ".nan":
        # JSON has no such number; Go fails when it writes the value as JSON.
        shown = "NaN" if "n" in text.lower()[-1:] else ("-Inf" if text[0] == "-" else "+Inf")
        raise YamlError(f"json: unsupported value: {shown}")
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if math.isinf(number):
            return text
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    return text


_INTEGERS: Final = (
    (re.compile(r"[-+]?0[bB][01]+", re.ASCII), 2),
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+", re.ASCII), 16),
    (re.compile(r"[-+]?0[oO][0-7]+", re.ASCII), 8),
    (re.compile(r"[-+]?0[0-7]+", re.ASCII), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII), 10),
)


def _integer(text: str) -> int | float | None:
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            if len(text) > 64:
                return None
            number = int(text, base)
            return number if -(2**63) <= number < 2**64 else float(number)
    return None


class _Dumper(yaml.CSafeDumper):
    """Quotes what Go would take for something else than a string (``N``, ``1_0``); keeps lines as lines."""

    def ignore_aliases(self, data: Any) -> bool:
        """Objects may share parts; a reader need not know."""
        return True


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None if _is_plain(text) else '"'
    return dumper.represent_scalar(_PREFIX + "str", text, style=style)


#: Strings that YAML 1.1 takes for times or base 60 numbers.
_TIME_LIKE = re.compile(
    r"\d{4}-\d\d?-\d\d?(?:[Tt ]\d\d?:\d\d?:\d\d?(?:\.\d*)?(?:Z|[-+]\d\d:\d\d)?)?|[-+]?\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?",
    re.ASCII,
)


def _is_plain(text: str) -> bool:
    if _TIME_LIKE.fullmatch(text):
        return False
    try:
        return isinstance(_resolve(text), str)
    except YamlError:
        return False


_Dumper.add_representer(str, _represent_text)


def dumps(value: Any) -> str:
    """``value`` as YAML with sorted keys, in block style."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=True,
        default_flow_style=False,
        allow_unicode=True,
        width=2**31 - 1,
    )
    return text
