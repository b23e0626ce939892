"""CEL's macros: calls that are written out before anything is checked (has, all, exists, map, optMap, cel.bind ...).

``expand`` gives the compiled macro, or None where a call is none. Estimated costs are those of the comprehensions that
cel-go writes out (``parser/macro.go``, ``ext/comprehensions.go``): what starts the result, each turn, and the end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from coxswain.api.cel import costs, running
from coxswain.api.cel.costs import ANY_SIZE, NEW_LIST, NEW_MAP, ONE, Range, fixed
from coxswain.api.cel.parser import Node
from coxswain.api.cel.types import (
    BOOL,
    DYN,
    INT,
    Declared,
    element_of,
    key_of,
    list_of,
    map_of,
    optional_of,
    show,
)

if TYPE_CHECKING:
    from coxswain.api.cel.compiler import Compiler, Entry, Env, Local, Made

#: Name -> how many arguments it takes as a macro.
_METHODS: Final = {
    "all": (2, 3),
    "exists": (2, 3),
    "exists_one": (2, 3),
    "existsOne": (2, 3),
    "map": (2, 3),
    "filter": (2,),
    "transformList": (3, 4),
    "transformMap": (3, 4),
    "transformMapEntry": (3, 4),
    "optMap": (2,),
    "optFlatMap": (2,),
    "sortBy": (2,),
}


def expand(compiler: Compiler, node: Node, env: Env) -> Made | None:
    """The compiled macro, or None."""
    if node.target is None:
        return _has(compiler, node, env) if node.name == "has" and len(node.args) == 1 else None
    if node.name == "bind" and len(node.args) == 3 and node.target.name == "cel":
        return _bind(compiler, node, env)
    if len(node.args) not in _METHODS.get(node.name, ()):
        return None
    if node.name in ("optMap", "optFlatMap"):
        return _optional(compiler, node, env)
    if node.name == "sortBy":
        return _sort_by(compiler, node, env)
    if node.name in ("map", "filter"):
        return _map(compiler, node, env)
    if node.name.startswith("transform"):
        return _transform(compiler, node, env)
    return _quantifier(compiler, node, env)


def _has(compiler: Compiler, node: Node, env: Env) -> Made:
    field = node.args[0]
    if field.kind != "select":
        return compiler.complain(node, "invalid argument to has() macro")
    inner = compiler.compile(field.args[0], env)
    through = inner.type.kind == "optional_type"
    found = compiler.field(field, element_of(inner.type) if through else inner.type)
    key = found[0] if found is not None else ""
    return _made(partial(running.present, inner.run, key), BOOL, inner.cost)


def _made(
    run: running.Run, declared: Declared, cost: Range, size: Range | None = None, entry: Entry | None = None
) -> Made:
    from coxswain.api.cel.compiler import Made

    return Made(run, declared, cost, size, entry)


def _local(declared: Declared, size: Range | None = None, reached: bool = False) -> Local:
    from coxswain.api.cel.compiler import Local

    return Local(declared, size, None, reached)


# -- comprehensions


class _Range:
    """What a comprehension goes over, and its variables."""

    def __init__(self, compiler: Compiler, node: Node, env: Env, names: list[Node]) -> None:
        assert node.target is not None
        self.over = compiler.compile(node.target, env)
        kind = self.over.type.kind
        if kind not in ("list", "map", "dyn"):
            words = "cannot be range of a comprehension (must be list, map, or dynamic)"
            compiler.complain(node.target, f"expression of type '{show(self.over.type)}' {words}")
        self.names: list[str] = []
        self.inside = dict(env)
        for name in names:
            if name.kind != "ident" or name.name in self.names:
                compiler.complain(name, "argument must be a simple name")
            self.names.append(name.name)
        self.count = self.over.extent or ANY_SIZE
        types = self._types(len(names))
        for position, known in enumerate(self.names):
            self.inside[known] = self._variable(compiler, types[position], position)

    def _types(self, count: int) -> list[Declared]:
        declared = self.over.type
        if declared.kind == "list":
            return [element_of(declared)] if count == 1 else [INT, element_of(declared)]
        if declared.kind == "map":
            return [key_of(declared), element_of(declared)]
        return [DYN, DYN]

    def _variable(self, compiler: Compiler, declared: Declared, position: int) -> Local:
        """cel-go finds sizes by paths; a path from nowhere leads to the root of all (its quirk, kept)."""
        values = position == 1 or (len(self.names) == 1 and self.over.type.kind == "list")
        if self.over.reached:
            return _local(declared, None if values else Range(0, declared.limit), values)
        if compiler.root.kind != "dyn":
            return _local(declared, Range(0, compiler.root.limit))
        entry = self.over.entry
        return _local(declared, entry[values] if entry is not None else None)

    def cost(self, start: int, turn: Range, end: int) -> Range:
        """The whole comprehension."""
        return self.over.cost.plus(fixed(start + end)).plus(self.count.times(turn))


def _quantifier(compiler: Compiler, node: Node, env: Env) -> Made:
    over = _Range(compiler, node, env, node.args[:-1])
    test = _condition(compiler, node.args[-1], over.inside, "_&&_" if node.name == "all" else "_||_")
    passed = test.cost
    if node.name == "all":
        run = partial(running.every, over.over.run, over.names, test.run)
        cost = over.cost(0, Range(2 + 1, min(2 + 1 + passed.most, costs.MOST)), 1)
    elif node.name == "exists":
        run = partial(running.exists, over.over.run, over.names, test.run)
        cost = over.cost(0, Range(3 + 1, min(3 + 1 + passed.most, costs.MOST)), 1)
    else:
        run = partial(running.exists_one, over.over.run, over.names, test.run)
        cost = over.cost(0, passed.plus(Range(1, 2)), 2)
    return _made(run, BOOL, cost, ONE)


def _condition(compiler: Compiler, node: Node, env: Env, operator: str) -> Made:
    made = compiler.compile(node, env)
    if made.type.kind not in ("bool", "dyn"):
        kinds = f"bool, {show(made.type)}" if operator != "_?_:_" else show(made.type)
        compiler.complain(node, f"found no matching overload for '{operator}' applied to '({kinds})'")
    return made


def _grown(over: _Range, test: Made | None, cost: Range, least: int) -> Range:
    """What a turn costs in which the result grows, perhaps."""
    return cost if test is None else test.cost.plus(cost.union(fixed(least)))


def _map(compiler: Compiler, node: Node, env: Env) -> Made:
    over = _Range(compiler, node, env, node.args[:1])
    conditional = node.name == "filter" or len(node.args) == 3
    test = _condition(compiler, node.args[1], over.inside, "_?_:_") if conditional else None
    last = compiler.compile(node.args[0] if node.name == "filter" else node.args[-1], over.inside)
    turn = _grown(over, test, last.cost.plus(fixed(2 + NEW_LIST)), 1)
    run = partial(running.map_list, over.over.run, over.names, test and test.run, last.run)
    extent = last.extent or ANY_SIZE
    entry = (ONE, Range(0, extent.most))
    return _made(run, list_of(last.type), over.cost(NEW_LIST, turn, 1), over.count, entry)


def _transform(compiler: Compiler, node: Node, env: Env) -> Made:
    over = _Range(compiler, node, env, node.args[:2])
    test = _condition(compiler, node.args[2], over.inside, "_?_:_") if len(node.args) == 4 else None
    last = compiler.compile(node.args[-1], over.inside)
    extent = last.extent or ANY_SIZE
    only = test and test.run
    if node.name == "transformList":
        turn = _grown(over, test, last.cost.plus(fixed(2 + NEW_LIST)), 1)
        run: running.Run = partial(running.map_list, over.over.run, over.names, only, last.run)
        entry = (ONE, Range(0, extent.most))
        return _made(run, list_of(last.type), over.cost(NEW_LIST, turn, 1), over.count, entry)
    if node.name == "transformMap":
        turn = _grown(over, test, last.cost.plus(fixed(3)), 1)
        run = partial(running.map_entries, over.over.run, over.names, only, last.run)
        declared = map_of(over.inside[over.names[0]].type, last.type)
    else:
        if last.type.kind not in ("map", "dyn"):
            kinds = f"map(dyn, dyn), {show(last.type)}"
            compiler.complain(node, f"found no matching overload for 'cel.@mapInsert' applied to '({kinds})'")
        turn = _grown(over, test, last.cost.plus(fixed(2)), 1)
        run = partial(running.merge_entries, over.over.run, over.names, only, last.run)
        declared = last.type if last.type.kind == "map" else map_of(DYN, DYN)
    return _made(run, declared, over.cost(NEW_MAP, turn, 1), over.count)


# -- optionals, bind, sortBy


def _optional(compiler: Compiler, node: Node, env: Env) -> Made:
    assert node.target is not None
    inner = compiler.compile(node.target, env)
    if inner.type.kind not in ("optional_type", "dyn"):
        words = f"found no matching overload for 'hasValue' applied to '{show(inner.type)}.()'"
        return compiler.complain(node, words)
    name, flat = node.args[0], node.name == "optFlatMap"
    if name.kind != "ident":
        return compiler.complain(name, f"{node.name}() variable name must be a simple identifier")
    body = compiler.compile(node.args[1], {**env, name.name: _local(element_of(inner.type))})
    declared = body.type if flat else optional_of(body.type)
    asked = inner.cost.plus(ONE)
    taken = asked.plus(fixed(NEW_LIST + (0 if flat else 1))).plus(body.cost)
    run = partial(running.map_optional, inner.run, name.name, body.run, flat)
    return _made(run, declared, asked.plus(taken.union(ONE)))


def _bind(compiler: Compiler, node: Node, env: Env) -> Made:
    from coxswain.api.cel.compiler import Local

    name = node.args[0]
    if name.kind != "ident":
        return compiler.complain(name, "cel.bind() variable names must be simple identifiers")
    value = compiler.compile(node.args[1], env)
    local = Local(value.type, value.size, value.entry, value.reached)
    body = compiler.compile(node.args[2], {**env, name.name: local})
    cost = fixed(NEW_LIST).plus(value.cost).plus(body.cost)
    return _made(
        partial(running.bind, name.name, value.run, body.run), body.type, cost, body.extent, body.entry
    )


def _sort_by(compiler: Compiler, node: Node, env: Env) -> Made:
    over = _Range(compiler, node, env, node.args[:1])
    key = compiler.compile(node.args[1], over.inside)
    turn = key.cost.plus(fixed(2 + NEW_LIST))
    squared = over.count.times(over.count).scaled(2.1 if key.type.kind in ("string", "bytes") else 2)
    cost = over.cost(NEW_LIST, turn, 1).plus(squared).plus(fixed(2 * NEW_LIST + 3))
    run = partial(running.sort_by, over.over.run, over.names[0], key.run)
    return _made(run, over.over.type, cost, over.count)
