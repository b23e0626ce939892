"""ValidatingAdmissionWebhook: webhooks that may refuse, all asked at one time.

Every one of them is heard to the end, so that each knows of every request; of several refusals the first in the
configurations' order is the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.webhooks.calling import Asker, closed
from coxswain.apiserver.admission.webhooks.hooks import VALIDATING, HookSource
from coxswain.apiserver.admission.webhooks.matching import Invocation, Matcher
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.pending import Pending, decided

log = logging.getLogger(__name__)


class ValidatingAdmissionWebhook(Plugin):
    """See the module's text."""

    NAME = "ValidatingAdmissionWebhook"
    WATCHES = (VALIDATING,)

    def __init__(self, lookup: Lookup, versions: Versions, matcher: Matcher, asker: Asker) -> None:
        self._hooks = HookSource(lookup, VALIDATING)
        self._versions = versions
        self._matcher = matcher
        self._asker = asker

    async def close(self) -> None:
        await self._asker.close()

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        others = self._versions.equivalents(resource)
        return bool(self._hooks.concerned(operation, resource, subresource, others))

    def validate(self, request: Request) -> Awaitable[None] | None:
        try:
            found = self._invocations(request)
        except Pending:
            return self._find_and_ask(request)
        return self._ask_all(found, request) if found else None

    def _invocations(self, request: Request) -> list[Invocation]:
        others = self._versions.equivalents(request.resource)
        hooks = self._hooks.concerned(request.operation, request.resource, request.subresource, others)
        found = (self._matcher.invocation(place, hook, request) for place, hook in hooks)
        return [invocation for invocation in found if invocation is not None]

    async def _find_and_ask(self, request: Request) -> None:
        """The same where a conversion or an authorizer has to be waited for first."""
        await self._ask_all(await decided(lambda: self._invocations(request)), request)

    async def _ask_all(self, found: list[Invocation], request: Request) -> None:
        if len(found) == 1:
            await self._ask(found[0], request)
            return
        answers = await asyncio.gather(*(self._ask(one, request) for one in found), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    async def _ask(self, found: Invocation, request: Request) -> None:
        hook = found.hook
        try:
            await self._asker.ask(found, request, mutating=False)
        except CallFailedError as failure:
            if not hook.fails_open:
                raise closed(hook, failure) from None
            log.warning("Failed calling webhook, failing open %s: %s", hook.name, failure)
            key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{found.place}"
            request.annotations[key] = hook.name
