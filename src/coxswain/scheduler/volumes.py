"""Claims, volumes and what else storage decisions read, and which placed pods use what.

    set/remove(kind, obj)    informers and snapshots say what there is; kinds are the API's plural names
    count(template, ...)     the node table says which pods come and go
    assume/revert            Reserve decided: until the API shows it, a claim has a node, a volume has a claim

An assumed object counts until the API shows one with another resource version (kube-scheduler's assume caches).
Nothing here decides; see ``volume_matching`` and the plugins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coxswain.scheduler.volume_offers import Offers

if TYPE_CHECKING:
    from coxswain.scheduler.template import Template
    from coxswain.scheduler.volume_usage import Usage

Object = dict[str, Any]

CLAIMS: Final = "persistentvolumeclaims"
VOLUMES: Final = "persistentvolumes"
CLASSES: Final = "storageclasses"
CSI_NODES: Final = "csinodes"
CSI_DRIVERS: Final = "csidrivers"
CAPACITIES: Final = "csistoragecapacities"
ATTACHMENTS: Final = "volumeattachments"
KINDS: Final = (CLAIMS, VOLUMES, CLASSES, CSI_NODES, CSI_DRIVERS, CAPACITIES, ATTACHMENTS)

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
_OLD_CLASS: Final = "volume.beta.kubernetes.io/storage-class"


class Disk(NamedTuple):
    """A disk that a pod names directly; disks of one identity exclude each other unless all are read-only."""

    kind: str
    identity: tuple[str, ...]
    monitors: frozenset[str]
    read_only: bool

    def conflicts(self, other: Disk) -> bool:
        """Whether pods with these cannot share a node (``isVolumeConflict``)."""
        if self.kind != other.kind or self.identity != other.identity:
            return False
        if self.kind == "rbd" and not self.monitors & other.monitors:
            return False
        # A disk of AWS is never shared.
        return self.kind == "awsElasticBlockStore" or not (self.read_only and other.read_only)


class Volumes:
    """See the module's text. Objects are kept as given and never changed."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in KINDS}
        self._assumed: dict[str, dict[tuple[str, str], Object]] = {CLAIMS: {}, VOLUMES: {}}
        self.offers = Offers()
        #: node -> name -> VolumeAttachment; volume -> nodes of its attachments, and how many each.
        self._attached: dict[str, dict[str, Object]] = {}
        self._attached_to: dict[str, Counter[str]] = {}
        #: volume -> claims that name it.
        self._claims_of: dict[str, set[tuple[str, str]]] = {}
        #: Grows with every change of an object.
        self.epoch = 0
        #: (namespace, claim) -> row -> placed pods that use it.
        self.claim_users: dict[tuple[str, str], Counter[int]] = {}
        #: (kind, identity) -> row -> disks of placed pods there, and how many each.
        self.disks: dict[tuple[str, tuple[str, ...]], dict[int, Counter[Disk]]] = {}
        #: row -> templates with volumes of the pods there, and how many each.
        self.users: dict[int, Counter[Template]] = {}
        #: (namespace, claim) -> row -> placed pods that mount it, as ephemeral volumes too.
        self._mounts: dict[tuple[str, str], Counter[int]] = {}
        #: What ``usage`` has to look at again.
        self.changed_rows: set[int] = set()
        self.changed_nodes: set[str] = set()
        self.all_changed = False
        #: Kept by ``volume_usage.usage_of``.
        self.usage: Usage | None = None

    # -- objects ---------------------------------------------------------------------------------

    def set(self, kind: str, obj: Object) -> None:
        """Add or replace an object."""
        key = _key(obj)
        known = self._objects[kind].get(key)
        self._objects[kind][key] = obj
        self.epoch += 1
        if kind in self._assumed and not _same_version(known, obj):
            self._assumed[kind].pop(key, None)
        self._index(kind, key, known, obj)

    def remove(self, kind: str, obj: Object) -> None:
        """Forget an object; unknown ones are none."""
        key = _key(obj)
        known = self._objects[kind].pop(key, None)
        if known is None:
            return
        self.epoch += 1
        if kind in self._assumed:
            self._assumed[kind].pop(key, None)
        self._index(kind, key, known, None)

    def _index(self, kind: str, key: tuple[str, str], old: Object | None, new: Object | None) -> None:
        """Keep the indexes, and note whose attached volumes may have changed."""
        for obj, sign in ((old, -1), (new, 1)):
            if obj is None:
                continue
            if kind == CLAIMS:
                name = (obj.get("spec") or {}).get("volumeName") or ""
                self._relate(name, key, sign)
                self.changed_rows.update(self._mounts.get(key, ()))
            elif kind == VOLUMES:
                for claim in self._claims_of.get(key[1], ()):
                    self.changed_rows.update(self._mounts.get(claim, ()))
                self.changed_nodes.update(self._attached_to.get(key[1], ()))
            elif kind == ATTACHMENTS:
                node_name = _node_of(obj)
                attached = self._attached.setdefault(node_name, {})
                attached.pop(key[1], None)
                if sign > 0:
                    attached[key[1]] = obj
                elif not attached:
                    del self._attached[node_name]
                if volume := (obj["spec"].get("source") or {}).get("persistentVolumeName"):
                    self._tally(self._attached_to, volume, node_name, sign)
                self.changed_nodes.add(node_name)
            elif kind == CSI_NODES:
                self.changed_nodes.add(key[1])
            elif kind == CLASSES:
                self.all_changed = True
        if kind == VOLUMES:
            self._offer(key[1])

    def _relate(self, volume: str, claim: tuple[str, str], sign: int) -> None:
        """A claim names a volume (1), or no longer does (-1)."""
        claims = self._claims_of.setdefault(volume, set())
        (claims.add if sign > 0 else claims.discard)(claim)
        if not claims:
            del self._claims_of[volume]

    def _offer(self, name: str) -> None:
        volume = self.volume(name)
        self.offers.put(name, volume, class_of(volume) if volume is not None else "")

    def claim(self, namespace: str, name: str) -> Object | None:
        """A claim, as assumed or as the API has it."""
        key = (namespace, name)
        return self._assumed[CLAIMS].get(key) or self._objects[CLAIMS].get(key)

    def volume(self, name: str) -> Object | None:
        """A volume, as assumed or as the API has it."""
        key = ("", name)
        return self._assumed[VOLUMES].get(key) or self._objects[VOLUMES].get(key)

    def storage_class(self, name: str) -> Object | None:
        return self._objects[CLASSES].get(("", name))

    def csi_node(self, node_name: str) -> Object | None:
        return self._objects[CSI_NODES].get(("", node_name))

    def driver(self, name: str) -> Object | None:
        return self._objects[CSI_DRIVERS].get(("", name))

    def capacities(self) -> list[Object]:
        return list(self._objects[CAPACITIES].values())

    def attachments(self, node_name: str) -> list[Object]:
        """VolumeAttachments of a node."""
        return list(self._attached.get(node_name, {}).values())

    def all(self, kind: str) -> Iterable[Object]:
        """Objects of a kind, as the API has them."""
        return self._objects[kind].values()

    def all_assumed(self, kind: str) -> Iterable[Object]:
        """What counts instead of claims or volumes as the API has them."""
        return self._assumed[kind].values()

    def counts(self) -> dict[str, dict[Any, Any]]:
        """Who uses what on which row: the indexes that placed pods are counted in, by name."""
        return {
            "users": self.users,
            "claim users": self.claim_users,
            "mounts": self._mounts,
            "disks": self.disks,
        }

    # -- assumed ---------------------------------------------------------------------------------

    def assume(self, kind: str, obj: Object) -> None:
        """Let a changed copy of an object count until the API shows another version."""
        self._assumed[kind][_key(obj)] = obj
        self._reassumed(kind, obj)

    def _reassumed(self, kind: str, obj: Object) -> None:
        self.epoch += 1
        if kind == VOLUMES:
            self._offer(obj["metadata"]["name"])

    def note_written(self, kind: str, obj: Object) -> None:
        """What the API answered counts until an informer brings it, or something newer; informers may be first."""
        key = _key(obj)
        if _same_version(self._objects[kind].get(key), obj):
            self._assumed[kind].pop(key, None)
        elif key in self._assumed[kind]:
            self._assumed[kind][key] = obj
        self._reassumed(kind, obj)

    def revert(self, kind: str, obj: Object) -> None:
        """Give up what was assumed of an object."""
        if self._assumed[kind].pop(_key(obj), None) is not None:
            self._reassumed(kind, obj)

    # -- pods ------------------------------------------------------------------------------------

    def count(self, template: Template, row: int, sign: int) -> None:
        """A placed pod with volumes came (1) to a row or left it (-1)."""
        self._tally(self.users, row, template, sign)
        self.changed_rows.add(row)
        for name, _ in claims_of(template):
            self._tally(self._mounts, (template.namespace, name), row, sign)
        for name in {name for name, _ in claims_of(template, with_ephemeral=False)}:
            self._tally(self.claim_users, (template.namespace, name), row, sign)
        for disk in disks_of(template):
            rows = self.disks.setdefault((disk.kind, disk.identity), {})
            self._tally(rows, row, disk, sign)
            if not rows:
                del self.disks[disk.kind, disk.identity]

    @staticmethod
    def _tally(index: dict[Any, Counter[Any]], key: Any, what: Any, sign: int) -> None:
        counts = index.get(key)
        if counts is None:
            counts = index[key] = Counter()
        counts[what] += sign
        if not counts[what]:
            del counts[what]
            if not counts:
                del index[key]


