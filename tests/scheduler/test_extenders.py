"""HTTP extenders, over a real socket: filter, prioritize, bind, preempt; errors, and whom they are asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from coxswain.api.names import NODES, PODS
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.configuration import API_VERSION, KIND, ExtenderConfig, parse
from coxswain.scheduler.extender import Extender, ExtenderError
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The URL below which ``handle`` answers every verb."""
    app = web.Application()
    app.router.add_post("/x/{verb}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/x"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def extended(
    api: FakeApi, answers: dict[str, Any], **config: Any
) -> AsyncIterator[list[tuple[str, Any]]]:
    """A scheduler with one extender that answers each verb as given (a value, or a function of the arguments)."""
    asked: list[tuple[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        verb, arguments = request.match_info["verb"], await request.json()
        asked.append((verb, arguments))
        answer = answers.get(verb)
        if answer is None:
            return web.Response(status=500)
        return web.json_response(answer(arguments) if callable(answer) else answer)

    async with serving(handle) as url:
        extender = {"urlPrefix": url, "nodeCacheCapable": True, **config}
        file = parse({"apiVersion": API_VERSION, "kind": KIND, "extenders": [extender]})
        task = asyncio.ensure_future(Scheduler(api.client(), SchedulerConfig(file=file)).run())
        try:
            yield asked
        finally:
            await cancel_and_wait(task)


def node_of(api: FakeApi, name: str) -> str:
    return str(api.object(PODS, name, "d")["spec"].get("nodeName") or "")


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def three_nodes() -> FakeApi:
    api = FakeApi()
    for i in range(3):
        api.add(NODES, node(f"n{i}"))
    return api


async def test_extenders_filter_and_prioritize() -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    answers = {
        "filter": lambda a: {
            "NodeNames": [n for n in a["NodeNames"] if n != "n0"],
            "FailedNodes": {"n0": "no"},
        },
        "prioritize": lambda a: [{"Host": n, "Score": 10 if n == "n2" else 0} for n in a["NodeNames"]],
    }
    async with extended(api, answers, filterVerb="filter", prioritizeVerb="prioritize", weight=5) as asked:
        await until(lambda: node_of(api, "p"))
    assert node_of(api, "p") == "n2"
    assert [verb for verb, _ in asked] == ["filter", "prioritize"]
    assert asked[0][1]["Pod"]["metadata"]["name"] == "p"


async def test_whole_nodes_go_to_extenders_that_have_no_cache() -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    answers = {"filter": lambda a: {"nodes": {"items": [a["Nodes"]["items"][1]]}}}
    async with extended(api, answers, filterVerb="filter", nodeCacheCapable=False) as asked:
        await until(lambda: node_of(api, "p"))
    assert asked[0][1]["Nodes"]["items"][0]["status"]["capacity"]["pods"] == "110"


async def test_a_pod_that_extenders_refuse_everywhere_is_told_why() -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    answers = {
        "filter": lambda a: {"NodeNames": [], "FailedNodes": dict.fromkeys(a["NodeNames"], "no licence")}
    }
    async with extended(api, answers, filterVerb="filter"):
        await until(lambda: "conditions" in api.object(PODS, "p", "d")["status"])
    message = api.object(PODS, "p", "d")["status"]["conditions"][0]["message"]
    assert message.startswith("0/3 nodes are available: 3 no licence.")


@pytest.mark.parametrize("ignorable", [False, True])
async def test_an_extender_that_fails(ignorable: bool) -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    async with extended(api, {}, filterVerb="filter", ignorable=ignorable):
        if ignorable:
            await until(lambda: node_of(api, "p"))
            return
        await until(lambda: "conditions" in api.object(PODS, "p", "d")["status"])
    (condition,) = api.object(PODS, "p", "d")["status"]["conditions"]
    assert condition["reason"] == "SchedulerError"
    assert node_of(api, "p") == ""


@pytest.mark.parametrize(
    "answer",
    [
        5,
        "all",
        [],
        {"NodeNames": 5},
        {"Nodes": {"items": [{}]}},
        {"Nodes": {"items": ["n0"]}},
        {"NodeNames": [{}]},
        {"NodeNames": [], "FailedNodes": ["n0"]},
    ],
)
async def test_answers_that_make_no_sense_are_told(answer: Any) -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    async with extended(api, {"filter": answer}, filterVerb="filter"):
        await until(lambda: "conditions" in api.object(PODS, "p", "d")["status"])
    (condition,) = api.object(PODS, "p", "d")["status"]["conditions"]
    assert condition["reason"] == "SchedulerError"
    assert "answer" in condition["message"]


@pytest.mark.parametrize(
    "answer", [5, {"Host": "n0"}, [5], [{"Host": "n1", "Score": "x"}], [{"Host": "n1", "Score": 10**30}]]
)
async def test_priorities_that_make_no_sense_are_left_out(answer: Any) -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))
    async with extended(api, {"prioritize": answer}, prioritizeVerb="prioritize", weight=5) as asked:
        await until(lambda: node_of(api, "p"))
    assert [verb for verb, _ in asked] == ["prioritize"]


async def test_an_extender_that_does_not_answer_is_said_to() -> None:
    over = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    async with serving(handle) as url:
        extender = Extender(ExtenderConfig(url, filter="filter", timeout=0.05))
        try:
            with pytest.raises(ExtenderError, match=rf"at URL {url}/filter: no answer within 0\.05 s"):
                await extender.filter({}, {"n0": {}})
        finally:
            over.set()
            await extender.close()


async def test_only_pods_that_ask_for_its_resources_concern_an_extender() -> None:
    api = FakeApi()
    api.add(NODES, node("n0", extra={"a.com/gpu": "1"}))
    api.add(PODS, pod("plain"))
    api.add(PODS, pod("gpu", extra={"a.com/gpu": "1"}))
    managed = [{"name": "a.com/gpu"}]
    answers = {"filter": lambda a: {"NodeNames": a["NodeNames"]}}
    async with extended(api, answers, filterVerb="filter", managedResources=managed) as asked:
        await until(lambda: node_of(api, "plain") and node_of(api, "gpu"))
    assert [arguments["Pod"]["metadata"]["name"] for _, arguments in asked] == ["gpu"]


async def test_a_gang_that_concerns_an_extender_is_refused_in_words() -> None:
    """Rather than placed without asking whoever counts the devices."""
    api = FakeApi()
    api.add(NODES, node("n0", extra={"a.com/gpu": "4"}))
    for name, more in (("plain", {}), ("gpu", {"extra": {"a.com/gpu": "1"}})):
        for i in range(2):
            obj = pod(f"{name}{i}", labels={GROUP_LABEL: name}, **more)
            obj["metadata"]["annotations"] = {GROUP_MINIMUM: "2"}
            api.add(PODS, obj)
    managed = [{"name": "a.com/gpu"}]
    async with extended(api, {"filter": None}, filterVerb="filter", managedResources=managed) as asked:
        await until(lambda: all(node_of(api, f"plain{i}") for i in range(2)))
        await until(
            lambda: all(api.object(PODS, f"gpu{i}", "d")["status"].get("conditions") for i in range(2))
        )
    for i in range(2):
        assert not node_of(api, f"gpu{i}")
        (condition,) = api.object(PODS, f"gpu{i}", "d")["status"]["conditions"]
        assert condition["message"].startswith(
            'pod group "gpu": it is decided as a whole, and HTTP extenders'
        )
    assert asked == []


async def test_an_extender_binds() -> None:
    api = three_nodes()
    api.add(PODS, pod("p"))

    def bind(arguments: dict[str, Any]) -> dict[str, str]:
        api.change(PODS, arguments["PodName"], "d", lambda p: p["spec"].update(nodeName=arguments["Node"]))
        return {"Error": ""}

    async with extended(api, {"bind": bind}, bindVerb="bind") as asked:
        await until(lambda: node_of(api, "p"))
        await until(lambda: any(verb == "bind" for verb, _ in asked))


async def test_an_extender_has_a_say_in_preemption() -> None:
    api = FakeApi()
    for i in range(2):
        api.add(NODES, node(f"n{i}", cpu="1"))
        victim = pod(f"v{i}", cpu="1", priority=i)
        victim["spec"] |= {"nodeName": f"n{i}", "terminationGracePeriodSeconds": 0}
        api.add(PODS, victim)
    api.add(PODS, pod("p", cpu="1", priority=9))

    def preempt(arguments: dict[str, Any]) -> dict[str, Any]:
        victims = arguments["NodeNameToMetaVictims"]
        return {"NodeNameToMetaVictims": {"n1": victims["n1"]}}

    async with extended(api, {"preempt": preempt}, preemptVerb="preempt"):
        await until(lambda: node_of(api, "p"))
    assert node_of(api, "p") == "n1"
