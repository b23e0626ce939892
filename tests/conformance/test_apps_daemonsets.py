"""DaemonSets and ControllerRevisions do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_collection, check_status_endpoints
from conformance.pretended_runtime import Process
from conformance.whole_cluster import Whole, is_ready, whole_cluster
from conformance.workload_objects import READINESS, workload
from coxswain.api import meta
from coxswain.api.names import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS, Object
from coxswain.base import clock

NAMED = "[sig-apps] Daemon set [Serial] "
HASH = "controller-revision-hash"


def daemons(image: str = "web:1", **spec: Any) -> Object:
    return workload("DaemonSet", "ds", image=image, **spec)


def to(image: str) -> Any:
    """An edit: another image."""
    return lambda obj: obj["spec"]["template"]["spec"]["containers"][0].update(image=image)


async def never_ready(process: Process) -> int:
    process.healthy = False
    await process.stopping.wait()
    return 0


async def until_on(it: Whole, *names: str) -> list[Object]:
    """The daemon pods, as soon as there is a ready one on each of these nodes and none elsewhere."""

    async def reached() -> list[Object] | None:
        pods = await it.pods(app="ds")
        placed = sorted(each["spec"].get("nodeName", "") for each in pods)
        return pods if placed == sorted(names) and all(map(is_ready, pods)) else None

    if names:
        return await it.until(reached)
    return await it.until_pods(0, app="ds")


def by_node(pods: list[Object]) -> dict[str, str]:
    return {each["spec"]["nodeName"]: meta.uid(each) for each in pods}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should run and stop simple daemon [Conformance]")
async def test_every_node_has_its_daemon_and_gets_another_when_it_is_deleted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DAEMON_SETS, daemons())
        first = await until_on(it, "node-0", "node-1")
        assert all("app" in meta.labels(each) and HASH in meta.labels(each) for each in first)
        victim = first[0]
        await it.delete(PODS, meta.name(victim))

        async def revived() -> bool:
            return meta.uid(victim) not in [meta.uid(each) for each in await it.pods(app="ds")]

        await it.until(revived)
        await until_on(it, "node-0", "node-1")
        await it.delete(DAEMON_SETS, "ds")
        await until_on(it)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should run and stop complex daemon [Conformance]")
async def test_daemons_follow_the_labels_of_nodes_and_a_new_selector(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:

        async def paint(node: str, color: str) -> None:
            await it.patch(NODES, node, {"metadata": {"labels": {"color": color}}})

        await it.create(DAEMON_SETS, daemons(pod={"nodeSelector": {"color": "blue"}}))
        await clock.sleep(10)
        assert not await it.pods(app="ds")
        await paint("node-0", "blue")
        await until_on(it, "node-0")
        await it.until_status(DAEMON_SETS, "ds", desiredNumberScheduled=1, numberReady=1)
        await paint("node-0", "green")
        await until_on(it)

        def select_green(obj: Object) -> None:
            obj["spec"]["template"]["spec"]["nodeSelector"] = {"color": "green"}
            obj["spec"]["updateStrategy"] = {"type": "RollingUpdate"}

        await it.edit(DAEMON_SETS, "ds", select_green)
        await until_on(it, "node-0")
        await it.until_status(DAEMON_SETS, "ds", desiredNumberScheduled=1, updatedNumberScheduled=1)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should retry creating failed daemon pods [Conformance]")
async def test_a_failed_daemon_is_made_anew(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DAEMON_SETS, daemons())
        before = await until_on(it, "node-0", "node-1")
        failed = meta.name(before[0])
        await it.patch(PODS, failed, {"status": {"phase": "Failed"}}, subresource="status")
        await it.until_gone(PODS, failed)
        after = await until_on(it, "node-0", "node-1")
        assert meta.uid(before[1]) in [meta.uid(each) for each in after]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should update pod when spec was updated and update strategy is RollingUpdate [Conformance]"
)
async def test_a_rolling_update_renews_daemons_one_node_at_a_time(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=3) as it:
        await it.create(DAEMON_SETS, daemons(updateStrategy={"type": "RollingUpdate"}))
        before = await until_on(it, "node-0", "node-1", "node-2")
        async with it.following(PODS, label_selector="app=ds") as seen:
            await it.edit(DAEMON_SETS, "ds", to("web:2"))
            await it.until_status(
                DAEMON_SETS, "ds", updatedNumberScheduled=3, numberAvailable=3, numberUnavailable=0
            )
        alive = {meta.uid(each): is_ready(each) for each in before}
        for kind, obj in seen.events:
            alive[meta.uid(obj)] = kind != "DELETED" and is_ready(obj)
            assert sum(alive.values()) >= 2
        after = await until_on(it, "node-0", "node-1", "node-2")
        assert {each["spec"]["containers"][0]["image"] for each in after} == {"web:2"}
        history = await it.list(CONTROLLER_REVISIONS, label_selector="app=ds")
        assert sorted(each["revision"] for each in history) == [1, 2]
        (new,) = {meta.labels(each)[HASH] for each in after}
        (newest,) = [each for each in history if each["revision"] == 2]
        assert meta.labels(newest)[HASH] == new


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should rollback without unnecessary restarts [Conformance]")
async def test_undoing_an_update_leaves_the_daemons_that_it_had_not_reached(tmp_path: Path) -> None:
    probed = {"container": {"readinessProbe": READINESS}}
    async with whole_cluster(tmp_path, nodes=3, programs={"web:bad": never_ready}) as it:
        await it.create(DAEMON_SETS, daemons(pod=probed))
        before = by_node(await until_on(it, "node-0", "node-1", "node-2"))
        await it.edit(DAEMON_SETS, "ds", to("web:bad"))
        await it.until_status(DAEMON_SETS, "ds", updatedNumberScheduled=1, numberUnavailable=1)
        await clock.sleep(30)
        hit = [
            each["spec"]["nodeName"]
            for each in await it.pods(app="ds")
            if each["spec"]["containers"][0]["image"] == "web:bad"
        ]
        assert len(hit) == 1
        await it.edit(DAEMON_SETS, "ds", to("web:1"))
        await it.until_status(DAEMON_SETS, "ds", updatedNumberScheduled=3, numberAvailable=3)
        after = by_node(await until_on(it, "node-0", "node-1", "node-2"))
        assert [name for name in after if after[name] != before[name]] == hit


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should list and delete a collection of DaemonSets [Conformance]")
async def test_daemon_sets_are_listed_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        sets = [workload("DaemonSet", f"ds-{number}") for number in range(3)]
        await check_collection(it, DAEMON_SETS, sets, "some")
        await it.until_pods(0, app="ds-0")
        await it.until_pods(2, app="ds-2")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should verify changes to a daemon set status [Conformance]")
async def test_status_is_read_and_written(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(DAEMON_SETS, daemons())
        await until_on(it, "node-0", "node-1")
        await check_status_endpoints(it, DAEMON_SETS, "ds")


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]"
)
async def test_a_revision_is_made_with_its_set_and_handled_by_its_endpoints(tmp_path: Path) -> None:
    chosen = {"label_selector": "app=ds"}
    async with whole_cluster(tmp_path) as it:
        await it.create(DAEMON_SETS, daemons())
        await until_on(it, "node-0", "node-1")
        owner = await it.get(DAEMON_SETS, "ds")
        (listed,) = await it.list(CONTROLLER_REVISIONS, "", **chosen)
        initial = await it.get(CONTROLLER_REVISIONS, meta.name(listed))
        assert meta.is_controlled_by(initial, owner) and initial["revision"] == 1
        await it.patch(CONTROLLER_REVISIONS, meta.name(initial), {"metadata": {"labels": {"patched": "yes"}}})
        copy: Object = {
            "metadata": {
                "name": f"{meta.name(initial)}-copy",
                "labels": {**meta.labels(initial), "copied": "yes"},
                "ownerReferences": initial["metadata"]["ownerReferences"],
            },
            "data": initial["data"],
            "revision": 2,
        }
        made = await it.create(CONTROLLER_REVISIONS, copy)
        assert made["data"] == initial["data"]
        await it.delete(CONTROLLER_REVISIONS, meta.name(initial))
        await it.until_gone(CONTROLLER_REVISIONS, meta.name(initial))
        await it.patch(CONTROLLER_REVISIONS, meta.name(made), {"revision": 3})
        made = await it.get(CONTROLLER_REVISIONS, meta.name(made))
        made["metadata"]["labels"]["updated"] = "yes"
        assert (await it.update(CONTROLLER_REVISIONS, made))["revision"] == 3
        # A new template makes a revision of its own.
        await it.edit(DAEMON_SETS, "ds", to("web:2"))

        async def another() -> bool:
            return len(await it.list(CONTROLLER_REVISIONS, "", **chosen)) == 2

        await it.until(another)
        await it.delete_collection(CONTROLLER_REVISIONS, label_selector="updated=yes")
        await it.until_gone(CONTROLLER_REVISIONS, meta.name(made))
        (left,) = await it.list(CONTROLLER_REVISIONS, "", **chosen)
        assert left["data"]["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
