"""Calls of one message: their writes are committed together, and each is answered as if it had come alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, NOBODY, Cluster, cluster, pod
from coxswain.api import errors
from coxswain.api.names import EVENTS, NODES, PODS, Object
from coxswain.apiserver import metrics, together
from coxswain.client.interface import NOTHING, Answer, Call, UserInfo
from coxswain.store.interface import Op, StoreClosed, StoreFull, StoreUnavailable, ValueTooLarge
from coxswain.store.memory import MemoryStore


class Counting(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.together: list[int] = []
        self.failure: Exception | None = None

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        self.together.append(len(ops))
        if isinstance(self.failure, StoreClosed):
            raise self.failure
        if self.failure is not None:
            return [self.failure] * len(ops)
        return await super().commit_each(ops)


def binding(name: str, node: str = "n1", **metadata: Any) -> Call:
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "target": {"kind": "Node", "name": node},
    }
    return Call("create", PODS, "default", name, "binding", body=orjson.dumps(body), accept=NOTHING)


async def _pods(c: Cluster, *names: str) -> list[Object]:
    return [await c.do("create", PODS, body=pod(name)) for name in names]


def _codes(answers: list[Answer]) -> list[int]:
    return [answer.code for answer in answers]


@pytest.mark.virtual
async def test_replicas_of_a_message_are_committed_together_once_they_are_known() -> None:
    store = Counting()
    async with cluster(store=store) as c:
        replica = pod("")
        replica["metadata"] = {"generateName": "web-"}
        calls = [Call("create", PODS, "default", body=orjson.dumps(replica))] * 20
        for _ in range(3):
            await c.do("create", PODS, body=calls[0].body)
        other = Call("create", PODS, "default", body=orjson.dumps(pod("other")))
        answers = await c.pipeline.exchange([*calls, other, *calls], ADMIN)
        assert _codes(answers) == [201] * 41 and store.together == [40]
        names = [answer.object()["metadata"]["name"] for answer in answers]
        assert len(set(names)) == 41 and names[20] == "other"
        assert {one["metadata"]["name"] for one in (await c.do("list", PODS))["items"]} >= set(names)
        refused = await c.pipeline.exchange(calls, NOBODY)
        assert _codes(refused) == [403] * 20 and store.together == [40]


@pytest.mark.virtual
async def test_bindings_of_a_message_are_committed_together_and_answered_in_order() -> None:
    store = Counting()
    async with cluster(store=store) as c:
        await c.do(
            "create", NODES, body={"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}}}
        )
        made = await _pods(c, "a", "b", "c", "d")
        calls = [
            binding("a", uid=made[0]["metadata"]["uid"]),
            binding("missing"),
            binding("b", uid="another"),
            binding("c"),
            Call("get", PODS, "default", "a"),
            binding("d", node="not a name"),
        ]
        answers = await c.pipeline.exchange(calls, ADMIN)
        assert _codes(answers) == [201, 404, 409, 201, 200, 422]
        assert answers[0].body == b"" and b"Precondition failed: UID" in answers[2].body
        assert store.together == [2]
        for name, node in (("a", "n1"), ("b", None), ("c", "n1"), ("d", None)):
            found = await c.do("get", PODS, name)
            assert found["spec"].get("nodeName") == node
            assert ("topology.kubernetes.io/zone" in found["metadata"]["labels"]) is (node is not None)


@pytest.mark.virtual
async def test_of_two_bindings_of_one_pod_the_second_is_refused() -> None:
    async with cluster() as c:
        await _pods(c, "a")
        answers = await c.pipeline.exchange([binding("a", "n1"), binding("a", "n2")], ADMIN)
        assert _codes(answers) == [201, 409]
        assert b'already assigned to node \\"n1\\"' in answers[1].body
        assert (await c.do("get", PODS, "a"))["spec"]["nodeName"] == "n1"


@pytest.mark.virtual
async def test_a_pod_that_was_changed_before_the_caches_saw_it_is_bound_all_the_same() -> None:
    async with cluster() as c:
        await _pods(c, "a", "b")
        patch = orjson.dumps({"metadata": {"labels": {"late": "yes"}}})
        change = Call("patch", PODS, "default", "a", body=patch, content_type="application/merge-patch+json")
        changed, answers = await asyncio.gather(
            c.pipeline.call(change, ADMIN), c.pipeline.exchange([binding("a"), binding("b")], ADMIN)
        )
        assert changed.code == 200 and _codes(answers) == [201, 201]
        found = await c.do("get", PODS, "a")
        assert found["spec"]["nodeName"] == "n1" and found["metadata"]["labels"]["late"] == "yes"


@pytest.mark.virtual
async def test_who_may_not_is_refused_each_time_and_every_call_is_counted() -> None:
    served = metrics.of("create", PODS, "binding", "default", "a", False, lambda *_: True)
    async with cluster() as c:
        await _pods(c, "a", "b")
        before = dict(served.codes)
        answers = await c.pipeline.exchange([binding("a"), binding("b")], NOBODY)
        assert _codes(answers) == [403, 403] and b"nobody" in answers[0].body
        assert _codes(await c.pipeline.exchange([binding("a"), binding("b")], ADMIN)) == [201, 201]
        counted = {code: count - before.get(code, 0) for code, count in served.codes.items()}
        assert {code: count for code, count in counted.items() if count} == {403: 2, 201: 2}


@pytest.mark.virtual
@pytest.mark.parametrize(("failure", "code"), [(StoreFull("full"), 507), (StoreClosed("closed"), 503)])
async def test_what_the_store_cannot_do_is_an_answer(failure: Exception, code: int) -> None:
    store = Counting()
    async with cluster(store=store) as c:
        await _pods(c, "a", "b")
        store.failure = failure
        assert _codes(await c.pipeline.exchange([binding("a"), binding("b")], ADMIN)) == [code, code]


class Failing(MemoryStore):
    """Cannot write, when told so."""

    failure: Exception | None = None

    async def commit(self, ops: Sequence[Op]) -> int:
        if self.failure is not None:
            raise self.failure
        return await super().commit(ops)


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StoreUnavailable("away"), 503),
        (StoreUnavailable("slow", undecided=True), 504),
        (ValueTooLarge("too large"), 413),
        (StoreFull("full"), 507),
    ],
)
async def test_what_a_shared_store_cannot_do_is_told_as_for_single_calls(
    failure: Exception, code: int
) -> None:
    store = Failing()
    async with cluster(store=store, shared=True) as c:
        await _pods(c, "a", "b")
        panics = metrics.PANICS._value.get()
        store.failure = failure
        assert (await c.pipeline.call(binding("a"), ADMIN)).code == code
        assert _codes(await c.pipeline.exchange([binding("a"), binding("b")], ADMIN)) == [code, code]
        store.failure = None
        assert _codes(await c.pipeline.exchange([binding("a"), binding("b")], ADMIN)) == [201, 201]
        assert metrics.PANICS._value.get() == panics


class Held(MemoryStore):
    """Writes that are asked for together wait for ``go``."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def commit_each(self, ops: Sequence[Op]) -> Sequence[int | Exception]:
        self.asked.set()
        await self.go.wait()
        return await super().commit_each(ops)


