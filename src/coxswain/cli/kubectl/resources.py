"""Which resources a user means: ``pods``, ``po,svc``, ``deploy/web``, ``deployments.v1.apps``, ``all``.

The built-in table answers for built-in kinds without a request; everything else (custom resources,
categories) is looked up in the server's aggregated discovery, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import orjson

from coxswain.api import kinds
from coxswain.api.kinds import Resource, Subresource
from coxswain.api.names import GVK, GVR, Object
from coxswain.cli.kubectl.failures import UsageError
from coxswain.cli.kubectl.session import Session

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """Objects of one resource: these names, or all of them."""

    resource: Resource
    names: tuple[str, ...] = ()
    #: Where they are, when a file says so; else the session's namespace.
    namespace: str = ""


def kind_name(resource: Resource) -> str:
    """``deployment.apps``, ``pod``: as messages and ``-o name`` call the kind."""
    kind = resource.kind.lower()
    return f"{kind}.{resource.gvr.group}" if resource.gvr.group else kind


class Catalog:
    """The resources of one server."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._served: tuple[Resource, ...] | None = None

    async def find(self, text: str) -> list[Resource]:
        """The resource (or those of the category) of this name. Raises ``UsageError``."""
        found = _match(text, _preferred(), kinds.resources())
        if found is not None:
            return [found]
        served = await self._discovered()
        in_category = [one for one in _preferred() if text in one.categories]
        known = {one.gvr.group_resource for one in in_category}
        in_category += [
            one for one in served if text in one.categories and one.gvr.group_resource not in known
        ]
        if in_category:
            return in_category
        found = _match(text, served, served)
        if found is None:
            raise UsageError(f'the server doesn\'t have a resource type "{text}"')
        return [found]

    async def of_kind(self, gvk: GVK) -> Resource | None:
        """The resource that serves a kind of a file."""
        built_in = kinds.by_gvk(gvk)
        if built_in is not None:
            return built_in
        return next((one for one in await self._discovered() if one.gvk == gvk), None)

    async def targets(self, words: Sequence[str], verb: str) -> list[Target]:
        """What the words of a command line mean. Raises ``UsageError``."""
        if any("/" in word for word in words):
            return [await self._named(word, verb, words) for word in words]
        if not words:
            return []
        types = [one for name in words[0].split(",") if name for one in await self.find(name)]
        return [Target(one, tuple(words[1:])) for one in types]

    async def _named(self, word: str, verb: str, words: Sequence[str]) -> Target:
        kind, slash, name = word.partition("/")
        if not slash:
            raise UsageError(
                "there is no need to specify a resource type as a separate argument when passing arguments in "
                f"resource/name form (e.g. 'cox {verb} resource/<resource_name>' instead of "
                f"'cox {verb} resource resource/<resource_name>'"
            )
        if not kind or not name or "/" in name:
            raise UsageError(
                "arguments in resource/name form must have a single resource and name"
                if kind and name
                else f"arguments in resource/name form may not have more than one slash: {word}"
            )
        return Target((await self.find(kind))[0], (name,))

    async def _discovered(self) -> tuple[Resource, ...]:
        if self._served is None:
            answer = await self._session.path("/apis", _AGGREGATED)
            self._served = tuple(_parse(answer.object()))
        return self._served


def several_types(words: Sequence[str]) -> bool:
    """More than one type was asked for, so that names need their kind."""
    if list(words) == ["all"]:
        return True
    if any("/" in word for word in words):
        return len({word.partition("/")[0] for word in words}) > 1
    return bool(words) and len({name for name in words[0].split(",") if name}) > 1


@cache
def _preferred() -> tuple[Resource, ...]:
    """The built-in resources, each in its group's preferred version where that has it."""
    best = {group.name: group.preferred for group in kinds.groups()}
    chosen: dict[str, Resource] = {}
    for one in kinds.resources():
        key = one.gvr.group_resource
        if key not in chosen or one.gvr.version == best.get(one.gvr.group):
            chosen[key] = one
    return tuple(chosen.values())


def _match(text: str, preferred: Iterable[Resource], every: Iterable[Resource]) -> Resource | None:
    name, _, rest = text.lower().partition(".")
    for one in preferred:
        if _is_called(one, name) and (
            not rest or one.gvr.group == rest or one.gvr.group.startswith(rest + ".")
        ):
            return one
    version, _, group = rest.partition(".")
    for one in every:
        if rest and _is_called(one, name) and (one.gvr.version, one.gvr.group) == (version, group):
            return one
    return None


def _is_called(one: Resource, name: str) -> bool:
    return name == one.gvr.resource or name == one.singular or name in one.short_names


def _parse(discovery: Object) -> Iterable[Resource]:
    """The resources of an aggregated discovery document, each in its first (preferred) version and the others."""
    for group in discovery.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            for row in version.get("resources") or ():
                yield _resource(GVR(name, version["version"], row["resource"]), row)


def _resource(gvr: GVR, row: Object) -> Resource:
    kind = (row.get("responseKind") or {}).get("kind") or ""
    below = [
        Subresource(
            sub["subresource"],
            GVK(gvr.group, gvr.version, (sub.get("responseKind") or {}).get("kind") or kind),
            tuple(sub.get("verbs") or ()),
            row.get("scope") == "Namespaced",
        )
        for sub in row.get("subresources") or ()
    ]
    return Resource(
        gvr=gvr,
        kind=kind,
        singular=row.get("singularResource") or kind.lower(),
        namespaced=row.get("scope") == "Namespaced",
        verbs=tuple(row.get("verbs") or ()),
        short_names=tuple(row.get("shortNames") or ()),
        categories=tuple(row.get("categories") or ()),
        subresources=tuple(below),
    )


def items_of(listed: Object) -> list[Object]:
    """The objects of a list, each with its kind (a list's items may leave it out)."""
    kind = str(listed.get("kind") or "").removesuffix("List")
    typed = {"apiVersion": listed.get("apiVersion"), "kind": kind}
    return [item if "kind" in item else {**typed, **item} for item in listed.get("items") or ()]


def compact(value: object) -> str:
    """``value`` as one line of JSON."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
