"""Which test covers which entry of Kubernetes' conformance tests: read from the tests' markers.

    python tests/conformance/table.py FACTS        Markdown; FACTS is the file with the entries, one a line

A test says what it covers by ``@pytest.mark.conformance("[sig-apps] Job should ...", note="...")``. The sources
are parsed, not imported. Constants of a module may be used in f-strings and concatenations.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
#: The areas of which every entry has to have a test or a reason why not.
SCOPE = re.compile(r"\[sig-(api-machinery|apps|auth|scheduling)\]")


@dataclass(frozen=True)
class Covering:
    """One test, and what its marker says."""

    entries: tuple[str, ...]
    test: str
    note: str = ""


def coverings(tests: Path = TESTS) -> Iterator[Covering]:
    """Every marked test below ``tests``, in order of files."""
    for path in sorted(tests.rglob("test_*.py")):
        source = path.read_text()
        if "mark.conformance(" in source:
            yield from _of_module(ast.parse(source), path.relative_to(tests.parent).as_posix())


def _of_module(module: ast.Module, path: str) -> Iterator[Covering]:
    constants: dict[str, str] = {}
    assigned: dict[str, ast.expr] = {}
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                assigned[target.id] = node.value
                with suppress(ValueError):
                    constants[target.id] = _text(node.value, constants)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                for mark in _marks(decorator, assigned):
                    entries = tuple(_text(argument, constants) for argument in mark.args)
                    notes = [_text(k.value, constants) for k in mark.keywords if k.arg == "note"]
                    yield Covering(entries, f"{path}::{node.name}", "".join(notes))


def _marks(decorator: ast.expr, assigned: dict[str, ast.expr]) -> Iterator[ast.Call]:
    """The markers in a decorator: itself, or those of the parameters that it or a constant in it lists."""
    for node in ast.walk(decorator):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.conformance"):
            yield node
        elif isinstance(node, ast.Name) and node.id in assigned and node is not decorator:
            yield from _marks(assigned[node.id], {})


def _text(node: ast.expr, constants: dict[str, str]) -> str:
    """A string literal, an f-string of constants, or a sum of such. Raises ``ValueError``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name) and node.id in constants:
        return constants[node.id]
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, constants) + _text(node.right, constants)
    raise ValueError(ast.unparse(node))


def read_entries(facts: Path) -> list[str]:
    """The entries of the facts file, in its order."""
    return [line for line in facts.read_text().splitlines() if line]


def markdown(entries: list[str], found: list[Covering], excepted: dict[str, str]) -> str:
    """The table of the entries in scope, and of those beyond it that have a test."""
    rows = ["| entry | test | note |", "|---|---|---|"]
    covered = 0
    for entry in entries:
        by = [each for each in found if entry in each.entries]
        if not by and entry not in excepted and not SCOPE.match(entry):
            continue
        covered += bool(by)
        tests = "<br>".join(f"`{each.test}`" for each in by) or "none"
        notes = "; ".join(filter(None, [*(each.note for each in by), excepted.get(entry, "")]))
        rows.append(f"| {entry.replace(' [Conformance]', '')} | {tests} | {notes} |")
    total = len(rows) - 2
    return "\n".join([f"{covered} of {total} entries have a test.", "", *rows, ""])


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    sys.path.insert(0, str(TESTS))
    from conformance.excepted import EXCEPTED

    print(markdown(read_entries(Path(arguments[0])), list(coverings()), EXCEPTED), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
