"""Makes and deletes VolumeAttachments; writes which volumes are attached into their nodes' status.

Keys are ``volume/<name>`` and ``node/<name>``. A volume is looked at when its pods, its claim, its attachments
or its driver change; one that waits for a node to let go, when that node changes. Volumes of drivers that need
no attaching cost a look-up and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, NotFound
from coxswain.api.names import GVR, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Object
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.attachdetach import decide
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodelifecycle.controller import NODE_INDEX, index_pods_by_node
from coxswain.controllers.podclaims import CLAIM_INDEX, claim_keys, pods_by_claim
from coxswain.controllers.shell import Shell

NAME = "persistentvolume-attach-detach-controller"
VOLUME_ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
CSI_DRIVERS = GVR("storage.k8s.io", "v1", "csidrivers")
_BY_VOLUME, _BY_NODE, _BY_DRIVER = "volume", "node", "driver"


def _volume_of(attachment: Object) -> Iterable[str]:
    name = (attachment["spec"].get("source") or {}).get("persistentVolumeName")
    return (name,) if name else ()


def _driver_of(volume: Object) -> Iterable[str]:
    csi = (volume.get("spec") or {}).get("csi")
    return (csi["driver"],) if csi else ()


class AttachDetach:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder("attachdetach-controller")
        self._nodes = context.informers.informer(NODES)
        self._pods = pods_by_claim(context.informers)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = context.informers.informer(PERSISTENT_VOLUMES)
        self._volumes.add_index(_BY_DRIVER, _driver_of)
        self._drivers = context.informers.informer(CSI_DRIVERS)
        self._attachments = context.informers.informer(VOLUME_ATTACHMENTS)
        self._attachments.add_index(_BY_VOLUME, _volume_of)
        self._attachments.add_index(_BY_NODE, lambda one: (one["spec"]["nodeName"],))
        index_pods_by_node(self._pods)
        self._started = False
        self._unneeded: dict[tuple[str, str], float] = {}
        self._told: dict[str, set[tuple[str, str]]] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        watched = (self._nodes, self._pods, self._claims, self._volumes, self._drivers, self._attachments)
        for informer in watched:
            await informer.wait_synced()
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)
        self._claims.add_handler(None, lambda _, new: self._claim_changed(new))
        self._attachments.add_handler(
            self._attachment_changed, self._attachment_updated, self._attachment_changed
        )
        self._volumes.add_handler(self._volume_changed)
        self._drivers.add_handler(None, lambda _, new: self._driver_changed(new), self._driver_changed)
        self._nodes.add_handler(self._node_added, self._node_updated, self._wake_attached)
        self._started = True
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _pod_updated(self, old: Object, pod: Object) -> None:
        moved = old["spec"].get("nodeName") != pod["spec"].get("nodeName")
        if moved or meta.is_pod_finished(old) != meta.is_pod_finished(pod):
            self._pod_changed(pod)

    def _pod_changed(self, pod: Object) -> None:
        if not pod["spec"].get("nodeName"):
            return
        for key in claim_keys(pod):
            claim = self._claims.get(key)
            if claim is not None:
                self._claim_changed(claim)

    def _claim_changed(self, claim: Object) -> None:
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        if volume is not None:
            self._volume_changed(volume)

    def _volume_changed(self, volume: Object) -> None:
        if _driver_of(volume):
            self._shell.add(f"volume/{meta.name(volume)}")

    def _attachment_changed(self, attachment: Object) -> None:
        self._shell.add(f"node/{attachment['spec']['nodeName']}")
        for name in _volume_of(attachment):
            self._shell.add(f"volume/{name}")

    def _attachment_updated(self, old: Object, new: Object) -> None:
        self._attachment_changed(new)
        if decide.outcome(old) == decide.outcome(new):
            return
        for name in _volume_of(new):
            volume = self._volumes.get(name)
            for event in decide.outcome_events(new, self._pods_of(volume) if volume else ()):
                self._recorder.event(event.pod, event.type, event.reason, event.message)

    def _driver_changed(self, driver: Object) -> None:
        for volume in self._volumes.by_index(_BY_DRIVER, meta.name(driver)):
            self._volume_changed(volume)

    def _node_added(self, node: Object) -> None:
        self._shell.add(f"node/{meta.name(node)}")
        if self._started:
            for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
                self._pod_changed(pod)  # they waited for their node to be known

    def _node_updated(self, old: Object, new: Object) -> None:
        before, after = (_node_facts(one) for one in (old, new))
        if before != after:
            self._wake_attached(new)
        attached = ((one.get("status") or {}).get("volumesAttached") for one in (old, new))
        if len({str(each) for each in attached}) > 1:
            self._shell.add(f"node/{meta.name(new)}")

    def _wake_attached(self, node: Object) -> None:
        for attachment in self._attachments.by_index(_BY_NODE, meta.name(node)):
            for name in _volume_of(attachment):
                self._shell.add(f"volume/{name}")

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Bring one volume's attachments, or one node's list of them, a step further."""
        kind, _, name = key.partition("/")
        if kind == "node":
            await self._write_attached(name)
            return None
        volume = self._volumes.get(name)
        if volume is None or not volume["spec"].get("csi"):
            await self._drop_orphans(name)
            return None
        attachments = self._attachments.by_index(_BY_VOLUME, name)
        if not attachments and not decide.needs_attaching(self._drivers.get(volume["spec"]["csi"]["driver"])):
            return None
        pods = self._pods_of(volume)
        plan = decide.plan(self._situation(volume, pods, attachments))
        self._tell(name, plan.events)
        for attachment in plan.detach:
            await self._detach(attachment)
        for attachment in plan.attach:
            try:
                await self._client.create(VOLUME_ATTACHMENTS, attachment)
            except AlreadyExists:
                return 1.0  # the watch will bring it; or it is on its way out and must be gone first
        return plan.again

    def _pods_of(self, volume: Object) -> list[Object]:
        """The pods that use the volume through the claim that it is bound to."""
        reference = volume["spec"].get("claimRef")
        if not reference:
            return []
        key = f"{reference.get('namespace')}/{reference['name']}"
        claim = self._claims.get(key)
        if claim is None or claim["spec"].get("volumeName") != meta.name(volume):
            return []
        if reference.get("uid") not in (None, "", meta.uid(claim)):
            return []
        return list(self._pods.by_index(CLAIM_INDEX, key))

    def _situation(
        self, volume: Object, pods: list[Object], attachments: Iterable[Object]
    ) -> decide.Situation:
        attachments = list(attachments)
        names = {pod["spec"].get("nodeName") or "" for pod in pods}
        names |= {one["spec"]["nodeName"] for one in attachments}
        nodes = {name: node for name in names if (node := self._nodes.get(name)) is not None}
        needed = {pod["spec"].get("nodeName") for pod in pods if not meta.is_pod_finished(pod)}
        now, unneeded = clock.monotonic(), {}
        for one in attachments:
            node, key = one["spec"]["nodeName"], (meta.name(volume), one["spec"]["nodeName"])
            if node in needed:
                self._unneeded.pop(key, None)
            else:
                unneeded[node] = now - self._unneeded.setdefault(key, now)
        return decide.Situation(volume, pods, attachments, nodes, unneeded)

    async def _detach(self, attachment: Object) -> None:
        """The node's status first: nobody may think that the volume is there while it is taken away."""
        await self._write_attached(attachment["spec"]["nodeName"], without=meta.name(attachment))
        try:
            await self._client.delete(VOLUME_ATTACHMENTS, meta.name(attachment), uid=meta.uid(attachment))
        except NotFound:
            pass
        for name in _volume_of(attachment):
            self._unneeded.pop((name, attachment["spec"]["nodeName"]), None)

    async def _drop_orphans(self, volume: str) -> None:
        """The volume is gone: what is still attached of it is taken away."""
        self._told.pop(volume, None)
        for attachment in self._attachments.by_index(_BY_VOLUME, volume):
            if not meta.is_terminating(attachment):
                await self._detach(attachment)

    async def _write_attached(self, name: str, without: str = "") -> None:
        node = self._nodes.get(name)
        if not decide.is_managed(node):
            return
        assert node is not None
        pairs = [
            (volume, attachment)
            for attachment in self._attachments.by_index(_BY_NODE, name)
            if meta.name(attachment) != without
            for volume_name in _volume_of(attachment)
            if (volume := self._volumes.get(volume_name)) is not None and volume["spec"].get("csi")
        ]
        wanted = decide.volumes_attached(pairs)
        if ((node.get("status") or {}).get("volumesAttached") or []) == wanted:
            return
        patch = {"metadata": {"uid": meta.uid(node)}, "status": {"volumesAttached": wanted or None}}
        try:
            await self._client.patch(NODES, name, patch, subresource="status")
        except NotFound:
            return

    def _tell(self, volume: str, events: list[decide.Event]) -> None:
        """Each thing once, until something else is true of the volume."""
        before = self._told.get(volume, set())
        current = {(meta.uid(event.pod), event.message) for event in events}
        for event in events:
            if (meta.uid(event.pod), event.message) not in before:
                self._recorder.event(event.pod, event.type, event.reason, event.message)
        if current:
            self._told[volume] = current
        else:
            self._told.pop(volume, None)


def _node_facts(node: Object) -> tuple[object, ...]:
    """What of a node decides whether a volume may be taken from it."""
    status = node.get("status") or {}
    return (
        status.get("volumesInUse"),
        meta.is_condition_true(node, "Ready"),
        (node.get("spec") or {}).get("taints"),
        key_of(node),
    )


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await AttachDetach(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="attachdetach-controller")
