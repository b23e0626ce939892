"""Moves what a watcher has queued to its connection, until one of them ends.

One chunk for a run of events, written straight to the transport: nobody waits for a watcher, and one whose
connection holds back more than ``buffer_bytes`` is cut off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from coxswain.apiserver.http1 import Stream
from coxswain.apiserver.verbs.watching import WatchSession

log = logging.getLogger(__name__)


class Pump:
    """See the module's text."""

    def __init__(
        self, session: WatchSession, stream: Stream, buffer_bytes: int, on_end: Callable[[Pump], object]
    ) -> None:
        """``on_end`` is called once, when the watch is over for whatever reason."""
        self.session = session
        self._stream = stream
        self._transport = stream.transport
        self._limit = buffer_bytes
        self._on_end = on_end
        self._ended = False
        #: Events written so far.
        self.sent = 0

    def start(self) -> None:
        """Write what is queued, and from now on whatever comes."""
        self.session.watcher.on_ready = self._flush
        self._flush()

    def finish(self) -> None:
        """The watch has ended, or the connection is lost. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self.session.watcher.on_ready = None
        self.session.close()
        self._on_end(self)
        self._stream.end()

    def _flush(self) -> None:
        watcher, transport = self.session.watcher, self._transport
        if self._ended:
            return
        if transport.is_closing():
            self.finish()
            return
        if watcher.queue:
            deliveries = watcher.drain()
            self.sent += len(deliveries)
            self._stream.write(self.session.lines(deliveries))
            waiting = transport.get_write_buffer_size()
            if waiting > self._limit:
                watcher.end(f"the watcher left {waiting} bytes unread")
        if watcher.failure is not None:
            log.info("a watcher was cut off: %s", watcher.failure)
            transport.abort()
            self.finish()
        elif watcher.ended:
            self.finish()
