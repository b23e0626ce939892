"""Makes directories for claims and removes them with their volumes: the room's only touch of the disk.

    claim asks (the binder wrote who provisions) --> directory, mode 0700 --> PersistentVolume --> bound
    claim gone --> Released, Delete --> directory removed --> PersistentVolume deleted

The directory comes before its volume and goes before it, so that whatever fails between is done again.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, NotFound
from coxswain.api.names import GVR, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.base import settings
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.localpath import decide
from coxswain.controllers.pvbinder.decide import PROVISIONER
from coxswain.controllers.pvbinder.match import storage_class
from coxswain.controllers.shell import Shell

NAME = "local-path-provisioner-controller"
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")


@dataclass(frozen=True, slots=True)
class LocalPathSettings:
    """The provisioner's settings."""

    directory: str = ""
    """Where volumes are made; without one, claims of the provisioner's classes are refused by an event."""


class LocalPaths:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._root = settings.read(LocalPathSettings, context.options).directory
        self._recorder = context.recorder
        self._nodes = context.informers.informer(NODES)
        self._classes = context.informers.informer(STORAGE_CLASSES)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.informer(PERSISTENT_VOLUMES)
        self._told: dict[str, str] = {}
        self._shell = Shell(NAME, self.reconcile, 1)
        self._claims.add_handler(
            self._claim_changed, lambda _, new: self._claim_changed(new), self._claim_gone
        )
        self._volumes.add_handler(self._volume_changed, lambda _, new: self._volume_changed(new))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        for informer in (self._nodes, self._classes, self._claims, self._volumes):
            await informer.wait_synced()
        await self._shell.run()

    def _claim_changed(self, claim: Object) -> None:
        if PROVISIONER in meta.annotations(claim) and not claim["spec"].get("volumeName"):
            self._shell.add(key_of(claim))

    def _claim_gone(self, claim: Object) -> None:
        self._told.pop(key_of(claim), None)

    def _volume_changed(self, volume: Object) -> None:
        if decide.should_delete(volume):
            self._shell.add(key_of(volume))

    async def reconcile(self, key: str) -> None:
        """Serve one claim, or take one volume away."""
        await (self._provide(key) if "/" in key else self._remove(key))

    async def _provide(self, key: str) -> None:
        claim = self._claims.get(key)
        storage = self._classes.get(storage_class(claim)) if claim is not None else None
        if claim is None or storage is None or not decide.is_ours(claim, storage):
            return
        volume = decide.plan(claim, storage, list(self._nodes.list()), self._root)
        if isinstance(volume, decide.Refusal):
            self._tell(key, claim, "Warning", "ProvisioningFailed", volume.message)
            return
        path = decide.directory_of(volume, self._root)
        if path is None:
            self._tell(
                key, claim, "Warning", "ProvisioningFailed", "the claim's uid is no name of a directory"
            )
            return
        await asyncio.get_running_loop().run_in_executor(None, make_directory, path)
        try:
            await self._client.create(PERSISTENT_VOLUMES, volume)
        except AlreadyExists:
            return
        text = f"Successfully provisioned volume {meta.name(volume)}"
        self._tell(key, claim, "Normal", "ProvisioningSucceeded", text)

    async def _remove(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None or not decide.should_delete(volume):
            return
        path = decide.directory_of(volume, self._root)
        if path is None:
            text = f"{(volume['spec'].get('hostPath') or {}).get('path')} was not made by this provisioner"
            self._tell(name, volume, "Warning", "VolumeFailedDelete", text)
            return
        await asyncio.get_running_loop().run_in_executor(None, remove_directory, path)
        try:
            await self._client.delete(PERSISTENT_VOLUMES, name, uid=meta.uid(volume))
        except NotFound:
            return

    def _tell(self, key: str, about: Object, kind: str, reason: str, text: str) -> None:
        if self._told.get(key) != text:
            self._told[key] = text
            self._recorder(decide.NAME).event(about, kind, reason, text)


def make_directory(path: Path) -> None:
    """``path``, for its owner alone; one that is there already is kept with its data."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def remove_directory(path: Path) -> None:
    """Everything under ``path``; links are removed and never followed."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await LocalPaths(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="persistent-volume-binder")
