"""Tells claims that ask for more who is to grow their volumes: one event for each size asked for."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.expand import decide
from coxswain.controllers.shell import Shell

NAME = "persistentvolume-expander-controller"


class Expander:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._informers = context.informers
        self._recorder = context.recorder("volume_expand")
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.informer(PERSISTENT_VOLUMES)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        #: Claim -> (uid, size asked for) that an event told about.
        self._told: dict[str, tuple[str, str]] = {}
        self._claims.add_handler(self._changed, lambda _, new: self._changed(new), self._gone)
        self._volumes.add_handler(self._volume_added)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._claims.wait_synced()
        await self._volumes.wait_synced()
        await self._shell.run()

    def _changed(self, claim: Object) -> None:
        if decide.wants_more(claim):
            self._shell.add(key_of(claim))

    def _volume_added(self, volume: Object) -> None:
        reference = volume["spec"].get("claimRef") or {}
        claim = self._claims.get(f"{reference.get('namespace')}/{reference.get('name')}")
        if claim is not None:
            self._changed(claim)

    def _gone(self, claim: Object) -> None:
        self._told.pop(key_of(claim), None)

    async def reconcile(self, key: str) -> None:
        """Tell the claim ``key``, if there is something new to tell."""
        claim = self._claims.get(key)
        if claim is None:
            return
        word = decide.plan(claim, self._volumes.get(claim["spec"].get("volumeName") or ""))
        if word is None:
            return
        told = (meta.uid(claim), str(claim["spec"]["resources"]["requests"]["storage"]))
        if self._told.get(key) == told:
            return
        self._told[key] = told
        self._recorder.event(claim, word.type, word.reason, word.message)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await Expander(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="expand-controller")
