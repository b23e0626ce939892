"""Requests that kubelets, pods and services answer: over TLS, with upgrades, and who may."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import NODES, PODS, SERVICES, Object
from coxswain.apiserver.proxying import headers
from coxswain.apiserver.proxying.locations import Places, is_allowed, split_name
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.client.interface import UserInfo
from coxswain.store.interface import Op

ADMIN = "Bearer T"
EXEC = "/api/v1/namespaces/default/pods/p/exec"


@dataclass
class Node:
    """A kubelet (or pod) that says what it was asked, and echoes in capitals what comes after an upgrade."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                await self._answer(head, reader, writer)
        writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split("\r\n")[0].split(" ")
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(lines.get("content-length", 0)))
        if "upgrade" in lines and "/refuse" not in target:
            protocol = lines["upgrade"]
            writer.write(
                f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\nhello ".encode()
            )
            while data := await reader.read(65536):
                writer.write(data.upper())
                await writer.drain()
            raise ConnectionResetError
        if "/refuse" in target:
            writer.write(
                b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nno way\n"
            )
        elif "/moved" in target:
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere?a=1\r\nContent-Length: 0\r\n\r\n")
        elif "/none" in target:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            text = f"{method} {target}\n".encode() + body
            extra = b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
            writer.write(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (extra, len(text)))
            writer.write(b"" if method == "HEAD" else text)
        await writer.drain()


@dataclass
class Running:
    server: ApiServer
    client: aiohttp.ClientSession
    kubelet: Node
    plain: Node
    tls: ssl.SSLContext

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, bytes, Any]:
        options.setdefault("headers", {"Authorization": ADMIN})
        async with self.client.request(method, path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.read(), answer.headers

    async def upgrade(
        self,
        target: str,
        *,
        method: str = "POST",
        token: str = ADMIN,
        more: str = "",
        protocol: str = "SPDY/3.1",
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=self.tls)
        writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: api\r\nAuthorization: {token}\r\nConnection: Upgrade\r\n"
            f"Upgrade: {protocol}\r\n{more}\r\n".encode()
        )
        return reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()