def class_of(obj: Object) -> str:
    """The storage class of a claim or a volume: the old annotation first, then the field."""
    annotations = obj["metadata"].get("annotations") or {}
    found: str = annotations.get(_OLD_CLASS) or (obj.get("spec") or {}).get("storageClassName") or ""
    return found


def claims_of(template: Template, *, with_ephemeral: bool = True) -> list[tuple[str, bool]]:
    """(name, whether it is a generic ephemeral volume's) of the claims that a pod uses, in its order."""
    found = []
    for volume in template.spec.get("volumes") or ():
        if (source := volume.get("persistentVolumeClaim")) is not None:
            found.append((source.get("claimName") or "", False))
        elif with_ephemeral and "ephemeral" in volume:
            found.append((volume["ephemeral"]["claimName"], True))
    return found


def disks_of(template: Template) -> list[Disk]:
    """The disks that a pod names directly and that exclude others."""
    known: list[Disk] | None = template.parsed.get("disks")
    if known is None:
        known = template.parsed["disks"] = [
            disk for volume in template.spec.get("volumes") or () if (disk := _disk(volume)) is not None
        ]
    return known


def _disk(volume: Object) -> Disk | None:
    if source := volume.get("gcePersistentDisk"):
        return Disk("gcePersistentDisk", (source["pdName"],), frozenset(), bool(source.get("readOnly")))
    if source := volume.get("awsElasticBlockStore"):
        return Disk("awsElasticBlockStore", (source["volumeID"],), frozenset(), False)
    if source := volume.get("iscsi"):
        return Disk("iscsi", (source["iqn"],), frozenset(), bool(source.get("readOnly")))
    if source := volume.get("rbd"):
        identity = (source.get("pool") or "rbd", source["image"])
        return Disk("rbd", identity, frozenset(source.get("monitors") or ()), bool(source.get("readOnly")))
    return None


def own_ephemeral(relevant: Object, metadata: Object) -> None:
    """Write into the volumes of a pod's scheduling fields which claims its generic ephemeral volumes stand for.

    Such a claim is named after the pod and must be owned by it, so pods with one share no template.
    """
    relevant["volumes"] = [
        {
            "name": volume["name"],
            "ephemeral": {
                "claimName": f"{metadata['name']}-{volume['name']}",
                "podName": metadata["name"],
                "podUID": metadata.get("uid") or "",
            },
        }
        if "ephemeral" in volume
        else volume
        for volume in relevant["volumes"]
    ]


def _key(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _node_of(attachment: Object) -> str:
    name: str = attachment["spec"].get("nodeName") or ""
    return name


def _same_version(old: Object | None, new: Object) -> bool:
    return (
        old is not None
        and old["metadata"].get("resourceVersion") == new["metadata"].get("resourceVersion") is not None
    )
