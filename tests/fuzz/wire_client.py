"""A client that says anything and reads whatever comes: raw HTTP over TLS, one connection at a time."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from fuzz.odd_requests import Wire


class Unanswered(Exception):
    """The server closed the connection, or kept it, without a complete answer."""


@dataclass(slots=True)
class Heard:
    """An answer."""

    status: int
    body: bytes


class WireClient:
    """Keeps its connection where HTTP allows it."""

    def __init__(self, port: int, tls: ssl.SSLContext, timeout: float = 60.0) -> None:
        self._port, self._tls, self._timeout = port, tls, timeout
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def say(self, wire: Wire) -> Heard:
        """Send a request, read its answer. Raises ``Unanswered``."""
        fresh = self._writer is None
        try:
            async with asyncio.timeout(self._timeout):
                if self._writer is None:
                    self._reader, self._writer = await asyncio.open_connection(
                        "127.0.0.1", self._port, ssl=self._tls, limit=1 << 20
                    )
                assert self._reader is not None
                self._writer.write(wire.data)
                return await self._hear(self._reader, wire)
        except TimeoutError:
            await self.close()
            raise Unanswered(f"no answer within {self._timeout} s") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            await self.close()
            if not fresh and isinstance(error, asyncio.IncompleteReadError) and not error.partial:
                return await self.say(wire)  # an idle connection may be closed at any time
            raise Unanswered(f"{type(error).__name__}: {error}") from None

    async def _hear(self, reader: asyncio.StreamReader, wire: Wire) -> Heard:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split()[1])
            if status != 100:
                break
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])
        }
        chunked = headers.get("transfer-encoding") == "chunked"
        if wire.streams and status == 200 and (chunked or "content-length" not in headers):
            await self.close()
            return Heard(status, b"")
        body = b""
        if wire.head or status in (204, 304):
            pass
        elif chunked:
            body = await _chunks(reader)
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = await reader.read(-1)
        # What the parser refuses gets a body even for HEAD.
        refused = wire.head and status == 400
        if (
            wire.closes
            or refused
            or headers.get("connection", "").lower() == "close"
            or "content-length" not in headers
        ):
            await self.close()
        return Heard(status, body)

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._reader = self._writer = None


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size + 2))
    await reader.readline()
    return b"".join(parts)
