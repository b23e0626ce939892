"""The rules of a schema (``x-kubernetes-validations``), compiled and run over objects.

    compile_rules(structural) -> RuleTree or None       None where there are no rules
    check_object(tree, new, old) -> Errors              what the rules say of an object

``self`` is the value that a rule stands at, with its schema's type: numbers are doubles, date-times timestamps. A rule that
speaks of ``oldSelf`` runs on updates only, where the value was there before (``optionalOldSelf`` lets it always run). A
value that has not changed is warned about only. All rules of an object share one budget of costs; when it is
spent, no further rule runs and the object is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from coxswain.api.cel import (
    CALL_LIMIT,
    DYN,
    BudgetError,
    CelError,
    CelProgramError,
    Declared,
    EvaluationError,
    Optional,
    Program,
    compile_expression,
)
from coxswain.api.cel.values import NOTHING
from coxswain.api.fields import (
    OMITTED,
    Errors,
    FieldError,
    child,
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    required,
)
from coxswain.api.names import Object
from coxswain.api.structural.celtypes import Reader, Shape, reader, shape
from coxswain.api.structural.correlation import Elements, same
from coxswain.api.structural.model import Structural

#: What all rules of one object may cost together (apiserver's ``RuntimeCELCostBudget``).
OBJECT_LIMIT: Final = 10_000_000
_MAX_MESSAGE: Final = 5 * 1024
_SPENT: Final = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled."""

    raw: Mapping[str, Any]
    program: Program
    message: Program | None
    #: Where a broken rule points at, below the value that it stands at.
    field_path: str = ""

    @property
    def text(self) -> str:
        """What stands for the rule in a message."""
        return str(self.raw.get("message") or self.raw["rule"]).strip()

    @property
    def words(self) -> str:
        """What a broken rule says."""
        return str(self.raw.get("message") or "").strip() or f"failed rule: {str(self.raw['rule']).strip()}"


class _Over(Exception):
    """No further rule may run."""


@dataclass(slots=True)
class _Run:
    """One object's way through the rules."""

    errors: Errors
    #: What is said of values that have not changed.
    warnings: list[str] = field(default_factory=list)
    left: int = OBJECT_LIMIT

    def stop(self, path: str, shown: str, words: str) -> _Over:
        """Note why nothing runs any more."""
        self.errors.append(invalid(path, shown, words))
        return _Over()


@dataclass(frozen=True, slots=True)
class _Change:
    """A value and what it was before; what cannot be told apart from others changed as the whole around it did."""

    new: Any
    old: Any
    schema: Mapping[str, Any]

    def nothing(self) -> bool:
        """Whether nothing changed."""
        return same(self.new, self.old, self.schema)


@dataclass(slots=True)
class RuleTree:
    """The rules of a node and of those below."""

    structural: Structural
    rules: list[Rule] = field(default_factory=list)
    read: Reader | None = None
    properties: dict[str, RuleTree] = field(default_factory=dict)
    additional: RuleTree | None = None
    items: RuleTree | None = None

    def check(self, new: Any, old: Any, change: _Change | None, run: _Run, path: str) -> None:
        """What the rules say of a value; ``old`` is None where there is nothing to compare with.

        ``change`` is that of the value, or of the nearest around it that can be compared.
        """
        if new is None:
            return
        if self.rules:
            self._run(new, old, change, run, path or "<nil>")
        if isinstance(new, dict):
            before = old if isinstance(old, dict) else {}
            for name, value in new.items():
                tree = self.properties.get(name)
                where = child(path, name) if tree is not None else ""
                if tree is None and self.additional is not None and name not in self.structural.properties:
                    tree, where = self.additional, key(path, name)
                if tree is not None:
                    schema = tree.structural.raw
                    inner = _Change(value, before[name], schema) if name in before else change
                    tree.check(value, before.get(name), inner, run, where)
        elif isinstance(new, list) and self.items is not None:
            elements = Elements(old, self.structural.raw)
            for position, value in enumerate(new):
                found = elements.find(value)
                inner = _Change(value, found, self.items.structural.raw) if found is not None else change
                self.items.check(value, found, inner, run, index(path, position))

    def _run(self, new: Any, old: Any, change: _Change | None, run: _Run, path: str) -> None:
        shown = self.structural.type
        if run.left <= 0:
            raise run.stop(path, shown, _SPENT)
        try:
            value = self.read(new) if self.read is not None else new
            before = self.read(old) if self.read is not None and old is not None else old
        except EvaluationError as error:
            run.errors.append(invalid(path, shown, f"{error} evaluating rules"))
            return
        for rule in self.rules:
            optional = bool(rule.raw.get("optionalOldSelf"))
            moves = "oldSelf" in rule.program.names
            if moves and old is None and not optional:
                continue
            variables = {"self": value, "oldSelf": before}
            if optional:
                variables["oldSelf"] = Optional(True, before) if old is not None else NOTHING
            if _holds(rule, variables, run, path, shown):
                continue
            words = _words(rule, variables, run, path, shown)
            where = path + rule.field_path
            omitted = new if shown not in ("object", "array") else OMITTED
            broken = _broken(where.removeprefix("<nil>."), omitted, words, rule.raw.get("reason"))
            if not moves and change is not None and change.nothing():
                run.warnings.append(str(broken))
            else:
                run.errors.append(broken)


