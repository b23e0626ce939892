"""Watchers of a store: each gets every later commit of its prefix, in order, or is cut off.

The hub is told of each acknowledged commit, in order. A watcher that starts in the past first reads the
changes up to the moment of its registration from the backend (``replay``), then what the hub buffered.
The commit path never waits for a watcher: one whose buffer holds more than ``max_changes`` is ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from coxswain.store.interface import Change, SlowWatcher, StoreClosed

Replay = Callable[[], Awaitable[list[list[Change]]]]


class HubWatch:
    """One watcher; see ``store.interface.Watch``."""

    def __init__(self, hub: WatchHub, prefix: str, replay: Replay | None, after: int) -> None:
        self.prefix = prefix
        self.after = after
        self._hub = hub
        self._replay = replay
        self._batches: deque[Sequence[Change]] = deque()
        self._buffered = 0
        self._wake: asyncio.Future[None] | None = None
        self._end: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[Change]:
        if self._replay is not None:
            replay, self._replay = self._replay, None
            self._batches.extendleft(reversed(await replay()))
        while not self._batches:
            if self._end is not None:
                raise self._end
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        batch = self._batches.popleft()
        self._buffered = max(0, self._buffered - len(batch))
        return batch

    def offer(self, changes: Sequence[Change], limit: int) -> None:
        """Buffer ``changes``; called by the hub. Over ``limit`` the watcher is ended."""
        if self._buffered + len(changes) > limit:
            self.end(SlowWatcher(f"the watcher of {self.prefix} fell more than {limit} changes behind"))
            return
        self._batches.append(changes)
        self._buffered += len(changes)
        self._notify()

    def end(self, reason: Exception) -> None:
        """Make the iteration raise ``reason`` once what is buffered has been read."""
        if self._end is None:
            self._end = reason
            self._hub.remove(self)
            self._notify()

    def close(self) -> None:
        self.end(StopAsyncIteration())
        self._batches.clear()
        self._replay = None

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class WatchHub:
    """All watchers of one store."""

    def __init__(self, max_changes: int) -> None:
        """``max_changes``: how many changes a watcher may lag behind."""
        self._max_changes = max_changes
        self._watches: dict[HubWatch, None] = {}

    def add(self, prefix: str, replay: Replay | None, after: int) -> HubWatch:
        """A new watcher of changes behind revision ``after``; its live part starts with the next publish."""
        watch = HubWatch(self, prefix, replay, after)
        self._watches[watch] = None
        return watch

    def remove(self, watch: HubWatch) -> None:
        self._watches.pop(watch, None)

    def publish(self, changes: Sequence[Change]) -> None:
        """Hand the changes of one or more commits, oldest first, to whom they concern."""
        oldest, newest = changes[0].revision, changes[-1].revision
        for watch in tuple(self._watches):
            if newest <= watch.after:
                continue  # read already: a list may run ahead of the acknowledgement
            matching = [change for change in changes if change.key.startswith(watch.prefix)]
            if oldest <= watch.after:
                matching = [change for change in matching if change.revision > watch.after]
            if matching:
                watch.offer(matching, self._max_changes)

    def close(self, reason: str) -> None:
        """End every watcher."""
        for watch in tuple(self._watches):
            watch.end(StoreClosed(reason))
