"""The gRPC door keeps out whom the HTTPS door keeps out: nobody's certificate, no certificate, somebody else's."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coxswain.api import errors
from coxswain.api.names import CLUSTER_ROLE_BINDINGS, GVR, NODES, PODS, SECRETS
from coxswain.apiserver import pki
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.client.grpc import GrpcTransport
from coxswain.client.interface import Call
from coxswain.client.kubeconfig import Config

EVERY = [
    PODS,
    SECRETS,
    NODES,
    CLUSTER_ROLE_BINDINGS,
    GVR("", "v1", "nothing"),
    GVR("authentication.k8s.io", "v1", "tokenreviews"),
]


@asynccontextmanager
async def door(directory: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            serving=ServingSettings(port=0, grpc_port=0, shutdown_grace=0.2),
            storage=StorageSettings(backend="memory"),
        )
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def caller(server: ApiServer, pair: pki.KeyPair | None, token: str = "") -> GrpcTransport:
    assert server.pki is not None
    certificate, key = (pair.certificate, pair.key) if pair is not None else (b"", b"")
    config = Config(
        server.url,
        authority=server.pki.ca.certificate,
        certificate=certificate,
        key=key,
        token=token,
        grpc_address=f"127.0.0.1:{server.grpc_port}",
    )
    return GrpcTransport(config, timeout=5.0)


async def test_certificates_without_rights_do_nothing(tmp_path: Path) -> None:
    async with door(tmp_path) as server:
        assert server.pki is not None
        transport = caller(server, server.pki.client("nobody", "nobody"))
        try:
            calls = [
                Call(verb, gvr, "default", name)  # type: ignore[arg-type]
                for gvr in EVERY
                for verb, name in (
                    ("get", "x"),
                    ("list", ""),
                    ("create", ""),
                    ("update", "x"),
                    ("patch", "x"),
                    ("delete", "x"),
                    ("deletecollection", ""),
                )
            ]
            answers = await transport.batch(calls)
            assert {answer.code for answer in answers} == {403}
            with pytest.raises(errors.Forbidden):
                await transport.list(Call("list", SECRETS))
        finally:
            await transport.close()


async def test_a_node_reads_its_own_only(tmp_path: Path) -> None:
    async with door(tmp_path) as server:
        assert server.pki is not None
        transport = caller(server, server.pki.node("n1"))
        try:
            refused = [Call("get", SECRETS, "default", "x"), Call("list", PODS), Call("get", NODES, "", "n2")]
            assert [answer.code for answer in await transport.batch(refused)] == [403] * 3
            assert (await transport.call(Call("get", NODES, "", "n1"))).code == 404
            found = await transport.list(Call("list", PODS, query={"fieldSelector": "spec.nodeName=n1"}))
            assert found.items == []
        finally:
            await transport.close()


@pytest.mark.parametrize("who", ["nobody at all", "another authority", "a wrong token"])
async def test_who_has_no_certificate_of_ours_gets_no_answer(tmp_path: Path, who: str) -> None:
    async with door(tmp_path) as server:
        assert server.pki is not None
        other = pki.Pki(tmp_path / "other")
        pair = {
            "nobody at all": None,
            "another authority": other.admin(),
            "a wrong token": server.pki.admin(),
        }[who]
        transport = caller(server, pair, "wrong" if who == "a wrong token" else "")
        try:
            with pytest.raises((errors.ApiError, ssl.SSLError)):
                answer = await transport.call(Call("list", SECRETS))
                answer.object()
        finally:
            await transport.close()
