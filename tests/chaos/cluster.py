"""Invariants of the cluster at large: owners, garbage, namespaces, budgets, quotas, and what never changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from chaos.observer import Change, Invariant, Ledger, Observer, has_ended, is_ready, share
from chaos.workloads import owners
from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

COLLECTOR = "garbage-collector-controller"
_SCALED = frozenset({"ReplicaSet", "ReplicationController", "Deployment", "StatefulSet"})
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class NeverChanges(Invariant):
    """Uids, ends, deletions and a pod's node stay what they are; revisions grow."""

    def see(self, change: Change) -> None:
        old, new = change.old, change.new
        if old is None or new is None:
            return
        if meta.uid(old) != meta.uid(new):
            self.fail(change, "another object took its place without a deletion")
        if meta.is_terminating(old) and not meta.is_terminating(new):
            self.fail(change, "its deletion was taken back")
        if change.kind == "Pod":
            node = old["spec"].get("nodeName")
            if node and new["spec"].get("nodeName") != node:
                self.fail(change, f"moved from {node} to {new['spec'].get('nodeName')}")
            if has_ended(old) and meta.pod_phase(old) != meta.pod_phase(new):
                self.fail(change, f"was {meta.pod_phase(old)} and is {meta.pod_phase(new)}")


class OneController(Invariant):
    """One controller an object; it changes only by a release and an adoption, never from one to another."""

    def see(self, change: Change) -> None:
        if change.new is None:
            return
        found = [ref for ref in meta.owner_references(change.new) if ref.get("controller")]
        if len(found) > 1:
            self.fail(change, f"has {len(found)} controllers")
        before = meta.controller_of(change.old) if change.old is not None else None
        # A claim of a StatefulSet is handed over to its pod: that is its retention policy.
        handed_over = change.kind == "PersistentVolumeClaim"
        if before is not None and found and found[0]["uid"] != before["uid"] and not handed_over:
            self.fail(change, f"went from {before['name']} to {found[0]['name']} at once")
        if change.old is not None and before is None and found and not handed_over:
            owner = self.world.by_uid(found[0]["uid"])
            if owner is not None and not _selects(owner, change.new):
                self.fail(change, f"was adopted by {found[0]['name']}, which does not select it")


def _selects(owner: Object, obj: Object) -> bool:
    selector = owner["spec"].get("selector") or {}
    labels = selector.get("matchLabels", selector if owner["kind"] == "ReplicationController" else {})
    return bool(labels.items() <= meta.labels(obj).items())


