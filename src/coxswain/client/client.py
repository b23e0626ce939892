"""The one implementation of ``Client``: Kubernetes' verbs, turned into ``Call``s for a ``Transport``.

Whatever lies below (the same process, gRPC, REST), the verbs mean the same here, and every failure is
raised as the ``ApiError`` of its reason. Objects are encoded once, on the way out, and each object handed
out is decoded for the caller alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import orjson

from coxswain.api.names import GVR, Object
from coxswain.client.interface import (
    JSON,
    MERGE_PATCH,
    Answers,
    Call,
    Propagation,
    RawList,
    Transport,
    WatchStream,
)


class ApiClient:
    """A ``Client`` over ``transport``, which it owns: closing the client closes the transport."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def get(self, resource: GVR, name: str, namespace: str = "", *, subresource: str = "") -> Object:
        answer = await self.transport.call(Call("get", resource, namespace, name, subresource))
        return answer.object()

    async def list(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_: str = "",
    ) -> RawList:
        query = _selectors(label_selector, field_selector)
        if resource_version:
            query["resourceVersion"] = resource_version
        if limit:
            query["limit"] = str(limit)
        if continue_:
            query["continue"] = continue_
        return await self.transport.list(Call("list", resource, namespace, query=query))

    def watch(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 0,
    ) -> WatchStream:
        query = _selectors(label_selector, field_selector)
        query["watch"] = "true"
        query["resourceVersion"] = resource_version
        if bookmarks:
            query["allowWatchBookmarks"] = "true"
        if timeout_seconds:
            query["timeoutSeconds"] = str(timeout_seconds)
        return self.transport.watch(Call("watch", resource, namespace, query=query))

    async def create(
        self, resource: GVR, obj: Object, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Object:
        answer = await self.transport.call(create_call(resource, obj, namespace, name, subresource))
        return answer.object()

    async def update(self, resource: GVR, obj: Object, *, subresource: str = "") -> Object:
        answer = await self.transport.call(update_call(resource, obj, subresource))
        return answer.object()

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        kind: str = MERGE_PATCH,
        subresource: str = "",
    ) -> Object:
        answer = await self.transport.call(patch_call(resource, name, patch, namespace, kind, subresource))
        return answer.object()

    async def delete(
        self,
        resource: GVR,
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        call = delete_call(
            resource,
            name,
            namespace,
            grace_period_seconds=grace_period_seconds,
            propagation=propagation,
            uid=uid,
            resource_version=resource_version,
        )
        return (await self.transport.call(call)).object()

    async def delete_collection(
        self, resource: GVR, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        query = _selectors(label_selector, field_selector)
        answer = await self.transport.call(Call("deletecollection", resource, namespace, query=query))
        if answer.code >= 400:
            answer.object()  # else it is all that was deleted: long, and of no interest

    async def batch(self, calls: Sequence[Call]) -> Answers:
        return await self.transport.batch(calls)

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        return await self.transport.stream(call)

    async def close(self) -> None:
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


def create_call(
    resource: GVR,
    obj: Object,
    namespace: str = "",
    name: str = "",
    subresource: str = "",
    *,
    accept: str = JSON,
) -> Call:
    """The call that creates ``obj`` (or posts it to the subresource of ``name``), for ``Client.batch``."""
    if not namespace:
        namespace = (obj.get("metadata") or {}).get("namespace", "")
    return Call("create", resource, namespace, name, subresource, body=orjson.dumps(obj), accept=accept)


def update_call(resource: GVR, obj: Object, subresource: str = "") -> Call:
    """The call that replaces the object of that name by ``obj``, for ``Client.batch``."""
    meta = obj["metadata"]
    namespace, name = meta.get("namespace", ""), meta["name"]
    return Call("update", resource, namespace, name, subresource, body=orjson.dumps(obj))


def patch_call(
    resource: GVR,
    name: str,
    patch: Any,
    namespace: str = "",
    kind: str = MERGE_PATCH,
    subresource: str = "",
    *,
    accept: str = JSON,
) -> Call:
    """The call that patches an object, for ``Client.batch``; ``kind`` is the patch's content type."""
    body = orjson.dumps(patch)
    return Call("patch", resource, namespace, name, subresource, body=body, content_type=kind, accept=accept)


def delete_call(
    resource: GVR,
    name: str,
    namespace: str = "",
    *,
    grace_period_seconds: int | None = None,
    propagation: Propagation | None = None,
    uid: str = "",
    resource_version: str = "",
) -> Call:
    """The call that deletes an object, for ``Client.batch``; uid and version are preconditions."""
    options: Object = {}
    if grace_period_seconds is not None:
        options["gracePeriodSeconds"] = grace_period_seconds
    if propagation:
        options["propagationPolicy"] = propagation
    preconditions = {"uid": uid, "resourceVersion": resource_version}
    if preconditions := {key: value for key, value in preconditions.items() if value}:
        options["preconditions"] = preconditions
    body = b""
    if options:
        body = orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options})
    return Call("delete", resource, namespace, name, body=body, content_type=JSON)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    query: dict[str, str] = {}
    if label_selector:
        query["labelSelector"] = label_selector
    if field_selector:
        query["fieldSelector"] = field_selector
    return query
