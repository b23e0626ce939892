"""Request bodies that are passed on as they come: what proxies are sent may be longer than this server would hold.

    connection --feed--> Upload --async for--> whoever passes it on

At most ``AHEAD`` bytes wait; then nothing more is read from the client until some of them are gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Self

AHEAD: Final = 256 << 10


class Upload:
    """A body on its way. One side feeds it, the other iterates once."""

    def __init__(self, transport: asyncio.Transport, length: int | None) -> None:
        """``length`` in bytes, where the client said it."""
        self.length = length
        #: Whether the client has sent all of it.
        self.ended = False
        #: Whether nothing is read from the client, because too much waits.
        self.paused = False
        self._transport = transport
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._failed = self._closed = False
        self._wake: asyncio.Future[None] | None = None

    # -- the connection's side

    def feed(self, data: bytes) -> None:
        """Some more of it came."""
        if self._closed or self._failed:
            return
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting > AHEAD and not self.paused and not self._transport.is_closing():
            self.paused = True
            self._transport.pause_reading()
        self._tell()

    def end(self) -> None:
        """All of it came."""
        self.ended = True
        self._tell()

    def fail(self) -> None:
        """The rest will not come."""
        self._failed = not self.ended
        self._tell()

    def close(self) -> None:
        """Nobody wants the rest: what still comes is thrown away."""
        self._closed = True
        self._pieces.clear()
        self._read_on()

    # -- the reader's side

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._failed:
                raise ConnectionResetError("the client has gone")
            if self.ended or self._closed:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        if self._waiting <= AHEAD // 2:
            self._read_on()
        return piece

    def _read_on(self) -> None:
        if self.paused:
            self.paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def _tell(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
