"""The REST transport speaks HTTP as an API server expects it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from coxswain.api import errors
from coxswain.api.names import DEPLOYMENTS, NODES, PODS
from coxswain.base.errors import ConfigurationError
from coxswain.client.client import ApiClient
from coxswain.client.interface import Call
from coxswain.client.kubeconfig import Config
from coxswain.client.rest import RestTransport, path_of, tls_context


@asynccontextmanager
async def serving(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (Call("get", PODS, "d", "a"), "/api/v1/namespaces/d/pods/a"),
        (Call("list", PODS), "/api/v1/pods"),
        (Call("create", PODS, "d", "a"), "/api/v1/namespaces/d/pods"),
        (Call("create", PODS, "d", "a", "binding"), "/api/v1/namespaces/d/pods/a/binding"),
        (
            Call("patch", DEPLOYMENTS, "d", "a", "status"),
            "/apis/apps/v1/namespaces/d/deployments/a/status",
        ),
        (Call("get", NODES, "", "a/b"), "/api/v1/nodes/a%2Fb"),
    ],
)
def test_calls_become_paths(call: Call, path: str) -> None:
    assert path_of(call) == path


async def test_requests_carry_method_query_body_and_token(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, await request.read(), request.headers))
        return web.json_response({"kind": "Pod", "metadata": {"name": "a"}})

    (tmp_path / "token").write_text("t0ken\n")
    async with serving(handler) as server:
        config = Config(server, token_file=str(tmp_path / "token"))
        client = ApiClient(RestTransport(config))
        await client.patch(PODS, "a", {"x": 1}, "d")
        await client.delete(PODS, "a", "d", grace_period_seconds=0, uid="u")
        await client.close()
    method, path, body, headers = seen[0]
    assert (method, path, body) == ("PATCH", "/api/v1/namespaces/d/pods/a", b'{"x":1}')
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "Bearer t0ken"
    assert orjson.loads(seen[1][2])["preconditions"] == {"uid": "u"}


async def test_failures_are_the_errors_of_their_status() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("/odd"):
            return web.Response(status=502, text="bad gateway")
        return web.json_response(errors.not_found(PODS, "a").status(), status=404)

    async with serving(handler) as server, ApiClient(RestTransport(Config(server))) as client:
        with pytest.raises(errors.NotFound, match='pods "a" not found'):
            await client.get(PODS, "a", "d")
        with pytest.raises(errors.ApiError, match="bad gateway") as caught:
            await client.get(PODS, "odd", "d")
        assert caught.value.code == 502
        answers = await client.batch([Call("get", PODS, "d", "a"), Call("get", PODS, "d", "odd")])
        assert [answer.code for answer in answers] == [404, 502]
    async with ApiClient(RestTransport(Config(server))) as client:
        with pytest.raises(errors.ServiceUnavailable):
            await client.get(PODS, "a", "d")


async def test_a_server_that_does_not_answer_is_a_timeout() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(handler) as server:
        client = ApiClient(RestTransport(Config(server), timeout=0.05))
        with pytest.raises(errors.Timeout):
            await client.get(PODS, "a", "d")
        await client.close()


async def test_items_of_a_list_get_their_type() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.query["limit"] == "1"
        meta = {"resourceVersion": "7", "continue": "c", "remainingItemCount": 4}
        items = [{"metadata": {"name": "a"}}]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items})

    async with serving(handler) as server, ApiClient(RestTransport(Config(server))) as client:
        page = await client.list(PODS, limit=1)
    assert orjson.loads(page.items[0]) == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert (page.resource_version, page.continue_, page.remaining) == ("7", "c", 4)


async def test_a_watch_delivers_lines_however_they_are_cut() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "8"}}
    gone = errors.Expired("too old").status()
    lines = [{"type": "ADDED", "object": pod}, {"type": "BOOKMARK", "object": pod}]
    text = b"".join(orjson.dumps(line) + b"\n" for line in [*lines, {"type": "ERROR", "object": gone}])

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true"
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(text), 50):
            await response.write(text[start : start + 50])
            await asyncio.sleep(0)
        return response

    async with serving(handler) as server, ApiClient(RestTransport(Config(server))) as client:
        seen = []
        with pytest.raises(errors.Expired):
            async with client.watch(PODS, resource_version="7") as batches:
                async for batch in batches:
                    seen.extend(batch)
    assert [(event.type, event.object) for event in seen] == [("ADDED", pod), ("BOOKMARK", pod)]


async def test_a_refused_watch_raises_its_status() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(errors.Expired("too old").status(), status=410)

    async with serving(handler) as server, ApiClient(RestTransport(Config(server))) as client:
        with pytest.raises(errors.Expired):
            async with client.watch(PODS, resource_version="7"):
                raise AssertionError("a refused watch does not start")


async def test_streams_arrive_as_bytes() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.query.get("follow"):
            return web.json_response(errors.BadRequest("no such container").status(), status=400)
        return web.Response(text="one\ntwo\n")

    async with serving(handler) as server, ApiClient(RestTransport(Config(server))) as client:
        chunks = [chunk async for chunk in await client.stream(Call("get", PODS, "d", "a", "log"))]
        assert b"".join(chunks) == b"one\ntwo\n"
        with pytest.raises(errors.BadRequest, match="no such container"):
            await client.stream(Call("get", PODS, "d", "a", "log", {"follow": "true"}))


def test_certificates_that_cannot_work_say_so() -> None:
    with pytest.raises(ConfigurationError, match="certificates"):
        tls_context(Config("https://h", authority=b"no pem"))
    with pytest.raises(ConfigurationError, match="certificates"):
        tls_context(Config("https://h", certificate=b"no", key=b"pem"))
