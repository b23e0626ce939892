"""An expression's tree checked and turned into functions, with what it may cost at most.

A node becomes a ``Made``: the function that runs it, its type, its estimated cost and size. Complaints are gathered, as
cel-go's checker does, and what is wrong is taken for open so that the rest can be judged; ``CelError`` has them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from coxswain.api import patterns
from coxswain.api.cel import costs, macros, running
from coxswain.api.cel.costs import ANY_SIZE, MOST, ONE, Operand, Range, fixed
from coxswain.api.cel.declarations import TYPE_NAMES, Overload, functions
from coxswain.api.cel.functions import IMPLEMENTATIONS, ZEROS, to_duration, to_timestamp
from coxswain.api.cel.names import unescape
from coxswain.api.cel.parser import CelError, CelProgramError, Node, UInt, path_of, report
from coxswain.api.cel.running import Run
from coxswain.api.cel.types import (
    BOOL,
    DYN,
    FIXED_SIZE,
    INT,
    SCALARS,
    Declared,
    assign,
    element_of,
    is_free,
    join,
    key_of,
    list_of,
    map_of,
    optional_of,
    same,
    show,
    substitute,
)
from coxswain.api.cel.values import Struct, TypeName

_LITERALS: Final = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes", UInt: "uint"}

#: Entries of a container: the sizes of its keys and of its values.
Entry: TypeAlias = tuple[Range, Range]


class Made(NamedTuple):
    """A node, compiled."""

    run: Run
    type: Declared
    cost: Range = costs.NOTHING
    #: None: as the type says.
    size: Range | None = None
    entry: Entry | None = None
    #: Whether the value stands at a path from a variable, so that the type's limit bounds it.
    reached: bool = False

    @property
    def extent(self) -> Range | None:
        """The size, where anything is known of it (cel-go's ``computeSize``)."""
        if self.size is not None:
            return self.size
        if self.reached:
            return Range(0, self.type.limit)
        kind = self.type
        while kind.kind == "optional_type":
            kind = element_of(kind)
        return ONE if kind.kind in FIXED_SIZE else None


class Local(NamedTuple):
    """A variable's type, and what is known of its size."""

    type: Declared
    size: Range | None = None
    entry: Entry | None = None
    reached: bool = False


Env: TypeAlias = dict[str, Local]
#: A struct's name -> the types of its fields; None: there is no such struct.
Structs: TypeAlias = Callable[[str], Mapping[str, Declared] | None]


class Compiler:
    """Compiles one expression."""

    def __init__(self, text: str, root: Declared, structs: Structs | None, mutation: bool) -> None:
        """``root``: what paths that come from nowhere are looked up in (cel-go's quirk)."""
        self._text = text
        self.root = root
        self._structs = structs
        self._functions = functions(mutation)
        self._errors: list[tuple[int, str]] = []
        #: Inside the arguments of ``format``, whose lists may be mixed.
        self._mixed = False
        self.used: set[str] = set()
        #: What is wrong with a constant pattern that no checker looks at.
        self._broken_pattern = ""

    def whole(self, node: Node, env: Env) -> Made:
        """The compiled expression. Raises ``CelError`` with every complaint."""
        made = self.compile(node, env)
        if self._errors:
            told = sorted(set(self._errors), key=lambda each: each[0])
            raise CelError("\n".join(report(self._text, offset, message) for offset, message in told))
        if self._broken_pattern:
            raise CelProgramError(self._broken_pattern)
        return made

    def compile(self, node: Node, env: Env) -> Made:
        """One node with all below it."""
        made: Made = getattr(self, f"_{node.kind}")(node, env)
        return made

    def complain(self, node: Node, message: str) -> Made:
        """Note what is wrong; an open value stands in for the node."""
        self._errors.append((node.offset, message))
        return Made(_broken, DYN)

    # -- constants and names

    def _const(self, node: Node, env: Env) -> Made:
        value = node.value
        kind = SCALARS[_LITERALS.get(type(value), "null_type")]
        size = fixed(len(value)) if isinstance(value, str | bytes) else ONE
        return Made(lambda scope: value, kind, costs.NOTHING, size)

    def _ident(self, node: Node, env: Env) -> Made:
        name = node.name
        local = env.get(name)
        if local is not None:
            self.used.add(name)
            run = partial(running.variable, name)
            return Made(run, local.type, ONE, local.size, local.entry, local.reached)
        return self._type_name(name) or self.complain(
            node, f"undeclared reference to '{name}' (in container '')"
        )

    def _type_name(self, name: str) -> Made | None:
        if name not in TYPE_NAMES:
            return None
        value = TypeName(TYPE_NAMES[name])
        return Made(lambda scope: value, Declared("type"), ONE)

    def _select(self, node: Node, env: Env) -> Made:
        path = path_of(node)
        if path and path in env:
            return self._ident(Node("ident", node.offset, path), env)
        if path and path.partition(".")[0] not in env and (made := self._type_name(path)) is not None:
            return made
        inner = self.compile(node.args[0], env)
        through = inner.type.kind == "optional_type"
        found = self.field(node, element_of(inner.type) if through else inner.type)
        if found is None:
            return Made(_broken, DYN)
        key, result = found
        cost = inner.cost.plus(ONE) if inner.type.kind in ("map", "object", "dyn") else inner.cost
        reached = inner.reached and not through
        if node.optional or through:
            run = partial(running.select_optional, inner.run, key)
            return Made(run, optional_of(result), inner.cost.plus(ONE))
        return Made(partial(running.select, inner.run, key), result, cost, reached=reached)

    def field(self, node: Node, declared: Declared) -> tuple[str, Declared] | None:
        """The key and type of a selected field; None (and a complaint) where there is none."""
        if declared.kind == "object" and declared.fields is not None:
            key = unescape(node.name)
            found = declared.fields.get(key)
            if found is not None:
                return key, found
            self.complain(node, f"undefined field '{node.name}'")
            return None
        if declared.kind == "map":
            return node.name, element_of(declared)
        if declared.kind not in ("dyn", "object"):
            self.complain(node, f"type '{show(declared)}' does not support field selection")
            return None
        return node.name, DYN

    def _index(self, node: Node, env: Env) -> Made:
        inner, position = self.compile(node.args[0], env), self.compile(node.args[1], env)
        cost = inner.cost.plus(position.cost).plus(ONE)
        kind, through = inner.type, inner.type.kind == "optional_type"
        if through:
            kind = element_of(kind)
        wanted = {"list": INT, "map": key_of(kind), "dyn": DYN}.get(kind.kind)
        if wanted is None or not assign(wanted, position.type, {}):
            name = "_[?_]" if node.optional else "_[_]"
            return self._no_overload(node, name, [inner.type, position.type])
        if node.optional or through:
            run = partial(running.index_optional, inner.run, position.run)
            return Made(run, optional_of(element_of(kind)), cost)
        size = inner.entry[1] if inner.entry is not None else None
        run = partial(running.index, inner.run, position.run)
        return Made(run, element_of(kind), cost, size, reached=inner.reached)

    # -- lists, maps, structs

    def _list(self, node: Node, env: Env) -> Made:
        made = [self.compile(each, env) for each in node.args]
        element: Declared | None = None
        for position, each in enumerate(made):
            kind = self._unwrapped(node, position, each)
            joined = kind if element is None else join(element, kind)
            if joined is None:
                assert element is not None
                self._mixture(node.args[position], element, kind)
                joined = DYN
            element = joined
        cost = _total(made).plus(fixed(costs.NEW_LIST))
        value = Range(0 if not made else MOST, 0)
        for each in made:
            value = value.union(each.extent or ANY_SIZE)
        declared = list_of(_bare(element or DYN))
        if not node.maybe and all(each.kind == "const" for each in node.args):
            constant = [each.value for each in node.args]
            return Made(lambda scope: constant, declared, cost, fixed(len(made)), (ONE, value))
        runs = [(each.run, position in node.maybe) for position, each in enumerate(made)]
        return Made(partial(running.make_list, runs), declared, cost, fixed(len(made)), (ONE, value))

    def _mixture(self, node: Node, wanted: Declared, found: Declared) -> None:
        if not self._mixed:
            self.complain(node, f"expected type '{show(wanted)}' but found '{show(found)}'")

    def _unwrapped(self, node: Node, position: int, made: Made) -> Declared:
        if position not in node.maybe:
            return made.type
        if made.type.kind not in ("optional_type", "dyn"):
            self.complain(
                node.args[position], f"expected type 'optional_type(dyn)' but found '{show(made.type)}'"
            )
            return DYN
        return element_of(made.type)

    def _map(self, node: Node, env: Env) -> Made:
        made = [self.compile(each, env) for each in node.args]
        kinds: list[Declared | None] = [None, None]
        sizes = [Range(0 if not made else MOST, 0)] * 2
        for position, each in enumerate(made):
            side = position % 2
            kind = each.type
            if side and position - 1 in node.maybe:
                kind = element_of(kind) if kind.kind == "optional_type" else DYN
            before = kinds[side]
            joined = kind if before is None else join(before, kind)
            if joined is None:
                assert before is not None
                self._mixture(node.args[position], before, kind)
                joined = DYN
            kinds[side] = joined
            sizes[side] = sizes[side].union(each.extent or ANY_SIZE)
        entries = [
            (made[position].run, made[position + 1].run, position in node.maybe)
            for position in range(0, len(made), 2)
        ]
        declared = map_of(_bare(kinds[0] or DYN), _bare(kinds[1] or DYN))
        cost = _total(made).plus(fixed(costs.NEW_MAP))
        run = partial(running.make_map, entries, costs.NEW_MAP)
        return Made(run, declared, cost, fixed(len(entries)), (sizes[0], sizes[1]))

    def _struct(self, node: Node, env: Env) -> Made:
        fields = self._structs(node.name) if self._structs is not None else None
        if fields is None:
            return self.complain(node, f"undeclared reference to '{node.name}' (in container '')")
        made = [self.compile(each, env) for each in node.args]
        entries = []
        for position, (name, each) in enumerate(zip(node.value, made, strict=True)):
            maybe = position in node.maybe
            kind = element_of(each.type) if maybe else each.type
            wanted = fields.get(name, DYN)
            if not assign(wanted, kind, {}):
                self.complain(
                    node.args[position],
                    f"expected type of field '{name}' is '{show(wanted)}' but provided type is '{show(kind)}'",
                )
            entries.append((partial(_give, unescape(name)), each.run, maybe))
        build = partial(running.make_map, entries, costs.NEW_OBJECT)
        type_name = node.name
        declared = Declared("object", name=type_name, fields=dict(fields) or None)
        return Made(
            lambda scope: Struct(type_name, build(scope)),
            declared,
            _total(made).plus(fixed(costs.NEW_OBJECT)),
        )

    # -- calls

    def _call(self, node: Node, env: Env) -> Made:
        expanded = macros.expand(self, node, env)
        if expanded is not None:
            return expanded
        name, target = node.name, node.target
        if target is not None:
            qualified = f"{path_of(target)}.{name}"
            if qualified in self._functions:
                name, target = qualified, None
        overloads = self._functions.get(name)
        before, self._mixed = self._mixed, self._mixed or name == "format"
        operands = [self.compile(each, env) for each in node.args]
        self._mixed = before
        if overloads is None:
            if target is not None:
                self.compile(target, env)
            return self.complain(node, f"undeclared reference to '{name}' (in container '')")
        if target is not None:
            operands.insert(0, self.compile(target, env))
        found = _matching(overloads, [made.type for made in operands], target is not None)
        if not found:
            return self._no_overload(node, name, [made.type for made in operands], target is not None)
        return self._called(node, name, found, operands, target is not None)

    def _no_overload(self, node: Node, name: str, kinds: Sequence[Declared], member: bool = False) -> Made:
        shown = [show(kind) for kind in kinds]
        start = f"{shown.pop(0)}." if member else ""
        return self.complain(
            node, f"found no matching overload for '{name}' applied to '{start}({', '.join(shown)})'"
        )

    def _check_literal(self, node: Node, name: str, member: bool) -> None:
        """Constants that can never work are told before anything runs."""
        if name in ("find", "findAll") and isinstance(node.args[0].value, str):
            try:
                patterns.compiled(node.args[0].value)
            except re.error as error:
                self._broken_pattern = patterns.explain(node.args[0].value, error)
        check = _LITERAL_CHECKS.get(name)
        value = node.args[0].value if node.args else None
        if check is None or check[0] is not member or not isinstance(value, str | int):
            return
        try:
            check[1](value)
        except (CelError, re.error):
            self.complain(node.args[0], f"invalid {name} argument")

    def _called(
        self,
        node: Node,
        name: str,
        found: list[tuple[Overload, Declared]],
        operands: list[Made],
        member: bool,
    ) -> Made:
        result = found[0][1]
        if any(not same(result, other) for _, other in found[1:]):
            result = DYN
        result = _bare(result)
        runs = [made.run for made in operands]
        if name in _LOGIC:
            return _logic(name, result, operands)
        if name == "dyn":
            return Made(runs[0], DYN, operands[0].cost.plus(ONE), operands[0].extent, operands[0].entry)
        self._check_literal(node, name, member)
        function = IMPLEMENTATIONS[name]
        if name == "sum" and result.kind in ZEROS:
            function = partial(function, zero=ZEROS[result.kind])
        only = found[0][0].id if len(found) == 1 else ""
        run: Run = partial(running.call, function, runs, costs.meter(name, only))
        known = [
            Operand(made.type, made.extent or ANY_SIZE, made.reached, arg.value)
            for made, arg in zip(operands, [node] * member + node.args, strict=True)
        ]
        target, args = (known[0], known[1:]) if member else (None, known)
        cost, size = Range(MOST, 0), None
        for overload, _ in found:
            each, extent = costs.estimate(name, overload.id, target, args)
            cost = cost.union(each)
            if extent is not None:
                size = extent if size is None else size.union(extent)
        entry = None
        if name == "_+_" and operands[0].entry is not None and operands[1].entry is not None:
            entry = _union(operands[0].entry, operands[1].entry)
        return Made(run, result, _total(operands).plus(cost), size, entry)


#: Functions whose constant argument has to be good: with a target or without, and what judges it.
_LITERAL_CHECKS: Final[Mapping[str, tuple[bool, Callable[[Any], Any]]]] = {
    "duration": (False, to_duration),
    "timestamp": (False, to_timestamp),
    "matches": (True, patterns.compiled),
}
_LOGIC: Final = frozenset({"_&&_", "_||_", "_?_:_"})


def _logic(name: str, result: Declared, made: list[Made]) -> Made:
    runs = [each.run for each in made]
    if name == "_?_:_":
        entry = None
        if made[1].entry is not None and made[2].entry is not None:
            entry = _union(made[1].entry, made[2].entry)
        cost = made[0].cost.plus(made[1].cost.union(made[2].cost))
        size = (made[1].extent or ANY_SIZE).union(made[2].extent or ANY_SIZE)
        return Made(partial(running.choose, runs[0], runs[1], runs[2]), result, cost, size, entry)
    cost = Range(made[0].cost.least, made[0].cost.plus(made[1].cost).most)
    return Made(partial(running.absorb, runs[0], runs[1], name == "_||_"), BOOL, cost)


def _matching(
    overloads: Sequence[Overload], kinds: Sequence[Declared], member: bool
) -> list[tuple[Overload, Declared]]:
    found = []
    for overload in overloads:
        if overload.member is not member or len(overload.parameters) != len(kinds):
            continue
        bound: dict[str, Declared] = {}
        if all(
            assign(wanted, given, bound) for wanted, given in zip(overload.parameters, kinds, strict=True)
        ):
            found.append((overload, substitute(overload.result, bound)))
    return found


def _union(left: Entry, right: Entry) -> Entry:
    return left[0].union(right[0]), left[1].union(right[1])


def _total(made: Sequence[Made]) -> Range:
    cost = costs.NOTHING
    for each in made:
        cost = cost.plus(each.cost)
    return cost


def _bare(declared: Declared) -> Declared:
    """A type without the limit that it has where it was declared."""
    if not declared.limit or declared.kind == "object":
        return declared
    return Declared(declared.kind, declared.element, declared.fields, declared.key, declared.name)


def _broken(scope: Any) -> Any:
    raise AssertionError("an expression with complaints never runs")


def _give(value: str, scope: Any) -> str:
    return value


__all__ = ["Compiler", "Env", "Local", "Made", "Structs", "is_free"]
