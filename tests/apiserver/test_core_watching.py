"""Watches: initial state, transitions of selectors, bookmarks, expiry, slow watchers, and the cache below."""

from __future__ import annotations

import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, PODS, Cluster, cluster, configmap, labelled, pod
from coxswain.api import errors
from coxswain.apiserver.settings import WatchSettings
from coxswain.base import clock
from coxswain.client.interface import MERGE_PATCH, Call, WatchEvent


def _watch(c: Cluster, namespace: str = "default", **query: str):  # type: ignore[no-untyped-def]
    return c.pipeline.watch_events(Call("watch", CONFIGMAPS, namespace, query=query), ADMIN)


async def _all(c: Cluster, **query: str) -> list[WatchEvent]:
    """Everything that a watch of one second shows."""
    seen: list[WatchEvent] = []
    async with _watch(c, timeoutSeconds="1", **query) as batches:
        async for batch in batches:
            seen += batch
    return seen


def _short(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.object["metadata"].get("name", "")) for event in events]


@pytest.mark.virtual
async def test_events_after_a_revision_come_once_and_in_order() -> None:
    async with cluster() as c:
        start = str(c.core.storage.revision)
        made = await c.do("create", CONFIGMAPS, body=configmap("a"))
        await c.do("patch", CONFIGMAPS, "a", {"data": {"x": "1"}}, content_type=MERGE_PATCH)
        await c.do("delete", CONFIGMAPS, "a")
        events = await _all(c, resourceVersion=start)
        assert _short(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        revisions = [int(event.object["metadata"]["resourceVersion"]) for event in events]
        assert revisions == sorted(set(revisions))
        assert revisions[0] == int(made["metadata"]["resourceVersion"])
        assert events[2].object["data"] == {"x": "1"}


@pytest.mark.virtual
async def test_live_events_arrive_while_the_watch_is_open() -> None:
    async with cluster() as c, _watch(c, resourceVersion=str(c.core.storage.revision)) as batches:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        batch = await anext(batches)
        assert _short(list(batch)) == [("ADDED", "a")]


@pytest.mark.virtual
async def test_a_name_is_watched_in_all_namespaces_or_in_one() -> None:
    async with cluster() as c:
        start = str(c.core.storage.revision)
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        await c.do("create", CONFIGMAPS, body=configmap("b"))
        await c.do("delete", CONFIGMAPS, "a")
        for namespace in ("", "default"):
            now = str(c.core.storage.revision)
            chosen = {"resourceVersion": now, "fieldSelector": "metadata.name=a"}
            async with _watch(c, namespace, **chosen) as batches:
                await c.do("create", CONFIGMAPS, body=configmap("b2" + namespace))
                await c.do("create", CONFIGMAPS, body=configmap("a"))
                await c.do("delete", CONFIGMAPS, "a")
                assert _short(list(await anext(batches))) == [("ADDED", "a"), ("DELETED", "a")]
        past = await _all(c, resourceVersion=start, fieldSelector="metadata.name=a")
        assert len(past) == 6


@pytest.mark.virtual
async def test_without_a_revision_the_present_comes_first() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        await c.do("create", CONFIGMAPS, body=configmap("b"))
        assert _short(await _all(c)) == [("ADDED", "a"), ("ADDED", "b")]
        assert _short(await _all(c, resourceVersion="0")) == [("ADDED", "a"), ("ADDED", "b")]


@pytest.mark.virtual
async def test_a_watch_list_ends_its_initial_events_with_a_bookmark() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        asked = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        events = await _all(c, **asked)
        assert [event.type for event in events[:2]] == ["ADDED", "BOOKMARK"]
        metadata = events[1].object["metadata"]
        assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(metadata["resourceVersion"]) == c.core.storage.revision
        with pytest.raises(errors.Invalid, match="sendInitialEvents requires"):
            await _all(c, sendInitialEvents="true")


@pytest.mark.virtual
async def test_leaving_the_selection_is_a_deletion_and_entering_it_an_addition() -> None:
    async with cluster() as c:
        start = str(c.core.storage.revision)
        await c.do("create", CONFIGMAPS, body=labelled("a", par="odd"))
        for value in ("even", "even2", "odd"):
            patch = {"metadata": {"labels": {"par": value.rstrip("2")}, "annotations": {"v": value}}}
            await c.do("patch", CONFIGMAPS, "a", patch, content_type=MERGE_PATCH)
        events = await _all(c, resourceVersion=start, labelSelector="par=even")
        assert _short(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
        last = events[-1].object["metadata"]
        assert last["labels"] == {"par": "even"}
        assert int(last["resourceVersion"]) == c.core.storage.revision


@pytest.mark.virtual
async def test_a_node_sees_its_pods_only() -> None:
    async with cluster() as c:
        call = Call(
            "watch",
            PODS,
            query={
                "fieldSelector": "spec.nodeName=n1",
                "resourceVersion": str(c.core.storage.revision),
                "timeoutSeconds": "1",
            },
        )
        seen: list[WatchEvent] = []
        async with c.pipeline.watch_events(call, ADMIN) as batches:
            for name, node in (("p1", "n1"), ("p2", "n2")):
                await c.do("create", PODS, body=pod(name))
                binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
                await c.do("create", PODS, name, binding, subresource="binding")
            async for batch in batches:
                seen += batch
        assert _short(seen) == [("ADDED", "p1")]


@pytest.mark.virtual
async def test_a_revision_that_the_ring_has_forgotten_is_gone() -> None:
    async with cluster(ring_events=3) as c:
        start = c.core.storage.revision
        for i in range(6):
            await c.do("create", CONFIGMAPS, body=configmap(f"c{i}"))
        with pytest.raises(errors.Expired, match=rf"too old resource version: {start} \(\d+\)"):
            await _all(c, resourceVersion=str(start))


@pytest.mark.virtual
async def test_bookmarks_come_regularly_to_those_who_want_them() -> None:
    async with cluster(watch=WatchSettings(bookmark_interval=60)) as c:
        import asyncio

        task = asyncio.create_task(c.pipeline.send_bookmarks())
        try:
            revision = str(c.core.storage.revision)
            async with _watch(c, resourceVersion=revision, allowWatchBookmarks="true") as batches:
                before = clock.now()
                batch = await anext(batches)
                assert [event.type for event in batch] == ["BOOKMARK"]
                assert clock.now() - before == pytest.approx(60)
        finally:
            task.cancel()


@pytest.mark.virtual
async def test_a_watcher_that_does_not_read_is_cut_off_and_nobody_waits() -> None:
    async with (
        cluster(watch=WatchSettings(queue_events=3)) as c,
        _watch(c, resourceVersion=str(c.core.storage.revision)) as batches,
    ):
        for i in range(10):
            await c.do("create", CONFIGMAPS, body=configmap(f"c{i}"))
        with pytest.raises(StopAsyncIteration):
            await anext(batches)


@pytest.mark.virtual
async def test_a_closed_watch_is_forgotten() -> None:
    async with cluster() as c:
        entry = c.core.registry.get(CONFIGMAPS)
        assert entry is not None and entry.cache is not None
        async with _watch(c):
            assert len(entry.cache.watchers()) == 1
        assert entry.cache.watchers() == []


@pytest.mark.virtual
async def test_watchers_share_the_bytes_of_an_event() -> None:
    async with cluster() as c:
        start = str(c.core.storage.revision)
        first = await c.pipeline.open_watch(
            Call("watch", CONFIGMAPS, "default", query={"resourceVersion": start}), ADMIN
        )
        second = await c.pipeline.open_watch(
            Call("watch", CONFIGMAPS, "default", query={"resourceVersion": start}), ADMIN
        )
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        frames = []
        for session in (first, second):
            (delivery,) = session.watcher.drain()
            assert delivery.event is not None
            frames.append(delivery.event.frame(delivery.type))
            session.close()
        assert frames[0] is frames[1]
        assert frames[0].startswith(b'{"type":"ADDED","object":{"kind":"ConfigMap"') and frames[0].endswith(
            b"}\n"
        )


@pytest.mark.virtual
async def test_a_new_pipeline_over_the_same_store_shows_the_same() -> None:
    from coxswain.store.memory import MemoryStore

    store = MemoryStore()
    async with cluster(store=store) as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a"))
    async with cluster(store=store) as again:
        assert await again.do("get", CONFIGMAPS, "a") == made
        with pytest.raises(errors.Expired):
            await _all(again, resourceVersion="1")
    await store.close()
