"""Webhooks and custom resources: versions, pruning, status; webhooks here answer in the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from apiserver import test_custom_resources_conversion as conversions
from apiserver.core_support import ADMIN, Cluster, cluster
from apiserver.test_custom_resources import BOATS, OLD_BOATS, Harbor, boat, definition, version
from apiserver.test_webhooks import add, configure, hook
from apiserver.webhook_server import patched
from coxswain.api import errors
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS
from coxswain.apiserver.admission.webhooks.client import Target
from coxswain.apiserver.admission.webhooks.hooks import MUTATING, VALIDATING
from coxswain.apiserver.customresources.controller import Controller
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait


class Answering:
    """Answers reviews in this process."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = lambda review: {"allowed": True}

    async def __call__(self, target: Target, body: bytes) -> bytes:
        review = orjson.loads(body)
        self.asked.append(review["request"])
        response = {"uid": review["request"]["uid"], **self.answer(review)}
        return orjson.dumps({**review, "response": response})

    async def close(self) -> None:
        pass


@asynccontextmanager
async def harbor() -> AsyncIterator[tuple[Cluster, Answering]]:
    answering = Answering()
    async with cluster(caller=answering) as c:
        made = Harbor(c.pipeline)
        made.controller = Controller(c.pipeline, ADMIN)
        made.controller.start()
        task = asyncio.get_running_loop().create_task(made.controller.run())
        try:
            both = (version("v1", storage=True), version("v1beta1"))
            one = definition("boats", "Boat", *both)
            one["spec"]["versions"] = [{**each, "subresources": {"status": {}}} for each in both]
            await made.define(one)
            yield made, answering
        finally:
            await cancel_and_wait(task)


def rules(*operations: str, resource: str = "boats", api_version: str = "v1") -> list[dict[str, Any]]:
    one = {
        "apiGroups": ["h.example.com"],
        "apiVersions": [api_version],
        "operations": list(operations),
        "resources": [resource],
    }
    return [one]


CLIENT = {"url": "https://hook.example/x"}


@pytest.mark.virtual
async def test_patches_of_custom_objects_are_pruned_and_get_defaults() -> None:
    async with harbor() as (c, answering):
        await configure(c, MUTATING, hook("m.b.c", CLIENT, rules=rules("CREATE")))
        answering.answer = lambda review: patched(
            add("/spec/color", "red"), add("/spec/unknown", 1), {"op": "remove", "path": "/spec/sail"}
        )
        made = await c.do("create", BOATS, body=boat("argo", oars=5))
        assert answering.asked[0]["object"]["spec"] == {"oars": 5, "sail": False}
        assert made["spec"] == {"oars": 5, "color": "red", "sail": False}
        answering.answer = lambda review: patched(add("/spec/oars", "many"))
        with pytest.raises(errors.ApiError):
            await c.do("create", BOATS, body=boat("hms", oars=5))


@pytest.mark.virtual
async def test_the_version_that_was_asked_for_is_shown() -> None:
    async with harbor() as (c, answering):
        await configure(c, MUTATING, hook("m.b.c", CLIENT, rules=rules("CREATE")))
        answering.answer = lambda review: patched(add("/spec/color", "blue"))
        old = {**boat("argo", oars=5), "apiVersion": "h.example.com/v1beta1"}
        made = await c.do("create", OLD_BOATS, body=old)
        (asked,) = answering.asked
        assert asked["kind"]["version"] == "v1" and asked["requestKind"]["version"] == "v1beta1"
        assert asked["resource"]["version"] == "v1" and asked["requestResource"]["version"] == "v1beta1"
        assert asked["object"]["apiVersion"] == "h.example.com/v1"
        assert made["apiVersion"] == "h.example.com/v1beta1" and made["spec"]["color"] == "blue"


@pytest.mark.virtual
async def test_status_and_deletion_are_judged_by_their_own_rules() -> None:
    async with harbor() as (c, answering):
        found = rules("UPDATE", resource="boats/status") + rules("DELETE")
        await configure(c, VALIDATING, hook("v.b.c", CLIENT, rules=found))
        made = await c.do("create", BOATS, body=boat("argo", oars=5))
        await c.do("update", BOATS, "argo", {**made, "spec": {"oars": 6}})
        assert not answering.asked
        made = await c.do("get", BOATS, "argo")
        await c.do("update", BOATS, "argo", {**made, "status": {"oars": 6}}, subresource="status")
        await c.do("delete", BOATS, "argo")
        assert [(one["operation"], one.get("subResource")) for one in answering.asked] == [
            ("UPDATE", "status"),
            ("DELETE", None),
        ]
        assert answering.asked[1]["oldObject"]["spec"]["oars"] == 6


@pytest.mark.virtual
@pytest.mark.parametrize("kind", [MUTATING, VALIDATING])
async def test_versions_that_another_webhook_converts(kind: Any) -> None:
    answering, converting = Answering(), conversions.Webhook()
    if kind == MUTATING:
        answering.answer = lambda review: patched(
            {
                "op": "replace",
                "path": "/spec/size",
                "value": review["request"]["object"]["spec"]["size"] + "0",
            }
        )
    async with cluster(caller=answering) as c:
        controller = Controller(c.pipeline, ADMIN, caller=converting)
        controller.start()
        task = asyncio.get_running_loop().create_task(controller.run())
        try:
            await c.do("create", CUSTOM_RESOURCE_DEFINITIONS, body=conversions.definition(), namespace="")
            await clock.sleep(1)
            await configure(c, kind, hook("x.b.c", CLIENT, rules=rules("CREATE", "UPDATE")))
            made = await c.do("create", conversions.V2, body=conversions.new("argo", 5, 6))
            assert len(answering.asked) == 1
            assert answering.asked[0]["object"]["spec"]["size"] == "5x6"
            assert made["spec"]["width"] == (60 if kind == MUTATING else 6)
            made["spec"]["length"] = 7
            made = await c.do("update", conversions.V2, "argo", made)
            assert answering.asked[-1]["oldObject"]["apiVersion"] == "h.example.com/v1"
            assert made["spec"]["length"] == 7
        finally:
            await cancel_and_wait(task)
