"""ValidatingAdmissionWebhook: webhooks that may refuse, all asked at one time.

Every one of them is heard to the end, so that each knows of every request; of several refusals the first in the
configurations' order is the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.webhooks.hooks import VALIDATING
from coxswain.apiserver.admission.webhooks.matching import Invocation
from coxswain.apiserver.admission.webhooks.plugin import WebhookPlugin
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.pending import Pending, decided


class ValidatingAdmissionWebhook(WebhookPlugin):
    """See the module's text."""

    NAME = "ValidatingAdmissionWebhook"
    WATCHES = (VALIDATING,)
    CONFIGURATIONS = VALIDATING

    def validate(self, request: Request) -> Awaitable[None] | None:
        try:
            found = self._invocations(request)
        except Pending:
            return self._find_and_ask(request)
        return self._ask_all(found, request) if found else None

    def _invocations(self, request: Request) -> list[Invocation]:
        hooks = self._concerned(request.operation, request.resource, request.subresource)
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
        try:
            await self._asker.ask(found, request, mutating=False)
        except CallFailedError as failure:
            key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{found.place}"
            self._fail_open(found.hook, failure, request, key)
