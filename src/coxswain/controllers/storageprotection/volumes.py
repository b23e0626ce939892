"""Keeps volumes that are bound: the finalizer ``kubernetes.io/pv-protection``."""

from __future__ import annotations

from coxswain.api.errors import NotFound
from coxswain.api.names import PERSISTENT_VOLUMES, Object
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell
from coxswain.controllers.storageprotection.decide import (
    VOLUME_FINALIZER,
    is_volume_used,
    next_step,
    with_finalizer,
    without_finalizer,
)

NAME = "persistentvolume-protection-controller"


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    volumes = context.informers.informer(PERSISTENT_VOLUMES)

    async def reconcile(name: str) -> None:
        volume = volumes.get(name)
        step = next_step(volume, VOLUME_FINALIZER) if volume else None
        if volume is None or step is None:
            return
        if step == "add":
            await context.client.update(PERSISTENT_VOLUMES, with_finalizer(volume, VOLUME_FINALIZER))
        elif not is_volume_used(volume):
            try:
                await context.client.update(PERSISTENT_VOLUMES, without_finalizer(volume, VOLUME_FINALIZER))
            except NotFound:
                return

    def wake(volume: Object) -> None:
        if next_step(volume, VOLUME_FINALIZER):
            shell.add(key_of(volume))

    shell = Shell(NAME, reconcile, context.workers)
    volumes.add_handler(wake, lambda _, volume: wake(volume))
    await context.informers.start()
    await volumes.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="pv-protection-controller")
