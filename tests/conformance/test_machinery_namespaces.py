"""Namespaces do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.api_operations import check_status_operations
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.errors import Forbidden
from coxswain.api.names import CONFIGMAPS, GVR, NAMESPACES, PODS, SERVICE_ACCOUNTS, SERVICES, Object
from coxswain.base import clock

NAMED = "[sig-api-machinery] Namespaces [Serial] should "


async def made(it: Whole, name: str = "other") -> Object:
    """A new namespace, once pods can be made in it."""
    found = await it.create(NAMESPACES, {"metadata": {"name": name}})
    await it.until(lambda: it.exists(SERVICE_ACCOUNTS, "default", name))
    return found


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "inside"),
    [
        (PODS, pod("p")),
        (SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}),
    ],
    ids=["pods", "services"],
)
@pytest.mark.conformance(
    f"{NAMED}ensure that all pods are removed when a namespace is deleted [Conformance]",
    f"{NAMED}ensure that all services are removed when a namespace is deleted [Conformance]",
)
async def test_everything_in_a_deleted_namespace_goes(tmp_path: Path, resource: GVR, inside: Object) -> None:
    async with whole_cluster(tmp_path) as it:
        await made(it)
        await it.create(resource, inside, "other")
        if resource == PODS:
            await it.until_pods(1, "other")
        await it.delete(NAMESPACES, "other")
        with pytest.raises(Forbidden, match="because it is being terminated"):
            await it.create(CONFIGMAPS, {"metadata": {"name": "late"}}, "other")
        await it.until_gone(NAMESPACES, "other")
        await made(it)
        assert not await it.list(resource, "other")


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]"
)
async def test_pods_go_before_everything_else(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await made(it)
        held = pod("held")
        held["metadata"]["finalizers"] = ["example.com/test-finalizer"]
        await it.create(PODS, held, "other")
        await it.create(CONFIGMAPS, {"metadata": {"name": "settings"}}, "other")
        await it.delete(NAMESPACES, "other")

        async def terminating() -> bool:
            return meta.is_terminating(await it.get(PODS, "held", "other"))

        await it.until(terminating)
        await clock.sleep(60)
        assert not meta.is_terminating(await it.get(CONFIGMAPS, "settings", "other"))
        namespace = await it.get(NAMESPACES, "other")
        assert namespace["status"]["phase"] == "Terminating"
        remaining = meta.condition(namespace, "NamespaceContentRemaining") or {}
        assert (remaining["status"], remaining["reason"]) == ("True", "SomeResourcesRemain")
        await it.patch(PODS, "held", {"metadata": {"finalizers": None}}, "other")
        await it.until_gone(NAMESPACES, "other")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}apply a finalizer to a Namespace [Conformance]")
async def test_a_finalizer_is_set_and_taken_away_through_finalize(tmp_path: Path) -> None:
    mark = "example.com/fake-finalizer"
    async with whole_cluster(tmp_path, nodes=0) as it:
        await made(it)
        found = await it.edit(
            NAMESPACES, "other", lambda obj: obj["spec"]["finalizers"].append(mark), subresource="finalize"
        )
        assert found["spec"]["finalizers"] == ["kubernetes", mark]
        await it.delete(NAMESPACES, "other")
        await clock.sleep(30)
        assert (await it.get(NAMESPACES, "other"))["spec"]["finalizers"] == [mark]
        await it.edit(
            NAMESPACES, "other", lambda obj: obj["spec"]["finalizers"].remove(mark), subresource="finalize"
        )
        await it.until_gone(NAMESPACES, "other")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}patch a Namespace [Conformance]", f"{NAMED}apply an update to a Namespace [Conformance]"
)
async def test_a_namespace_is_patched_and_updated(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        await made(it)
        await it.patch(NAMESPACES, "other", {"metadata": {"labels": {"patched": "yes"}}})
        assert meta.labels(await it.get(NAMESPACES, "other"))["patched"] == "yes"
        updated = await it.edit(
            NAMESPACES, "other", lambda obj: obj["metadata"]["labels"].update(updated="yes")
        )
        assert meta.labels(updated) == {
            "kubernetes.io/metadata.name": "other", "patched": "yes", "updated": "yes",
        }  # fmt: skip


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}apply changes to a namespace status [Conformance]")
async def test_status_is_read_patched_and_updated(tmp_path: Path) -> None:
    first = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by a test"}
    second = {**first, "type": "StatusUpdate"}
    async with whole_cluster(tmp_path, nodes=0) as it:
        await made(it)
        status = (await it.get(NAMESPACES, "other", subresource="status"))["status"]
        assert status == {"phase": "Active"}
        patched, updated = await check_status_operations(
            it,
            NAMESPACES,
            "other",
            {"status": {"conditions": [first]}},
            lambda obj: obj["status"]["conditions"].append(second),
        )
        assert [each["type"] for each in patched["status"]["conditions"]] == ["StatusPatch"]
        assert [each["type"] for each in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]