@contextlib.asynccontextmanager
async def running(directory: Path, *, trusted: bool = True) -> AsyncIterator[Running]:
    tokens = directory / "tokens.csv"
    tokens.write_text('T,admin,1,"system:masters"\nJ,jane,2,\n')
    config = ApiServerConfig(
        data_dir=directory / "data",
        token_auth_file=tokens,
        disable_admission_plugins=("ServiceAccount",),
        serving=ServingSettings(port=0, shutdown_grace=0.5),
        storage=StorageSettings(backend="memory"),
    )
    server = ApiServer(config)
    await server.start()
    assert server.pki is not None
    pair = server.pki.kubelet_serving("n1" if trusted else "somebody-else", ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate_file, pair.key_file)
    context.load_verify_locations(cadata=server.pki.ca.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    kubelet, plain = Node(), Node()
    listeners = [
        await asyncio.start_server(kubelet.serve, "127.0.0.1", 0, ssl=context),
        await asyncio.start_server(plain.serve, "127.0.0.1", 0),
    ]
    kubelet.port, plain.port = (one.sockets[0].getsockname()[1] for one in listeners)
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as client:
            one = Running(server, client, kubelet, plain, tls)
            await _furnish(one)
            yield one
        await asyncio.sleep(0)
    finally:
        await server.stop()
        for listener in listeners:
            listener.close()


async def _furnish(one: Running) -> None:
    """A node, a pod on it and one that waits, a service and what is behind it; jane may get but not create."""

    async def make(method: str, path: str, body: Object) -> None:
        code, text, _ = await one.ask(method, path, json=body)
        assert code < 300, text

    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": one.kubelet.port}},
    }
    await make("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}})
    patch = {"Authorization": ADMIN, "Content-Type": "application/merge-patch+json"}
    code, text, _ = await one.ask("PATCH", "/api/v1/nodes/n1/status", json={"status": status}, headers=patch)
    assert code == 200, text
    pods = "/api/v1/namespaces/default/pods"
    ports = [{"containerPort": one.plain.port, "name": "web"}]
    containers = [{"name": "c", "image": "x", "ports": ports}, {"name": "d", "image": "x"}]
    await make(
        "POST", pods, {"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": containers}}
    )
    await make("POST", pods, {"metadata": {"name": "waiting"}, "spec": {"containers": containers[:1]}})
    address = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    code, text, _ = await one.ask("PATCH", f"{pods}/p/status", json=address, headers=patch)
    assert code == 200, text
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "http"}]}}
    await make("POST", "/api/v1/namespaces/default/services", service)
    piece: Object = {
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["127.0.0.1"]},
            {"addresses": ["10.9.9.9"], "conditions": {"ready": False}},
        ],
        "ports": [{"name": "http", "port": one.plain.port}],
    }
    # Validation refuses loopback addresses in slices, and these tests have no other.
    piece["metadata"]["namespace"] = "default"
    value = Op("/registry/endpointslices/default/s-1", orjson.dumps(piece))
    await one.server.pipeline.core.storage.commit(value, None)
    rules = [{"apiGroups": [""], "resources": ["pods/exec", "pods/proxy"], "verbs": ["get"]}]
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    await make("POST", f"{roles}/roles", {"metadata": {"name": "r"}, "rules": rules})
    subject = {"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
    await make(
        "POST", f"{roles}/rolebindings", {"metadata": {"name": "r"}, "roleRef": role, "subjects": [subject]}
    )


async def test_requests_reach_nodes_pods_and_services(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        await _methods_and_paths(one)
        await _headers(one)
        await _redirects(one)
        await _refusals(one)
        await _exec(one)
        await _websocket(one)
        await _refused_upgrades(one)
        await _much_data_both_ways(one)


async def _methods_and_paths(one: Running) -> None:
    pod, service = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/services"
    for path, seen in (
        ("/api/v1/nodes/n1/proxy/healthz", "/healthz"),
        (f"/api/v1/nodes/n1:{one.kubelet.port}/proxy/a/b/", "/a/b/"),
        (f"{pod}/p/proxy/x%2Fy?a=1&a=2&path=z", "/x%2Fy?a=1&a=2&path=z"),
        (f"{pod}/p:{one.plain.port}/proxy/", "/"),
        (f"{pod}/http:p:web/proxy/w", "/w"),
        (f"{service}/s:http/proxy/q?watch=1", "/q?watch=1"),
        (f"{service}/s:80/proxy/", "/"),
        (f"/api/v1/nodes/https:n1:{one.kubelet.port}/proxy/tls", "/tls"),
    ):
        code, body, _ = await one.ask("GET", path)
        assert (code, body.decode()) == (200, f"GET {seen}\n"), path
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        code, body, _ = await one.ask(method, f"{pod}/p/proxy/m", data=b"the body")
        assert (code, body) == (200, f"{method} /m\nthe body".encode())
    assert (await one.ask("HEAD", f"{pod}/p/proxy/m"))[0] == 200
    assert (await one.ask("GET", f"{pod}/p/proxy/none"))[:2] == (204, b"")


async def _headers(one: Running) -> None:
    sent = {"Authorization": ADMIN, "X-Mine": "1", "X-Remote-User": "root", "X-Forwarded-For": "1.2.3.4"}
    _, _, received = await one.ask("GET", "/api/v1/namespaces/default/pods/p/proxy/h", headers=sent)
    assert received.getall("Set-Cookie") == ["a=1", "b=2"]
    head = one.plain.heads[-1].lower()
    assert "x-mine: 1\r\n" in head and "x-forwarded-for: 1.2.3.4, 127.0.0.1\r\n" in head
    assert "x-forwarded-uri: /api/v1/namespaces/default/pods/p/proxy/h\r\n" in head
    assert "authorization" not in head and "x-remote-user" not in head and "cookie" not in head


async def _redirects(one: Running) -> None:
    pod = "/api/v1/namespaces/default/pods/p/proxy"
    code, _, received = await one.ask("GET", f"{pod}?a=1")
    assert (code, received["Location"]) == (301, f"{pod}/?a=1")
    code, _, received = await one.ask("GET", f"{pod}/moved")
    assert (code, received["Location"]) == (302, f"{pod}/elsewhere?a=1")


async def _refusals(one: Running) -> None:
    pods = "/api/v1/namespaces/default/pods"
    services = "/api/v1/namespaces/default/services"
    for path, code, words in (
        (f"{pods}/gone/proxy/", 404, 'pods "gone" not found'),
        (f"{pods}/waiting/proxy/", 400, "address not allowed"),
        (f"{pods}/ftp:p:21/proxy/", 400, 'invalid pod request "ftp:p:21"'),
        (f"{services}/s:81/proxy/", 503, 'no service port 81 found for service "s"'),
        (f"{services}/s/proxy/", 503, 'no endpoints available for service "s"'),
        (f"{services}/t/proxy/", 404, 'services "t" not found'),
        ("/api/v1/nodes/n2/proxy/", 404, 'nodes "n2" not found'),
        (f"{pods}/p:1/proxy/", 503, "error trying to reach service"),
        (EXEC + "?container=zz", 400, "container zz is not valid for pod p"),
        (EXEC, 400, "a container name must be specified for pod p, choose one of: [c d]"),
        (EXEC + "?container=c", 400, "Upgrade request required"),
        (f"{pods}/waiting/exec", 400, "pod waiting does not have a host assigned"),
    ):
        status, body, _ = await one.ask("GET", path)
        assert (status, words in orjson.loads(body)["message"]) == (code, True), (path, body)
    jane = {"Authorization": "Bearer J"}
    assert (await one.ask("GET", f"{pods}/p/proxy/", headers=jane))[0] == 200
    for method, path, verb in (
        ("POST", f"{pods}/p/proxy/", "create"),
        ("GET", EXEC + "?container=c", "create"),
        ("GET", f"{services}/s/proxy/", "get"),
        ("GET", "/api/v1/nodes/n1/proxy/", "get"),
    ):
        status, body, _ = await one.ask(method, path, headers=jane)
        assert status == 403 and f'cannot {verb} resource "' in orjson.loads(body)["message"]
    assert (await one.ask("PUT", EXEC))[0] == 405


async def _exec(one: Running) -> None:
    query = "container=c&stdin=true&stdout=true&tty=false&command=sh&command=-c&command=a%20b"
    more = "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n"
    reader, writer, head = await one.upgrade(f"{EXEC}?{query}", more=more)
    assert head.startswith("HTTP/1.1 101 ") and "Upgrade: spdy/3.1" in head
    assert await reader.readexactly(6) == b"hello "
    writer.write(b"some bytes")
    assert await reader.readexactly(10) == b"SOME BYTES"
    sent = one.kubelet.heads[-1]
    assert sent.startswith(
        "POST /exec/default/p/c?input=1&output=1&command=sh&command=-c&command=a+b HTTP/1.1\r\n"
    )
    assert sent.lower().count("x-stream-protocol-version: ") == 2
    assert "authorization" not in sent.lower()
    writer.close()
    for target, path in (
        ("/api/v1/namespaces/default/pods/p/attach?container=d&stdout=1", "/attach/default/p/d?output=1"),
        (
            "/api/v1/namespaces/default/pods/p/portforward?ports=80,81",
            "/portForward/default/p?port=80&port=81",
        ),
    ):
        _, writer, head = await one.upgrade(target)
        assert head.startswith("HTTP/1.1 101 ") and one.kubelet.heads[-1].split(" ")[1] == path
        writer.close()


async def _websocket(one: Running) -> None:
    more = (
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.VA\r\n"
    )
    reader, writer, head = await one.upgrade(
        f"{EXEC}?container=c&command=ls", method="GET", more=more, protocol="websocket"
    )
    assert head.startswith("HTTP/1.1 101 ")
    assert "sec-websocket-protocol: v5.channel.k8s.io\r\n" in one.kubelet.heads[-1].lower()
    writer.write(b"frames")
    assert await reader.readexactly(12) == b"hello FRAMES"
    writer.close()
    service = "/api/v1/namespaces/default/services/s:http/proxy/chat"
    reader, writer, head = await one.upgrade(service, method="GET", protocol="websocket")
    assert head.startswith("HTTP/1.1 101 ") and one.plain.heads[-1].startswith("GET /chat HTTP/1.1")
    writer.close()


async def _refused_upgrades(one: Running) -> None:
    """What the other side says instead of 101 is what the client gets, and the connection goes on as HTTP."""
    reader, writer, head = await one.upgrade("/api/v1/nodes/n1/proxy/refuse")
    assert head.startswith("HTTP/1.1 403 ") and "Content-Length: 7" in head
    assert await reader.readexactly(7) == b"no way\n"
    writer.write(f"GET /version HTTP/1.1\r\nHost: api\r\nAuthorization: {ADMIN}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    _, writer, head = await one.upgrade(f"{EXEC}?container=c", token="Bearer J")
    assert head.startswith("HTTP/1.1 403 ")
    writer.close()


async def _much_data_both_ways(one: Running) -> None:
    reader, writer, _ = await one.upgrade(f"{EXEC}?container=c&stdin=1")
    data = b"abcdefgh" * (1 << 18)

    async def send() -> None:
        writer.write(data)
        await writer.drain()

    sending = asyncio.create_task(send())
    assert await reader.readexactly(6 + len(data)) == b"hello " + data.upper()
    await sending
    writer.close()


async def test_a_kubelet_with_anothers_certificate_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path, trusted=False) as one:
        status, body, _ = await one.ask("GET", "/api/v1/nodes/n1/proxy/healthz")
        assert status == 503 and b"error trying to reach service" in body
        assert one.kubelet.heads == []
        _, writer, head = await one.upgrade(f"{EXEC}?container=c")
        assert head.startswith("HTTP/1.1 500 ")
        writer.close()


async def test_streams_end_when_the_server_stops(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        reader, writer, _ = await one.upgrade(f"{EXEC}?container=c")
        assert await reader.readexactly(6) == b"hello "
        await one.server.stop()
        assert await reader.read() == b""
        writer.close()


def _refused(call: Callable[[], object]) -> errors.ApiError:
    with pytest.raises(errors.ApiError) as refused:
        call()
    return refused.value


def test_names_have_a_scheme_and_a_port() -> None:
    assert split_name("a", "pod") == ("", "a", "")
    assert split_name("a:80", "pod") == ("", "a", "80")
    assert split_name("https:a:web", "pod") == ("https", "a", "web")
    assert split_name(":a:", "pod") == ("", "a", "")
    for wrong in ("", ":80", "ftp:a:1", "a:b:c:d"):
        assert _refused(lambda wrong=wrong: split_name(wrong, "pod")).code == 400  # type: ignore[misc]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("::ffff:127.0.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_addresses_of_this_machine_and_link_are_out_of_reach(address: str, allowed: bool) -> None:
    assert is_allowed(address, loopback=False) is allowed


def test_a_host_network_port_of_a_node_is_not_its_kubelet() -> None:
    lookup = DictLookup()
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}]}
    lookup.put(NODES, "n", status=status)
    places = Places(lookup)
    kubelet = places.proxy(NODES, "", "n", "/", "")
    assert (kubelet.scheme, kubelet.port, kubelet.node) == ("https", 10250, "n")
    assert places.proxy(NODES, "", "n:10250", "/", "").node == "n"
    other = places.proxy(NODES, "", "n:9100", "/", "")
    assert (other.scheme, other.port, other.node) == ("http", 9100, "")


