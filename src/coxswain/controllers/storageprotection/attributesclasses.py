"""Keeps VolumeAttributesClasses that claims or volumes use: the finalizer ``kubernetes.io/vac-protection``.

A claim uses the class that it asks for, the one that it has, and the one that it is being changed to; a
volume the one in its spec. Indexes answer; before the finalizer goes, both kinds are listed afresh.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.client.informer import Informer, key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell
from coxswain.controllers.storageprotection.decide import next_step, with_finalizer, without_finalizer

NAME = "volumeattributesclass-protection-controller"
VOLUME_ATTRIBUTES_CLASSES = GVR("storage.k8s.io", "v1", "volumeattributesclasses")
FINALIZER = "kubernetes.io/vac-protection"
_INDEX = "volume attributes class"


def classes_of(obj: Object) -> Iterable[str]:
    """The classes that a claim or a volume uses."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    names = {
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    }
    return {str(name) for name in names if name}


class ClassProtection:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._classes = context.informers.informer(VOLUME_ATTRIBUTES_CLASSES)
        self._users: dict[GVR, Informer] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)
        for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES):
            informer = self._users[resource] = context.informers.informer(resource)
            informer.add_index(_INDEX, classes_of)
            informer.add_handler(None, self._user_changed, self._user_gone)
        self._classes.add_handler(self._wake, lambda _, new: self._wake(new))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        for informer in (self._classes, *self._users.values()):
            await informer.wait_synced()
        await self._shell.run()

    def _wake(self, obj: Object) -> None:
        if next_step(obj, FINALIZER):
            self._shell.add(key_of(obj))

    def _user_changed(self, old: Object, new: Object) -> None:
        for name in set(classes_of(old)) - set(classes_of(new)):
            self._shell.add(name)

    def _user_gone(self, obj: Object) -> None:
        for name in classes_of(obj):
            self._shell.add(name)

    async def reconcile(self, name: str) -> None:
        """Give the class ``name`` its finalizer, or take it away when nothing uses the class."""
        found = self._classes.get(name)
        step = next_step(found, FINALIZER) if found else None
        if found is None or step is None:
            return
        try:
            if step == "add":
                await self._client.update(VOLUME_ATTRIBUTES_CLASSES, with_finalizer(found, FINALIZER))
            elif not await self._is_used(meta.name(found)):
                await self._client.update(VOLUME_ATTRIBUTES_CLASSES, without_finalizer(found, FINALIZER))
        except NotFound:
            return

    async def _is_used(self, name: str) -> bool:
        if any(informer.by_index(_INDEX, name) for informer in self._users.values()):
            return True
        for resource in self._users:
            live = await self._client.list(resource)
            if any(name in classes_of(orjson.loads(raw)) for raw in live.items):
                return True
        return False


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await ClassProtection(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="volumeattributesclass-protection-controller")