@pytest.mark.virtual
async def test_a_message_whose_sender_is_gone_leaves_nothing_behind() -> None:
    """Neither while the store is at work, nor before what each does alone has begun (warnings are errors)."""
    store = Held()
    async with cluster(store=store) as c:
        await _pods(c, "a", "b", "c")
        before = len(asyncio.all_tasks())
        message = asyncio.ensure_future(c.pipeline.exchange([binding("a"), binding("missing")], ADMIN))
        await store.asked.wait()
        message.cancel()
        assert isinstance((await asyncio.gather(message, return_exceptions=True))[0], asyncio.CancelledError)
        assert not c.core.storage._pending
        store.go.set()
        patch = asyncio.ensure_future(c.pipeline.exchange([binding("b"), binding("b", "n2")], ADMIN))
        await asyncio.sleep(1)
        assert _codes(await patch) == [201, 409]
        alone = asyncio.ensure_future(c.pipeline.exchange([binding("gone"), binding("missing")], ADMIN))
        asyncio.get_running_loop().call_soon(alone.cancel)  # right after its first step
        await asyncio.gather(alone, return_exceptions=True)
        await asyncio.sleep(0)
        assert alone.cancelled() and len(asyncio.all_tasks()) == before
        assert "nodeName" not in (await c.do("get", PODS, "a"))["spec"]


