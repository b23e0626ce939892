"""Invariants of what keeps pods running: ReplicaSets, Deployments, StatefulSets, DaemonSets."""

from __future__ import annotations

from collections import defaultdict

from chaos.observer import (
    Change,
    Invariant,
    Ledger,
    Observer,
    has_ended,
    is_active,
    is_available,
    is_ready,
    share,
)
from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

SETS = {"ReplicaSet": "replicaset-controller", "ReplicationController": "replicationcontroller-controller"}


class Disturbances(Invariant):
    """When pods of an owner last became worse by anything but its own controller's doing."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._at: dict[str, float] = {}

    def see(self, change: Change) -> None:
        if change.kind != "Pod" or change.old is None:
            return
        if change.new is not None and meta.controller_of(change.old) != meta.controller_of(change.new):
            for uid in (*owners(self.world, change.old), *owners(self.world, change.new)):
                self._at[uid] = change.at  # released or adopted
        if not is_ready(change.old) or (change.new is not None and is_ready(change.new)):
            return
        if change.actor in (*SETS.values(), "statefulset-controller", "daemonset-controller"):
            return
        for uid in owners(self.world, change.old):
            self._at[uid] = change.at

    def recent(self, uid: str) -> bool:
        """Whether somebody may not know yet how the pods of ``uid`` are."""
        return clock.monotonic() - self._at.get(uid, -1e9) < self.world.blur()


def owners(world: Observer, pod: Object) -> list[str]:
    """The uids of a pod's controller, and of that one's."""
    found: list[str] = []
    reference = meta.controller_of(pod)
    while reference is not None:
        found.append(reference["uid"])
        owner = world.by_uid(reference["uid"])
        reference = meta.controller_of(owner) if owner is not None else None
    return found


class NoPodTooMany(Invariant):
    """A set never makes more pods than it was asked for, a creation whose answer was lost excepted."""

    def __init__(self, world: Observer, unsure: dict[str, int]) -> None:
        super().__init__(world)
        self._unsure = unsure
        self._asked = Ledger()

    def see(self, change: Change) -> None:
        if change.kind in SETS and change.new is not None:
            self._asked.put(meta.uid(change.new), change.new["spec"].get("replicas", 1))
        if change.kind != "Pod" or not change.appeared or change.actor not in SETS.values():
            return
        reference = meta.controller_of(change.obj)
        assert reference is not None
        uid = reference["uid"]
        asked = max(self._asked.within(uid, self.world.blur()), default=0)
        asked += self._unsure.get(uid, 0)
        self.looked("created")
        active = sum(map(is_active, self.world.pods_of(uid)))
        if active > asked:
            self.fail(change, f"{reference['kind']} {reference['name']} has {active} pods of {asked}")


class Rollouts(Invariant):
    """A Deployment's sets together never ask for more than the surge allows; availability is kept.

    Looked at whenever its controller makes a set larger or smaller.
    """

    def __init__(self, world: Observer, disturbances: Disturbances) -> None:
        super().__init__(world)
        self._disturbances = disturbances
        self._most = Ledger()
        self._least = Ledger()
        #: By set: pods that are to go because the Deployment was scaled in the middle of a rollout.
        self._shared: dict[str, int] = defaultdict(int)

    def see(self, change: Change) -> None:
        if change.kind == "Deployment" and change.new is not None:
            surge, unavailable = _rolling(change.new)
            replicas = change.new["spec"].get("replicas", 1)
            self._most.put(meta.uid(change.new), replicas + surge)
            self._least.put(meta.uid(change.new), replicas - unavailable)
        if change.kind == "ReplicaSet" and change.actor == "deployment-controller":
            self._see_set(change)
        if change.kind == "Pod" and change.actor == SETS["ReplicaSet"] and change.deletion_began:
            self._see_end(change)

    def _see_set(self, change: Change) -> None:
        before, after = _size(change.old), _size(change.new)
        if change.old is not None and after < before and _sized_for(change.old) != _sized_for(change.obj):
            # Scaling down shares the loss out by the sets' sizes, whichever of their pods are ready
            # (``deployment/sync.go scale``): with nothing ready in the new set, a pod of the old one goes that
            # a rollout would keep. So it may take as many as that, and the steps after it none.
            uid = meta.uid(change.obj)
            surplus = sum(map(is_active, self.world.pods_of(uid))) - after
            self._shared[uid] = min(self._shared[uid] + before - after, max(surplus, 0))
        reference = meta.controller_of(change.obj)
        if reference is None or after <= before:
            return
        uid = reference["uid"]
        most = max(self._most.within(uid, self.world.blur()), default=1 << 30)
        self.looked("surge")
        total = sum(_size(one) for one in self.world.owned(uid, "ReplicaSet"))
        if total > most:
            self.fail(change, f"sets of {reference['name']} ask for {total} pods, {most} are allowed")

    def _see_end(self, change: Change) -> None:
        assert change.old is not None
        uids = owners(self.world, change.old)
        if uids and self._shared[uids[0]]:
            self._shared[uids[0]] -= 1
            return
        owner = self.world.by_uid(uids[1]) if len(uids) > 1 else None
        min_ready = owner["spec"].get("minReadySeconds", 0) if owner is not None else 0
        if owner is None or not is_available(change.old, min_ready) or self._disturbances.recent(uids[1]):
            return
        self.looked("availability")
        least = min(self._least.within(uids[1], self.world.blur()), default=0)
        sets = self.world.owned(uids[1], "ReplicaSet")
        ready = sum(is_ready(pod) for one in sets for pod in self.world.pods_of(meta.uid(one)))
        if ready < least:
            self.fail(change, f"{ready} pods are ready, {least} have to be available")


def _size(obj: Object | None) -> int:
    return int(obj["spec"].get("replicas", 1)) if obj is not None else 0


def _sized_for(replica_set: Object) -> str:
    """The Deployment's size when this set was last sized."""
    return meta.annotations(replica_set).get("deployment.kubernetes.io/desired-replicas", "")


