"""The pipeline of a server among several.

Reading, updating and deleting are up to date by themselves, for they ask the storage to catch up. Creating reads
nothing, and what admission looks at may be a moment old, as in Kubernetes; but it is never refused for that: a refusal
counts only if it is repeated by caches that have caught up since. So the namespace, the permissions and the account
that another server made a moment ago are found, and a name that it made free can be had.

A service whose address another server has given out meanwhile is done again from the start.
"""

from __future__ import annotations

from typing import Final

from coxswain.api import errors
from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.request import Reply
from coxswain.apiserver.shared.storage import Contended
from coxswain.apiserver.waiting import WaitingPipeline
from coxswain.client.interface import Call, UserInfo

_ATTEMPTS: Final = 16
_APPLY: Final = "application/apply-patch"
#: Refusals that may come from caches that are behind.
_DOUBTFUL: Final = (
    errors.AlreadyExists,
    errors.BadRequest,
    errors.Conflict,
    errors.Forbidden,
    errors.Invalid,
    errors.NotFound,
)


class SharedPipeline(WaitingPipeline):
    """See the module's text."""

    async def handle(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | StreamReply:
        seen = self.core.storage.revision
        try:
            return await self._handle(call, user, user_agent, pretty)
        except _DOUBTFUL:
            if not self._may_create(call):
                raise
            await self.core.storage.catch_up()
            if self.core.storage.revision == seen:
                raise
        return await self._handle(call, user, user_agent, pretty)

    async def _handle(self, call: Call, user: UserInfo, user_agent: str, pretty: bool) -> Reply | StreamReply:
        for _ in range(_ATTEMPTS):
            try:
                return await super().handle(call, user, user_agent=user_agent, pretty=pretty)
            except Contended as contended:
                await self.core.storage.wait_for(contended.revision)
                if self.core.allocator is not None:
                    self.core.allocator.repair()
        raise errors.ServiceUnavailable("too many services want the same addresses and ports", retry_after=1)

    def _may_create(self, call: Call) -> bool:
        if call.subresource or call.verb not in ("create", "update", "patch"):
            return False
        entry = self.core.registry.get(call.resource)
        if entry is None or entry.cache is None:
            return False
        if call.verb == "update":
            return entry.create_on_update
        return call.verb == "create" or call.content_type.startswith(_APPLY)

    def answer_now(
        self, call: Call, user: UserInfo, *, user_agent: str = "", pretty: bool = False
    ) -> Reply | None:
        """Nothing: the store has to be asked first."""
        return None
