"""Who owns what: adopting orphans that a selector matches, releasing what it no longer matches.

Rules of Kubernetes' ``ControllerRefManager``: an object with another controller is left alone; one of ours
that does not match any more is released; an orphan that matches is adopted, unless it or the owner is going
away. Before adopting, the owner is read afresh: a cache may not know yet that it was deleted or replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.errors import Invalid, NotFound
from coxswain.api.names import GVR, Object
from coxswain.client.interface import STRATEGIC_MERGE_PATCH, Client


@dataclass(slots=True)
class Claims:
    """What is ours, what should become ours, what should not stay ours."""

    owned: list[Object] = field(default_factory=list)
    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)


def decide_claims(owner: Object, candidates: Iterable[Object], matches: Callable[[Object], bool]) -> Claims:
    """Sort ``candidates`` (of the owner's namespace) by what is to be done with them."""
    claims = Claims()
    uid, owner_goes = meta.uid(owner), meta.is_terminating(owner)
    for candidate in candidates:
        reference = meta.controller_of(candidate)
        if reference is not None:
            if reference.get("uid") != uid:
                continue
            if matches(candidate):
                claims.owned.append(candidate)
            elif not owner_goes:
                claims.release.append(candidate)
        elif not owner_goes and not meta.is_terminating(candidate) and matches(candidate):
            claims.adopt.append(candidate)
    return claims


async def perform_claims(
    client: Client, owner_resource: GVR, owner: Object, resource: GVR, claims: Claims
) -> list[Object]:
    """Patch owner references as decided; all that is now owned."""
    for candidate in claims.release:
        await _release(client, resource, owner, candidate)
    if not claims.adopt:
        return claims.owned
    if not await is_staying(client, owner_resource, owner):
        return claims.owned
    adopted = [candidate for candidate in claims.adopt if await _adopt(client, resource, owner, candidate)]
    return claims.owned + adopted


async def is_staying(client: Client, resource: GVR, owner: Object) -> bool:
    """Whether ``owner`` is there, read afresh, and not going away. Raises ``ApiError``."""
    fresh = await client.get(resource, meta.name(owner), meta.namespace(owner))
    return meta.uid(fresh) == meta.uid(owner) and not meta.is_terminating(fresh)


async def _adopt(client: Client, resource: GVR, owner: Object, candidate: Object) -> bool:
    patch = {"metadata": {"ownerReferences": [meta.owner_reference(owner)], "uid": meta.uid(candidate)}}
    try:
        await _patch(client, resource, candidate, patch)
    except NotFound:
        return False
    return True


async def _release(client: Client, resource: GVR, owner: Object, candidate: Object) -> None:
    gone = {"$patch": "delete", "uid": meta.uid(owner)}
    patch = {"metadata": {"ownerReferences": [gone], "uid": meta.uid(candidate)}}
    try:
        await _patch(client, resource, candidate, patch)
    except (NotFound, Invalid):
        pass  # gone, or replaced by another of the same name: not ours either way


async def _patch(client: Client, resource: GVR, obj: Object, patch: Object) -> Object:
    return await client.patch(
        resource, meta.name(obj), patch, meta.namespace(obj), kind=STRATEGIC_MERGE_PATCH
    )
