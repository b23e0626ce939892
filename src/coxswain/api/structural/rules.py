"""The rules of a schema (``x-kubernetes-validations``), compiled and run over objects.

    compile_rules(structural) -> RuleTree or None       None where there are no rules
    tree.check(new, old, errors)                        what the rules say of an object
    check_expressions(structural, path) -> Errors       rules that are no good expressions, for a definition

``self`` is the value that a rule stands at, with its schema's type: numbers are doubles, date-times timestamps. A rule that
speaks of ``oldSelf`` runs on updates only, where the value was there before (``optionalOldSelf`` lets it always run). A
value that has not changed is not complained about again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from coxswain.api.cel import DYN, CelError, Declared, EvaluationError, Optional, Program, compile_expression
from coxswain.api.cel.values import NOTHING, parse_duration, parse_timestamp
from coxswain.api.fields import (
    OMITTED,
    Errors,
    FieldError,
    Shown,
    child,
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    required,
)
from coxswain.api.names import Object
from coxswain.api.structural.model import Structural

_SCALARS: Final = {
    "boolean": Declared("bool"),
    "integer": Declared("int"),
    "number": Declared("double"),
    "string": Declared("string"),
}
_FORMATS: Final = {"byte": "bytes", "duration": "duration", "date": "timestamp", "date-time": "timestamp"}
_META: Final = Declared("object", fields={"name": _SCALARS["string"], "generateName": _SCALARS["string"]})
_TYPE_META: Final = {"apiVersion": _SCALARS["string"], "kind": _SCALARS["string"], "metadata": _META}

#: Makes a CEL value of a JSON value; None where they are the same.
Reader = Callable[[Any], Any]


def declare(structural: Structural, *, root: bool = False) -> Declared:
    """The CEL type of a schema."""
    if structural.int_or_string:
        return DYN
    if structural.type == "array":
        return Declared("list", declare(structural.items) if structural.items is not None else DYN)
    if structural.type == "object":
        if isinstance(structural.additional, Structural):
            return Declared("map", declare(structural.additional))
        if structural.additional is True:
            return Declared("map", DYN)
        fields = {name: declare(below) for name, below in structural.properties.items()}
        if root or structural.embedded:
            fields |= _TYPE_META
        return Declared("object", fields=fields)
    if structural.type == "string":
        return Declared(_FORMATS.get(str(structural.raw.get("format") or ""), "string"))
    return _SCALARS.get(structural.type, DYN)


def reader(structural: Structural) -> Reader | None:
    """What turns JSON values of a schema into CEL values."""
    if structural.type == "number":
        return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if structural.type == "string":
        return _FORMAT_READERS.get(str(structural.raw.get("format") or ""))
    if structural.type == "array" and structural.items is not None:
        element = reader(structural.items)
        if element is None:
            return None
        return lambda value: [element(each) for each in value] if isinstance(value, list) else value
    fields = {
        name: made for name, below in structural.properties.items() if (made := reader(below)) is not None
    }
    extra = reader(structural.additional) if isinstance(structural.additional, Structural) else None
    if not fields and extra is None:
        return None

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        out = {}
        for name, below in value.items():
            made = fields.get(name, extra)
            out[name] = made(below) if made is not None else below
        return out

    return read


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value) if isinstance(value, str) else value
    except (binascii.Error, ValueError):
        return value


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return parse_timestamp(value if "T" in value.upper() else f"{value}T00:00:00Z")


_FORMAT_READERS: Final[Mapping[str, Reader]] = {
    "byte": _bytes,
    "duration": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "date": _time,
    "date-time": _time,
}


@dataclass(frozen=True, slots=True)
class _Rule:
    raw: Mapping[str, Any]
    program: Program
    message: Program | None

    @property
    def text(self) -> str:
        """What stands for the rule in a message."""
        return str(self.raw.get("message") or self.raw["rule"]).strip()

    @property
    def words(self) -> str:
        """What a broken rule says."""
        return str(self.raw.get("message") or "").strip() or f"failed rule: {str(self.raw['rule']).strip()}"


@dataclass(slots=True)
class RuleTree:
    """The rules of a node and of those below."""

    structural: Structural
    rules: list[_Rule] = field(default_factory=list)
    read: Reader | None = None
    properties: dict[str, RuleTree] = field(default_factory=dict)
    additional: RuleTree | None = None
    items: RuleTree | None = None

    def check(self, new: Any, old: Any, errors: Errors, path: str = "") -> None:
        """What the rules say of a value; ``old`` is None where there is nothing to compare with."""
        if new is None:
            return
        if self.rules:
            self._run(new, old, errors, path or "<nil>")
        if isinstance(new, dict):
            before = old if isinstance(old, dict) else {}
            for name, value in new.items():
                tree = self.properties.get(name)
                if tree is not None:
                    tree.check(value, before.get(name), errors, child(path, name))
                elif self.additional is not None and name not in self.structural.properties:
                    self.additional.check(value, before.get(name), errors, key(path, name))
        elif isinstance(new, list) and self.items is not None:
            matched = self._matched(old)
            for position, value in enumerate(new):
                self.items.check(value, matched(value), errors, index(path, position))

    def _matched(self, old: Any) -> Callable[[Any], Any]:
        """What an element was before: only elements of keyed lists can be told."""
        keys = self.structural.list_keys
        if self.structural.list_type != "map" or not isinstance(old, list):
            return lambda value: None

        def identity(value: Any) -> bytes:
            return orjson.dumps([value.get(name) for name in keys] if isinstance(value, dict) else value)

        known = {identity(value): value for value in old}
        return lambda value: known.get(identity(value))

    def _run(self, new: Any, old: Any, errors: Errors, path: str) -> None:
        shown = self.structural.type
        try:
            value = self.read(new) if self.read is not None else new
            before = self.read(old) if self.read is not None and old is not None else old
        except EvaluationError as error:
            errors.append(invalid(path, shown, f"{error} evaluating rules"))
            return
        unchanged = old is not None and old == new
        for rule in self.rules:
            optional = bool(rule.raw.get("optionalOldSelf"))
            moves = "oldSelf" in rule.program.names
            if moves and old is None and not optional:
                continue
            variables = {"self": value, "oldSelf": before}
            if optional:
                variables["oldSelf"] = Optional(True, before) if old is not None else NOTHING
            try:
                if rule.program.run(variables) is True or (unchanged and not moves):
                    continue
            except EvaluationError as error:
                if str(error).startswith("no such overload"):
                    why = (
                        f"'{error}': call arguments did not match a supported operator, function or macro signature "
                        f"for rule: {rule.text}"
                    )
                else:
                    why = f"{error} evaluating rule: {rule.text}"
                errors.append(invalid(path, shown, why))
                continue
            where = path + str(rule.raw.get("fieldPath") or "")
            omitted = new if shown not in ("object", "array") else OMITTED
            errors.append(
                _broken(
                    where.removeprefix("<nil>."), omitted, _words(rule, variables), rule.raw.get("reason")
                )
            )


def _words(rule: _Rule, variables: Mapping[str, Any]) -> str:
    if rule.message is not None:
        try:
            made = rule.message.run(variables)
        except EvaluationError:
            return rule.words
        if isinstance(made, str) and made.strip() and "\n" not in made:
            return made.strip()
    return rule.words


def _broken(path: str, value: Any, words: str, reason: str | None) -> FieldError:
    if reason == "FieldValueForbidden":
        return forbidden(path, words)
    if reason == "FieldValueRequired":
        return required(path, words)
    if reason == "FieldValueDuplicate":
        return duplicate(path, value)
    return invalid(path, value, words)


def compile_rules(structural: Structural, *, root: bool = True) -> RuleTree | None:
    """The rules of a schema; those that do not compile are left out (definitions with such are refused)."""
    if not structural.any_rules:
        return None
    tree = RuleTree(structural)
    if structural.rules:
        declared = declare(structural, root=root)
        tree.read = reader(structural)
        for raw in structural.rules:
            rule = _compiled(raw, declared)
            if isinstance(rule, _Rule):
                tree.rules.append(rule)
    for name, below in structural.properties.items():
        made = compile_rules(below, root=False)
        if made is not None:
            tree.properties[name] = made
    if structural.items is not None:
        tree.items = compile_rules(structural.items, root=False)
    if isinstance(structural.additional, Structural):
        tree.additional = compile_rules(structural.additional, root=False)
    return tree


def _compiled(raw: Mapping[str, Any], declared: Declared) -> _Rule | tuple[str, str]:
    """The rule, or which part of it is wrong and why."""
    old = Declared("optional_type", declared) if raw.get("optionalOldSelf") else declared
    variables = {"self": declared, "oldSelf": old}
    try:
        program = compile_expression(raw.get("rule") or "", variables)
    except CelError as error:
        return "rule", f"compilation failed: {error}"
    if program.type not in ("bool", "dyn"):
        return "rule", "cel expression must evaluate to a bool"
    message: Program | None = None
    if raw.get("messageExpression"):
        try:
            message = compile_expression(raw["messageExpression"], variables)
        except CelError as error:
            return "messageExpression", f"messageExpression compilation failed: {error}"
        if message.type not in ("string", "dyn"):
            return "messageExpression", "messageExpression must evaluate to a string"
    return _Rule(raw, program, message)


def check_expressions(structural: Structural, path: str, *, root: bool = True) -> Errors:
    """The complaints about rules whose expressions do not compile."""
    errors: Errors = []
    if not structural.any_rules:
        return errors
    declared = declare(structural, root=root)
    for position, raw in enumerate(structural.rules):
        made = _compiled(raw, declared)
        where = index(child(path, "x-kubernetes-validations"), position)
        if not isinstance(made, _Rule):
            errors.append(invalid(child(where, made[0]), _shown(raw), made[1]))
        elif raw.get("optionalOldSelf") is not None and "oldSelf" not in made.program.names:
            why = "may not be set if oldSelf is not used in rule"
            errors.append(invalid(child(where, "optionalOldSelf"), raw["optionalOldSelf"], why))
    if isinstance(structural.additional, Structural):
        errors += check_expressions(structural.additional, child(path, "additionalProperties"), root=False)
    for name, below in sorted(structural.properties.items()):
        errors += check_expressions(below, key(child(path, "properties"), name), root=False)
    if structural.items is not None:
        errors += check_expressions(structural.items, child(path, "items"), root=False)
    return errors


def _shown(raw: Mapping[str, Any]) -> Shown:
    """A rule as Go prints its internal struct."""
    row = {
        "Rule": raw.get("rule") or "",
        "Message": raw.get("message") or "",
        "MessageExpression": raw.get("messageExpression") or "",
        "Reason": raw.get("reason"),
        "FieldPath": raw.get("fieldPath") or "",
        "OptionalOldSelf": raw.get("optionalOldSelf"),
    }
    text = orjson.dumps(row).decode()
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Shown(text)


def check_object(tree: RuleTree | None, new: Object, old: Object | None) -> Errors:
    """What the rules say of an object."""
    errors: Errors = []
    if tree is not None:
        tree.check(new, old, errors)
    return errors
