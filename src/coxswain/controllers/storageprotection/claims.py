"""Keeps claims that pods use: the finalizer ``kubernetes.io/pvc-protection``.

A claim that is being deleted keeps it while a pod with a node uses the claim. Before it is removed, the pods
of the namespace are listed afresh: the informer may not know the newest pod yet.
"""

from __future__ import annotations

import orjson

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, PODS, Object
from coxswain.client.informer import key_of
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


class ClaimProtection:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._pods = pods_by_claim(context.informers)
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
            self._shell.add(key_of(claim))

    def _pod_changed(self, old: Object, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._wake_claims(pod)

    def _wake_claims(self, pod: Object) -> None:
        for key in claim_keys(pod):
            claim = self._claims.get(key)
            if claim is not None:
                self._wake(claim)

    async def reconcile(self, key: str) -> None:
        """Give the claim ``key`` its finalizer, or take it away when nothing uses the claim."""
        claim = self._claims.get(key)
        step = next_step(claim, CLAIM_FINALIZER) if claim else None
        if claim is None or step is None:
            return
        if step == "add":
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, with_finalizer(claim, CLAIM_FINALIZER))
        elif not await self._is_used(key, claim):
            try:
                await self._client.update(PERSISTENT_VOLUME_CLAIMS, without_finalizer(claim, CLAIM_FINALIZER))
            except NotFound:
                return

    async def _is_used(self, key: str, claim: Object) -> bool:
        if any(uses_claim(pod, claim) for pod in self._pods.by_index(CLAIM_INDEX, key)):
            return True
        live = await self._client.list(PODS, meta.namespace(claim))
        return any(uses_claim(orjson.loads(raw), claim) for raw in live.items)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await ClaimProtection(context).run()


DESCRIPTOR = Descriptor(NAME, run)