def _holds(rule: Rule, variables: Mapping[str, Any], run: _Run, path: str, shown: str) -> bool:
    """Whether the rule has nothing more to say: it holds, or what went wrong has been told."""
    failure: EvaluationError | None = None
    value: Any = None
    try:
        value, cost = rule.program.measured(variables, CALL_LIMIT)
    except EvaluationError as error:
        failure, cost = error, error.spent
    if cost > run.left:
        raise run.stop(path, shown, _SPENT)
    run.left -= cost
    if failure is None:
        return value is True
    if isinstance(failure, BudgetError):
        words = "no further validation rules will be run due to call cost exceeds limit for rule"
        raise run.stop(path, shown, f"'{failure}': {words}: {rule.text}")
    if str(failure).startswith("no such overload"):
        why = (
            f"'{failure}': call arguments did not match a supported operator, function or macro signature for rule: "
            f"{rule.text}"
        )
    else:
        why = f"{failure} evaluating rule: {rule.text}"
    run.errors.append(invalid(path, shown, why))
    return True


def _words(rule: Rule, variables: Mapping[str, Any], run: _Run, path: str, shown: str) -> str:
    """What a broken rule says, by its message expression where that has something good to say."""
    if rule.message is None:
        return rule.words
    where = (path + rule.field_path).removeprefix("<nil>.")
    made: Any = None
    try:
        made, cost = rule.message.measured(variables, CALL_LIMIT)
    except BudgetError:
        text = orjson.dumps(rule.raw["messageExpression"]).decode()
        words = f"no further validation rules will be run due to call cost exceeds limit for messageExpression: {text}"
        raise run.stop(where, shown, words) from None
    except EvaluationError as error:
        cost = error.spent
    if cost > run.left:
        words = (
            "messageExpression evaluation failed due to running out of cost budget, no further validation rules will "
            "be run"
        )
        raise run.stop(where, shown, words)
    run.left -= cost
    text = made.strip() if isinstance(made, str) else ""
    good = text and len(text.encode()) <= _MAX_MESSAGE and "\n" not in text
    return text if good else rule.words


def _broken(path: str, value: Any, words: str, reason: str | None) -> FieldError:
    if reason == "FieldValueForbidden":
        return forbidden(path, words)
    if reason == "FieldValueRequired":
        return required(path, words)
    if reason == "FieldValueDuplicate":
        return duplicate(path, value)
    return invalid(path, value, words)


# -- compiling


def compile_rules(structural: Structural, *, root: bool = True) -> RuleTree | None:
    """The rules of a schema; those that do not compile are left out (definitions with such are refused)."""
    if not structural.any_rules:
        return None
    tree = RuleTree(structural)
    if structural.rules:
        found = shape(structural, root=root) or Shape(DYN, 1)
        tree.read = reader(structural)
        for raw in structural.rules:
            rule = compiled(raw, found.type, structural)
            if isinstance(rule, Rule):
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


def compiled(raw: Mapping[str, Any], declared: Declared, structural: Structural) -> Rule | tuple[str, str]:
    """The rule, or which part of it is wrong and why."""
    old = Declared("optional_type", declared) if raw.get("optionalOldSelf") else declared
    variables = {"self": declared, "oldSelf": old}
    try:
        program = compile_expression(raw.get("rule") or "", variables)
    except CelProgramError as error:
        return "rule", f"program instantiation failed: {error}"
    except CelError as error:
        return "rule", f"compilation failed: {error}"
    if program.type != "bool":
        return "rule", "cel expression must evaluate to a bool"
    message: Program | None = None
    if raw.get("messageExpression"):
        try:
            message = compile_expression(raw["messageExpression"], variables)
        except CelProgramError as error:
            return "messageExpression", f"messageExpression instantiation failed: {error}"
        except CelError as error:
            return "messageExpression", f"messageExpression compilation failed: {error}"
        if message.type != "string":
            return "messageExpression", "messageExpression must evaluate to a string"
    return Rule(raw, program, message, _normal_path(str(raw.get("fieldPath") or ""), structural))


def _normal_path(text: str, structural: Structural) -> str:
    from coxswain.api.structural.fieldpaths import resolve

    found = resolve(text, structural.raw) if text else None
    return found.path if found is not None else ""


def check_default(structural: Structural, value: Any, path: str) -> Errors:
    """What a schema's rules say of its default, as an unchanged value and as a new one."""
    tree = compile_rules(structural, root=False)
    errors: Errors = []
    if tree is None:
        return errors
    for old in (value, None):
        try:
            tree.check(value, old, None, _Run(errors), path)
        except _Over:
            pass
        if errors:
            break
    return errors


def check_object(
    tree: RuleTree | None, new: Object, old: Object | None, warnings: list[str] | None = None
) -> Errors:
    """What the rules say of an object; of what has not changed they say it as ``warnings``."""
    run = _Run([])
    if tree is not None:
        # Nobody can tell of an object's metadata: as a whole it always has changed.
        with contextlib.suppress(_Over):
            tree.check(new, old, None, run, "")
    if warnings is not None:
        warnings.extend(run.warnings)
    return run.errors
