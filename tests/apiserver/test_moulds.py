"""Events that are cast in a mould are those that the long way makes, byte for byte."""

from __future__ import annotations

import asyncio
import copy
import re
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apiserver.core_support import Cluster, cluster
from coxswain.api.names import EVENTS, NAMESPACES, Object
from coxswain.apiserver import moulds
from coxswain.apiserver.storage import without_resource_version
from coxswain.client.interface import NOTHING, Call, UserInfo

USER = UserInfo("admin", ("system:masters", "system:authenticated"), agent="kube-scheduler/v1.36.0")


def event(name: str = "e", **parts: Any) -> Object:
    """An Event as the recorder writes it, key by key."""
    about = {
        "kind": "Pod",
        "namespace": "default",
        "name": f"pod-of-{name}",
        "uid": f"uid-of-{name}",
        "apiVersion": "v1",
        "resourceVersion": "17",
    }
    found = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": about,
        "reason": "Scheduled",
        "message": f"Successfully assigned {name}",
        "type": "Normal",
        "reportingComponent": "default-scheduler",
        "reportingInstance": "default-scheduler",
        "eventTime": "2026-01-02T03:04:05.000600Z",
        "action": "Binding",
        "source": {},
    }
    return found | parts


class Casts:
    """Counts what moulds make."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        selectable = moulds.Mould.selectable

        def counted(mould: moulds.Mould, filling: Any) -> Any:
            self.count += 1
            return selectable(mould, filling)

        monkeypatch.setattr(moulds.Mould, "selectable", counted)


async def _create(c: Cluster, body: Object, user: UserInfo = USER) -> int:
    call = Call("create", EVENTS, body["metadata"]["namespace"], body=orjson.dumps(body), accept=NOTHING)
    return (await c.pipeline.call(call, user)).code


def _stored(c: Cluster) -> list[tuple[bytes, Any, Any]]:
    """What is stored and known of each Event, without its uid."""
    found = []
    for item in c.core.storage.caches["/registry/events/"].scan():
        raw = re.sub(rb'"uid":"[-0-9a-f]{36}"', b'"uid":""', without_resource_version(item))
        found.append((raw, item.labels, item.fields))
    return found


@pytest.mark.virtual
async def test_the_fourth_event_of_a_kind_is_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    casts = Casts(monkeypatch)
    async with cluster() as c:
        for number in range(6):
            assert await _create(c, event(f"e{number}")) == 201
            assert casts.count == max(0, number - 2)
        assert await _create(c, event("e5")) == 409
        last = await c.do("get", EVENTS, "e5")
        assert last["metadata"]["managedFields"][0]["manager"] == "kube-scheduler"
        assert last["metadata"]["uid"] != (await c.do("get", EVENTS, "e4"))["metadata"]["uid"]
        found = await c.do("list", EVENTS, fieldSelector="involvedObject.name=pod-of-e5")
        assert [each["metadata"]["name"] for each in found["items"]] == ["e5"]


@pytest.mark.virtual
async def test_one_who_wants_the_event_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    casts = Casts(monkeypatch)
    async with cluster() as c:
        answers = [
            await c.do("create", EVENTS, body=orjson.dumps(event(f"e{number}")), user=USER)
            for number in range(5)
        ]
        assert casts.count == 2
        assert answers[4] == await c.do("get", EVENTS, "e4")


@pytest.mark.virtual
async def test_a_mould_serves_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    casts = Casts(monkeypatch)
    async with cluster() as c:
        for number in range(4):
            await _create(c, event(f"e{number}"))
        assert casts.count == 1
        await _create(c, event("e4"), UserInfo("other", ("system:masters",), agent="kube-scheduler/v1.36.0"))
        assert casts.count == 1


@pytest.mark.virtual
async def test_no_event_is_cast_for_a_namespace_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    casts = Casts(monkeypatch)
    async with cluster() as c:
        await c.do("create", NAMESPACES, body={"metadata": {"name": "going"}})
        codes = []
        for number in range(8):
            body = event(f"e{number}", metadata={"name": f"e{number}", "namespace": "going"})
            body["involvedObject"]["namespace"] = "going"
            if number == 6:
                await c.do("delete", NAMESPACES, "going")
            codes.append(await _create(c, body))
        assert codes == [201] * 6 + [403] * 2 and casts.count == 3


_words = st.text(max_size=20) | st.sampled_from(
    ["", 'a "quoted" one', "100 %", "a\\b", "ö", "\ue0003", "%b %s"]
)
_names = st.sampled_from(["a", "b.18f", "under_score", "sla/sh", "per%cent", ".", "x" * 254])
_times = st.sampled_from(
    [
        "2026-01-02T03:04:05.000600Z",
        "2026-02-30T03:04:05.000000Z",
        "2026-01-02T25:04:05.000000Z",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.1Z",
        "0001-01-01T00:00:00.000000Z",
    ]
)


@st.composite
def _events(draw: st.DrawFn) -> Object:
    made = event(draw(_names))
    for field, words in (("message", _words), ("eventTime", _times), ("reason", st.sampled_from(["R", ""]))):
        if draw(st.booleans()):
            made[field] = draw(words)
    about = made["involvedObject"]
    for field in ("name", "uid", "resourceVersion", "kind"):
        if not draw(st.integers(0, 5)):
            about[field] = draw(_words)
    if draw(st.booleans()):
        del made["eventTime"], made["action"]
        stamp = "2026-01-02T03:04:05Z"
        made |= {"firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1, "eventTime": None}
    return made


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(_events(), min_size=1, max_size=4), st.integers(0, 3))
def test_casting_makes_what_the_long_way_makes(drawn: list[Object], learned: int) -> None:
    # Each one follows some of its like, so that there is a mould where there can be one.
    bodies: list[Object] = []
    for number, body in enumerate(drawn):
        for turn in range(learned):
            like = copy.deepcopy(body)
            like["metadata"]["name"] = f"like-{number}-{turn}"
            bodies.append(like)
        bodies.append(body)

    async def results(memo: Any) -> tuple[list[int], list[tuple[bytes, Any, Any]]]:
        async with cluster() as c:
            c.core.moulds = memo
            codes = [await _create(c, body) for body in bodies]
            return codes, _stored(c)

    class NoMoulds(moulds.Moulds):
        def find(self, body: bytes, namespace: str, manager: str) -> None:
            return None

    second = re.compile(rb'"(creationTimestamp|time)":"[^"]*"')

    def timeless(found: tuple[list[int], list[tuple[bytes, Any, Any]]]) -> Any:
        return found[0], [(second.sub(rb'"\1":""', raw), *rest) for raw, *rest in found[1]]

    cast, plain = asyncio.run(results(moulds.Moulds())), asyncio.run(results(NoMoulds()))
    assert timeless(cast) == timeless(plain)
