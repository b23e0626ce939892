"""How little is written, and looked at, when pods of a large service change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.names import ENDPOINT_SLICES, NODES, PODS, SERVICES, Object
from coxswain.base import clock
from coxswain.client.interface import Answers, Call
from coxswain.controllers.endpointslice import controller, decide
from coxswain.controllers.endpointslice.tracker import SliceTracker
from fakeapi import FakeApi

ENDPOINTS_COUNT = 1500


class SlowAnswers(FakeApi):
    """An API server whose answers come after the events of what was written, as over separate streams."""

    async def batch(self, calls: Sequence[Call]) -> Answers:
        answers = await super().batch(calls)
        await clock.sleep(0.05)
        return answers


def _pod(number: int) -> Object:
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    conditions = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "uid": f"u{number}", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions},
    }


def _unready(pod: Object) -> None:
    pod["status"]["conditions"][0]["status"] = "False"


@asynccontextmanager
async def _service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeApi, list[int]]]:
    """A service with many endpoints; the list grows by one each time all of its pods are looked at."""
    api = SlowAnswers()
    api.add(NODES, {"metadata": {"name": "n"}})
    for number in range(ENDPOINTS_COUNT):
        api.add(PODS, _pod(number))
    spec = {"selector": {"app": "web"}, "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]}
    api.add(SERVICES, {"metadata": {"name": "web", "namespace": "d"}, "spec": spec})
    looks: list[int] = []
    plan: Callable[..., object] = decide.plan

    def counted(*arguments: object) -> object:
        looks.append(1)
        return plan(*arguments)

    monkeypatch.setattr(decide, "plan", counted)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert len(api.objects(ENDPOINT_SLICES, "d")) == ENDPOINTS_COUNT // 100
        looks.clear()
        yield api, looks


@pytest.mark.virtual
async def test_as_many_slices_are_written_as_hold_a_changed_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _service(monkeypatch) as (api, looks):
        for changed in ([7], [8, 9], range(200, 300)):
            before = len(api.writes())
            for number in changed:
                api.change(PODS, f"p{number}", "d", _unready)
            await clock.sleep(5)
            touched = {
                meta.name(each)
                for each in api.objects(ENDPOINT_SLICES, "d")
                for endpoint in each["endpoints"]
                if endpoint["targetRef"]["name"] in {f"p{number}" for number in changed}
            }
            written = api.writes()[before:]
            assert sorted(written) == [("update", "endpointslices", f"d/{name}") for name in sorted(touched)]
        assert looks == [], "all pods were looked at for a change of few"


@pytest.mark.virtual
async def test_pods_that_come_and_go_touch_few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _service(monkeypatch) as (api, looks):
        before = len(api.writes())
        for number in range(10):
            api.remove(PODS, f"p{number}", "d")
            api.add(PODS, _pod(ENDPOINTS_COUNT + number))
        await clock.sleep(5)
        assert len(api.writes()[before:]) <= 10
        endpoints = [each for one in api.objects(ENDPOINT_SLICES, "d") for each in one["endpoints"]]
        assert len(endpoints) == ENDPOINTS_COUNT
        assert looks == []


@pytest.mark.virtual
async def test_a_foreign_change_during_our_write_is_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _service(monkeypatch) as (api, looks):
        victim = meta.name(api.objects(ENDPOINT_SLICES, "d")[-1])
        first = meta.name(api.objects(ENDPOINT_SLICES, "d")[0])
        held = api.object(ENDPOINT_SLICES, first, "d")["endpoints"][0]["targetRef"]["name"]
        api.change(PODS, held, "d", _unready)
        await clock.sleep(0.12)  # pods' changes are gathered for 0.1 s; the answer takes 0.05 s
        api.change(ENDPOINT_SLICES, victim, "d", lambda one: one["endpoints"].clear())
        await clock.sleep(5)
        endpoints = [each for one in api.objects(ENDPOINT_SLICES, "d") for each in one["endpoints"]]
        assert len(endpoints) == ENDPOINTS_COUNT
        assert looks


def test_changes_seen_while_writing_are_judged_by_the_answers() -> None:
    def written(revision: int) -> Object:
        return {"metadata": {"namespace": "d", "name": "s", "resourceVersion": str(revision)}}

    tracker = SliceTracker()
    tracker.begin("d/web")
    assert tracker.is_ours("d/web", "d/s", 7)
    tracker.wrote("d/web", written(7))
    assert not tracker.end("d/web")
    tracker.begin("d/web")
    assert tracker.is_ours("d/web", "d/s", 9)
    tracker.wrote("d/web", written(8))
    assert tracker.end("d/web"), "9 was somebody else's"
    assert not tracker.is_ours("d/web", "d/s", 9)
