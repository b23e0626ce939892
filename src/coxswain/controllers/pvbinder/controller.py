"""Performs what ``decide`` says for every claim and every volume.

One worker for both: two claims must not race for one volume. Events wake the object itself, its other half,
and, when a volume becomes free or a class appears, the claims of that class that wait. Writes' answers are
kept until the informer has caught up, so that a stale cache offers no volume twice. What a claim waits for is
told once, and again only when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.client.informer import Informer, key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.podclaims import CLAIM_INDEX, claim_keys, pods_by_claim
from coxswain.controllers.pvbinder import decide
from coxswain.controllers.pvbinder.classes import default_class, is_default
from coxswain.controllers.pvbinder.free import VolumeIndex, claim_of
from coxswain.controllers.pvbinder.match import is_free, storage_class
from coxswain.controllers.shell import Shell

NAME = "persistentvolume-binder-controller"
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
#: Claims by the class in which they wait for a volume, and by the volume that they name.
_WAITING, _NAMING = "waiting for a volume", "volume named"
#: Seconds in which free volumes of a class are gathered before its waiting claims look at them.
_GATHER = 0.05


class Written:
    """An informer with our own writes on top, until it has them; ``seen`` and ``gone`` hear of the newest."""

    def __init__(
        self,
        informer: Informer,
        seen: Callable[[Object], None] = lambda _: None,
        gone: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.informer = informer
        self._newer: dict[str, Object] = {}
        self._on_seen, self._on_gone = seen, gone
        informer.add_handler(self._seen, lambda _, new: self._seen(new), self._gone)

    def get(self, key: str) -> Object | None:
        """The newest state known."""
        known = self.informer.get(key)
        return self._newer.get(key, known) if known is not None else None

    def put(self, obj: Object) -> None:
        """Remember what a write answered."""
        known = self.informer.get(key_of(obj))
        if known is not None and _revision(known) < _revision(obj):
            self._newer[key_of(obj)] = obj
            self._on_seen(obj)

    def _seen(self, obj: Object) -> None:
        newer = self._newer.get(key_of(obj))
        if newer is not None and _revision(newer) > _revision(obj):
            return
        self._newer.pop(key_of(obj), None)
        self._on_seen(obj)

    def _gone(self, obj: Object) -> None:
        self._newer.pop(key_of(obj), None)
        self._on_gone(key_of(obj))


def _waiting_class(claim: Object) -> Iterable[str]:
    return () if decide.BIND_COMPLETED in meta.annotations(claim) else (storage_class(claim),)


def _named_volume(claim: Object) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (name,) if name else ()


class Binder:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder("persistentvolume-controller")
        self._classes = context.informers.informer(STORAGE_CLASSES)
        self._pods = pods_by_claim(context.informers)
        self._index = VolumeIndex()
        self._volumes = Written(
            context.informers.informer(PERSISTENT_VOLUMES), self._index.put, self._index.drop
        )
        self._claims = Written(context.informers.informer(PERSISTENT_VOLUME_CLAIMS))
        self._claims.informer.add_index(_WAITING, _waiting_class)
        self._claims.informer.add_index(_NAMING, _named_volume)
        self._shell = Shell(NAME, self.reconcile, workers=1)
        self._told: dict[str, tuple[str, decide.Event]] = {}
        self._volumes.informer.add_handler(
            self._volume_changed, lambda _, new: self._volume_changed(new), self._volume_gone
        )
        self._claims.informer.add_handler(
            self._claim_changed, lambda _, new: self._claim_changed(new), self._claim_gone
        )
        self._classes.add_handler(self._class_changed, lambda _, new: self._class_changed(new))
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        for informer in (self._volumes.informer, self._claims.informer, self._classes, self._pods):
            await informer.wait_synced()
        await self._shell.run()

    # -- events: keys are "name" for volumes, "namespace/name" for claims, "/class" for those that wait in one --

    def _volume_changed(self, volume: Object) -> None:
        self._shell.add(key_of(volume))
        self._wake_claims_of(volume)
        if is_free(volume):
            self._shell.add_after(f"/{storage_class(volume)}", _GATHER)

    def _volume_gone(self, volume: Object) -> None:
        self._wake_claims_of(volume)

    def _wake_claims_of(self, volume: Object) -> None:
        if holder := claim_of(volume):
            self._shell.add(holder)
        for claim in self._claims.informer.by_index(_NAMING, meta.name(volume)):
            self._shell.add(key_of(claim))

    def _claim_changed(self, claim: Object) -> None:
        self._shell.add(key_of(claim))
        self._wake_volumes_of(claim)

    def _claim_gone(self, claim: Object) -> None:
        self._told.pop(key_of(claim), None)
        self._wake_volumes_of(claim)

    def _wake_volumes_of(self, claim: Object) -> None:
        names = {*_named_volume(claim), *(meta.name(one) for one in self._index.reserved(key_of(claim)))}
        for name in names:
            self._shell.add(name)

    def _class_changed(self, storage: Object) -> None:
        self._shell.add(f"/{meta.name(storage)}")
        if is_default(storage):
            self._shell.add("/")

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if old["spec"].get("nodeName") != pod["spec"].get("nodeName"):
            self._pod_changed(pod)

    def _pod_changed(self, pod: Object) -> None:
        """Claims that wait for a first consumer say which pods there are."""
        for key in claim_keys(pod):
            claim = self._claims.get(key)
            if claim is not None and decide.BIND_COMPLETED not in meta.annotations(claim):
                self._shell.add(key)

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> None:
        """Bring one claim or one volume a step further."""
        if key.startswith("/"):
            for claim in self._claims.informer.by_index(_WAITING, key[1:]):
                self._shell.add(key_of(claim))
            return
        try:
            await (self._sync_claim(key) if "/" in key else self._sync_volume(key))
        except NotFound:
            return  # deleted meanwhile: its event wakes what is concerned

    async def _sync_claim(self, key: str) -> None:
        claim = self._claims.get(key)
        if claim is None:
            return
        plan = decide.plan_claim(claim, self._around(claim))
        self._tell(claim, plan.event)
        if plan.bind is not None:
            await self._bind(claim, plan.bind)
        else:
            await self._write(PERSISTENT_VOLUME_CLAIMS, self._claims, claim, plan.claim)

    def _around(self, claim: Object) -> decide.Surroundings:
        name, key = storage_class(claim), key_of(claim)
        return decide.Surroundings(
            find=self._volumes.get,
            reserved=self._index.reserved(key),
            free=lambda: self._index.free_for(claim),
            storage=self._classes.get(name) if name else None,
            default=None if name else default_class(self._classes.list()),
            waiting_pods=sorted(
                meta.name(pod)
                for pod in self._pods.by_index(CLAIM_INDEX, key)
                if not pod["spec"].get("nodeName") and not meta.is_pod_finished(pod)
            ),
        )

    def _tell(self, claim: Object, event: decide.Event | None) -> None:
        """Say what the claim waits for, unless that was said before."""
        key = key_of(claim)
        if event is None:
            self._told.pop(key, None)
        elif self._told.get(key) != (meta.uid(claim), event):
            self._told[key] = (meta.uid(claim), event)
            self._recorder.event(claim, event.type, event.reason, event.message)

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

    async def _sync_volume(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None:
            return
        plan = decide.plan_volume(volume, await self._claim_of(volume))
        volume = await self._write(PERSISTENT_VOLUMES, self._volumes, volume, plan.volume)
        if plan.delete:
            plan = decide.plan_deletion(volume)
            volume = await self._write(PERSISTENT_VOLUMES, self._volumes, volume, plan.volume)
        if plan.event is not None:
            self._recorder.event(volume, plan.event.type, plan.event.reason, plan.event.message)

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


DESCRIPTOR = Descriptor(NAME, run, account="persistent-volume-binder")
