"""Keeps claims that pods use: the finalizer ``kubernetes.io/pvc-protection``.

A claim that is being deleted keeps it while a pod with a node uses the claim. Before it is removed, the informer
has to know every pod that was given its node before the claim's deletion was asked for (kubelet starts none with such
a claim later). It does once it is as far as the claim's own revision, as it is when the last pod's end woke us.
Otherwise the pods of the namespace are listed afresh; one list serves all claims of the namespace that wait (as in
Kubernetes, which lists always), so a namespace that goes with its claims is not listed once for each.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import orjson

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, PODS, Object
from coxswain.client.informer import key_of
from coxswain.client.interface import Client
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.podclaims import CLAIM_INDEX, claim_keys, pods_by_claim
from coxswain.controllers.shell import Shell
from coxswain.controllers.storageprotection.decide import (
    CLAIM_FINALIZER,
    next_step,
    uses_claim,
    with_finalizer,
    without_finalizer,
)

NAME = "persistentvolumeclaim-protection-controller"
#: Claims that are written at a time.
_AT_ONCE = 20
_CLAIM_NAME = re.compile(rb'"claimName"\s*:\s*"([^"]*)"')


class ClaimProtection:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._pods = pods_by_claim(context.informers)
        #: Namespace -> keys of the claims to be looked at.
        self._waiting: dict[str, dict[str, None]] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._claims.add_handler(self._wake, lambda _, claim: self._wake(claim))
        self._pods.add_handler(None, self._pod_changed, self._wake_claims)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._claims.wait_synced()
        await self._pods.wait_synced()
        await self._shell.run()

    def _wake(self, claim: Object) -> None:
        if next_step(claim, CLAIM_FINALIZER):
            namespace = meta.namespace(claim)
            self._waiting.setdefault(namespace, {})[key_of(claim)] = None
            self._shell.add(namespace)

    def _pod_changed(self, old: Object, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._wake_claims(pod)

    def _wake_claims(self, pod: Object) -> None:
        for key in claim_keys(pod):
            claim = self._claims.get(key)
            if claim is not None:
                self._wake(claim)

    async def reconcile(self, namespace: str) -> None:
        """Look at the claims of a namespace that wait. Raises the last failure; those that failed wait on."""
        keys = list(self._waiting.pop(namespace, ()))
        live = _LiveUses(self._client, namespace, keys)
        failure: BaseException | None = None
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            results = await asyncio.gather(*(self._one(key, live) for key in some), return_exceptions=True)
            for key, result in zip(some, results, strict=True):
                if result is not None:
                    self._waiting.setdefault(namespace, {})[key] = None
                    failure = result
        if failure is not None:
            raise failure

    async def _one(self, key: str, live: _LiveUses) -> None:
        """Give the claim ``key`` its finalizer, or take it away when nothing uses the claim."""
        claim = self._claims.get(key)
        step = next_step(claim, CLAIM_FINALIZER) if claim else None
        if claim is None or step is None:
            return
        if step == "add":
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, with_finalizer(claim, CLAIM_FINALIZER))
        elif not await self._is_used(key, claim, live):
            try:
                await self._client.update(PERSISTENT_VOLUME_CLAIMS, without_finalizer(claim, CLAIM_FINALIZER))
            except NotFound:
                return

    async def _is_used(self, key: str, claim: Object, live: _LiveUses) -> bool:
        if any(uses_claim(pod, claim) for pod in self._pods.by_index(CLAIM_INDEX, key)):
            return True
        if int(self._pods.revision) >= int(meta.resource_version(claim)):
            return False
        return any(uses_claim(pod, claim) for pod in await live.pods_of(key))


class _LiveUses:
    """The pods that name one of some claims, by claim, as the API server has them: asked for once, when needed."""

    def __init__(self, client: Client, namespace: str, keys: Iterable[str]) -> None:
        self._client = client
        self._namespace = namespace
        self._names = {key.rpartition("/")[2].encode() for key in keys}
        self._listing: asyncio.Future[dict[str, list[Object]]] | None = None

    async def pods_of(self, key: str) -> list[Object]:
        if self._listing is None:
            self._listing = asyncio.ensure_future(self._list())
        return (await self._listing).get(key, [])

    async def _list(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for raw in (await self._client.list(PODS, self._namespace)).items:
            # Most pods are not about these claims, and to decode them all would cost more than the rest.
            if b'"ephemeral"' in raw or not self._names.isdisjoint(_CLAIM_NAME.findall(raw)):
                pod = orjson.loads(raw)
                for key in claim_keys(pod):
                    found.setdefault(key, []).append(pod)
        return found


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await ClaimProtection(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="pvc-protection-controller")
