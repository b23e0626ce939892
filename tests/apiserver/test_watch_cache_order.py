"""Keys are put in order when somebody asks for the order; fields are looked up when a selector asks for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.selectors import parse_field_selector
from coxswain.apiserver import watchcache
from coxswain.apiserver.watchcache import CacheSpec, Event, ResourceCache
from coxswain.apiserver.watchers import Scope, Watcher
from coxswain.store.interface import Change, Entry

SPEC = CacheSpec("/registry/things/", namespaced=True, field_names=("spec.a", "spec.b"))
_keys = st.sampled_from([f"{namespace}/{name}" for namespace in ("a", "ab", "b") for name in "pqrs"])


def _cache() -> ResourceCache:
    return ResourceCache(SPEC, revision=0, ring_events=10)


def _change(key: str, value: bytes | None, revision: int) -> Change:
    return Change(SPEC.prefix + key, value, revision, revision, 0)


@given(st.lists(st.tuples(st.sampled_from(["put", "delete", "scan", "count", "load"]), _keys), max_size=40))
def test_scans_and_counts_see_the_keys_that_are_there_in_order(steps: list[tuple[str, str]]) -> None:
    cache, there = _cache(), set[str]()
    for revision, (step, key) in enumerate(steps, 1):
        namespace = key.partition("/")[0]
        if step == "put":
            cache.apply(_change(key, b'{"metadata":{}}', revision), None)
            there.add(key)
        elif step == "delete" and key in there:
            cache.apply(_change(key, None, revision), None)
            there.discard(key)
        elif step == "scan":
            assert [item.key for item in cache.scan()] == sorted(there)
            assert [item.key for item in cache.scan(after=key)] == sorted(k for k in there if k > key)
        elif step == "count":
            assert cache.count(namespace) == sum(k.startswith(f"{namespace}/") for k in there)
        elif step == "load":
            there = {key}
            cache.load_all([Entry(SPEC.prefix + key, b'{"metadata":{}}', 1, 1)], revision)
    assert [item.key for item in cache.scan("a")] == sorted(k for k in there if k.startswith("a/"))
    assert len(cache) == len(there)


def test_keys_that_nobody_asks_for_are_not_left_without_order_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watchcache, "_MOST_UNSORTED", 8)
    cache = _cache()
    for number in range(50, 0, -1):
        cache.apply(_change(f"a/{number:02}", b'{"metadata":{}}', 51 - number), None)
        assert len(cache._unsorted) <= 8
    assert [item.key for item in cache.scan()] == [f"a/{number:02}" for number in range(1, 51)]


def test_selectors_see_names_and_fields_and_nothing_where_an_old_item_has_none() -> None:
    cache = _cache()
    event = cache.apply(_change("ns/it", b'{"metadata":{}}', 1), None)
    event.item.fields = ("x",)  # from before spec.b could be selected by
    seen = cache.fields_of(event.item)
    assert (
        dict(seen)
        == {
            "spec.a": "x",
            "spec.b": "",
            "metadata.name": "it",
            "metadata.namespace": "ns",
        }
        and len(seen) == 4
    )
    for text, expected in (
        ("spec.a=x,metadata.name=it", True),
        ("spec.a!=x", False),
        ("metadata.namespace=ns,spec.b=", True),
        ("metadata.name=other", False),
        ("unknown=1", False),
        ("unknown!=1", True),
    ):
        assert Scope(fields=parse_field_selector(text)).admits(event.item, cache) is expected


def test_a_watcher_that_has_ended_is_offered_nothing() -> None:
    cache = _cache()
    watcher = Watcher(Scope(), limit=10)
    watcher.end()
    item = cache.apply(_change("ns/it", b'{"metadata":{}}', 1), None).item
    watcher.offer(Event("ADDED", item, None, 1), cache)
    assert not watcher.queue
