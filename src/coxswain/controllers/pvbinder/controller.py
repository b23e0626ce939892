"""Performs what ``decide`` says for every claim and every volume.

One worker for both: two claims must not race for one volume. Events wake the object itself, its other half,
and, when a volume becomes free or a class appears, the claims that wait. Writes' answers are kept until the
informer has caught up, so that a stale cache offers no volume twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.client.informer import Informer, key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.pvbinder import decide
from coxswain.controllers.pvbinder.match import storage_class
from coxswain.controllers.shell import Shell

NAME = "persistentvolume-binder-controller"
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
#: Seconds between looks at a claim that waits: its event is repeated (and counted) as Kubernetes does.
RESYNC = 15.0


class Written:
    """An informer with our own writes on top, until it has them."""

    def __init__(self, informer: Informer) -> None:
        self.informer = informer
        self._newer: dict[str, Object] = {}
        informer.add_handler(None, lambda _, new: self._seen(new), self._gone)

    def get(self, key: str) -> Object | None:
        """The newest state known."""
        known = self.informer.get(key)
        return self._newer.get(key, known) if known is not None else None

    def list(self) -> Iterable[Object]:
        """The newest states known."""
        newer = self._newer
        return (
            [newer.get(key_of(obj), obj) for obj in self.informer.list()] if newer else self.informer.list()
        )

    def put(self, obj: Object) -> None:
        """Remember what a write answered."""
        known = self.informer.get(key_of(obj))
        if known is not None and _revision(known) < _revision(obj):
            self._newer[key_of(obj)] = obj

    def _seen(self, obj: Object) -> None:
        key = key_of(obj)
        if key in self._newer and _revision(self._newer[key]) <= _revision(obj):
            del self._newer[key]

    def _gone(self, obj: Object) -> None:
        self._newer.pop(key_of(obj), None)


class Binder:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder("persistentvolume-controller")
        self._classes = context.informers.informer(STORAGE_CLASSES)
        self._volumes = Written(context.informers.informer(PERSISTENT_VOLUMES))
        self._claims = Written(context.informers.informer(PERSISTENT_VOLUME_CLAIMS))
        self._shell = Shell(NAME, self.reconcile, workers=1)
        self._volumes.informer.add_handler(
            self._volume_changed, lambda _, new: self._volume_changed(new), self._volume_gone
        )
        self._claims.informer.add_handler(
            self._claim_changed, lambda _, new: self._claim_changed(new), self._claim_changed
        )
        self._classes.add_handler(self._wake_waiting, lambda _, new: self._wake_waiting(new))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        for informer in (self._volumes.informer, self._claims.informer, self._classes):
            await informer.wait_synced()
        await self._shell.run()

    # -- events: keys are "name" for volumes, "namespace/name" for claims --------------------------------------

    def _volume_changed(self, volume: Object) -> None:
        self._shell.add(key_of(volume))
        reference = volume["spec"].get("claimRef")
        if reference:
            self._shell.add(f"{reference.get('namespace')}/{reference['name']}")
        elif (volume.get("status") or {}).get("phase") == "Available":
            self._wake_waiting(volume)

    def _volume_gone(self, volume: Object) -> None:
        reference = volume["spec"].get("claimRef")
        if reference:
            self._shell.add(f"{reference.get('namespace')}/{reference['name']}")

    def _claim_changed(self, claim: Object) -> None:
        self._shell.add(key_of(claim))
        name = claim["spec"].get("volumeName")
        if name:
            self._shell.add(name)

    def _wake_waiting(self, _: Object) -> None:
        for claim in self._claims.informer.list():
            if decide.BIND_COMPLETED not in meta.annotations(claim):
                self._shell.add(key_of(claim))

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Bring one claim or one volume a step further."""
        try:
            return await (self._sync_claim(key) if "/" in key else self._sync_volume(key))
        except NotFound:
            return None  # deleted meanwhile: its event wakes what is concerned

    async def _sync_claim(self, key: str) -> float | None:
        claim = self._claims.get(key)
        if claim is None:
            return None
        name = storage_class(claim)
        storage = self._classes.get(name) if name else None
        plan = decide.plan_claim(claim, self._volumes.get, self._volumes.list(), storage)
        if plan.event is not None:
            self._recorder.event(claim, plan.event.type, plan.event.reason, plan.event.message)
        if plan.bind is not None:
            await self._bind(claim, plan.bind)
            return None
        changed = await self._write(PERSISTENT_VOLUME_CLAIMS, self._claims, claim, plan.claim)
        return RESYNC if (changed.get("status") or {}).get("phase") == "Pending" else None

    async def _bind(self, claim: Object, volume: Object) -> None:
        """Volume first, then claim; each its spec before its status."""
        volume = await self._write(
            PERSISTENT_VOLUMES, self._volumes, volume, decide.bound_volume(volume, claim)
        )
        volume = await self._write(
            PERSISTENT_VOLUMES, self._volumes, volume, decide.with_phase(volume, "Bound")
        )
        claim = await self._write(
            PERSISTENT_VOLUME_CLAIMS, self._claims, claim, decide.bound_claim(claim, volume)
        )
        await self._write(
            PERSISTENT_VOLUME_CLAIMS, self._claims, claim, decide.bound_claim_status(claim, volume)
        )

    async def _sync_volume(self, name: str) -> float | None:
        volume = self._volumes.get(name)
        if volume is None:
            return None
        plan = decide.plan_volume(volume, await self._claim_of(volume))
        volume = await self._write(PERSISTENT_VOLUMES, self._volumes, volume, plan.volume)
        if plan.delete:
            plan = decide.plan_deletion(volume)
            volume = await self._write(PERSISTENT_VOLUMES, self._volumes, volume, plan.volume)
        if plan.event is not None:
            self._recorder.event(volume, plan.event.type, plan.event.reason, plan.event.message)
        return None

    async def _claim_of(self, volume: Object) -> Object | None:
        """The claim that ``volume`` serves; asked live before it counts as gone: data may depend on it."""
        reference = volume["spec"].get("claimRef")
        if not reference:
            return None
        namespace, name = reference.get("namespace", ""), reference["name"]
        claim = self._claims.get(f"{namespace}/{name}")
        if claim is not None and reference.get("uid") in (None, meta.uid(claim)):
            return claim
        released = (volume.get("status") or {}).get("phase") in ("Released", "Failed")
        if released or not reference.get("uid"):
            return None
        try:
            return await self._client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        except NotFound:
            return None

    async def _write(self, resource: GVR, known: Written, old: Object, new: Object) -> Object:
        """Write what differs: the object, then its status; the newest state."""
        if new is old:
            return old
        current = old
        if new["metadata"] != old["metadata"] or new["spec"] != old["spec"]:
            current = await self._client.update(resource, {**new, "status": old.get("status") or {}})
            known.put(current)
        if (new.get("status") or {}) != (old.get("status") or {}):
            status = {**current, "status": new["status"]}
            current = await self._client.update(resource, status, subresource="status")
            known.put(current)
        return current


def _revision(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await Binder(context).run()


DESCRIPTOR = Descriptor(NAME, run)
