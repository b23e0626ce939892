"""Logs: what the API server asks a kubelet, over a real socket, and what it passes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from apiserver.core_support import ADMIN, PODS, Cluster, cluster, pod
from coxswain.api import errors
from coxswain.api.names import NODES
from coxswain.apiserver.kubelet_client import KubeletClient, kubelet_address
from coxswain.client.interface import MERGE_PATCH, Call


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    """A kubelet that says what it was asked; container ``bad`` it does not know."""
    if request.path.endswith("/bad"):
        return web.Response(status=404, text="container bad not found")
    response = web.StreamResponse()
    await response.prepare(request)
    for part in (request.method, request.path, request.query_string):
        await response.write(part.encode() + b"\n")
    return response


@asynccontextmanager
async def _with_kubelet() -> AsyncIterator[Cluster]:
    runner = web.ServerRunner(web.Server(_answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = KubeletClient(None)
    try:
        async with cluster() as c:
            c.pipeline.kubelets = client
            await c.do("create", NODES, body={"metadata": {"name": "n1"}})
            status = {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            }
            await c.do(
                "patch", NODES, "n1", {"status": status}, subresource="status", content_type=MERGE_PATCH
            )
            two = pod("p")
            two["spec"]["containers"].append({"name": "bad", "image": "x"})
            for body in (two, pod("waiting")):
                await c.do("create", PODS, body=body)
            binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
            await c.do("create", PODS, "p", binding, subresource="binding")
            yield c
    finally:
        await client.close()
        await runner.cleanup()


async def test_logs_come_from_the_kubelet_of_the_pod() -> None:
    async with _with_kubelet() as c:
        call = Call("get", PODS, "default", "p", "log", {"container": "c", "tailLines": "3", "x": "y"})
        stream = await c.pipeline.stream(call, ADMIN)
        text = b"".join([chunk async for chunk in stream]).decode()
        assert text.splitlines() == ["GET", "/containerLogs/default/p/c", "tailLines=3"]
        empty = await c.call("get", PODS, "waiting", subresource="log")
        assert (empty.code, empty.body) == (200, b"")


async def test_log_requests_that_cannot_be_served_are_refused() -> None:
    async with _with_kubelet() as c:
        for query, code, words in (
            ({}, 400, "choose one of: [c bad]"),
            ({"container": "zz"}, 400, "container zz is not valid for pod p"),
            ({"container": "bad"}, 404, "container bad not found"),
            ({"container": "c", "tailLines": "-1"}, 422, "tailLines"),
        ):
            answer = await c.call("get", PODS, "p", subresource="log", **query)
            assert answer.code == code
            assert words in answer.body.decode()
        assert (await c.call("get", PODS, "gone", subresource="log")).code == 404


async def test_nodes_are_proxied_to_their_kubelet() -> None:
    async with _with_kubelet() as c:
        answer = await c.call("get", NODES, "n1", subresource="proxy", path="healthz", verbose="1")
        assert answer.body.decode().splitlines() == ["GET", "/healthz", "verbose=1"]
        assert (await c.call("get", NODES, "n2", subresource="proxy")).code == 404


def test_a_node_without_an_address_cannot_be_reached() -> None:
    with pytest.raises(errors.ServiceUnavailable, match="node n has no address"):
        kubelet_address({"metadata": {"name": "n"}})
    addresses = [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.1"}]
    assert kubelet_address({"metadata": {"name": "n"}, "status": {"addresses": addresses}}) == (
        "10.0.0.1",
        10250,
    )
