"""One question to one webhook: what both kinds of webhooks share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from coxswain.api import errors
from coxswain.api.fields import quote
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.versions import internal_error
from coxswain.apiserver.admission.webhooks import metrics
from coxswain.apiserver.admission.webhooks.client import Caller, failed, target_of
from coxswain.apiserver.admission.webhooks.hooks import Hook
from coxswain.apiserver.admission.webhooks.matching import Invocation
from coxswain.apiserver.admission.webhooks.review import (
    CallFailedError,
    Verdict,
    refusal,
    review,
    review_version,
    verdict,
)
from coxswain.apiserver.lookup import Lookup

_WITHOUT_SIDE_EFFECTS = ("None", "NoneOnDryRun")


class Asker:
    """Asks webhooks."""

    def __init__(self, lookup: Lookup, caller: Caller, new_uid: Callable[[], str]) -> None:
        self._lookup = lookup
        self._caller = caller
        self._new_uid = new_uid

    async def close(self) -> None:
        """Close the connections."""
        await self._caller.close()

    async def ask(self, found: Invocation, request: Request, *, mutating: bool) -> Verdict:
        """The webhook's word; warnings and audit annotations are noted, a refusal is raised as ``ApiError``.

        Raises ``CallFailedError`` when there is no word to go by.
        """
        hook, operation = found.hook, request.operation
        if request.dry_run and hook.side_effects not in _WITHOUT_SIDE_EFFECTS:
            raise errors.BadRequest(f"admission webhook {quote(hook.name)} does not support dry run")
        start = asyncio.get_running_loop().time()
        rejected, code = True, 0
        try:
            said = await self._word(found, request, mutating)
            rejected = not said.allowed
            code = 200 if said.allowed else refusal(hook.name, said.status).code
        except CallFailedError:
            metrics.failed(hook.name, mutating, operation, hook.fails_open)
            rejected = not hook.fails_open
            raise
        finally:
            took = asyncio.get_running_loop().time() - start
            metrics.answered(hook.name, mutating, operation, took, rejected, code)
        for key, value in said.annotations.items():
            request.annotations[f"{hook.name}/{key}"] = value
        request.warnings.extend(said.warnings)
        if not said.allowed:
            error = refusal(hook.name, said.status)
            metrics.refused(hook.name, mutating, operation, error.code)
            raise error
        return said

    async def _word(self, found: Invocation, request: Request, mutating: bool) -> Verdict:
        hook = found.hook
        version = review_version(hook.reviews)
        uid = self._new_uid()
        body = review(version, uid, found.resource, found.kind, request, found.object, found.old_object)
        target = target_of(hook, self._lookup)
        try:
            async with asyncio.timeout(hook.timeout):
                answer = await self._caller(target, body)
        except TimeoutError:
            raise failed(target, "context deadline exceeded") from None
        return verdict(answer, uid, version, mutating=mutating)


def closed(hook: Hook, failure: CallFailedError) -> errors.InternalError:
    """The answer to the client when a webhook fails that must not."""
    return internal_error(f"failed calling webhook {quote(hook.name)}: {failure}")
