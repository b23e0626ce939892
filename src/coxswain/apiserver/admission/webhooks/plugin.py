"""What both webhook plugins are made of: the hooks of their configurations, and somebody to ask them."""

from __future__ import annotations

import logging
from typing import ClassVar

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.webhooks.calling import Asker, closed
from coxswain.apiserver.admission.webhooks.hooks import Hook, HookSource
from coxswain.apiserver.admission.webhooks.matching import Matcher
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.lookup import Lookup

log = logging.getLogger(__name__)

#: Webhooks, each with its place among all of its kind.
Hooks = tuple[tuple[int, Hook], ...]


class WebhookPlugin(Plugin):
    """Base of the two. ``CONFIGURATIONS`` is the resource that names the webhooks."""

    CONFIGURATIONS: ClassVar[GVR]

    def __init__(self, lookup: Lookup, versions: Versions, matcher: Matcher, asker: Asker) -> None:
        self._hooks = HookSource(lookup, self.CONFIGURATIONS)
        self._versions = versions
        self._matcher = matcher
        self._asker = asker

    async def close(self) -> None:
        await self._asker.close()

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return bool(self._concerned(operation, resource, subresource))

    def _concerned(self, operation: str, resource: GVR, subresource: str) -> Hooks:
        """The hooks that may have to be asked about such requests."""
        others = self._versions.equivalents(resource)
        return self._hooks.concerned(operation, resource, subresource, others)

    def _fail_open(self, hook: Hook, failure: CallFailedError, request: Request, note: str) -> None:
        """Go on without the word of ``hook``, and note it; raises ``InternalError`` where its policy is Fail."""
        if not hook.fails_open:
            raise closed(hook, failure) from None
        log.warning("Failed calling webhook, failing open %s: %s", hook.name, failure)
        request.annotations[note] = hook.name
