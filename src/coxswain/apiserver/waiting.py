"""A pipeline for servers that ask others outside who somebody is or what they may do.

Decisions are synchronous everywhere. Where one has to wait (``Pending``), the request is begun again once the
answer is there: nothing has been changed by then, for decisions come before every write. Servers that ask
nobody use ``Pipeline`` itself and pay nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.pending import ATTEMPTS, Pending
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.request import Reply
from coxswain.apiserver.verbs.watching import WatchSession
from coxswain.client.interface import Answer, Call, RawList, UserInfo


class WaitingPipeline(Pipeline):
    """``Pipeline``, patient."""

    async def handle(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | StreamReply:
        for _ in range(ATTEMPTS):
            try:
                return await super().handle(call, user, user_agent=user_agent, pretty=pretty)
            except Pending as pending:
                await pending.answer()
        return await super().handle(call, user, user_agent=user_agent, pretty=pretty)

    async def exchange(self, calls: Sequence[Call], user: UserInfo) -> list[Answer]:
        """Side by side: each may have to be begun again on its own."""
        return list(await asyncio.gather(*(self.call(call, user) for call in calls)))

    def answer_now(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | None:
        try:
            return super().answer_now(call, user, user_agent=user_agent, pretty=pretty)
        except Pending:
            return None

    async def open_watch(
        self, call: Call, user: UserInfo, *, user_agent: str = "", queue_limit: int = 0
    ) -> WatchSession:
        for _ in range(ATTEMPTS):
            try:
                return await super().open_watch(call, user, user_agent=user_agent, queue_limit=queue_limit)
            except Pending as pending:
                await pending.answer()
        return await super().open_watch(call, user, user_agent=user_agent, queue_limit=queue_limit)

    async def list_raw(self, call: Call, user: UserInfo) -> RawList:
        for _ in range(ATTEMPTS):
            try:
                return await super().list_raw(call, user)
            except Pending as pending:
                await pending.answer()
        return await super().list_raw(call, user)
