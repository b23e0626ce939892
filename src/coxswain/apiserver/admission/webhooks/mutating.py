"""MutatingAdmissionWebhook: webhooks that may patch the object, asked one after the other.

When one changed something, those before it that want to know (``reinvocationPolicy: IfNeeded``) are asked once more
in a second round, in which all other mutating plugins run again too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial

import orjson

from coxswain.api import errors, managedfields, patch
from coxswain.api.fields import quote
from coxswain.api.names import GVR, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.admission.versions import Versions, internal_error
from coxswain.apiserver.admission.webhooks.calling import Asker, closed
from coxswain.apiserver.admission.webhooks.hooks import MUTATING, Hook, HookSource
from coxswain.apiserver.admission.webhooks.matching import Invocation, Matcher
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.pending import decided

log = logging.getLogger(__name__)

Hooks = tuple[tuple[int, Hook], ...]


@dataclass(slots=True)
class _Rounds:
    """What one request's rounds remember (Kubernetes' ``webhookReinvokeContext``)."""

    #: Asked already and wanting to know of changes; and of those, to be asked again.
    waiting: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)
    #: The object as the webhooks left it.
    output: bytes = b""

    def changed(self) -> None:
        self.again |= self.waiting
        self.waiting = set()


class MutatingAdmissionWebhook(Plugin):
    """See the module's text."""

    NAME = "MutatingAdmissionWebhook"
    WATCHES = (MUTATING,)

    def __init__(self, lookup: Lookup, versions: Versions, matcher: Matcher, asker: Asker) -> None:
        self._hooks = HookSource(lookup, MUTATING)
        self._versions = versions
        self._matcher = matcher
        self._asker = asker

    async def close(self) -> None:
        await self._asker.close()

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return bool(self._concerned(operation, resource, subresource))

    def admit(self, request: Request) -> Awaitable[None] | None:
        hooks = self._concerned(request.operation, request.resource, request.subresource)
        return self._ask_all(hooks, request) if hooks else None

    def _concerned(self, operation: str, resource: GVR, subresource: str) -> Hooks:
        others = self._versions.equivalents(resource)
        return self._hooks.concerned(operation, resource, subresource, others)

    async def _ask_all(self, hooks: Hooks, request: Request) -> None:
        memory = request.memory = {} if request.memory is None else request.memory
        rounds: _Rounds = memory.setdefault(self.NAME, _Rounds())
        if request.reinvoked and rounds.output and rounds.output != _image(request.object):
            rounds.changed()  # by the plugins that ran again before this one
        for place, hook in hooks:
            found = await decided(partial(self._matcher.invocation, place, hook, request))
            if found is None or (request.reinvoked and hook.uid not in rounds.again):
                continue
            changed = await self._ask(found, request)
            if changed:
                rounds.changed()
                request.reinvoke = True
            if hook.reinvoked:
                rounds.waiting.add(hook.uid)
        rounds.output = b"" if request.reinvoked else _image(request.object)

    async def _ask(self, found: Invocation, request: Request) -> bool:
        """Whether the object is another now. Raises ``ApiError``."""
        hook, number = found.hook, int(request.reinvoked)
        key = f"webhook.admission.k8s.io/round_{number}_index_{found.place}"
        try:
            said = await self._asker.ask(found, request, mutating=True)
        except CallFailedError as failure:
            if not hook.fails_open:
                raise closed(hook, failure) from None
            log.warning("Failed calling webhook, failing open %s: %s", hook.name, failure)
            request.annotations[f"failed-open.mutation.{key}"] = hook.name
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
        before = _image(found.object)
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
        if before == _image(patched) if found.resource == request.resource else patched == request.object:
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


def _image(obj: Object | None) -> bytes:
    """An object's content, to compare: what is the same has the same bytes."""
    return b"" if obj is None else orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
