"""How much the watch cache remembers: events by number, by bytes and by age."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from apiserver.core_support import cluster, configmap
from coxswain.api.errors import Expired
from coxswain.api.names import CONFIGMAPS
from coxswain.apiserver.watchcache import CacheSpec, ResourceCache
from coxswain.apiserver.watchers import Scope, Watcher
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.store.interface import Change

PREFIX = "/registry/configmaps/"


def _cache(**bounds: int) -> ResourceCache:
    return ResourceCache(CacheSpec(PREFIX, True), revision=0, **{"ring_events": 1000, **bounds})


def _write(cache: ResourceCache, revision: int, size: int = 0, name: str = "one") -> None:
    obj = {"metadata": {"name": name, "namespace": "ns"}, "data": {"text": "x" * size}}
    cache.apply(Change(f"{PREFIX}ns/{name}", orjson.dumps(obj), revision, 1, max(0, revision - 1)), None)


def _seen_since(cache: ResourceCache, revision: int) -> list[int]:
    watcher = Watcher(Scope(), limit=10_000)
    cache.subscribe(watcher, revision)
    cache.unsubscribe(watcher)
    return [each.event.revision for each in watcher.drain() if each.event is not None]


def test_large_objects_are_remembered_for_fewer_events() -> None:
    cache = _cache(ring_bytes=100_000)
    for revision in range(1, 101):
        _write(cache, revision, size=10_000)
    remembered = _seen_since(cache, cache.floor)
    assert remembered == list(range(101 - len(remembered), 101))
    assert 5 < len(remembered) < 11
    with pytest.raises(Expired):
        _seen_since(cache, cache.floor - 1)


def test_the_newest_event_is_remembered_however_large() -> None:
    cache = _cache(ring_bytes=1000)
    _write(cache, 1, size=10_000)
    _write(cache, 2, size=10_000)
    assert _seen_since(cache, 1) == [2]


def test_old_events_are_forgotten_but_for_the_newest_hundred() -> None:
    cache = _cache()
    for revision in range(1, 301):
        _write(cache, revision)
    cache.forget(150)
    assert _seen_since(cache, 150) == list(range(151, 301))
    cache.forget(300)
    assert _seen_since(cache, 200) == list(range(201, 301))
    with pytest.raises(Expired):
        _seen_since(cache, 199)


def test_forgetting_lets_go_of_what_was_made_for_watchers() -> None:
    cache = _cache()
    _write(cache, 1)
    watcher = Watcher(Scope(), limit=10)
    cache.subscribe(watcher, 0)
    event = watcher.drain()[0].event
    assert event is not None
    frame = event.frame("ADDED")
    assert event.frame("ADDED") is frame
    cache.forget(0)
    assert event._frames is None
    assert event.frame("ADDED") == frame


def test_a_superseded_or_deleted_object_keeps_no_parsed_form() -> None:
    cache = _cache()
    _write(cache, 1)
    item = cache.items["ns/one"]
    item.decoded = item.decode()
    _write(cache, 2)
    assert item.decoded is None
    item = cache.items["ns/one"]
    item.decoded = item.decode()
    cache.apply(Change(f"{PREFIX}ns/one", None, 3, 1, 2), None)
    assert item.decoded is None


def test_a_deletion_is_remembered_as_one_object() -> None:
    cache = _cache()
    _write(cache, 1)
    event = cache.apply(Change(f"{PREFIX}ns/one", None, 2, 1, 1), None)
    assert event.previous is event.item
    assert orjson.loads(event.raw("DELETED"))["metadata"]["resourceVersion"] == "2"


@pytest.mark.virtual
async def test_storage_forgets_what_is_older_than_one_interval() -> None:
    async with cluster() as running:
        storage = running.core.storage
        cache = storage.caches[PREFIX]
        forgetting = asyncio.create_task(storage.forget_regularly(150.0))
        try:
            before = storage.revision
            for number in range(150):
                await running.do("create", CONFIGMAPS, body=configmap(f"c{number}"))
            await clock.sleep(200)
            assert len(_seen_since(cache, before)) == 150
            await clock.sleep(150)
            with pytest.raises(Expired):
                _seen_since(cache, before)
            assert len(_seen_since(cache, cache.floor)) == 100
        finally:
            await cancel_and_wait(forgetting)
