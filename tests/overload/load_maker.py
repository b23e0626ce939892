"""Makes load: many connections, each asking again as soon as it is answered, whatever the answer was.

    python load_maker.py '{"port": 6443, "ca": "ca.crt", "token": "...", "connections": 100, "seconds": 5,
                           "requests": [["PUT", "/api/...", "{}"], ...]}'

Prints how many answers of each HTTP code came, as JSON, and how many connections were lost.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from typing import Any

import uvloop


class _Client(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, requests: list[bytes], first: int, codes: Counter[str]) -> None:
        self._requests = requests
        self._next = first
        self._codes = codes
        self._buffer = b""
        self._missing = 0
        self.stopped = False
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def start(self) -> None:
        """Ask for the first time."""
        self._send()

    def _send(self) -> None:
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        if self._missing > len(data):
            self._missing -= len(data)
            return
        self._buffer += data[self._missing :]
        answered = self._missing > 0
        self._missing = 0
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            code = head[9:12].decode()
            self._codes[code] += 1
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(rest) < length:
                self._missing, self._buffer = length - len(rest), b""
                return
            self._buffer = rest[length:]
            answered = True
        if answered and not self.stopped:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def stop(self) -> None:
        """No more requests."""
        self.stopped = True


async def _main(settings: dict[str, Any]) -> None:
    tls = ssl.create_default_context(cafile=settings["ca"])
    loop = asyncio.get_running_loop()
    requests = [
        (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {settings['token']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        for method, path, body in settings["requests"]
    ]
    codes: Counter[str] = Counter()
    clients: list[_Client] = []
    gate = asyncio.Semaphore(50)

    async def connect(number: int) -> None:
        async with gate:
            _, client = await loop.create_connection(
                lambda: _Client(requests, number, codes),
                "127.0.0.1",
                settings["port"],
                ssl=tls,
                ssl_handshake_timeout=60,
            )
        clients.append(client)

    await asyncio.gather(*(connect(number) for number in range(settings["connections"])))
    for client in clients:
        client.start()
    await asyncio.sleep(settings["seconds"])
    for client in clients:
        client.stop()
    await asyncio.sleep(1)
    print(json.dumps({"codes": codes, "lost": sum(client.lost for client in clients)}))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(json.loads(sys.argv[1])))
