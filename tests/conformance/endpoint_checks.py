"""What conformance asks of every workload's endpoints alike: status, scale and collections."""

from __future__ import annotations

from typing import Any

from conformance.whole_cluster import Whole
from coxswain.api.names import GVR, Object
from coxswain.client.interface import STRATEGIC_MERGE_PATCH


async def check_status_endpoints(it: Whole, resource: GVR, name: str) -> None:
    """Status is read, replaced and patched through its subresource, and the controller lets others' conditions be."""
    status = (await it.get(resource, name, subresource="status"))["status"]
    assert status
    async with it.following(resource, field_selector=f"metadata.name={name}") as seen:
        updated = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}

        def add(obj: Object) -> None:
            obj["status"].setdefault("conditions", []).append(updated)
            obj["spec"]["template"]["spec"]["containers"][0]["image"] = "ignored:1"

        after = await it.edit(resource, name, add, subresource="status")
        assert _has(after, **updated)
        assert after["spec"]["template"]["spec"]["containers"][0]["image"] != "ignored:1"
        await seen.until("MODIFIED", lambda obj: _has(obj, **updated))
        patched = {"type": "StatusPatched", "status": "True"}
        await it.patch(resource, name, {"status": {"conditions": [patched]}}, subresource="status")
        await seen.until("MODIFIED", lambda obj: _has(obj, **patched))


async def check_scale(it: Whole, resource: GVR, name: str, label: str) -> None:
    """Scale is read, replaced and patched, the workload follows, and scale says which pods it counts."""
    scale = await it.get(resource, name, subresource="scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert scale["status"]["selector"] == f"app={label}"
    scale["spec"]["replicas"] = 2
    answer = await it.update(resource, scale, "scale")
    assert answer["spec"]["replicas"] == 2
    assert (await it.get(resource, name))["spec"]["replicas"] == 2
    await it.until_pods(2, app=label)
    patch = {"spec": {"replicas": 4}}
    await it.patch(resource, name, patch, kind=STRATEGIC_MERGE_PATCH, subresource="scale")
    assert (await it.get(resource, name))["spec"]["replicas"] == 4
    await it.until_pods(4, app=label)
    assert (await it.get(resource, name, subresource="scale"))["status"]["replicas"] == 4


async def check_collection(it: Whole, resource: GVR, objects: list[Object], label: str) -> None:
    """Created one by one, listed across namespaces by their label, deleted as one; what bears no label stays."""
    for obj in objects[:-1]:
        obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), "batch": label}
    for obj in objects:
        await it.create(resource, obj)
    chosen: dict[str, Any] = {"label_selector": f"batch={label}"}
    assert len(await it.list(resource, "", **chosen)) == len(objects) - 1
    await it.delete_collection(resource, **chosen)

    async def gone() -> bool:
        return not await it.list(resource, "", **chosen)

    await it.until(gone)
    assert await it.exists(resource, objects[-1]["metadata"]["name"])


def _has(obj: Object, **condition: str) -> bool:
    found = (obj.get("status") or {}).get("conditions") or ()
    return any(condition.items() <= entry.items() for entry in found)
