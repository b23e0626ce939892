"""The API server's pipeline alone, in virtual time, with custom resources and webhooks that answer in this process.

    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        client = webhooks.on("/deny", lambda request: {"allowed": False})      a clientConfig
        await it.create(VALIDATING_WEBHOOKS, ...)

Certificates, connections and services of webhooks are the matter of ``tests/apiserver/test_webhooks.py``.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from apiserver.core_support import cluster
from conformance.whole_cluster import WORK, Whole
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS, GVR, NAMESPACES, Object
from coxswain.apiserver.admission.webhooks.client import Target
from coxswain.apiserver.customresources.controller import Controller as CustomResources
from coxswain.base.tasks import Supervisor
from coxswain.cli.cluster import ADMIN

#: Gets a review's request; returns the fields of its response, now or later.
Answer = Callable[[Object], Object | Awaitable[Object]]
GROUP = "stable.example.com"


def allow(request: Object) -> Object:
    return {"allowed": True}


def deny(message: str) -> Answer:
    """An answer that refuses."""
    return lambda request: {"allowed": False, "status": {"message": message}}


def patch(*operations: tuple[str, str, Any]) -> Object:
    """An answer that changes the object: op, path and value of each change."""
    changes = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    encoded = base64.b64encode(orjson.dumps(changes)).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


class Webhooks:
    """Answers reviews by path; remembers the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Object]] = []

    def on(self, path: str, answer: Answer) -> Object:
        """Answer at ``path``; the clientConfig for it."""
        self.answers[path] = answer
        return {"url": f"https://hooks.example.com{path}"}

    async def __call__(self, target: Target, body: bytes) -> bytes:
        review = orjson.loads(body)
        path = target.path.partition("?")[0]
        self.asked.append((path, review["request"]))
        answer = self.answers[path](review["request"])
        if inspect.isawaitable(answer):
            answer = await answer
        review["response"] = {"uid": review["request"]["uid"], **answer}
        return orjson.dumps(review)

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def api_server(webhooks: Webhooks | None = None) -> AsyncIterator[Whole]:
    """See the module's text."""
    caller = webhooks or Webhooks()
    async with cluster(caller=caller) as core, Supervisor("api server") as tasks:
        customs = CustomResources(core.pipeline, ADMIN, caller=caller)
        customs.start()
        tasks.start("custom resources", customs.run())
        whole = Whole(core.pipeline, lambda: customs.published)
        await whole.create(NAMESPACES, {"metadata": {"name": WORK}})
        yield whole


# -- custom resources


def custom(plural: str, version: str = "v1", group: str = GROUP) -> GVR:
    return GVR(group, version, plural)


def definition(
    plural: str,
    schema: Object | None = None,
    *versions: str,
    group: str = GROUP,
    scope: str = "Namespaced",
    **spec: Any,
) -> Object:
    """A CustomResourceDefinition; the first version is stored. Without a schema anything goes."""
    shape = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    extra = spec.pop("each", {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].capitalize()},
            "versions": [
                {
                    "name": name,
                    "served": True,
                    "storage": not number,
                    "schema": {"openAPIV3Schema": shape},
                    **extra,
                }
                for number, name in enumerate(versions or ("v1",))
            ],
            **spec,
        },
    }


async def define(it: Whole, made: Object) -> Object:
    """Create the definition and wait until its resources are served."""
    await it.create(CUSTOM_RESOURCE_DEFINITIONS, made)
    return await until_established(it, made["metadata"]["name"])


async def until_established(it: Whole, name: str) -> Object:
    async def reached() -> Object | None:
        found = await it.get(CUSTOM_RESOURCE_DEFINITIONS, name)
        conditions = {c["type"]: c["status"] for c in (found.get("status") or {}).get("conditions") or ()}
        return found if conditions.get("Established") == "True" else None

    return await it.until(reached, 30)


def thing(name: str, resource: GVR, **fields: Any) -> Object:
    """An object of a custom resource."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.resource[:-1].capitalize(),
        "metadata": {"name": name},
        **fields,
    }
