"""Invariants of what a rollout may take away: updates of StatefulSets, their claims, Deployments made anew."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.observer import Change, Invariant, Ledger, Observer, has_ended, is_ready
from chaos.workloads import Disturbances
from coxswain.api import meta
from coxswain.api.names import Object

REVISION = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Rules:
    """What a StatefulSet says about which of its pods may go."""

    first: int
    end: int
    partition: int
    by_itself: bool


def rules_of(owner: Object) -> Rules:
    spec = owner["spec"]
    first = (spec.get("ordinals") or {}).get("start", 0)
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    by_itself = strategy.get("type", "RollingUpdate") == "RollingUpdate"
    return Rules(first, first + spec.get("replicas", 1), first + partition, by_itself)


def ordinal_of(name: str) -> int:
    return int(name.rpartition("-")[2])


class StatefulUpdates(Invariant):
    """An update takes one pod at a time, the last first, none below the partition, none that is up to date."""

    def __init__(self, world: Observer, disturbances: Disturbances) -> None:
        super().__init__(world)
        self._disturbances = disturbances
        self._rules = Ledger()
        self._wanted = Ledger()

    def see(self, change: Change) -> None:
        if change.kind == "StatefulSet" and change.new is not None:
            uid = meta.uid(change.new)
            self._rules.put(uid, rules_of(change.new))
            self._wanted.put(uid, (change.new["spec"]["template"], update_revision(change.new)))
        if change.kind != "Pod" or change.actor != "statefulset-controller" or not change.deletion_began:
            return
        reference = meta.controller_of(change.obj)
        owner = self.world.by_uid(reference["uid"]) if reference is not None else None
        if owner is not None and owner["kind"] == "StatefulSet" and is_ready(change.old or {}):
            self._see_update(change, owner)

    def _see_update(self, change: Change, owner: Object) -> None:
        uid, ordinal = meta.uid(owner), ordinal_of(meta.name(change.obj))
        rules = self._rules.within(uid, self.world.blur())
        if not all(each.first <= ordinal < each.end for each in rules):
            return
        self.looked("update")
        if not any(each.by_itself for each in rules):
            self.fail(change, "was taken, and pods are to be taken by users only")
        if ordinal < min(each.partition for each in rules):
            self.fail(change, f"was taken below the partition {rules[-1].partition}")
        wanted = self._wanted.within(uid, self.world.blur())
        if len(wanted) == 1 and meta.labels(change.obj).get(REVISION) == wanted[0][1]:
            self.fail(change, "was taken, and it is up to date")
        if len(rules) > 1 or self._disturbances.recent(uid):
            return
        self.looked("update in order")
        pods = {ordinal_of(meta.name(pod)): pod for pod in self.world.pods_of(uid)}
        for later in range(ordinal + 1, rules[0].end):
            if later not in pods or not is_ready(pods[later]):
                self.fail(change, f"was taken before pod {later} was ready")


def update_revision(owner: Object) -> str:
    """The revision of the present template, as far as the controller has seen it."""
    status = owner.get("status") or {}
    seen = status.get("observedGeneration") == meta.generation(owner)
    return str(status.get("updateRevision", "")) if seen else ""


class Claims(Invariant):
    """A claim is data: it goes only when its StatefulSet's retention policy says so."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._owners: dict[str, tuple[str, str]] = {}
        self._policies = Ledger()
        self._gone: dict[str, float] = {}
        self._condemned: set[str] = set()

    def see(self, change: Change) -> None:
        if change.kind == "StatefulSet":
            self._see_set(change)
        if change.kind == "Pod" and change.deletion_began:
            self._see_pod(change)
        claim = change.kind == "PersistentVolumeClaim" and change.deletion_began
        if claim and change.actor not in ("user", "namespace-controller") and change.key in self._owners:
            self._see_end(change, *self._owners[change.key])

    def _see_set(self, change: Change) -> None:
        uid = meta.uid(change.obj)
        if change.new is None:
            self._gone[uid] = change.at
            return
        spec, rules = change.new["spec"], rules_of(change.new)
        policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
        told = (
            policy.get("whenDeleted", "Retain"),
            policy.get("whenScaled", "Retain"),
            rules.first,
            rules.end,
            spec.get("podManagementPolicy") != "Parallel",
        )
        self._policies.put(uid, told)
        for template in spec.get("volumeClaimTemplates") or ():
            for ordinal in range(rules.first, rules.end):
                name = f"{template['metadata']['name']}-{meta.name(change.new)}-{ordinal}"
                self._owners[f"{meta.namespace(change.new)}/{name}"] = (uid, meta.name(change.new))

    def _see_pod(self, change: Change) -> None:
        reference = meta.controller_of(change.obj)
        if reference is None or reference["kind"] != "StatefulSet":
            return
        ordinal = ordinal_of(change.key)
        for _, scaled, first, end, ordered in self._policies.within(reference["uid"], self.world.blur()):
            if ordered and scaled == "Delete" and not first <= ordinal < end:
                self._condemned.add(meta.uid(change.obj))

    def _is_lost(self, claim: Object | None) -> bool:
        """Whether the claim was given to a pod that then went because the set was scaled down.

        An ordered set that is scaled up again waits for that pod to be gone and does not look at its claims
        meanwhile (Kubernetes' ``processReplica`` returns at a terminating pod before it compares the claims with
        the policy), so they go with the pod, however long that takes: its node may be lost. The new pod waits for
        that and gets new ones (``PodClaimIsStale``). A parallel set takes them back.
        """
        return any(reference["uid"] in self._condemned for reference in meta.owner_references(claim or {}))

    def _see_end(self, change: Change, uid: str, name: str) -> None:
        told = self._policies.within(uid, self.world.blur())
        ordinal = ordinal_of(change.key)
        self.looked("went")
        owner = self.world.by_uid(uid)
        going = owner is None or meta.is_terminating(owner)
        if going and all(deleted == "Retain" for deleted, *_ in told):
            lately = change.at - self._gone.get(uid, change.at) < self.world.blur()
            scaled = any(
                policy == "Delete" and not first <= ordinal < end for _, policy, first, end, _ in told
            )
            if not (lately and scaled):
                self.fail(change, f"went with {name}, and was to be kept")
        if not going and all(scaled == "Retain" for _, scaled, *_ in told):
            self.fail(change, f"went though {name} keeps the claims of pods that it does not need")
        needed = all(first <= ordinal < end for *_, first, end, _ in told)
        if not going and needed and not self._is_lost(change.old):
            self.fail(change, f"went, and pod {ordinal} of {name} needs it")


