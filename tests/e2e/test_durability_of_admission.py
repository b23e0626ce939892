"""kill -9 while webhooks are asked, custom resources are written and configurations applied: nothing half-written.

Every object says one value three times: twice itself, and once more in what a mutating webhook adds. Whatever is
stored must agree with itself, and be at least as new as what its writer was last told.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from apiserver.webhook_server import WebhookServer, patched, webhook_server
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, Object
from coxswain.base import clock
from coxswain.client.client import patch_call
from coxswain.client.interface import APPLY_PATCH, Call, Client
from e2e.test_durability import api_server

pytestmark = pytest.mark.e2e
CONFIGMAPS = GVR("", "v1", "configmaps")
WIDGETS = GVR("example.com", "v1", "widgets")
DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
WEBHOOKS = GVR("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
SEEN = "seen"


def definition() -> Object:
    text = {"type": "string"}
    spec = {
        "type": "object",
        "required": ["first"],
        "properties": {"first": text, "second": text, "third": {**text, "default": "given"}},
        "x-kubernetes-validations": [{"rule": "self.first == self.second", "message": "they must agree"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }


def webhook(client_config: Object) -> Object:
    rules = [
        {
            "apiGroups": ["", "example.com"],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["configmaps", "widgets"],
        }
    ]
    only = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "seen"},
        "webhooks": [
            {
                "name": "seen.example.com",
                "clientConfig": client_config,
                "rules": rules,
                "namespaceSelector": {"matchExpressions": [only]},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 10,
            }
        ],
    }


def values(obj: Object) -> list[Any]:
    """What an object says, each time that it says it."""
    said = obj["data"] if obj["kind"] == "ConfigMap" else obj["spec"]
    return [said["first"], said["second"], (obj["metadata"].get("annotations") or {}).get(SEEN)]


def answer(review: dict[str, Any]) -> dict[str, Any]:
    obj = review["request"]["object"]
    annotations = {**(obj["metadata"].get("annotations") or {}), SEEN: values(obj)[0]}
    return patched({"op": "add", "path": "/metadata/annotations", "value": annotations})


@dataclass(slots=True)
class Told:
    """What writers were told: the newest revision and value of each object; what they were not told yet."""

    last: dict[tuple[GVR, str], tuple[int, str]] = field(default_factory=dict)
    open: dict[tuple[GVR, str], str] = field(default_factory=dict)


def applied(resource: GVR, name: str, value: str) -> Call:
    content = {"first": value, "second": value}
    if resource == CONFIGMAPS:
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "data": content}
    else:
        body = {"apiVersion": "example.com/v1", "kind": "Widget", "spec": content}
    body["metadata"] = {"name": name}
    call = patch_call(resource, name, body, "default", kind=APPLY_PATCH)
    call.query = {"fieldManager": "writer", "force": "true"}
    return call


async def write(client: Client, resource: GVR, writer: str, told: Told) -> None:
    """Apply objects again and again, until the server is gone."""
    for number in itertools.count():
        name, value = f"{writer}-{number // 4}", f"{writer}/{number}"
        told.open[resource, name] = value
        [said] = await client.batch([applied(resource, name, value)])
        if said.code == 429:
            await clock.sleep(0.05)
            continue
        if said.code >= 500:
            assert said.code in (503, 504), said.body
            return
        assert said.code in (200, 201), said.body
        obj = orjson.loads(said.body)
        assert values(obj) == [value] * 3
        told.last[resource, name] = (int(obj["metadata"]["resourceVersion"]), value)
        del told.open[resource, name]


async def prepare(data_dir: Path, hooks: WebhookServer) -> None:
    async with api_server(data_dir) as (_, client):
        await client.create(WEBHOOKS, webhook(hooks.on("/seen", answer)))
        await client.create(DEFINITIONS, definition())
        await _until(lambda: _is_served(client))


async def _is_served(client: Client) -> bool:
    try:
        await client.list(WIDGETS, "default")
    except ApiError:
        return False
    return True


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def crash(data_dir: Path, told: Told, *, writers: int, seconds: float, tag: str) -> None:
    told.open.clear()
    async with api_server(data_dir) as (process, client):
        await _until(lambda: _is_served(client))
        async with asyncio.TaskGroup() as tasks:
            for number in range(writers):
                resource = CONFIGMAPS if number % 2 else WIDGETS
                tasks.create_task(write(client, resource, f"{tag}-{number}", told))
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def check(data_dir: Path, told: Told) -> int:
    """How many objects are stored, after a restart; each must be whole, and none may be missing or older."""
    async with api_server(data_dir) as (_, client):
        await _until(lambda: _is_served(client))
        found: dict[tuple[GVR, str], tuple[int, str]] = {}
        for resource in (CONFIGMAPS, WIDGETS):
            for raw in (await client.list(resource, "default")).items:
                obj = orjson.loads(raw)
                obj.setdefault("kind", "ConfigMap")
                if obj["metadata"]["name"] == "kube-root-ca.crt":
                    continue
                first, second, seen = values(obj)
                assert first == second == seen, f"half-written: {raw[:2000]!r}"
                assert obj["kind"] == "ConfigMap" or obj["spec"]["third"] == "given"
                assert [entry["manager"] for entry in obj["metadata"]["managedFields"]].count("writer") == 1
                found[resource, obj["metadata"]["name"]] = (int(obj["metadata"]["resourceVersion"]), first)
        for key, (revision, value) in told.last.items():
            assert key in found, f"{key} was acknowledged and is gone"
            if found[key] != (revision, value):
                assert found[key][0] > revision and found[key][1] == told.open.get(key)
        assert not found.keys() - told.last.keys() - told.open.keys()
        told.last.update({key: found[key] for key in told.open if key in found})
        return len(found)


async def crash_and_check(directory: Path, *, writers: int, seconds: float, rounds: int) -> None:
    data_dir, told = directory / "data", Told()
    async with webhook_server(directory / "webhook") as hooks:
        await prepare(data_dir, hooks)
        for number in range(rounds):
            before = len(told.last)
            await crash(data_dir, told, writers=writers, seconds=seconds, tag=f"r{number}")
            assert await check(data_dir, told) > before, "hardly anything was written"


async def test_what_webhooks_and_applies_made_is_whole_after_kill_9(tmp_path: Path) -> None:
    await crash_and_check(tmp_path, writers=16, seconds=1.0, rounds=1)


@pytest.mark.heavy
async def test_a_hundred_writers_through_webhooks_and_five_crashes(tmp_path: Path) -> None:
    await crash_and_check(tmp_path, writers=100, seconds=4.0, rounds=5)
