"""Informers follow the API server through every fault."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, PODS, Object
from coxswain.base import clock
from coxswain.client.informer import Informer, InformerFactory, key_of, only_metadata, split_key
from fakeapi import FakeApi


def pod(name: str, namespace: str = "d", **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def started(api: FakeApi, **options: Any) -> tuple[InformerFactory, Informer, list[str]]:
    factory = InformerFactory(api.client())
    informer = factory.informer(PODS, **options)
    seen: list[str] = []
    informer.add_handler(
        lambda obj: seen.append(f"+{key_of(obj)}"),
        lambda old, new: seen.append(f"~{key_of(new)}"),
        lambda obj: seen.append(f"-{key_of(obj)}"),
    )
    await factory.start()
    await factory.wait_for_sync()
    return factory, informer, seen


@pytest.mark.virtual
async def test_changes_reach_the_store_the_indexes_and_the_handlers_in_order() -> None:
    api = FakeApi()
    api.add(PODS, pod("a", nodeName="n1"))
    factory, informer, seen = await started(api)
    informer.add_index("node", lambda obj: [obj["spec"].get("nodeName", "")])
    api.add(PODS, pod("b"))
    api.change(PODS, "b", "d", lambda obj: obj["spec"].update(nodeName="n1"))
    await clock.sleep(0.1)
    assert [key_of(obj) for obj in informer.by_index("node", "n1")] == ["d/a", "d/b"]
    assert informer.by_index("node", "") == []
    api.remove(PODS, "a", "d")
    await clock.sleep(0.1)
    assert seen == ["+d/a", "+d/b", "~d/b", "-d/a"]
    assert informer.get("d/a") is None
    assert [key_of(obj) for obj in informer.in_namespace("d")] == ["d/b"]
    await factory.stop()


@pytest.mark.virtual
async def test_a_lost_watch_resumes_where_it_ended_without_a_list() -> None:
    api = FakeApi()
    factory, informer, seen = await started(api)
    api.drop_watches()
    api.add(PODS, pod("a"))
    await clock.sleep(5)
    assert seen == ["+d/a"]
    api.end_watches()
    api.add(PODS, pod("b"))
    await clock.sleep(5)
    assert seen == ["+d/a", "+d/b"]
    assert sum(call.verb == "list" for call in api.calls) == 1
    assert len(informer) == 2
    await factory.stop()


@pytest.mark.virtual
async def test_a_compacted_revision_brings_a_list_and_only_differences() -> None:
    api = FakeApi()
    for name in "abc":
        api.add(PODS, pod(name))
    factory, informer, seen = await started(api)
    api.drop_watches()
    api.remove(PODS, "a", "d")
    api.change(PODS, "b", "d", lambda obj: obj["spec"].update(x=1))
    api.remove(PODS, "c", "d")
    api.add(PODS, pod("c"))  # another object of the same name
    api.compact()
    del seen[:]
    await clock.sleep(10)
    assert sorted(seen) == sorted(["~d/b", "-d/c", "+d/c", "-d/a"])
    assert len(informer) == 2
    await factory.stop()


@pytest.mark.virtual
async def test_a_bookmark_saves_the_list_after_compaction() -> None:
    api = FakeApi()
    factory, _, seen = await started(api)
    await clock.sleep(0.1)
    api.add(CONFIGMAPS, pod("unrelated"))
    api.compact()
    api.bookmark()
    await clock.sleep(0.1)
    api.drop_watches()
    await clock.sleep(5)
    api.add(PODS, pod("a"))
    await clock.sleep(5)
    assert seen == ["+d/a"]
    assert sum(call.verb == "list" for call in api.calls) == 1
    await factory.stop()


@pytest.mark.virtual
async def test_an_unreachable_server_is_asked_ever_less_often() -> None:
    api = FakeApi()
    api.fail("list", PODS, errors.ServiceUnavailable, times=10)
    factory = InformerFactory(api.client())
    factory.informer(PODS)
    await factory.start()
    await factory.wait_for_sync()
    assert 0.2 * (2**7 - 1) < clock.monotonic() < 300
    await factory.stop()


@pytest.mark.virtual
async def test_one_informer_is_shared_and_late_handlers_hear_of_everything() -> None:
    api = FakeApi()
    api.add(PODS, pod("a"))
    factory, informer, _ = await started(api)
    assert factory.informer(PODS) is informer
    assert factory.informer(PODS, transform=only_metadata) is not informer
    late: list[str] = []
    batches: list[int] = []
    informer.add_handler(lambda obj: late.append(key_of(obj)), on_batch=lambda: batches.append(len(late)))
    assert late == ["d/a"]
    for name in "bcd":
        api.add(PODS, pod(name))
    await clock.sleep(0.1)
    assert batches == [1, 4]
    await factory.stop()


@pytest.mark.virtual
async def test_a_handler_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    factory, informer, seen = await started(api)

    def broken(_: Object) -> None:
        raise ValueError("broken")

    informer._handlers.insert(0, informer.add_handler(broken))
    api.add(PODS, pod("a"))
    await clock.sleep(0.1)
    assert seen == ["+d/a"]
    assert "broken" in caplog.text
    await factory.stop()


@pytest.mark.virtual
async def test_selectors_turn_changes_into_arrivals_and_departures() -> None:
    api = FakeApi()
    api.add(PODS, pod("a"))
    factory, _, seen = await started(api, field_selector="spec.nodeName=n1")
    api.change(PODS, "a", "d", lambda obj: obj["spec"].update(nodeName="n1"))
    api.change(PODS, "a", "d", lambda obj: obj["spec"].update(nodeName="n2"))
    await clock.sleep(0.1)
    assert seen == ["+d/a", "-d/a"]
    await factory.stop()


@pytest.mark.virtual
async def test_transforms_decide_what_is_kept() -> None:
    api = FakeApi()
    api.add(PODS, {**pod("a"), "metadata": {"name": "a", "namespace": "d", "managedFields": [{}]}})
    factory, informer, _ = await started(api, transform=only_metadata)
    kept = informer.get("d/a")
    assert kept is not None
    assert set(kept) == {"apiVersion", "kind", "metadata"}
    assert "managedFields" not in kept["metadata"]
    await factory.forget(informer)
    await asyncio.sleep(0.1)
    assert api.watcher_count == 0
    await factory.stop()


def test_keys_split_into_namespace_and_name() -> None:
    assert split_key("d/a") == ("d", "a")
    assert split_key("n") == ("", "n")
