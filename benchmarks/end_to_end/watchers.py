"""Many watchers in a process of their own, which costs as little as Python can: epoll and raw TLS sockets.

    python -m benchmarks.end_to_end.watchers PORT TOKEN PATH WATCHERS EVENTS

Prints "ready" once every watch is open, then counts until each watcher has seen EVENTS events (or nothing arrived for
ten seconds), and prints one JSON object: deliveries, seconds from the first to the last, lost, and the latency in
milliseconds of every sixteenth watcher, from ``"at":"<unix time>"`` in the object to its arrival here.
"""

from __future__ import annotations

import json
import re
import select
import socket
import ssl
import sys
import time

from benchmarks.end_to_end.rest_load import percentile

_EVENT = b'"type":"MODIFIED"'
_SENT = re.compile(rb'"at":"(\d+\.\d+)"')
_SILENCE = 10.0


class Watcher:
    """One watch: how many events it saw."""

    __slots__ = ("seen", "sock", "tail", "timed")

    def __init__(self, sock: ssl.SSLSocket, timed: bool) -> None:
        self.sock = sock
        self.seen = 0
        self.tail = b""
        self.timed = timed

    def read(self, latencies: list[float]) -> int:
        """Everything that has arrived; how many events were in it."""
        found = 0
        while True:
            try:
                chunk = self.sock.recv(1 << 16)
            except ssl.SSLWantReadError:
                break
            if not chunk:
                raise ConnectionError("the server ended a watch")
            # An event's mark stands at its beginning: what a chunk cuts off is at most that.
            data = self.tail + chunk
            found += data.count(_EVENT)
            if self.timed:
                now = time.time()
                latencies.extend(now - float(sent) for sent in _SENT.findall(data))
            self.tail = data[-(len(_EVENT) - 1) :]
            if len(chunk) < 1 << 14:
                break
        self.seen += found
        return found


def connect(port: int, token: str, path: str, timed: bool) -> Watcher:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    sock.sendall(head.encode())
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += sock.recv(4096)
    if not heard.startswith(b"HTTP/1.1 200"):
        raise SystemExit(heard[:300].decode())
    sock.setblocking(False)
    return Watcher(sock, timed)


def main() -> None:
    port, token, path, count, events = sys.argv[1:]
    watchers = [connect(int(port), token, path, number % 16 == 0) for number in range(int(count))]
    poll = select.epoll()
    by_fd = {watcher.sock.fileno(): watcher for watcher in watchers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    print("ready", flush=True)
    expected, total = int(events) * len(watchers), 0
    latencies: list[float] = []
    first = last = time.monotonic()
    while total < expected:
        ready = poll.poll(_SILENCE if total else 60.0, 256)
        if not ready:
            break
        if not total:
            first = time.monotonic()
        for fd, _ in ready:
            total += by_fd[fd].read(latencies)
        last = time.monotonic()
    print(
        json.dumps(
            {
                "deliveries": total,
                "lost": expected - total,
                "seconds": last - first,
                "p50": percentile(latencies, 50) * 1000 if latencies else None,
                "p99": percentile(latencies, 99) * 1000 if latencies else None,
            }
        )
    )


if __name__ == "__main__":
    main()
