"""A real HTTPS server for webhooks, on this machine, with a certificate of its own authority."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from coxswain.apiserver.pki import Pki

#: Gets the AdmissionReview; returns its response's fields, the raw bytes to send, or None to hang up.
Answer = Callable[[dict[str, Any]], dict[str, Any] | bytes | None]


def patched(*operations: dict[str, Any]) -> dict[str, Any]:
    """An answer that changes the object."""
    patch = base64.b64encode(orjson.dumps(list(operations))).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": patch}


def raw(status: str, body: bytes) -> bytes:
    """An answer of another kind."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


class WebhookServer:
    """Answers by path; remembers what it was asked, and how many connections were made."""

    def __init__(self, ca: bytes) -> None:
        self.ca = base64.b64encode(ca).decode()
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.hosts: list[str] = []
        self.headers: list[dict[str, str]] = []
        #: Subjects of clients that showed a certificate; "" for the others.
        self.clients: list[str] = []
        self.connections = 0
        self.port = 0
        self.hang = asyncio.Event()

    def on(self, path: str, answer: Answer) -> dict[str, Any]:
        """Answer at ``path``; the clientConfig for it."""
        self.answers[path] = answer
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca}

    def reviews(self, path: str) -> list[dict[str, Any]]:
        """The AdmissionRequests that came to ``path``."""
        return [review["request"] for asked, review in self.asked if asked == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.hosts.append(headers["host"])
        self.headers.append(headers)
        shown = writer.get_extra_info("peercert") or {}
        self.clients.append(
            dict(part for row in shown.get("subject", ()) for part in row).get("commonName", "")
        )
        path = lines[0].split()[1].partition("?")[0]
        review = orjson.loads(body)
        self.asked.append((path, review))
        if path == "/hang":
            await self.hang.wait()
        answer = self.answers[path](review)
        if answer is None:
            return False
        if isinstance(answer, dict):
            response = {"uid": review["request"]["uid"], **answer}
            whole = {"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}
            answer = raw("200 OK", orjson.dumps(whole))
        writer.write(answer)
        await writer.drain()
        return True


@asynccontextmanager
async def webhook_server(directory: Path, *names: str) -> AsyncIterator[WebhookServer]:
    """A running server whose certificate is for 127.0.0.1 and ``names``."""
    pki = Pki(directory)
    pair = pki.kubelet_serving("webhook", ["127.0.0.1", *names])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate_file, pair.key_file)
    context.load_verify_locations(cadata=pki.ca.certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    running = WebhookServer(pki.ca.certificate)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0, ssl=context)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        running.hang.set()
        server.close()
        await asyncio.sleep(0)
