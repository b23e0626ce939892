"""A whole API server over TLS with users of few rights, and a wire to send it anything at all."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from coxswain.apiserver.authn.settings import IdentitySettings
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings

#: Tokens of the users in the file: administrator, somebody without rights, somebody with few.
ADMIN, NOBODY, JANE = "admin-t0ken", "nobody-t0ken", "jane-t0ken"
USERS = f"""{ADMIN},admin,1,"system:masters"
{NOBODY},nobody,2,
{JANE},jane,3,"devs"
"""


class Target:
    """A running server, and words to speak with it."""

    def __init__(self, server: ApiServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def send(
        self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Code and decoded body. ``body``: bytes as they are, anything else as JSON. ``_`` in headers is ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        if data is not None and "Content-Type" not in sent:
            sent["Content-Type"] = "application/json"
        content = None if data is None else io.BytesIO(data)
        async with self.session.request(
            method, _url(self.server.url, path), data=content, headers=sent, allow_redirects=False
        ) as answer:
            raw = await answer.read()
            with contextlib.suppress(orjson.JSONDecodeError):
                return answer.status, orjson.loads(raw)
            return answer.status, raw

    async def must(self, method: str, path: str, body: Any = None) -> Any:
        """As the administrator, and it has to work."""
        code, answer = await self.send(method, path, body, token=ADMIN)
        assert code < 300, (method, path, code, answer)
        return answer

    async def grant(self, user: str, *rules: dict[str, Any], namespace: str = "") -> None:
        """Give a user these rules, everywhere or in a namespace."""
        base = "/apis/rbac.authorization.k8s.io/v1"
        where = f"{base}/namespaces/{namespace}" if namespace else base
        prefix = "" if namespace else "Cluster"
        kind = f"{prefix}Role"
        name = f"of-{user}".replace(":", "-")
        role = {"metadata": {"name": name}, "rules": list(rules)}
        await self.must("POST", f"{where}/{kind.lower()}s", role)
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
        await self.must("POST", f"{where}/{kind.lower()}bindings", binding)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes; the answer, or what comes until the server closes."""
        assert self.server.pki is not None
        context = ssl.create_default_context(cadata=self.server.pki.ca.certificate.decode())
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=context, server_hostname="localhost"
        )
        received = b""
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
                while True:
                    piece = await asyncio.wait_for(reader.read(1 << 16), 20)
                    if not piece:
                        break
                    received += piece
                    if _complete(received):
                        break
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
        return received

    async def healthy(self) -> bool:
        """Whether the server still serves."""
        return (await self.send("GET", "/readyz"))[0] == 200 and (
            await self.send("GET", "/api/v1/namespaces/default", token=ADMIN)
        )[0] == 200


def _url(base: str, path: str) -> Any:
    from yarl import URL

    # As written: no normalization of dots, no second encoding.
    return URL(base + path, encoded=True)


def _complete(data: bytes) -> bool:
    """Whether an answer with a Content-Length is there in full."""
    head, found, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if found and line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def codes(answers: bytes) -> list[int]:
    """The status codes of the answers on a connection."""
    return [int(line.split()[1]) for line in answers.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


@contextlib.asynccontextmanager
async def serving(directory: Path, identity: IdentitySettings | None = None) -> AsyncIterator[Target]:
    """A server of its own."""
    tokens = directory / "tokens.csv"
    tokens.write_text(USERS)
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            token_auth_file=tokens,
            disable_admission_plugins=("ServiceAccount",),
            serving=ServingSettings(port=0, grpc_port=-1, shutdown_grace=0.2),
            storage=StorageSettings(backend="memory"),
            identity=identity or IdentitySettings(),
        )
    )
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    connector = aiohttp.TCPConnector(ssl=tls, limit=16)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Target(server, session)
        await asyncio.sleep(0)
    finally:
        await server.stop()