def _rolling(deployment: Object) -> tuple[int, int]:
    spec = deployment["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    return surge, unavailable if surge or unavailable else 1


class StatefulIdentity(Invariant):
    """A pod of a StatefulSet that may still run is never replaced: only its kubelet says that it ended."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._node_gone: dict[str, float] = {}

    def see(self, change: Change) -> None:
        if change.kind == "Node" and change.vanished:
            self._node_gone[change.key] = change.at
        if change.kind != "Pod" or not change.vanished:
            return
        pod, reference = change.obj, meta.controller_of(change.obj)
        if reference is None or reference["kind"] != "StatefulSet":
            return
        node = pod["spec"].get("nodeName")
        if not node or has_ended(pod) or change.actor in ("kubelet", "user"):
            return
        if pod["spec"].get("terminationGracePeriodSeconds") == 0:
            return  # its author allowed no grace: the API server lets go of it at once
        self.looked("vanished")
        if node not in self._node_gone:
            self.fail(change, f"{change.actor} ended it, though {node} may run it still")


class StatefulOrder(Invariant):
    """OrderedReady: a pod starts when all before it are ready, and goes when none after it is left."""

    def __init__(self, world: Observer, disturbances: Disturbances) -> None:
        super().__init__(world)
        self._disturbances = disturbances
        self._ranges = Ledger()
        self._revisions = Ledger()

    def see(self, change: Change) -> None:
        if change.kind == "StatefulSet" and change.new is not None:
            spec = change.new["spec"]
            start = (spec.get("ordinals") or {}).get("start", 0)
            self._ranges.put(meta.uid(change.new), (start, start + spec.get("replicas", 1)))
            status = change.new.get("status") or {}
            seen = status.get("observedGeneration") == meta.generation(change.new)
            updated = status.get("updateRevision", "") if seen else ""
            self._revisions.put(meta.uid(change.new), (updated, spec["template"]))
        if change.kind != "Pod" or change.actor != "statefulset-controller":
            return
        reference = meta.controller_of(change.obj)
        owner = self.world.by_uid(reference["uid"]) if reference is not None else None
        if owner is None or owner["kind"] != "StatefulSet":
            return
        if owner["spec"].get("podManagementPolicy") == "Parallel":
            return
        if change.appeared:
            self._see_start(change, owner)
        elif change.deletion_began:
            self._see_end(change, owner)

    def _others(self, change: Change, owner: Object) -> dict[int, Object]:
        pods = self.world.pods_of(meta.uid(owner))
        return {_ordinal(pod): pod for pod in pods if meta.name(pod) != meta.name(change.obj)}

    def _see_start(self, change: Change, owner: Object) -> None:
        if self._disturbances.recent(meta.uid(owner)):
            return
        ranges = self._ranges.within(meta.uid(owner), self.world.blur())
        ordinal, others = _ordinal(change.obj), self._others(change, owner)
        starts = {start for start, _ in ranges}
        if len(starts) == 1:
            self.looked("start")
            for earlier in range(starts.pop(), ordinal):
                pod = others.get(earlier)
                if pod is None or not is_ready(pod):
                    self.fail(change, f"started before pod {earlier} was ready")

    def _see_end(self, change: Change, owner: Object) -> None:
        ranges = self._ranges.within(meta.uid(owner), self.world.blur())
        ordinal = _ordinal(change.obj)
        if ranges[-1][0] <= ordinal < ranges[-1][1] or not is_ready(change.old or {}):
            return
        revisions = self._revisions.within(meta.uid(owner), self.world.blur())
        revision = meta.labels(change.obj).get("controller-revision-hash")
        is_current = len(revisions) == 1 and revisions[0][0] == revision
        if any(first <= ordinal < end for first, end in ranges) and not is_current:
            return  # it may have gone to be updated, as far as the controller knew
        self.looked("end")
        later = [other for other in self._others(change, owner) if other > ordinal]
        if later:
            self.fail(change, f"ended while {later} are still there")


def _ordinal(pod: Object) -> int:
    return int(meta.name(pod).rpartition("-")[2])


class DaemonPods(Invariant):
    """One pod of a DaemonSet a node (two while surging), and no more unavailable than it allows."""

    def __init__(self, world: Observer, disturbances: Disturbances, unsure: dict[str, int]) -> None:
        super().__init__(world)
        self._disturbances = disturbances
        self._unsure = unsure
        self._rules = Ledger()
        self._changed: dict[str, float] = defaultdict(float)

    def see(self, change: Change) -> None:
        if change.kind == "DaemonSet" and change.new is not None:
            rolling = (change.new["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
            rules = (rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 1))
            self._rules.put(meta.uid(change.new), rules)
        if change.kind == "Node" and _placing(change.old) != _placing(change.new):
            self._changed["node"] = change.at
        if change.kind != "Pod" or change.actor != "daemonset-controller":
            return
        reference = meta.controller_of(change.obj)
        if reference is None:
            return
        if change.appeared:
            self._see_start(change, reference["uid"])
        elif change.deletion_began and change.old is not None:
            self._see_end(change, reference["uid"], change.old)

    def _see_start(self, change: Change, uid: str) -> None:
        node = _target(change.obj)
        here = [pod for pod in self.world.pods_of(uid) if _target(pod) == node and is_active(pod)]
        rules = self._rules.within(uid, self.world.blur())
        self.looked("start")
        most = 2 if any(surge not in (0, "0%") for surge, _ in rules) else 1
        if len(here) > most + self._unsure.get(uid, 0):
            self.fail(change, f"{len(here)} pods on {node}")

    def _see_end(self, change: Change, uid: str, pod: Object) -> None:
        owner = self.world.by_uid(uid)
        min_ready = owner["spec"].get("minReadySeconds", 0) if owner is not None else 0
        if not is_available(pod, min_ready):
            return
        blur, now = self.world.blur(), clock.monotonic()
        if self._disturbances.recent(uid) or now - self._changed["node"] < blur or self._unsure.get(uid):
            return
        rules = self._rules.within(uid, blur)
        if len(rules) > 1 or any(surge not in (0, "0%") for surge, _ in rules):
            return
        self.looked("availability")
        nodes = [node for node in self.world.all("Node") if not _bars(node)]
        ready = {_target(pod) for pod in self.world.pods_of(uid) if is_ready(pod)}
        away = sum(1 for node in nodes if meta.name(node) not in ready)
        most = share(rules[0][1], len(nodes), up=True)
        if away > max(1, most):
            self.fail(change, f"{away} of {len(nodes)} nodes are without a ready pod, {most} may be")


def _bars(node: Object) -> bool:
    """Whether no pod of a DaemonSet belongs there: they tolerate that it is drained."""
    taints = (node["spec"].get("taints")) or ()
    return any(
        taint["effect"] in ("NoSchedule", "NoExecute") and taint["key"] != "node.kubernetes.io/unschedulable"
        for taint in taints
    )


def _placing(node: Object | None) -> object:
    if node is None:
        return None
    ready = meta.is_condition_true(node, "Ready")
    return (node["spec"].get("taints"), node["spec"].get("unschedulable"), meta.labels(node), ready)


def _target(pod: Object) -> str:
    affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity")) or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return str(pod["spec"].get("nodeName") or "")