def test_services_fall_back_to_endpoints_and_unnamed_ports() -> None:
    lookup = DictLookup()
    lookup.put(SERVICES, "s", "d", spec={"ports": [{"port": 80}]})
    from coxswain.api.names import ENDPOINTS

    subset = {"addresses": [{"ip": "10.0.0.9"}], "ports": [{"port": 8080}]}
    lookup.put(ENDPOINTS, "s", "d", subsets=[subset])
    for name in ("s", "s:80"):
        found = Places(lookup).proxy(SERVICES, "d", name, "/", "")
        assert (found.host, found.port) == ("10.0.0.9", 8080)


def test_pods_without_ports_are_asked_at_the_usual_one() -> None:
    lookup = DictLookup()
    lookup.put(PODS, "p", "d", spec={}, status={"podIP": "10.0.0.9"})
    assert Places(lookup).proxy(PODS, "d", "p", "/", "").port == 80
    assert Places(lookup).proxy(PODS, "d", "https:p:", "/", "").port == 443


def test_headers_of_one_connection_and_of_identity_stay_behind() -> None:
    fields = [
        (b"connection", b"keep-alive, X-Once"),
        (b"x-once", b"1"),
        (b"te", b"trailers"),
        (b"x-remote-extra-scopes", b"all"),
        (b"impersonate-user", b"root"),
        (b"accept", b"a"),
        (b"accept", b"b"),
    ]
    assert headers.passed_on(fields, "") == [("accept", "a"), ("accept", "b")]


def test_an_identity_is_told_in_headers_that_cannot_be_split() -> None:
    user = UserInfo("a\r\nX-Remote-Group: system:masters", ("g", "h"), "", {"example.com/Ü": ("1", "2")})
    assert headers.identity(user) == [
        ("X-Remote-User", "a  X-Remote-Group: system:masters"),
        ("X-Remote-Group", "g"),
        ("X-Remote-Group", "h"),
        ("X-Remote-Extra-example.com%2F%C3%9C", "1"),
        ("X-Remote-Extra-example.com%2F%C3%9C", "2"),
    ]


def test_what_no_request_line_may_have_is_percent_encoded() -> None:
    assert headers.on_the_wire("/é x%2Fy") == "/%C3%A9%20x%2Fy"
    assert headers.query_of("/a?q=ü&r=%zz#f".encode()) == "q=%C3%BC&r=%zz"
