"""The same body posted again and again: what is remembered of it never changes the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from coxswain.api.fields import Errors
from coxswain.api.names import GVR, PODS, Object
from coxswain.apiserver.pipeline import Pipeline
from coxswain.client.interface import Call

LIMIT_RANGES = GVR("", "v1", "limitranges")


def body(**spec: Any) -> bytes:
    container = {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}
    metadata = {"generateName": "web-", "labels": {"app": "web"}}
    return orjson.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
    )


def without_what_is_its_own(pod: Object) -> Object:
    metadata = {
        name: value
        for name, value in pod["metadata"].items()
        if name not in ("name", "uid", "creationTimestamp", "resourceVersion", "managedFields")
    }
    fields = [{**entry, "time": ""} for entry in pod["metadata"]["managedFields"]]
    return {**pod, "metadata": {**metadata, "managedFields": fields}}


async def created(it: Cluster, data: bytes, **options: Any) -> Object:
    return await it.do("create", PODS, body=data, **options)


@pytest.mark.virtual
async def test_replicas_differ_in_name_uid_and_time_only() -> None:
    async with cluster() as it:
        pods = [await created(it, body()) for _ in range(5)]
        assert len({pod["metadata"]["name"] for pod in pods}) == 5
        assert len({pod["metadata"]["uid"] for pod in pods}) == 5
        assert all(without_what_is_its_own(pod) == without_what_is_its_own(pods[0]) for pod in pods)
        assert all(pod["metadata"]["managedFields"][0]["fieldsV1"] for pod in pods)


@pytest.mark.virtual
async def test_a_body_that_came_twice_is_not_validated_again() -> None:
    async with cluster() as it:
        entry = it.core.registry.get(PODS)
        assert entry is not None
        validated: list[Object] = []

        def counted(obj: Object) -> Errors:
            validated.append(obj)
            return rules.validate_create(obj)

        rules = entry.rules
        entry.rules = replace(rules, validate_create=counted)
        for _ in range(10):
            await created(it, body())
        assert len(validated) == 2


@pytest.mark.virtual
async def test_a_refused_body_is_refused_every_time() -> None:
    async with cluster() as it:
        for _ in range(4):
            answer = await it.call("create", PODS, body=body(restartPolicy="Sometimes"))
            assert answer.code == 422
            assert b"restartPolicy" in answer.body


@pytest.mark.virtual
async def test_admission_is_asked_for_every_replica() -> None:
    async with cluster() as it:
        for _ in range(3):
            await created(it, body())
        limits = [{"type": "Container", "defaultRequest": {"cpu": "250m"}, "max": {"cpu": "1"}}]
        await it.do("create", LIMIT_RANGES, body={"metadata": {"name": "l"}, "spec": {"limits": limits}})
        for _ in range(3):
            pod = await created(it, body())
            assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "250m"


@pytest.mark.virtual
async def test_another_manager_or_namespace_gets_its_own() -> None:
    async with cluster() as it:
        await it.do("create", GVR("", "v1", "namespaces"), body={"metadata": {"name": "other"}})
        for _ in range(3):
            await created(it, body(), fieldManager="first")
        second = await created(it, body(), fieldManager="second")
        assert second["metadata"]["managedFields"][0]["manager"] == "second"
        elsewhere = await created(it, body(), fieldManager="first", namespace="other")
        assert elsewhere["metadata"]["namespace"] == "other"


@pytest.mark.virtual
async def test_warnings_are_repeated() -> None:
    async with cluster() as it:
        doubled = orjson.loads(body())
        doubled["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
        seen = [await _warnings(it.pipeline, orjson.dumps(doubled)) for _ in range(4)]
        assert seen[0]
        assert seen == [seen[0]] * 4


async def _warnings(pipeline: Pipeline, data: bytes) -> list[str]:
    reply = await pipeline.handle(Call("create", PODS, "default", body=data), ADMIN)
    return list(reply.warnings)


@pytest.mark.virtual
async def test_a_dry_run_stores_nothing_however_often() -> None:
    async with cluster() as it:
        for _ in range(4):
            await created(it, body(), dryRun="All")
        listed = await it.do("list", PODS)
        assert listed["items"] == []
