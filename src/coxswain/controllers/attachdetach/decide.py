"""Which nodes a CSI volume should be attached to, what its attachments say, and who must wait; sans-IO.

    pod scheduled --claim--> volume --driver needs attaching--> VolumeAttachment --external attacher--> attached
    no pod left on the node --volume not in use there--> VolumeAttachment deleted

A volume with neither ReadWriteMany nor ReadOnlyMany is attached to one node at a time: a pod on another node
waits, and is told so once. A node that reports the volume in use keeps it, unless it is gone for good (out of
service, or no node any more) or has not been well for six minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object

MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
#: Seconds after which a volume is taken from a node that is not ready, though it says that it uses it.
FORCE_AFTER = 360.0
_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclass(frozen=True, slots=True)
class Event:
    """What to tell about a pod."""

    pod: Object
    type: str
    reason: str
    message: str


@dataclass(slots=True)
class Plan:
    """What one volume needs: attachments to make and to delete, events, and seconds until the next look."""

    attach: list[Object] = field(default_factory=list)
    detach: list[Object] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """One volume, the pods that use it, its attachments, and the nodes of both (by name)."""

    volume: Object
    pods: Sequence[Object]
    attachments: Sequence[Object]
    nodes: Mapping[str, Object]
    #: Node -> seconds since nobody there needs the volume any more.
    unneeded: Mapping[str, float] = field(default_factory=dict)


def unique_name(volume: Object) -> str:
    """What nodes call the volume in ``volumesInUse`` and ``volumesAttached``."""
    csi = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{csi['driver']}^{csi['volumeHandle']}"


def attachment_name(volume: Object, node: str) -> str:
    """The VolumeAttachment's name (``getAttachmentName``): the same for the same volume, driver and node."""
    csi = volume["spec"]["csi"]
    return "csi-" + hashlib.sha256(f"{csi['volumeHandle']}{csi['driver']}{node}".encode()).hexdigest()


def new_attachment(volume: Object, node: str) -> Object:
    """The attachment to create."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": attachment_name(volume, node)},
        "spec": {
            "attacher": volume["spec"]["csi"]["driver"],
            "nodeName": node,
            "source": {"persistentVolumeName": meta.name(volume)},
        },
    }


def needs_attaching(driver: Object | None) -> bool:
    """Whether a driver's volumes are attached at all; a driver that nobody registered: yes."""
    return driver is None or (driver.get("spec") or {}).get("attachRequired") is not False


def is_managed(node: Object | None) -> bool:
    """Whether the node leaves attaching to us."""
    return node is not None and MANAGED in meta.annotations(node)


def is_shared(volume: Object) -> bool:
    """Whether several nodes may have the volume at a time (modes that are not given allow it)."""
    modes = volume["spec"].get("accessModes") or ()
    return not modes or not _SHARED.isdisjoint(modes)


def plan(now: Situation) -> Plan:
    """The next steps for one volume whose driver needs attaching."""
    result = Plan()
    wanted: dict[str, list[Object]] = {}
    for pod in now.pods:
        node = pod["spec"].get("nodeName")
        if node and not meta.is_pod_finished(pod) and is_managed(now.nodes.get(node)):
            wanted.setdefault(node, []).append(pod)
    attached = {one["spec"]["nodeName"]: one for one in now.attachments}
    for node, attachment in attached.items():
        if node not in wanted and not meta.is_terminating(attachment):
            _release(now, node, attachment, result)
    _fill(now, wanted, attached, result)
    return result


def _release(now: Situation, node: str, attachment: Object, result: Plan) -> None:
    found = now.nodes.get(node)
    if found is None or not _uses(found, now.volume) or _is_out_of_service(found):
        result.detach.append(attachment)
        return
    left = FORCE_AFTER - now.unneeded.get(node, 0.0)
    if left > 0:
        result.again = min(left, result.again or left)
    elif not meta.is_condition_true(found, "Ready"):
        result.detach.append(attachment)


def _fill(
    now: Situation, wanted: Mapping[str, list[Object]], attached: Mapping[str, Object], result: Plan
) -> None:
    shared = is_shared(now.volume)
    held = set(attached)
    for node, pods in sorted(wanted.items()):
        if node in attached:
            continue
        if shared or not held:
            result.attach.append(new_attachment(now.volume, node))
            held.add(node)
            continue
        result.events += [_multi_attach(now, pod) for pod in pods]


def _multi_attach(now: Situation, pod: Object) -> Event:
    """Kubernetes' words: users of the same namespace by name, those of others only counted."""
    node = pod["spec"]["nodeName"]
    others = [
        other
        for other in now.pods
        if other["spec"].get("nodeName") not in (None, "", node) and not meta.is_pod_finished(other)
    ]
    near = sorted(meta.name(other) for other in others if meta.namespace(other) == meta.namespace(pod))
    far = len(others) - len(near)
    if not others:
        why = "Volume is already exclusively attached to one node and can't be attached to another"
    elif not near:
        why = f"Volume is already used by {far} pod(s) in different namespaces"
    else:
        why = f"Volume is already used by pod(s) {', '.join(near)}"
        why += f" and {far} pod(s) in different namespaces" if far else ""
    text = f'Multi-Attach error for volume "{meta.name(now.volume)}" {why}'
    return Event(pod, "Warning", "FailedAttachVolume", text)


def outcome(attachment: Object) -> tuple[str, str, str] | None:
    """(event type, reason, message) of what an attachment's status says; None while it says nothing."""
    status = attachment.get("status") or {}
    name = attachment["spec"]["source"].get("persistentVolumeName", "")
    if status.get("attached"):
        return "Normal", "SuccessfulAttachVolume", f'AttachVolume.Attach succeeded for volume "{name}" '
    if status.get("attachError"):
        why = status["attachError"].get("message", "")
        return "Warning", "FailedAttachVolume", f'AttachVolume.Attach failed for volume "{name}" : {why}'
    return None


def outcome_events(attachment: Object, pods: Sequence[Object]) -> list[Event]:
    """What an attachment's new status means to the pods that wait for it on its node."""
    said = outcome(attachment)
    if said is None:
        return []
    node = attachment["spec"]["nodeName"]
    mine = [pod for pod in pods if pod["spec"].get("nodeName") == node and not meta.is_pod_finished(pod)]
    return [Event(pod, *said) for pod in mine]


def volumes_attached(attachments: Sequence[tuple[Object, Object]]) -> list[Object]:
    """``node.status.volumesAttached`` from (volume, attachment) pairs of the node."""
    found = [
        {
            "name": unique_name(volume),
            "devicePath": (attachment["status"].get("attachmentMetadata") or {}).get("devicePath", ""),
        }
        for volume, attachment in attachments
        if (attachment.get("status") or {}).get("attached") and not meta.is_terminating(attachment)
    ]
    return sorted(found, key=lambda entry: str(entry["name"]))


def _uses(node: Object, volume: Object) -> bool:
    return unique_name(volume) in ((node.get("status") or {}).get("volumesInUse") or ())


def _is_out_of_service(node: Object) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return any(taint["key"] == OUT_OF_SERVICE for taint in taints)
