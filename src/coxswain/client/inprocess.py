"""The transport inside one process: calls go straight into the API server's request pipeline.

Same authorization, admission and validation as over the wire; only the wire is missing. Bytes are shared
with the server, never copied. ``user`` is who the component is: composed by whoever runs both.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from coxswain.client.interface import Answer, Answers, Backend, Call, RawList, UserInfo, WatchStream


class InProcessTransport:
    """A ``Transport`` over a ``Backend`` in this process, acting as ``user``."""

    def __init__(self, backend: Backend, user: UserInfo) -> None:
        self._backend = backend
        self._user = user

    async def call(self, call: Call) -> Answer:
        return await self._backend.call(call, self._user)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        # Together, so that the store commits them as one group; gather starts them in their order.
        return list(await asyncio.gather(*(self._backend.call(call, self._user) for call in calls)))

    async def list(self, call: Call) -> RawList:
        return await self._backend.list_raw(call, self._user)

    def watch(self, call: Call) -> WatchStream:
        return self._backend.watch_events(call, self._user)

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        return await self._backend.stream(call, self._user)

    async def close(self) -> None:
        """Nothing to close: the API server belongs to the composer."""