@pytest.mark.virtual
async def test_others_have_their_turn_while_a_large_message_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_RUN", 4)
    seen: list[int] = []
    begin = together._BEGIN["create", PODS, "binding"]

    def counting(*arguments: Any) -> Any:
        seen[-1] += 1
        return begin(*arguments)

    monkeypatch.setitem(together._BEGIN, ("create", PODS, "binding"), counting)
    store = Counting()
    async with cluster(store=store) as c:
        names = [f"p{number}" for number in range(10)]
        await _pods(c, *names)
        seen.append(0)
        message = asyncio.ensure_future(c.pipeline.exchange([binding(name) for name in names], ADMIN))
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(0)
        assert _codes(await message) == [201] * 10
        assert seen[:3] == [4, 4, 2] and store.together == [10]


@pytest.mark.virtual
@pytest.mark.parametrize("step", ["mutate", "validate"])
async def test_what_admission_waits_for_holds_up_that_binding_alone(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster() as c:
        await _pods(c, "a", "b", "c")
        usual = getattr(c.core.admission, step)
        told = []

        async def outside(request: Any) -> None:
            await asyncio.sleep(1)
            told.append(request.name)
            if request.name == "b":
                raise errors.Forbidden("not b")

        def ask(request: Any) -> Any:
            return usual(request) or (outside(request) if request.name != "c" else None)

        monkeypatch.setattr(c.core.admission, step, ask)
        answers = await c.pipeline.exchange([binding("a"), binding("b"), binding("c")], ADMIN)
        assert _codes(answers) == [201, 403, 201] and sorted(told) == ["a", "b"]
        assert (await c.do("get", PODS, "a"))["spec"]["nodeName"] == "n1"


@pytest.mark.virtual
async def test_a_binding_is_read_as_any_body_is() -> None:
    """The usual form, which is read at a glance, and the same with a space in it."""
    async with cluster() as c:
        made = await _pods(c, "a", "b")
        usual = binding("a", uid=made[0]["metadata"]["uid"])
        other = binding("b", uid=made[1]["metadata"]["uid"])
        other.body = other.body.replace(b'":{', b'": {')
        assert _codes(await c.pipeline.exchange([usual, other], ADMIN)) == [201, 201]
        for body, code in (
            (usual.body.replace(b'"default"', b'"other"'), 400),
            (usual.body.replace(b'"name":"a"', b'"name":"b"'), 400),
            (usual.body.replace(b'"Node"', b'"Pod"'), 422),
        ):
            usual.body = body
            assert _codes(await c.pipeline.exchange([usual, usual], ADMIN)) == [code, code]


@pytest.mark.virtual
async def test_events_of_a_message_are_each_stored_once() -> None:
    user = UserInfo("admin", ("system:masters",), agent="test/1")

    def event(name: str) -> Call:
        about = {
            "kind": "Pod",
            "namespace": "default",
            "name": name,
            "uid": "u",
            "apiVersion": "v1",
            "resourceVersion": "1",
        }
        body = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"}}
        body |= {"involvedObject": about, "reason": "R", "message": "m", "type": "Normal", "count": 1}
        return Call("create", EVENTS, "default", body=orjson.dumps(body), accept=NOTHING)

    store = Counting()
    async with cluster(store=store) as c:
        for round_ in range(4):
            answers = await c.pipeline.exchange([event(f"{round_}-{number}") for number in range(5)], user)
            assert _codes(answers) == [201] * 5
        assert store.together == [5, 5, 5]  # after those that the mould was made from
        twice = await c.pipeline.exchange([event("twice"), event("twice"), event("3-1")], user)
        assert _codes(twice) == [201, 409, 409] and b"already exists" in twice[1].body
        assert len((await c.do("list", EVENTS))["items"]) == 21
