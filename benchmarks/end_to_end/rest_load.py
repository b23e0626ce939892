"""A REST client that costs little: raw HTTP/1.1 over TLS, so that the load does not take the server's cores.

``create_all`` posts bodies over some keep-alive connections, each with a few requests in flight; ``count_events``
watches and counts events by their first bytes, without decoding them.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """An API server on loopback and a token for it."""

    port: int
    token: str

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)

    def head(self, method: str, path: str, length: int = 0) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.token}"]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {length}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Refused(Exception):
    """The server did not answer 2xx."""


async def create_all(target: Target, path: str, bodies: Sequence[bytes], connections: int = 32) -> None:
    """POST every body to ``path``; raises ``Refused`` unless each is answered with 201."""
    pending = iter(bodies)

    async def worker() -> None:
        reader, writer = await target.connect()
        for body in pending:
            writer.write(target.head("POST", path, len(body)) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            rest = await reader.readexactly(_content_length(head))
            if not head.startswith(b"HTTP/1.1 201"):
                raise Refused(head.split(b"\r\n", 1)[0].decode() + " " + rest[:300].decode())
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


def _content_length(head: bytes) -> int:
    at = head.lower().index(b"content-length:")
    return int(head[at + 15 : head.index(b"\r\n", at)])


@dataclass
class Counter:
    """Events seen by a watch, and how many there were at the end of each second."""

    seen: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)

    async def sample(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.samples.append((time.monotonic(), self.seen))

    def rate(self) -> float:
        """Events a second, averaged over the seconds from the first change to the last."""
        first = next((i for i, (_, count) in enumerate(self.samples) if count), None)
        if first is None:
            return 0.0
        counts = [0] * (first == 0) + [count for _, count in self.samples[max(0, first - 1) :]]
        steps = [later - earlier for earlier, later in itertools.pairwise(counts)]
        while steps and steps[-1] == 0:
            steps.pop()
        return sum(steps) / len(steps) if steps else 0.0


async def count_events(target: Target, path: str, marker: bytes, counter: Counter) -> None:
    """Watch ``path`` and add to ``counter`` whenever ``marker`` appears in the stream."""
    reader, writer = await target.connect()
    writer.write(target.head("GET", path))
    await reader.readuntil(b"\r\n\r\n")
    tail = b""
    while chunk := await reader.read(1 << 18):
        data = tail + chunk
        counter.seen += data.count(marker)
        tail = data[-(len(marker) - 1) :]
    writer.close()
