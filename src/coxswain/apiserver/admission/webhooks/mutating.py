"""MutatingAdmissionWebhook: webhooks that may patch the object, asked one after the other.

When one changed something, those before it that want to know (``reinvocationPolicy: IfNeeded``) are asked once more
in a second round, in which all other mutating plugins run again too.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

import orjson

from coxswain.api import errors, managedfields, patch
from coxswain.api.fields import quote
from coxswain.api.names import Object
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.admission.rounds import Rounds, image
from coxswain.apiserver.admission.versions import internal_error
from coxswain.apiserver.admission.webhooks.hooks import MUTATING
from coxswain.apiserver.admission.webhooks.matching import Invocation
from coxswain.apiserver.admission.webhooks.plugin import Hooks, WebhookPlugin
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.pending import decided


class MutatingAdmissionWebhook(WebhookPlugin):
    """See the module's text."""

    NAME = "MutatingAdmissionWebhook"
    WATCHES = (MUTATING,)
    CONFIGURATIONS = MUTATING

    def admit(self, request: Request) -> Awaitable[None] | None:
        hooks = self._concerned(request.operation, request.resource, request.subresource)
        return self._ask_all(hooks, request) if hooks else None

    async def _ask_all(self, hooks: Hooks, request: Request) -> None:
        rounds = Rounds.begin(request, self.NAME)
        for place, hook in hooks:
            found = await decided(partial(self._matcher.invocation, place, hook, request))
            if found is None or rounds.passes_over(request, hook.uid):
                continue
            changed = await self._ask(found, request)
            rounds.note(request, hook.uid, changed=changed, wants_to_know=hook.reinvoked)
        rounds.end(request)

    async def _ask(self, found: Invocation, request: Request) -> bool:
        """Whether the object is another now. Raises ``ApiError``."""
        hook, number = found.hook, int(request.reinvoked)
        key = f"webhook.admission.k8s.io/round_{number}_index_{found.place}"
        try:
            said = await self._asker.ask(found, request, mutating=True)
        except CallFailedError as failure:
            self._fail_open(hook, failure, request, f"failed-open.mutation.{key}")
            return False
        changed = bool(said.patch) and await decided(partial(self._apply, found, request, said.patch))
        note = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        request.annotations[f"mutation.{key}"] = orjson.dumps(note).decode()
        return changed

    def _apply(self, found: Invocation, request: Request, raw: bytes) -> bool:
        """Put the patched object into the request. Raises ``InternalError`` for a patch that does not fit."""
        try:
            operations = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise internal_error(str(error)) from None
        if not operations:
            return False
        if request.object is None or found.object is None:
            raise internal_error(
                f"admission webhook {quote(found.hook.name)} attempted to modify the object, "
                "which is not supported for this operation"
            )
        before = image(found.object)
        try:
            patched = orjson.loads(orjson.dumps(patch.json_patch(found.object, operations)))
            patched = self._versions.settle(found.resource, found.kind, patched)
            if not isinstance(patched.get("metadata"), dict):
                patched["metadata"] = {}
            _keep_managed_fields(request, patched["metadata"], found.object.get("metadata") or {})
            if found.resource != request.resource and found.kind != request.kind:
                patched = self._versions.convert(patched, found.resource, request.resource)
        except errors.ApiError as error:
            raise internal_error(error.message) from None
        if before == image(patched) if found.resource == request.resource else patched == request.object:
            return False
        request.object.clear()
        request.object.update(patched)
        return True


def _keep_managed_fields(request: Request, after: Object, before: Object) -> None:
    """Managed fields that nobody can read any more are put back as they were."""
    given, former = after.get("managedFields"), before.get("managedFields")
    if not given or given == former or managedfields.entries.decode(given, trusted=False):
        return
    if former:
        after["managedFields"] = former
    else:
        del after["managedFields"]
    request.warnings.append(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated "
        "mutating admission controller; please fix your requests: an entry cannot be decoded"
    )
