"""What conformance asks of many kinds alike: every verb of their endpoints, and their place in discovery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.whole_cluster import WORK, Whole
from coxswain.api import meta
from coxswain.api.names import GVR, Object

VERBS = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
CHOSEN = {"label_selector": "special=these"}


async def check_api_operations(it: Whole, resource: GVR, make: Callable[[str], Object], kind: str) -> None:
    """Discovery, create, get, list, watch, patch, update, delete and deletecollection.

    ``make`` makes an object of the given name.
    """
    found = it.discovered(resource)
    assert found["kind"] == kind
    assert set(found["verbs"]) >= VERBS
    made = [await it.create(resource, _labelled(make(f"made-{number}"))) for number in range(3)]
    assert all(bool(meta.namespace(each)) == found["namespaced"] for each in made)
    one = meta.name(made[0])
    assert meta.uid(await it.get(resource, one)) == meta.uid(made[0])
    for namespace in {WORK, ""}:
        assert len(await it.list(resource, namespace, **CHOSEN)) == 3
    async with it.following(resource, **CHOSEN) as seen:
        patched = await it.patch(resource, one, _annotation("patched"))
        assert meta.annotations(patched)["patched"] == "true"
        await seen.until("MODIFIED", lambda obj: "patched" in meta.annotations(obj))
        updated = await it.edit(
            resource, one, lambda obj: obj["metadata"]["annotations"].update(updated="true")
        )
        assert meta.annotations(updated) == {**meta.annotations(patched), "updated": "true"}
        await seen.until("MODIFIED", lambda obj: "updated" in meta.annotations(obj))
        await it.delete(resource, one)
        await it.until_gone(resource, one)
        await seen.until("DELETED", lambda obj: meta.name(obj) == one)
    await it.delete_collection(resource, **CHOSEN)

    async def gone() -> bool:
        return not await it.list(resource, "", **CHOSEN)

    await it.until(gone)


async def check_status_operations(
    it: Whole, resource: GVR, name: str, patch: Object, change: Callable[[Object], Any]
) -> tuple[Object, Object]:
    """Status is patched (with an annotation, which is kept), updated by ``change`` and read: what both answered."""
    patched = await it.patch(resource, name, {**_annotation("patchedstatus"), **patch}, subresource="status")
    assert meta.annotations(patched)["patchedstatus"] == "true"
    updated = await it.edit(resource, name, change, subresource="status")
    read = await it.get(resource, name, subresource="status")
    assert (read["kind"], meta.uid(read)) == (updated["kind"], meta.uid(updated))
    return patched, updated


def _labelled(obj: Object) -> Object:
    obj["metadata"].setdefault("labels", {})["special"] = "these"
    return obj


def _annotation(key: str) -> Object:
    return {"metadata": {"annotations": {key: "true"}}}
