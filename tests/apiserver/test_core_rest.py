"""The HTTPS door over real sockets: one server, started once, with its certificates and token file."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from coxswain.apiserver.routes import parse_path, parse_query, verb_of
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import (
    ApiServerConfig,
    LimitSettings,
    ServingSettings,
    StorageSettings,
    WatchSettings,
)
from coxswain.base.errors import ResourceUnavailable

TOKEN = {"Authorization": "Bearer T"}
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def _config(directory: Path, **limits: int) -> ApiServerConfig:
    tokens = directory / "tokens.csv"
    tokens.write_text('T,admin,1,"system:masters"\nJ,jane,2,\n')
    return ApiServerConfig(
        data_dir=directory / "data",
        token_auth_file=tokens,
        disable_admission_plugins=("ServiceAccount",),
        serving=ServingSettings(port=0, shutdown_grace=0.5),
        storage=StorageSettings(backend="memory"),
        limits=LimitSettings(**limits),
        watch=WatchSettings(ring_events=1),
    )


@contextlib.asynccontextmanager
async def _serving(directory: Path, **limits: int) -> AsyncIterator[tuple[ApiServer, aiohttp.ClientSession]]:
    server = ApiServer(_config(directory, **limits))
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    connector = aiohttp.TCPConnector(ssl=tls)
    try:
        async with aiohttp.ClientSession(server.url, connector=connector) as client:
            yield server, client
            # TLS connections end a few iterations after they were closed.
        await asyncio.sleep(0)
    finally:
        await server.stop()


async def test_a_server_serves_objects_watches_and_documents(tmp_path: Path) -> None:
    async with _serving(tmp_path) as (server, client):
        await _objects(client)
        await _watches(client)
        await _documents(client)
        await _refusals(client)
        await _certificates(server)


async def _objects(client: aiohttp.ClientSession) -> None:
    async with client.post(CONFIGMAPS, json={"metadata": {"name": "a"}, "x": 1}, headers=TOKEN) as made:
        assert made.status == 201
        assert made.headers["Warning"] == '299 - "unknown field \\"x\\""'
        assert made.headers["Audit-Id"]
        stored = await made.json()
    async with client.get(f"{CONFIGMAPS}/a", headers=TOKEN) as got:
        assert await got.json() == stored
    async with client.get(f"{CONFIGMAPS}/a?pretty=1", headers=TOKEN) as got:
        assert b'\n  "kind"' in await got.read()
    async with client.get(f"{CONFIGMAPS}/a", headers={**TOKEN, "Accept": "application/yaml"}) as got:
        assert "kind: ConfigMap" in await got.text()
    proto = {**TOKEN, "Accept": "application/vnd.kubernetes.protobuf"}
    async with client.get(f"{CONFIGMAPS}/a", headers=proto) as got:
        assert (await got.read()).startswith(b"k8s\x00")
    async with client.get(CONFIGMAPS + "?limit=1", headers=TOKEN) as got:
        assert (await got.json())["kind"] == "ConfigMapList"


async def _watches(client: aiohttp.ClientSession) -> None:
    async with client.get(CONFIGMAPS + "?watch=1&timeoutSeconds=1", headers=TOKEN) as watch:
        assert watch.status == 200
        line = await watch.content.readline()
        assert orjson.loads(line)["type"] == "ADDED"
        async with client.delete(f"{CONFIGMAPS}/a", headers=TOKEN) as gone:
            assert gone.status == 200
        assert orjson.loads(await watch.content.readline())["type"] == "DELETED"
    async with client.get(
        "/api/v1/watch/namespaces/default/configmaps?resourceVersion=1", headers=TOKEN
    ) as watch:
        event = orjson.loads(await watch.content.readline())
        assert (watch.status, event["type"], event["object"]["code"]) == (200, "ERROR", 410)


async def _documents(client: aiohttp.ClientSession) -> None:
    for path, word in (
        ("/version", "v1.36"),
        ("/healthz", "ok"),
        ("/readyz?verbose", "[+]ping ok"),
        ("/livez/ping", "ok"),
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps/v1", "deployments/scale"),
        ("/openapi/v3", "apis/apps/v1"),
        ("/openid/v1/jwks", "keys"),
        ("/metrics", "apiserver_request_total"),
        ("/", "/openapi/v2"),
    ):
        async with client.get(path, headers=TOKEN) as got:
            assert got.status == 200, path
            assert word in await got.text(), path


async def _refusals(client: aiohttp.ClientSession) -> None:
    async def status(method: str, path: str, **options: object) -> int:
        options.setdefault("headers", TOKEN)
        async with client.request(method, path, **options) as answer:  # type: ignore[arg-type]
            body = await answer.json(content_type=None)
            assert body["kind"] == "Status" and body["code"] == answer.status
            return answer.status

    assert await status("GET", "/nothing") == 404
    assert await status("GET", "/api/v1/frobs") == 404
    assert await status("POST", f"{CONFIGMAPS}/a") == 405
    assert await status("PUT", CONFIGMAPS) == 405
    assert await status("GET", CONFIGMAPS, headers={"Authorization": "Bearer wrong"}) == 401
    assert await status("GET", CONFIGMAPS, headers={}) == 403
    assert await status("GET", CONFIGMAPS, headers={"Authorization": "Bearer J"}) == 403
    assert await status("GET", CONFIGMAPS, headers={**TOKEN, "Impersonate-User": "jane"}) == 403
    assert await status("POST", CONFIGMAPS, data=io.BytesIO(b"x" * (4 << 20))) == 413
    assert await status("POST", CONFIGMAPS, data=b"{", headers={**TOKEN, "Content-Type": "text/x"}) == 415
    assert await status("GET", CONFIGMAPS, headers={**TOKEN, "Accept": "image/png"}) == 406


async def _certificates(server: ApiServer) -> None:
    assert server.pki is not None
    admin = server.pki.admin()
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    tls.load_cert_chain(admin.certificate_file, admin.key_file)
    async with (
        aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as client,
        client.get("/api/v1/nodes") as got,
    ):
        assert got.status == 200
    assert server.kubeconfig.stat().st_mode & 0o777 == 0o600


async def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    async with _serving(tmp_path) as (server, _):
        other = tmp_path / "other"
        other.mkdir()
        config = _config(other)
        taken = ApiServerConfig(
            data_dir=config.data_dir,
            serving=ServingSettings(port=server.port),
            storage=StorageSettings(backend="memory"),
        )
        with pytest.raises(ResourceUnavailable, match="cannot listen on"):
            await ApiServer(taken).start()


async def test_stopping_ends_watches(tmp_path: Path) -> None:
    async with (
        _serving(tmp_path) as (server, client),
        client.get(CONFIGMAPS + "?watch=1", headers=TOKEN) as watch,
    ):
        await server.stop()
        while await watch.content.readline():
            pass


async def test_a_sqlite_server_keeps_its_objects(tmp_path: Path) -> None:
    config = ApiServerConfig(data_dir=tmp_path / "d", serving=ServingSettings(port=0, shutdown_grace=0.1))
    from coxswain.api.names import GVR
    from coxswain.apiserver.server import LOOPBACK_USER
    from coxswain.client.interface import Call

    configmaps = GVR("", "v1", "configmaps")
    first = ApiServer(config)
    await first.start()
    made = await first.backend.call(
        Call("create", configmaps, "default", body=b'{"metadata":{"name":"a"}}'), LOOPBACK_USER
    )
    assert made.code == 201
    await first.stop()
    second = ApiServer(config)
    await second.start()
    again = await second.backend.call(Call("get", configmaps, "default", "a"), LOOPBACK_USER)
    await second.stop()
    assert again.object() == made.object()


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces/n/pods/p", "", "get"),
        ("GET", "/api/v1/pods", "", "list"),
        ("GET", "/api/v1/pods", "watch=true", "watch"),
        ("GET", "/api/v1/pods", "watch=0", "list"),
        ("GET", "/api/v1/watch/pods", "", "watch"),
        ("POST", "/apis/apps/v1/namespaces/n/deployments", "", "create"),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", "", "patch"),
        ("DELETE", "/api/v1/namespaces/n/pods", "", "deletecollection"),
        ("PUT", "/api/v1/namespaces/n", "", "update"),
        ("PUT", "/api/v1/namespaces/n/finalize", "", "update"),
        ("PUT", "/api/v1/pods", "", None),
        ("POST", "/api/v1/namespaces/n/pods/p", "", None),
    ],
)
def test_paths_and_methods_become_verbs(method: str, path: str, query: str, expected: str | None) -> None:
    route = parse_path(path)
    assert route is not None
    assert verb_of(method, route, parse_query(query)) == expected


def test_names_in_paths_are_unescaped() -> None:
    route = parse_path("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode")
    assert route is not None
    assert (route.resource.group, route.name) == ("rbac.authorization.k8s.io", "system:node")
    finalize = parse_path("/api/v1/namespaces/n/finalize")
    assert finalize is not None
    assert (finalize.resource.resource, finalize.name, finalize.subresource) == (
        "namespaces",
        "n",
        "finalize",
    )
    proxy = parse_path("/api/v1/namespaces/n/services/http:s:80/proxy/a/b")
    assert proxy is not None and proxy.rest == "a/b"
    for path in ("/api", "/apis/apps", "/apis/apps/v1", "/version", "/", "/api/v1/namespaces/n/pods/p/a/b"):
        assert parse_path(path) is None
