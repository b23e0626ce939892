"""Webhooks that judge connections: exec, port forwards, proxies."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from apiserver.core_support import ADMIN
from apiserver.test_proxy_requests import EXEC, running
from apiserver.test_webhooks import add, configure, hook, rule, world
from apiserver.webhook_server import patched, webhook_server
from coxswain.api import errors
from coxswain.api.names import GVK, NODES, PODS
from coxswain.apiserver.admission.connecting import admit_connection
from coxswain.apiserver.admission.webhooks.hooks import MUTATING, VALIDATING


async def test_options_are_made_of_the_query(tmp_path: Path) -> None:
    async with world(tmp_path) as (cluster, server):
        client = server.on("/v", lambda review: {"allowed": False, "status": {"message": "no shells"}})
        rules = [rule("pods/*", "", "CONNECT"), rule("nodes/proxy", "", "CONNECT")]
        await configure(cluster, VALIDATING, hook("v.b.c", client, rules=rules))
        chain = cluster.core.admission
        query = "command=sh&command=-c&stdin=1&tty=false&container=main"
        with pytest.raises(errors.ApiError, match="denied the request: no shells"):
            kind = GVK("", "v1", "PodExecOptions")
            await admit_connection(chain, ADMIN, kind, PODS, "default", "p", "exec", query)
        with pytest.raises(errors.ApiError):
            kind = GVK("", "v1", "PodPortForwardOptions")
            await admit_connection(chain, ADMIN, kind, PODS, "default", "p", "portforward", "ports=80,81")
        with pytest.raises(errors.ApiError):
            kind = GVK("", "v1", "NodeProxyOptions")
            await admit_connection(chain, ADMIN, kind, NODES, "", "n", "proxy", "a=b", "/logs")
        executed, forwarded, proxied = server.reviews("/v")
        assert executed["object"] == {
            "kind": "PodExecOptions",
            "apiVersion": "v1",
            "stdin": True,
            "container": "main",
            "command": ["sh", "-c"],
        }
        assert (executed["operation"], executed["subResource"], executed["name"]) == ("CONNECT", "exec", "p")
        assert executed["kind"]["kind"] == "PodExecOptions" and executed["options"] is None
        assert forwarded["object"]["ports"] == [80, 81]
        assert proxied["object"]["path"] == "/logs" and "namespace" not in proxied


async def test_changed_options_go_on_their_way(tmp_path: Path) -> None:
    async with world(tmp_path) as (cluster, server):
        client = server.on("/m", lambda review: patched(add("/container", "side")))
        await configure(cluster, MUTATING, hook("m.b.c", client, rules=[rule("pods/exec", "", "CONNECT")]))
        kind = GVK("", "v1", "PodExecOptions")
        chain = cluster.core.admission
        query = await admit_connection(
            chain, ADMIN, kind, PODS, "default", "p", "exec", "command=ls&stdout=1"
        )
        assert query == "stdout=true&container=side&command=ls"
        query = await admit_connection(chain, ADMIN, kind, PODS, "default", "p", "attach", "stdout=1")
        assert query == "stdout=1"


async def test_nobody_is_connected_against_a_webhooks_will(tmp_path: Path) -> None:
    async with webhook_server(tmp_path / "hook") as webhooks, running(tmp_path) as serving:
        client = webhooks.on("/v", lambda review: {"allowed": False, "status": {"message": "stay out"}})
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "x"},
            "webhooks": [hook("v.b.c", client, rules=[rule("pods/exec", "", "CONNECT")])],
        }
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        headers = {"Authorization": "Bearer T", "Content-Type": "application/json"}
        code, _, _ = await serving.ask("POST", path, data=orjson.dumps(body), headers=headers)
        assert code == 201
        reader, writer, head = await serving.upgrade(f"{EXEC}?command=sh")
        assert " 400 " in head.split("\r\n")[0]
        assert b"stay out" in await reader.read(4096)
        writer.close()
        assert not serving.kubelet.heads
