"""What users and fate do to a cluster: one operation after another, drawn from a seed's generator.

Every operation is a method of ``History`` named in ``_OPERATIONS`` with its weight. Users see the cluster as
the observer does, and retry nothing: a request that is refused is part of the history.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from chaos import manifests
from chaos.faults import Life
from chaos.manifests import BUDGETS, FAILS, LASTS, QUOTAS, WORKLOADS
from chaos.observer import Observer, has_ended, is_ready
from chaos.world import World
from coxswain.api import meta
from coxswain.api.errors import ApiError, NotFound
from coxswain.api.names import (
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
    Object,
)
from coxswain.base import clock
from coxswain.client.interface import MERGE_PATCH, STRATEGIC_MERGE_PATCH
from coxswain.kubelet import node as kubelet_nodes
from coxswain.kubelet.hollow import HEARTBEAT_ANNOTATION

SPACES = ("a", "b")
KINDS = {
    "ReplicaSet": WORKLOADS[0],
    "ReplicationController": WORKLOADS[1],
    "Deployment": DEPLOYMENTS,
    "StatefulSet": STATEFUL_SETS,
    "DaemonSet": DAEMON_SETS,
    "Job": JOBS,
    "CronJob": CRON_JOBS,
}


class History:
    """See the module's text. ``run`` lives through ``length`` operations, ``heal`` undoes what stops work."""

    def __init__(self, seed: int, world: World, observer: Observer) -> None:
        self.rng = random.Random(f"history {seed}")
        self.world = world
        self.seen = observer
        self.user = world.user
        self.evictor = world.client("evictor", Life("evictor"), world.user_faults)
        self.kubelet = world.client("kubelet", Life("fates"), world.user_faults)
        self._made = 0
        self._background: set[asyncio.Task[None]] = set()
        self._flapping: set[str] = set()
        self._ends: dict[str, float] = {}
        weights = dict(_OPERATIONS)
        # Each seed has its own temper: some operations often, some never.
        for name in weights:
            weights[name] *= self.rng.choice([0.2, 1.0, 1.0, 3.0])
        self._names, self._weights = list(weights), list(weights.values())

    async def run(self, length: int) -> None:
        fates = asyncio.ensure_future(self._fates())
        try:
            await self._found()
            for _ in range(length):
                (name,) = self.rng.choices(self._names, self._weights)
                await self._try(name)
                await clock.sleep(self.rng.choice([0.05, 0.5, 2.0, 5.0, 15.0, 40.0]) * self.rng.random())
                if self.seen.violations:
                    return
            await self.heal()
        finally:
            self._fate = fates

    async def end(self) -> None:
        """No more fate."""
        self._fate.cancel()
        await asyncio.wait((self._fate,))

    async def _try(self, name: str) -> None:
        operation: Callable[[], Awaitable[None]] = getattr(self, f"_{name}")
        try:
            await operation()
        except ApiError as error:
            self.seen.note(f"{name}: {error}")

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def heal(self) -> None:
        """Faults cease: what was cut off comes back, what runs for ever is suspended."""
        self.seen.note("faults cease")
        self.world.faults.calm()
        while self._background:
            await asyncio.wait(set(self._background))
        for component in self.world.components.values():
            component.life.calls_left = -1
            if component.life.dead:
                await self.world.restart(component.name, 0.0)
        for name in self.world.nodes:
            await self._try_call(self._revive, name)
        for pod in self.seen.all("Pod"):
            if (
                meta.labels(pod).get("app") == "loose"
            ):  # giving it back failed; it may hold a name that is needed
                await self._try_call(self.user.delete, PODS, meta.name(pod), meta.namespace(pod))
        for obj in self.seen.all("ResourceQuota"):
            hard = {"hard": {"pods": "500", "requests.cpu": "9000m"}}
            await self._try_call(self.user.patch, QUOTAS, "quota", {"spec": hard}, meta.namespace(obj))
        for obj in self.seen.all("CronJob"):
            await self._try_call(self._patch, obj, {"spec": {"suspend": True}})
        for obj in [*self.seen.all("Deployment"), *self.seen.all("Job")]:
            resume: Object = {"paused": False}
            if obj["kind"] == "Job":
                resume = {"suspend": False, "parallelism": obj["spec"].get("parallelism") or 1}
            await self._try_call(self._patch, obj, {"spec": resume})

    async def _try_call(self, call: Any, *arguments: Any) -> None:
        try:
            await call(*arguments)
        except ApiError as error:
            self.seen.note(f"{error}")

    # -- users

    async def _found(self) -> None:
        for space in SPACES:
            await self.user.create(NAMESPACES, {"metadata": {"name": space}})
        for _ in range(4):
            await self._try("create")

    def _any(self, kind: str) -> Object | None:
        found = [obj for obj in self.seen.all(kind) if meta.namespace(obj)]
        return self.rng.choice(found) if found else None

    def _any_workload(self, *kinds: str) -> Object | None:
        found = [obj for kind in kinds or KINDS for obj in self.seen.all(kind) if _is_users(obj)]
        return self.rng.choice(found) if found else None

    async def _create(self) -> None:
        resource = self.rng.choice(WORKLOADS)
        space = self.rng.choice(
            [meta.name(one) for one in self.seen.all("Namespace") if _is_ours(one)] or ["a"]
        )
        self._made += 1
        name = self.rng.choice([f"x{self._made}", "same"])
        obj = manifests.make(self.rng, resource, name)
        self.seen.note(f"create {resource.resource} {space}/{name} {orjson.dumps(_essence(obj)).decode()}")
        await self.user.create(resource, obj, space)
        labels = meta.labels(obj)
        if self.rng.random() < 0.3:
            await self.user.create(*manifests.service(f"{resource.resource}-{name}", labels), space)
        if self.rng.random() < 0.4 and resource not in (JOBS, CRON_JOBS, DAEMON_SETS):
            budget = manifests.budget(self.rng, f"{resource.resource}-{name}", labels)
            self.seen.note(f"budget {space}/{meta.name(budget)} {budget['spec']}")
            await self.user.create(BUDGETS, budget, space)

    async def _patch(self, obj: Object, patch: Object, kind: str = STRATEGIC_MERGE_PATCH) -> None:
        resource = KINDS[obj["kind"]]
        self.seen.note(f"patch {obj['kind']} {meta.key(obj)} {orjson.dumps(patch).decode()}")
        await self.user.patch(resource, meta.name(obj), patch, meta.namespace(obj), kind=kind)

    async def _scale(self) -> None:
        if obj := self._any_workload("ReplicaSet", "ReplicationController", "Deployment", "StatefulSet"):
            await self._patch(obj, {"spec": {"replicas": self.rng.randrange(9)}})

    async def _roll(self) -> None:
        if obj := self._any_workload("Deployment", "StatefulSet", "DaemonSet"):
            image = f"image:{self.rng.randrange(1, 5)}"  # an old one again: a rollback
            patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
            await self._patch(obj, patch)

    async def _pause(self) -> None:
        if obj := self._any_workload("Deployment"):
            await self._patch(obj, {"spec": {"paused": not obj["spec"].get("paused", False)}})

    async def _partition(self) -> None:
        if obj := self._any_workload("StatefulSet"):
            rolling = {"partition": self.rng.choice([0, 0, 1, 3])}
            await self._patch(obj, {"spec": {"updateStrategy": {"rollingUpdate": rolling}}})

    async def _strategy(self) -> None:
        """In the middle of a rollout, as often as not."""
        obj = self._any_workload("Deployment", "DaemonSet")
        if obj is None:
            return
        if obj["kind"] == "DaemonSet":
            await self._patch(obj, {"spec": {"updateStrategy": manifests.daemon_strategy(self.rng)}})
        else:
            await self._patch(obj, {"spec": {"strategy": manifests.strategy(self.rng)}}, MERGE_PATCH)

    async def _retention(self) -> None:
        found = [obj for obj in self.seen.all("StatefulSet") if obj["spec"].get("volumeClaimTemplates")]
        if found:
            policy = manifests.retention(self.rng)
            patch = {"spec": {"persistentVolumeClaimRetentionPolicy": policy}}
            await self._patch(self.rng.choice(found), patch)

    async def _job(self) -> None:
        if obj := self._any_workload("Job"):
            spec: Object = {"parallelism": self.rng.randrange(5)}
            if self.rng.random() < 0.5:
                spec = {"suspend": not obj["spec"].get("suspend", False)}
            await self._patch(obj, {"spec": spec})

    async def _delete(self) -> None:
        if obj := self._any_workload():
            how = self.rng.choice(["Background", "Foreground", "Orphan"])
            self.seen.note(f"delete {obj['kind']} {meta.key(obj)} {how}")
            resource = KINDS[obj["kind"]]
            await self.user.delete(resource, meta.name(obj), meta.namespace(obj), propagation=how)  # type: ignore[arg-type]

    async def _delete_pod(self) -> None:
        if pod := self._any("Pod"):
            grace = self.rng.choice([None, None, 1])
            self.seen.note(f"delete Pod {meta.key(pod)} grace {grace}")
            await self.user.delete(PODS, meta.name(pod), meta.namespace(pod), grace_period_seconds=grace)

    async def _relabel(self) -> None:
        """A pod is taken from its controller; after a while it is given back."""
        pod = self._any("Pod")
        if pod is None or "app" not in meta.labels(pod) or meta.labels(pod)["app"] == "loose":
            return
        app = meta.labels(pod)["app"]

        async def relabel(value: str) -> None:
            self.seen.note(f"label Pod {meta.key(pod)} app={value}")
            patch = {"metadata": {"uid": meta.uid(pod), "labels": {"app": value}}}
            await self.user.patch(PODS, meta.name(pod), patch, meta.namespace(pod))

        async def give_back() -> None:
            await clock.sleep(self.rng.uniform(1, 30))
            await self._try_call(relabel, app)

        await relabel("loose")
        self._later(give_back())

    async def _evict(self) -> None:
        budgets = list(self.seen.all("PodDisruptionBudget"))
        for _ in range(self.rng.randrange(1, 5)):
            pods = [pod for pod in self.seen.all("Pod") if is_ready(pod)]
            if budgets and self.rng.random() < 0.9:
                budget = self.rng.choice(budgets)
                labels = budget["spec"]["selector"]["matchLabels"]
                pods = [pod for pod in pods if labels.items() <= meta.labels(pod).items()]
            if pods:
                await self._try_call(self._evict_one, self.rng.choice(pods))

    async def _evict_one(self, pod: Object) -> None:
        self.seen.note(f"evict {meta.key(pod)}")
        name, space = meta.name(pod), meta.namespace(pod)
        eviction = {"metadata": {"name": name, "namespace": space}}
        await self.evictor.create(PODS, eviction, space, name=name, subresource="eviction")

    async def _drain(self) -> None:
        name = self.rng.choice(self.world.nodes)
        self.seen.note(f"drain {name}")
        await self.user.patch(NODES, name, {"spec": {"unschedulable": True}})
        for pod in [pod for pod in self.seen.all("Pod") if pod["spec"].get("nodeName") == name]:
            reference = meta.controller_of(pod)
            if reference is None or reference["kind"] != "DaemonSet":
                await self._try_call(self._evict_one, pod)

        async def uncordon() -> None:
            await clock.sleep(self.rng.uniform(10, 90))
            self.seen.note(f"uncordon {name}")
            await self._try_call(self.user.patch, NODES, name, {"spec": {"unschedulable": None}})

        self._later(uncordon())

    async def _quota(self) -> None:
        space = self.rng.choice(SPACES)
        quota = manifests.quota(self.rng)
        if self.seen.get("ResourceQuota", f"{space}/quota") is None:
            self.seen.note(f"quota {space} {quota['spec']['hard']}")
            await self.user.create(QUOTAS, quota, space)
        elif self.rng.random() < 0.5:
            self.seen.note(f"no quota {space}")
            await self.user.delete(QUOTAS, "quota", space)
        else:
            self.seen.note(f"quota {space} {quota['spec']['hard']}")
            await self.user.patch(QUOTAS, "quota", {"spec": quota["spec"]}, space)

    async def _namespace(self) -> None:
        space = self.rng.choice(["c", "d"])
        if self.seen.get("Namespace", space) is None:
            self.seen.note(f"create namespace {space}")
            await self.user.create(NAMESPACES, {"metadata": {"name": space}})
        else:
            self.seen.note(f"delete namespace {space}")
            await self.user.delete(NAMESPACES, space)

    # -- fate

    async def _lose_node(self) -> None:
        """Heartbeats stop; perhaps somebody deletes the node; it comes back."""
        name = self.rng.choice(self.world.nodes)
        away, deleted = self.rng.uniform(5, 200), self.rng.random() < 0.25
        self.seen.note(f"lose {name} for {away:.0f} s{', deleted' if deleted else ''}")
        patch = {"metadata": {"annotations": {HEARTBEAT_ANNOTATION: "stopped"}}}
        await self.user.patch(NODES, name, patch)

        async def come_back() -> None:
            if deleted:
                await clock.sleep(away / 2)
                await self._try_call(self.user.delete, NODES, name)
            await clock.sleep(away / 2 if deleted else away)
            await self._try_call(self._revive, name)

        self._later(come_back())

    async def _revive(self, name: str) -> None:
        node = self.seen.get("Node", name)
        if node is None:
            self.seen.note(f"{name} registers")
            facts = kubelet_nodes.NodeFacts(name, [("Hostname", name)], _CAPACITY, "hollow://1.0")
            await self.kubelet.create(NODES, kubelet_nodes.node_object(facts, clock.timestamp()))
        elif HEARTBEAT_ANNOTATION in meta.annotations(node) or node["spec"].get("unschedulable"):
            self.seen.note(f"{name} comes back")
            patch = {
                "metadata": {"annotations": {HEARTBEAT_ANNOTATION: None}},
                "spec": {"unschedulable": None},
            }
            await self.user.patch(NODES, name, patch)

    async def _crash(self) -> None:
        name = self.rng.choice(["controllers", "controllers", "controllers", "scheduler", "kubelets"])
        calls, down = self.rng.randrange(1, 60), self.rng.choice([0.1, 2.0, 20.0])
        self.seen.note(f"{name} will crash in {calls} calls, for {down} s")
        component = self.world.components[name]
        component.life.calls_left = calls

        async def start_again() -> None:
            for _ in range(100):
                if component.life.dead:
                    break
                await clock.sleep(0.2)
            self.seen.note(f"{name} {'is dead' if component.life.dead else 'is killed'}")
            await self.world.restart(name, down)

        self._later(start_again())

    async def _restart_server(self) -> None:
        down = self.rng.choice([0.05, 1.0, 8.0])
        self.seen.note(f"API server down for {down} s")
        await self.world.restart_server(down)

    async def _taint(self) -> None:
        """Somebody keeps pods off a node, or drives away those that are there."""
        name, effect = self.rng.choice(self.world.nodes), self.rng.choice(["NoExecute", "NoSchedule"])
        taint = {"key": "chaos/maintenance", "effect": effect}

        async def put(wanted: list[Object]) -> None:
            node = await self.user.get(NODES, name)
            others = [each for each in node["spec"].get("taints") or () if each["key"] != taint["key"]]
            node["spec"]["taints"] = others + wanted
            await self.user.update(NODES, node)

        async def take_away() -> None:
            await clock.sleep(self.rng.uniform(5, 60))
            self.seen.note(f"taint of {name} goes")
            while True:
                try:
                    await put([])
                    return
                except NotFound:
                    return
                except ApiError:
                    await clock.sleep(1)

        self.seen.note(f"taint {name} {effect}")
        await put([taint])
        self._later(take_away())

    async def _stall(self) -> None:
        """What a component sees of one resource stands still: it looks at the past and the present at once."""
        component = self.rng.choice(["controllers", "controllers", "scheduler", "kubelets"])
        resource = self.rng.choice([PODS, PODS, NODES, *WORKLOADS, BUDGETS, PERSISTENT_VOLUME_CLAIMS])
        seconds = self.rng.uniform(5, 60)
        self.seen.note(f"{component} see no change of {resource.resource} for {seconds:.0f} s")
        self.world.faults.stall(component, resource, seconds)

    async def _compact(self) -> None:
        self.seen.note("compaction")
        await self.world.store.compact(self.world.store.revision)

    async def _jump(self) -> None:
        seconds = self.rng.choice([3600, 600, 90, 61, 5, -5, -61, -90, -300])
        self.seen.note(f"the wall clock jumps by {seconds} s")
        self.world.jump(seconds)

    async def _flap(self) -> None:
        """A container's probe fails for a while."""
        ready = [pod for pod in self.seen.all("Pod") if is_ready(pod) and meta.uid(pod) not in self._flapping]
        if not ready:
            return
        pod = self.rng.choice(ready)
        self._flapping.add(meta.uid(pod))

        async def flap(status: str) -> None:
            self.seen.note(f"probe of {meta.key(pod)}: {status}")
            stamp = clock.timestamp()
            conditions = [
                {"type": kind, "status": status, "lastTransitionTime": stamp}
                for kind in ("Ready", "ContainersReady")
            ]
            await self._report(pod, {"conditions": conditions})

        async def recover() -> None:
            await clock.sleep(self.rng.uniform(1, 20))
            while self.seen.by_uid(meta.uid(pod)) is not None:
                try:
                    await flap("True")
                    return
                except ApiError:
                    await clock.sleep(1)

        await flap("False")
        self._later(recover())

    async def _report(self, pod: Object, status: Object) -> None:
        patch = {"metadata": {"uid": meta.uid(pod)}, "status": status}
        name, space = meta.name(pod), meta.namespace(pod)
        await self.kubelet.patch(PODS, name, patch, space, kind=STRATEGIC_MERGE_PATCH, subresource="status")

    async def _fates(self) -> None:
        """Containers of jobs end: after the time that their pods' annotations say, well or badly."""
        while True:
            await clock.sleep(0.5)
            for pod in self.seen.all("Pod"):
                notes = meta.annotations(pod)
                if LASTS in notes and meta.pod_phase(pod) == "Running" and not has_ended(pod):
                    node = self.seen.get("Node", pod["spec"]["nodeName"])
                    if node is not None and HEARTBEAT_ANNOTATION not in meta.annotations(node):
                        await self._try_call(self._maybe_end, pod, notes)

    async def _maybe_end(self, pod: Object, notes: dict[str, str]) -> None:
        now = clock.monotonic()
        lasts = float(notes[LASTS]) * self.rng.uniform(0.5, 1.5)
        if now < self._ends.setdefault(meta.uid(pod), now + lasts) or meta.is_terminating(pod):
            return
        failed = self.rng.random() < float(notes[FAILS])
        code = self.rng.choice([1, 1, 1, 42]) if failed else 0
        stamp = clock.timestamp()
        terminated = {"exitCode": code, "reason": "Done", "finishedAt": stamp, "startedAt": stamp}
        conditions = [
            {"type": kind, "status": "False", "lastTransitionTime": stamp}
            for kind in ("Ready", "ContainersReady")
        ]
        status = {
            "phase": "Failed" if failed else "Succeeded",
            "conditions": conditions,
            "containerStatuses": [
                {"name": "c", "ready": False, "state": {"terminated": terminated, "running": None}}
            ],
        }
        await self._report(pod, status)


_CAPACITY = {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}
_OPERATIONS = {
    "create": 6.0,
    "scale": 5.0,
    "roll": 5.0,
    "pause": 1.5,
    "partition": 1.0,
    "strategy": 1.0,
    "retention": 0.7,
    "job": 2.0,
    "delete": 2.5,
    "delete_pod": 2.0,
    "relabel": 1.5,
    "evict": 3.0,
    "drain": 1.0,
    "quota": 1.0,
    "namespace": 1.5,
    "lose_node": 2.0,
    "crash": 4.0,
    "taint": 1.0,
    "stall": 0.7,
    "restart_server": 1.0,
    "compact": 1.0,
    "jump": 0.7,
    "flap": 2.0,
}


def _is_ours(space: Object) -> bool:
    return meta.name(space) in (*SPACES, "c", "d")


def _is_users(obj: Object) -> bool:
    return meta.controller_of(obj) is None and not meta.is_terminating(obj)


def _essence(obj: Object) -> Object:
    return {key: value for key, value in obj["spec"].items() if key not in ("template", "selector")}