class Recreated(Invariant):
    """With the strategy Recreate, no pod of a new revision is asked for while one of an old may run."""

    def __init__(self, world: Observer) -> None:
        super().__init__(world)
        self._strategies = Ledger()
        self._since: dict[str, float] = {}

    def see(self, change: Change) -> None:
        if change.kind == "Deployment" and change.new is not None:
            spec = change.new["spec"]
            told = ((spec.get("strategy") or {}).get("type"), bool(spec.get("paused")))
            self._strategies.put(meta.uid(change.new), told)
        if change.kind == "Pod" and change.new is not None:
            before = meta.controller_of(change.old) if change.old is not None else None
            if before != meta.controller_of(change.new):
                self._since[meta.uid(change.new)] = change.at
        if change.kind == "ReplicaSet" and change.actor == "deployment-controller" and change.new is not None:
            before_size = change.old["spec"].get("replicas", 1) if change.old is not None else 0
            if change.new["spec"].get("replicas", 1) > before_size:
                self._see_larger(change, change.new)

    def _see_larger(self, change: Change, new: Object) -> None:
        reference = meta.controller_of(new)
        told = self._strategies.within(reference["uid"], self.world.blur()) if reference is not None else []
        if reference is None or told != [("Recreate", False)]:
            return
        self.looked("larger")
        for other in self.world.owned(reference["uid"], "ReplicaSet"):
            if meta.uid(other) == meta.uid(new):
                continue
            for pod in self.world.pods_of(meta.uid(other)):
                known = change.at - self._since.get(meta.uid(pod), 0.0) >= self.world.blur()
                if known and not has_ended(pod):
                    self.fail(change, f"was made larger while {meta.name(pod)} may run")
