"""``-f``: manifests of one or several objects, as YAML or JSON, from files, directories or standard input."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coxswain.api.kinds import Resource
from coxswain.api.names import GVK, Object
from coxswain.cli.kubectl.failures import UsageError
from coxswain.cli.kubectl.resources import Catalog, compact
from coxswain.cli.kubectl.session import Session

_ENDINGS = (".json", ".yaml", ".yml")
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Item:
    """An object of a manifest. ``namespace`` is empty for cluster-scoped ones."""

    source: str
    obj: Object
    resource: Resource
    namespace: str
    name: str


def load(names: list[str], recursive: bool = False) -> Iterator[tuple[str, Object]]:
    """``(source, object)`` of every object in the files, in order. Raises ``UsageError``."""
    for name in names:
        for source, text in _texts(name, recursive):
            for document in _documents(source, text):
                for obj in _flat(document):
                    yield source, obj


async def items(
    session: Session, catalog: Catalog, args: argparse.Namespace
) -> tuple[list[Item], list[Exception]]:
    """The objects of ``-f`` and what is wrong with others of them."""
    found: list[Item] = []
    problems: list[Exception] = []
    try:
        for source, obj in load(args.filename, args.recursive):
            try:
                found.append(await _item(session, catalog, source, obj))
            except UsageError as problem:
                problems.append(problem)
    except UsageError as problem:
        problems.append(problem)
    return found, problems


async def _item(session: Session, catalog: Catalog, source: str, obj: Object) -> Item:
    gvk = GVK.of(obj)
    meta = obj.get("metadata") or {}
    if not gvk.kind:
        raise UsageError(f"unable to decode \"{source}\": Object 'Kind' is missing in '{compact(obj)}'")
    if not gvk.version:
        raise UsageError(
            f'error validating "{source}": error validating data: apiVersion not set; if you choose to ignore '
            "these errors, turn validation off with --validate=false"
        )
    name, namespace = str(meta.get("name") or ""), str(meta.get("namespace") or "")
    resource = await catalog.of_kind(gvk)
    if resource is None:
        raise UsageError(
            f'resource mapping not found for name: "{name}" namespace: "{namespace}" from "{source}": '
            f'no matches for kind "{gvk.kind}" in version "{gvk.api_version}"\nensure CRDs are installed first'
        )
    if not resource.namespaced:
        return Item(source, obj, resource, "", name)
    if namespace and session.namespace_given and namespace != session.namespace:
        raise UsageError(
            f'the namespace from the provided object "{namespace}" does not match the namespace '
            f"\"{session.namespace}\". You must pass '--namespace={namespace}' to perform this operation."
        )
    if not namespace:
        namespace = session.namespace
        obj = {**obj, "metadata": {**meta, "namespace": namespace}}
    return Item(source, obj, resource, namespace, name)


def _texts(name: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield "STDIN", sys.stdin.read()
        return
    path = Path(name)
    if not path.exists():
        raise UsageError(f'the path "{name}" does not exist')
    if not path.is_dir():
        yield name, _read(path)
        return
    inside = sorted(path.rglob("*") if recursive else path.iterdir())
    wanted = [file for file in inside if file.is_file() and file.suffix in _ENDINGS]
    if not wanted:
        raise UsageError(f"error reading [{name}]: recognized file extensions are [.json .yaml .yml]")
    for file in wanted:
        yield str(file), _read(file)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(f"open {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text") from None


def _documents(source: str, text: str) -> Iterator[Any]:
    if text.lstrip().startswith("{"):
        try:
            yield from _json(text)
            return
        except ValueError:
            pass  # a flow mapping of YAML looks like JSON at first
    from coxswain.api import yamlio

    for part in _SEPARATOR.split(text):
        try:
            document, problems = yamlio.loads(part.encode())
        except yamlio.YamlError as error:
            raise UsageError(f"error parsing {source}: error converting YAML to JSON: {error}") from None
        if problems:
            raise UsageError(f"error parsing {source}: error converting YAML to JSON: {problems[0]}")
        if document is not None:
            if not isinstance(document, dict):
                raise UsageError(f"error parsing {source}: a document is not an object")
            yield document


def _json(text: str) -> list[Any]:
    decoder, position, found = json.JSONDecoder(), 0, []
    text = text.strip()
    while position < len(text):
        document, position = decoder.raw_decode(text, position)
        found.append(document)
        while text[position : position + 1].isspace():
            position += 1
    return found


def _flat(document: Object) -> Iterator[Object]:
    kind = str(document.get("kind") or "")
    if not kind.endswith("List") or not isinstance(document.get("items"), list):
        yield document
        return
    typed = {} if kind == "List" else {"apiVersion": document.get("apiVersion"), "kind": kind[:-4]}
    for item in document["items"]:
        if isinstance(item, dict):
            yield from _flat({**typed, **item})
