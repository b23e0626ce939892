"""Discovery and OpenAPI with what extension servers say of themselves. Pure; made anew when either side changes.

Groups stand in the order of their priorities, versions in that of theirs. A group version whose documents could not be
read lately is listed as ``Stale``: clients then know that it exists, and that they do not know all of it. OpenAPI v2 takes an
extension's paths below its own group version and the definitions; one that has a name of ours with another meaning is renamed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import orjson

from coxswain.api import openapi
from coxswain.api.kinds import Group
from coxswain.api.names import Object
from coxswain.apiserver.aggregation.registration import OWN_GROUP, group_priority, version_priority
from coxswain.apiserver.aggregation.remotes import Documents
from coxswain.apiserver.customresources.definitions import version_order
from coxswain.apiserver.customresources.published import Published
from coxswain.apiserver.discovery import Catalog, RemoteVersion

log = logging.getLogger(__name__)

_DEFINITIONS = "#/definitions/"


class MergedPublished(Published):
    """What clients learn of everything that is served, here and elsewhere, at one moment."""

    def __init__(self, base: Published, remotes: Iterable[tuple[RemoteVersion, Documents]]) -> None:
        super().__init__()
        self.base = base
        self._remotes = {(remote.group, remote.version): (remote, own) for remote, own in remotes}

    @cached_property
    def catalog(self) -> Catalog:
        """What is served."""
        found = self.base.catalog
        remotes = [remote for remote, _ in self._remotes.values()]
        return Catalog(
            merge_groups(found.groups, remotes),
            found.resources,
            {(remote.group, remote.version): remote for remote in remotes},
        )

    # -- OpenAPI

    def v3_index(self) -> Object:
        """The index of all documents."""
        paths = dict(self.base.v3_index()["paths"])
        for (group, version), (_, own) in self._remotes.items():
            path = f"apis/{group}/{version}"
            if own.v3:
                paths[path] = openapi.index_entry(path, own.v3_hash)
            else:
                paths.pop(path, None)
        return {"paths": paths}

    def v3_bytes(self, path: str) -> bytes | None:
        """The document of one group and version."""
        _, _, rest = path.partition("apis/")
        group, _, version = rest.partition("/")
        found = self._remotes.get((group, version))
        if found is None:
            return self.base.v3_bytes(path)
        return found[1].v3 or None

    def v2_bytes(self) -> bytes:
        """The old document as JSON."""
        return self._merged_v2[0]

    def v2_protobuf(self) -> bytes:
        """The old document in gnostic's form."""
        return self._merged_v2[1]

    @cached_property
    def _merged_v2(self) -> tuple[bytes, bytes]:
        """Both forms; without the extensions where what they say cannot be put into the second."""
        from coxswain.api import openapi_gnostic

        document: Object = orjson.loads(self.base.v2_bytes())
        for (group, version), (_, own) in self._remotes.items():
            if own.v2 is not None:
                merge_v2(document, own.v2, f"/apis/{group}/{version}")
        try:
            return orjson.dumps(document), openapi_gnostic.encode(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("an extension server's OpenAPI v2 document is not understood: %s", error)
            return self.base.v2_bytes(), self.base.v2_protobuf()


def merge_groups(groups: Sequence[Group], remotes: Sequence[RemoteVersion]) -> tuple[Group, ...]:
    """Groups with those of ``remotes`` at the places that their priorities give them.

    A group's priority is the highest of its versions'; of equal ones the name decides.
    """
    made = list(groups)
    for remote in sorted(remotes, key=lambda one: (-one.group_priority, one.group)):
        if not remote.group:
            continue
        at = next((at for at, group in enumerate(made) if group.name == remote.group), None)
        if at is not None:
            made[at] = _with_version(made[at], remotes)
            continue
        ranks = {one.group: one.group_priority for one in remotes}
        own = (-remote.group_priority, remote.group)
        at = len(made)
        for position, group in enumerate(made):
            if group.name != OWN_GROUP and (-_rank(group.name, ranks), group.name) > own:
                at = position
                break
        made.insert(at, _with_version(Group(remote.group, (), ""), remotes))
    return tuple(made)


def _rank(group: str, remote: dict[str, int]) -> int:
    return max(remote.get(group, 0), group_priority(group)) if group not in remote else remote[group]


def _with_version(group: Group, remotes: Sequence[RemoteVersion]) -> Group:
    """``group`` with the versions that extension servers serve of it, in order."""
    priorities = {version: version_priority(group.name, version) for version in group.versions}
    priorities |= {one.version: one.version_priority for one in remotes if one.group == group.name}
    ordered = tuple(sorted(priorities, key=lambda version: (-priorities[version], version_order(version))))
    return Group(group.name, ordered, ordered[0])


def merge_v2(document: Object, remote: Object, prefix: str) -> None:
    """Put what ``remote`` says of paths below ``prefix`` into ``document``, in place."""
    paths = {
        path: found
        for path, found in (remote.get("paths") or {}).items()
        if path == prefix or path.startswith(f"{prefix}/")
    }
    definitions: Object = remote.get("definitions") or {}
    present: Object = document.setdefault("definitions", {})
    renamed: dict[str, str] = {}
    for name in sorted(_needed(paths, definitions)):
        if name in present and present[name] != definitions[name]:
            number = 2
            while f"{name}_v{number}" in present:
                number += 1
            renamed[name] = f"{name}_v{number}"
    for name in _needed(paths, definitions):
        present[renamed.get(name, name)] = _renamed(definitions[name], renamed)
    document.setdefault("paths", {}).update(_renamed(paths, renamed))


def _needed(value: Any, definitions: Object) -> set[str]:
    """The names of all definitions that ``value`` refers to, directly or not."""
    found: set[str] = set()
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            reference = one.get("$ref")
            if isinstance(reference, str) and reference.startswith(_DEFINITIONS):
                name = reference.removeprefix(_DEFINITIONS)
                if name in definitions and name not in found:
                    found.add(name)
                    todo.append(definitions[name])
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return found


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not names:
        return value
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _renamed(one, names) for key, one in value.items()}
    reference = made.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFINITIONS):
        name = reference.removeprefix(_DEFINITIONS)
        made["$ref"] = _DEFINITIONS + names.get(name, name)
    return made
