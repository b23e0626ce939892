"""A REST client that costs little: raw HTTP/1.1 over TLS, so that the load does not take the server's cores.

``create_all`` posts bodies over some keep-alive connections, one request at a time on each; ``count_events``
watches and counts events by their first bytes, without decoding them.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast


@dataclass(frozen=True)
class Target:
    """An API server on loopback and a token for it."""

    port: int
    token: str

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context())

    @staticmethod
    def context() -> ssl.SSLContext:
        """The server's certificate is not looked at: this is loopback, and a benchmark."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def head(self, method: str, path: str, length: int = 0, content_type: str = "") -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.token}"]
        if length:
            lines += [f"Content-Type: {content_type or 'application/json'}", f"Content-Length: {length}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Refused(Exception):
    """The server did not answer 2xx."""


@dataclass(frozen=True)
class Answer:
    """A 2xx answer; ``seconds`` from the first byte sent to the last received."""

    body: bytes
    seconds: float


class Connection:
    """One keep-alive connection."""

    def __init__(self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target = target
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, target: Target) -> Connection:
        return cls(target, *await target.connect())

    async def say(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
        """One request. Raises ``Refused`` unless it is answered with 2xx."""
        started = time.monotonic()
        self._writer.write(self._target.head(method, path, len(body), content_type) + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        rest = await self._reader.readexactly(_content_length(head))
        if not head.startswith(b"HTTP/1.1 2"):
            raise Refused(head.split(b"\r\n", 1)[0].decode() + " " + rest[:300].decode())
        return Answer(rest, time.monotonic() - started)

    def close(self) -> None:
        self._writer.close()


async def say(target: Target, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
    """One request on a connection of its own."""
    connection = await Connection.open(target)
    try:
        return await connection.say(method, path, body, content_type)
    finally:
        connection.close()


async def say_all(
    target: Target, requests: Sequence[tuple[str, str, bytes]], *, connections: int, content_type: str = ""
) -> list[Answer]:
    """The answers to all ``requests`` (method, path, body), in their order. Raises ``Refused``."""
    answers: list[Answer | None] = [None] * len(requests)
    pending = iter(enumerate(requests))

    async def worker() -> None:
        connection = await Connection.open(target)
        try:
            for number, (method, path, body) in pending:
                answers[number] = await connection.say(method, path, body, content_type)
        finally:
            connection.close()

    await asyncio.gather(*(worker() for _ in range(connections)))
    return [answer for answer in answers if answer is not None]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` percent of ``values`` do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


async def create_all(target: Target, path: str, bodies: Sequence[bytes], connections: int = 32) -> None:
    """POST every body to ``path``, each connection one after the other.

    Raises ``Refused`` unless each is answered with 2xx, and ``ConnectionError`` when a connection is lost before.
    """
    requests = (target.head("POST", path, len(body)) + body for body in bodies)
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(min(connections, len(bodies)))]
    context = target.context()
    opened = [
        loop.create_connection(partial(_Creator, requests, one), "127.0.0.1", target.port, ssl=context)
        for one in done
    ]
    await asyncio.gather(*opened)
    answered = sum(await asyncio.gather(*done))
    assert answered == len(bodies), f"{answered} of {len(bodies)} were answered"


class _Creator(asyncio.Protocol):
    """One connection that sends the next request when the last one was answered: no tasks, no streams."""

    def __init__(self, requests: Iterator[bytes], done: asyncio.Future[int]) -> None:
        """``done`` gets how many requests were answered with 2xx when none is left, or why that failed."""
        self._requests = requests
        self._done = done
        self._answered = 0
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not derived from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
            return
        self._transport.close()
        if not self._done.done():
            self._done.set_result(self._answered)

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or len(data) < end + _content_length(data[:end]):
            self._data = data
            return
        self._data = b""
        if data.startswith(b"HTTP/1.1 2"):
            self._answered += 1
            self._next()
        else:
            why = data.split(b"\r\n", 1)[0].decode() + " " + data[end : end + 300].decode()
            self._fail(Refused(why))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server has closed the connection"))

    def _fail(self, error: Exception) -> None:
        self._transport.close()
        if not self._done.done():
            self._done.set_exception(error)


def _content_length(head: bytes) -> int:
    at = head.find(b"Content-Length:")
    if at < 0:
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