class Garbage(Invariant):
    """The collector takes what no living owner holds, all of it, and in the order asked for."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._dependents: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)

    def see(self, change: Change) -> None:
        place = (change.kind, change.key)
        for reference in meta.owner_references(change.old) if change.old else ():
            if change.new is None or all(
                other["uid"] != reference["uid"] for other in meta.owner_references(change.new)
            ):
                self._dependents[reference["uid"]].pop(place, None)
        for reference in meta.owner_references(change.new) if change.new else ():
            self._dependents[reference["uid"]].setdefault(place, change.at)
        if change.actor == COLLECTOR and change.deletion_began:
            self._see_collected(change)
        if change.actor == COLLECTOR and change.old is not None:
            kept = meta.finalizers(change.new) if change.new is not None else []
            for finalizer in (FOREGROUND, ORPHAN):
                if finalizer in meta.finalizers(change.old) and finalizer not in kept:
                    self._see_let_go(change, finalizer)

    def _see_collected(self, change: Change) -> None:
        self.looked("collected")
        for reference in meta.owner_references(change.obj):
            owner = self.world.by_uid(reference["uid"])
            if owner is not None and FOREGROUND not in meta.finalizers(owner):
                self.fail(change, f"was collected, and its owner {reference['name']} lives")

    def _see_let_go(self, change: Change, finalizer: str) -> None:
        self.looked(finalizer)
        uid = meta.uid(change.obj)
        for (kind, key), since in self._dependents[uid].items():
            dependent = self.world.get(kind, key)
            if dependent is None or change.at - since < self.world.blur():
                continue
            blocks = any(
                reference["uid"] == uid and reference.get("blockOwnerDeletion")
                for reference in meta.owner_references(dependent)
            )
            if finalizer == ORPHAN or blocks:
                self.fail(change, f"was let go ({finalizer}) before its dependent {kind} {key}")

    def settled(self) -> None:
        for kind, objects in list(self.world.objects.items()):
            for key, obj in sorted(objects.items()):
                references = meta.owner_references(obj)
                if references and all(self.world.by_uid(ref["uid"]) is None for ref in references):
                    self.world.fail(
                        f"Garbage: {kind} {key} is left, its owner {references[0]['name']} is gone"
                    )


class Namespaces(Invariant):
    """Nothing is made where a namespace is going or gone, and nothing is left in one that went."""

    def see(self, change: Change) -> None:
        space = meta.namespace(change.obj)
        if change.appeared and space:
            found = self.world.get("Namespace", space)
            if found is None:
                self.fail(change, f"was made in {space}, which does not exist")
            elif meta.is_terminating(found) and change.kind != "Event":
                self.fail(change, f"was made in {space}, which is going")
        if change.kind == "Namespace" and change.vanished:
            for kind, objects in list(self.world.objects.items()):
                for key in objects:
                    if key.startswith(f"{change.key}/") and kind not in ("Event", "Namespace"):
                        self.fail(change, f"went before {kind} {key}")


class Budgets(Invariant):
    """An eviction never takes a healthy pod that a budget needs, as far as anybody could know.

    While the controllers are down, nobody does: evictions are granted by what a budget's status said last.
    """

    def __init__(self, world: Observer, working: Callable[[str], float]) -> None:
        super().__init__(world)
        self._working = working
        self._worse: dict[str, float] = defaultdict(lambda: -1e9)

    def see(self, change: Change) -> None:
        if change.kind == "PodDisruptionBudget" and _differs(change, "spec"):
            self._worse[meta.namespace(change.obj)] = change.at
        if change.kind in _SCALED and _size(change.old) != _size(change.new):
            self._worse[meta.namespace(change.obj)] = change.at
        if change.kind != "Pod" or change.old is None or not is_ready(change.old):
            return
        if change.actor == "evictor" and change.deletion_began:
            self._see_evicted(change, change.old)
        elif (change.new is None or not is_ready(change.new)) and not meta.is_terminating(change.old):
            self._worse[meta.namespace(change.obj)] = change.at

    def _see_evicted(self, change: Change, pod: Object) -> None:
        space = meta.namespace(pod)
        if min(change.at - self._worse[space], self._working("controllers")) < self.world.blur():
            return
        for budget in self.world.all("PodDisruptionBudget", space):
            labels = budget["spec"]["selector"]["matchLabels"]
            if labels.items() <= meta.labels(pod).items():
                self.looked("evicted")
                self._check(change, budget, labels)

    def _check(self, change: Change, budget: Object, labels: dict[str, str]) -> None:
        pods = [
            pod
            for pod in self.world.all("Pod", meta.namespace(budget))
            if labels.items() <= meta.labels(pod).items()
        ]
        tops = {owners(self.world, pod)[-1] for pod in pods if owners(self.world, pod)}
        expected = sum(_size(self.world.by_uid(uid)) for uid in tops)
        spec, healthy = budget["spec"], sum(map(is_ready, pods))
        if "minAvailable" in spec:
            least = share(spec["minAvailable"], expected, up=True)
        else:
            least = expected - share(spec["maxUnavailable"], expected, up=True)
        if healthy < least:
            self.fail(change, f"was evicted: {healthy} are healthy, {meta.name(budget)} wants {least}")


def _differs(change: Change, field: str) -> bool:
    before = change.old.get(field) if change.old is not None else None
    after = change.new.get(field) if change.new is not None else None
    return before != after


def _size(obj: Object | None) -> int:
    return int((obj.get("spec") or {}).get("replicas", 1)) if obj is not None else 0


class Quotas(Invariant):
    """No pod is made beyond a quota that has been in force for a while.

    Kubernetes' quota controller gives back what was charged for pods that a late watch does not show it, so that more
    can be made there. This one holds it until they are seen: the invariant knows no such exception.
    """

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._hard = Ledger()

    def see(self, change: Change) -> None:
        if change.kind == "ResourceQuota" and change.new is not None:
            hard = (change.new.get("status") or {}).get("hard") or {}
            self._hard.put(meta.namespace(change.new), (hard.get("pods"), hard.get("requests.cpu")))
        if change.kind != "Pod" or not change.appeared:
            return
        space = meta.namespace(change.obj)
        if self.world.get("ResourceQuota", f"{space}/quota") is None:
            return
        rules = self._hard.within(space, self.world.blur())
        if any(pods is None for pods, _ in rules) or not rules:
            return
        self.looked("created")
        counted = [pod for pod in self.world.all("Pod", space) if _is_charged(pod)]
        most = max(int(pods) for pods, _ in rules)
        if len(counted) > most:
            self.fail(change, f"is pod {len(counted)} of {most} in {space}")
        cpu = max(_milli(cpu) for _, cpu in rules)
        used = sum(_millicores(pod) for pod in counted)
        if used > cpu:
            self.fail(change, f"makes {used}m of {cpu}m in {space}")


def _is_charged(pod: Object) -> bool:
    """As Kubernetes' quota counts: not ended, and not overdue."""
    metadata = pod["metadata"]
    if has_ended(pod):
        return False
    if "deletionTimestamp" not in metadata:
        return True
    overdue = clock.parse_time(metadata["deletionTimestamp"]) + metadata.get("deletionGracePeriodSeconds", 0)
    return clock.now() <= overdue


def _milli(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else int(quantity) * 1000


def _millicores(pod: Object) -> int:
    total = 0
    for container in pod["spec"]["containers"]:
        text = ((container.get("resources") or {}).get("requests") or {}).get("cpu", "0m")
        total += _milli(text)
    return total
