"""Writes controller revisions; each call is safe to repeat after a lost answer or with a stale cache."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, NotFound
from coxswain.api.names import CONTROLLER_REVISIONS, Object
from coxswain.client.interface import Client
from coxswain.controllers.history.revisions import holds_template


class NameTaken(Exception):
    """The revision's name is that of a revision with other data: its hash needs another collision count."""


async def create_revision(client: Client, owner: Object, revision: Object) -> Object:
    """Create ``revision`` of the owner's present template; one that is there already is handed out.

    Raises ``NameTaken`` when the name belongs to other data, and ``ApiError``.
    """
    try:
        return await client.create(CONTROLLER_REVISIONS, revision)
    except AlreadyExists:
        found = await client.get(CONTROLLER_REVISIONS, meta.name(revision), meta.namespace(revision))
        if holds_template(found, owner) and meta.is_controlled_by(found, owner):
            return found
        raise NameTaken(meta.name(revision)) from None


async def renumber(client: Client, revision: Object, number: int) -> Object:
    """Give ``revision`` another number."""
    return await client.update(CONTROLLER_REVISIONS, {**revision, "revision": number})


async def delete_revision(client: Client, revision: Object) -> None:
    """Delete ``revision``; one that is gone already is no failure."""
    try:
        await client.delete(
            CONTROLLER_REVISIONS, meta.name(revision), meta.namespace(revision), uid=meta.uid(revision)
        )
    except NotFound:
        pass
