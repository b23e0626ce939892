"""Reads the few facts that only Kubernetes' Go structs tell: what JSON encoding leaves out, and type names.

Part of the generator, never imported by a running server. The published API description does not say whether
an empty value is written (``resources: {}``) or dropped, nor how a type error names a field's type
(``v1.RestartPolicy``). ``read`` takes unpacked trees of k8s.io/api, apimachinery, apiextensions-apiserver and
kube-aggregator and gives one ``GoField`` for every JSON field, embedded structs flattened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Directory of a module inside the given tree -> its import path.
MODULES = {
    "api": "k8s.io/api",
    "apimachinery": "k8s.io/apimachinery",
    "apiextensions-apiserver": "k8s.io/apiextensions-apiserver",
    "kube-aggregator": "k8s.io/kube-aggregator",
}

_TYPE = re.compile(r"^type (\w+) (.+?)\s*$")
_FIELD = re.compile(r"^\s+(?:(\w+(?:, \w+)*)\s+)?(\*?[\w.\[\]*]+(?:\[[^`]*)?)\s+`(.*)`")
_JSON_TAG = re.compile(r'json:"([^"]*)"')
_DEFAULT = re.compile(r"^\s+// \+default=(.*\S)\s*$")
_IMPORT = re.compile(r'^\s*(?:import )?(?:(\w+) )?"([^"]+)"')

_SCALARS = {
    "string",
    "bool",
    "int",
    "int32",
    "int64",
    "uint",
    "uint8",
    "float64",
    "byte",
    "any",
    "interface{}",
}


@dataclass(frozen=True, slots=True)
class GoField:
    """How one JSON field is kept in Go: its type as reflection prints it, and its tag options."""

    type: str
    pointer: bool
    omitempty: bool
    omitzero: bool
    #: ``scalar``, ``list``, ``map`` or ``struct``, named types resolved.
    shape: str
    #: The JSON text of a ``+default=`` marker, or empty.
    default: str = ""


@dataclass(slots=True)
class _Struct:
    package: str
    imports: dict[str, str]
    fields: list[tuple[str, str, str, str]]  # JSON name ("" when embedded), Go type, tag, default


class _Sources:
    """Every struct and every named type of the trees, by ``import/path.Name``."""

    def __init__(self) -> None:
        self.structs: dict[str, _Struct] = {}
        self.named: dict[str, tuple[str, dict[str, str]]] = {}

    def load(self, root: Path) -> None:
        for directory, module in MODULES.items():
            for path in sorted((root / directory).rglob("*.go")):
                if path.name.endswith("_test.go") or path.name.startswith("zz_"):
                    continue
                inside = path.parent.relative_to(root / directory).as_posix()
                self._read_file(path, f"{module}/{inside}")

    def _read_file(self, path: Path, package: str) -> None:
        imports: dict[str, str] = {}
        current: _Struct | None = None
        default = ""
        for line in path.read_text().splitlines():
            if current is not None:
                if line.startswith("}"):
                    current = None
                elif marker := _DEFAULT.match(line):
                    default = marker[1]
                elif (field := _FIELD.match(line)) and (tag := _JSON_TAG.search(field[3])):
                    current.fields.append((tag[1].split(",")[0], field[2], tag[1], default))
                    default = ""
                continue
            if match := _TYPE.match(line):
                name, rest = f"{package}.{match[1]}", match[2]
                if rest.startswith("struct {"):
                    if not rest.endswith("}"):
                        current = _Struct(package, imports, [])
                        self.structs[name] = current
                    else:
                        self.structs[name] = _Struct(package, imports, [])
                elif rest != "interface {":
                    self.named[name] = (rest.removeprefix("= "), imports)
            elif match := _IMPORT.match(line):
                imports[match[1] or match[2].rsplit("/", 1)[-1]] = match[2]

    def resolve(self, text: str, package: str, imports: dict[str, str]) -> str:
        """``metav1.Time`` -> ``k8s.io/apimachinery/pkg/apis/meta/v1.Time``; scalars stay."""
        if text in _SCALARS:
            return text
        alias, dot, name = text.partition(".")
        if not dot:
            return f"{package}.{text}"
        return f"{imports.get(alias, alias)}.{name}"

    def show(self, text: str, package: str, imports: dict[str, str]) -> str:
        """The type as Go's reflection prints it: qualified by the last part of its package."""
        if text.startswith("*"):
            return "*" + self.show(text[1:], package, imports)
        if text.startswith("[]"):
            return "[]" + self.show(text[2:], package, imports)
        if text.startswith("map["):
            key, _, value = text[4:].partition("]")
            return f"map[{self.show(key, package, imports)}]{self.show(value, package, imports)}"
        if text == "byte":
            return "uint8"
        if text in ("any", "interface{}"):
            return "interface {}"
        full = self.resolve(text, package, imports)
        return full.rsplit("/", 1)[-1] if "." in full else full

    def shape(self, text: str, package: str, imports: dict[str, str]) -> str:
        if text.startswith("[]"):
            return "list"
        if text.startswith("map["):
            return "map"
        full = self.resolve(text, package, imports)
        if full in _SCALARS or "." not in full:
            return "scalar"
        if full in self.structs:
            return "struct"
        if full in self.named:
            target, scope = self.named[full]
            return self.shape(target, full.rsplit(".", 1)[0], scope)
        return "scalar"

    def fields(self, name: str) -> Iterator[tuple[str, GoField]]:
        """Every JSON field of a struct; what it embeds inline is flattened in."""
        struct = self.structs.get(name)
        if struct is None:
            return
        for json_name, text, tag, default in struct.fields:
            options = tag.split(",")[1:]
            if json_name == "-":
                continue
            if not json_name:
                yield from self.fields(self.resolve(text.lstrip("*"), struct.package, struct.imports))
                continue
            bare = text.lstrip("*")
            yield (
                json_name,
                GoField(
                    type=self.show(bare, struct.package, struct.imports),
                    pointer=text.startswith("*"),
                    omitempty="omitempty" in options,
                    omitzero="omitzero" in options,
                    shape=self.shape(bare, struct.package, struct.imports),
                    default=default,
                ),
            )


def published_name(go_name: str) -> str:
    """``k8s.io/api/core/v1.Pod`` -> ``io.k8s.api.core.v1.Pod``, the name in the API description."""
    package, _, name = go_name.rpartition(".")
    return "io.k8s" + package.removeprefix("k8s.io").replace("/", ".") + "." + name


def read(root: Path) -> dict[str, dict[str, GoField]]:
    """Published type name -> JSON field -> how Go keeps it, for every struct below ``root``."""
    sources = _Sources()
    sources.load(root)
    return {published_name(name): dict(sources.fields(name)) for name in sources.structs}
