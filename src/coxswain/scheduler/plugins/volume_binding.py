"""VolumeBinding: a node must reach the volumes of its pod's claims; claims that wait for a node get one.

PreFilter   claims must exist; those that do not wait for a consumer must be bound
Filter      bound volumes reach the node; a volume can be found or provisioned there for every other claim
Reserve     volumes are kept for claims, claims are given the node: assumed, for the pods decided next
PreBind     written to the API; then wait until the controller has bound them all
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from coxswain.scheduler import volume_binder
from coxswain.scheduler.framework import (
    UNRESOLVABLE,
    UNSCHEDULABLE,
    Codes,
    Event,
    Narrowed,
    Rejection,
    Scope,
)
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plugins.volume_restrictions import not_found
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Template
from coxswain.scheduler.volume_binder import BinderError, Decision, PodClaims
from coxswain.scheduler.volumes import (
    ATTACHMENTS,
    CAPACITIES,
    CLAIMS,
    CLASSES,
    CSI_DRIVERS,
    CSI_NODES,
    SELECTED_NODE,
    VOLUMES,
    Object,
    Volumes,
    claims_of,
)

if TYPE_CHECKING:
    from coxswain.scheduler.lifecycle import CycleState, Handle

#: The status code of an attempt that an error stopped.
ERROR: Final = "Error"
UNBOUND_IMMEDIATE: Final = "pod has unbound immediate PersistentVolumeClaims"
#: Seconds to wait for claims to be bound (``bindTimeoutSeconds``).
BIND_TIMEOUT: Final = 600.0

_STORAGE: Final = "storage.k8s.io"
#: What informers bring, and which change each is for those who wait.
_WATCHED: Final = (
    (CLAIMS, PERSISTENT_VOLUME_CLAIMS, Event.PVC),
    (VOLUMES, PERSISTENT_VOLUMES, Event.PV),
    (CLASSES, GVR(_STORAGE, "v1", CLASSES), Event.STORAGE_CLASS),
    (CSI_NODES, GVR(_STORAGE, "v1", CSI_NODES), Event.CSI_NODE),
    (CSI_DRIVERS, GVR(_STORAGE, "v1", CSI_DRIVERS), Event.CSI_DRIVER),
    (CAPACITIES, GVR(_STORAGE, "v1", CAPACITIES), Event.CSI_CAPACITY),
    (ATTACHMENTS, GVR(_STORAGE, "v1", ATTACHMENTS), Event.VOLUME_ATTACHMENT),
)


class VolumeBinding:
    NAME: ClassVar[str] = "VolumeBinding"
    SCOPE: ClassVar[Scope] = Scope.CLUSTER
    EVENTS: ClassVar[Event] = (
        Event.STORAGE_CLASS
        | Event.PVC
        | Event.PV
        | Event.NODE_ADD
        | Event.NODE_LABEL
        | Event.CSI_NODE
        | Event.CSI_DRIVER
        | Event.CSI_CAPACITY
    )

    def __init__(self, bind_timeout: float = BIND_TIMEOUT) -> None:
        self.bind_timeout = bind_timeout
        self._handle: Handle | None = None
        self._changed = asyncio.Event()

    # -- PreFilter and Filter --------------------------------------------------------------------

    def needed(self, template: Template) -> bool:
        return bool(claims_of(template))

    def narrow(self, template: Template, table: NodeTable) -> Narrowed:
        """Claims must exist, be alive, be the pod's own where they are ephemeral, and be bound or wait for it."""
        try:
            claims = self._claims(template, table.volumes)
        except BinderError as error:
            return Rejection(ERROR, (str(error),))
        if isinstance(claims, str):
            return Rejection(UNRESOLVABLE, (claims,))
        return Rejection(UNRESOLVABLE, (UNBOUND_IMMEDIATE,)) if claims.immediate else None

    @staticmethod
    def _claims(template: Template, volumes: Volumes) -> PodClaims | str:
        """The pod's claims by what they wait for, or what is wrong with one."""
        found: list[Object] = []
        for name, ephemeral in claims_of(template):
            claim = volumes.claim(template.namespace, name)
            if claim is None:
                if ephemeral:
                    return (
                        "waiting for ephemeral volume controller to create the "
                        f'persistentvolumeclaim "{name}"'
                    )
                return not_found("persistentvolumeclaim", name)
            if (claim.get("status") or {}).get("phase") == "Lost":
                volume = claim["spec"].get("volumeName") or ""
                return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
            if claim["metadata"].get("deletionTimestamp"):
                return f'persistentvolumeclaim "{name}" is being deleted'
            if ephemeral and (wrong := _not_owned(claim, template)):
                return wrong
            found.append(claim)
        return volume_binder.sort_claims(found, volumes)

    def filter(self, template: Template, table: NodeTable, rows: Rows) -> Codes:
        claims = self._claims(template, table.volumes)
        if isinstance(claims, str):
            claims = PodClaims()
        return volume_binder.find(claims, table.volumes, table, rows).codes

    def rejection(self, template: Template, table: NodeTable, row: int, code: int) -> Rejection:
        if code & volume_binder.FAILED:
            claims = self._claims(template, table.volumes)
            if isinstance(claims, PodClaims):
                found = volume_binder.find(claims, table.volumes, table, table.order)
                return Rejection(ERROR, (found.error,))
        return Rejection(UNRESOLVABLE, volume_binder.reasons(code))

    # -- Reserve and PreBind ---------------------------------------------------------------------

    def start(self, handle: Handle) -> None:
        """Follow what storage decisions read."""
        self._handle = handle
        for kind, resource, event in _WATCHED:
            informer = handle.informers.informer(resource)
            added, updated, removed = _handlers(self, handle, kind, event)
            informer.add_handler(added, updated, removed)

    def takes_part(self, pod: Pod) -> bool:
        """Only a pod with claims that wait for their node needs more than its binding."""
        if self._handle is None or not self.needed(pod.template):
            return False
        claims = self._claims(pod.template, self._handle.table.volumes)
        return isinstance(claims, str) or bool(claims.delayed)

    def reserve(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None:
        """Decide for the node and let the decision count."""
        assert self._handle is not None, "the plugin was not started"
        table = self._handle.table
        try:
            claims = self._claims(pod.template, table.volumes)
            if isinstance(claims, str):
                return Rejection(UNRESOLVABLE, (claims,))
            decision = volume_binder.decide(claims, table.volumes, table, node_name)
        except BinderError as error:
            return Rejection(ERROR, (str(error),))
        volume_binder.assume(decision, table.volumes)
        state[self.NAME] = decision
        return None

    def unreserve(self, state: CycleState, pod: Pod, node_name: str) -> None:
        """Forget what was assumed."""
        decision = state.pop(self.NAME, None)
        if decision is not None and self._handle is not None:
            volume_binder.revert(decision, self._handle.table.volumes)

    async def pre_bind(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None:
        """Write the decision, then wait until the API shows every claim bound."""
        assert self._handle is not None, "the plugin was not started"
        decision: Decision = state[self.NAME]
        await self._write(decision)
        try:
            async with asyncio.timeout(self.bind_timeout):
                while not volume_binder.all_bound(decision, self._handle.table.volumes, node_name):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return Rejection(UNSCHEDULABLE, ("binding volumes: context deadline exceeded",))
        except BinderError as error:
            return Rejection(UNSCHEDULABLE, (f"binding volumes: {error}",))
        return None

    async def _write(self, decision: Decision) -> None:
        assert self._handle is not None
        client, volumes = self._handle.client, self._handle.table.volumes
        for volume in decision.volumes:
            metadata = volume["metadata"]
            patch = {
                "metadata": _patched(metadata, volume_binder.BOUND_BY_CONTROLLER),
                "spec": {"claimRef": volume["spec"]["claimRef"]},
            }
            written = await client.patch(PERSISTENT_VOLUMES, metadata["name"], patch)
            volumes.note_written(VOLUMES, written)
        for claim in decision.claims:
            metadata = claim["metadata"]
            patch = {"metadata": _patched(metadata, SELECTED_NODE)}
            written = await client.patch(
                PERSISTENT_VOLUME_CLAIMS, metadata["name"], patch, metadata.get("namespace") or ""
            )
            volumes.note_written(CLAIMS, written)

    def wake(self) -> None:
        """Something changed: those that wait in PreBind look again."""
        self._changed.set()


def _patched(metadata: Object, annotation: str) -> Object:
    """Sets one annotation, if the object is still the one that the decision saw."""
    patch: Object = {"resourceVersion": metadata.get("resourceVersion")}
    if (value := (metadata.get("annotations") or {}).get(annotation)) is not None:
        patch["annotations"] = {annotation: value}
    return patch


def _not_owned(claim: Object, template: Template) -> str:
    """What is wrong with the claim of a generic ephemeral volume, or empty (``VolumeIsForPod``)."""
    metadata = claim["metadata"]
    for volume in template.spec.get("volumes") or ():
        source = volume.get("ephemeral")
        if source and source["claimName"] == metadata["name"]:
            owners = metadata.get("ownerReferences") or ()
            if not any(owner.get("controller") and owner.get("uid") == source["podUID"] for owner in owners):
                return (
                    f"PVC {template.namespace}/{metadata['name']} was not created for pod "
                    f"{template.namespace}/{source['podName']} (pod is not owner)"
                )
    return ""


def _handlers(
    plugin: VolumeBinding, handle: Handle, kind: str, event: Event
) -> tuple[Callable[[Object], None], Callable[[Object, Object], None], Callable[[Object], None]]:
    """For additions, updates and removals."""

    def updated(old: Object | None, new: Object) -> None:
        handle.table.volumes.set(kind, new)
        plugin.wake()
        handle.happened(event, old, new)

    def removed(old: Object) -> None:
        handle.table.volumes.remove(kind, old)
        plugin.wake()

    return lambda new: updated(None, new), updated, removed
