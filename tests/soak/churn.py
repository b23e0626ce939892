"""A restless cluster: nodes that come, go and change, and pods of every kind, made by a seeded generator.

``Churn.run`` acts until cancelled, ``load`` times a second or so: it is the user, the cloud, the kubelets (pods
that are bound run, pods that are to end do so a little later) and the disruption controller (budgets get their
status). Nothing here knows how pods are scheduled. ``rest`` and ``go_on`` make the cluster quiet and loud.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import orjson

from coxswain.api.errors import ApiError, NotFound
from coxswain.api.names import (
    DEPLOYMENTS,
    GVR,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    Object,
)
from coxswain.base import clock
from coxswain.client.interface import Client
from soak.checker import GANG, GANG_MINIMUM, HOST

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
SPACES = ("red", "blue")
APPS = ("a", "b", "c", "d", "e")
ZONES = ("z1", "z2", "z3")
PRIORITIES = {"low": 0, "middle": 100, "high": 1000, "top": 10_000}
GPU = "example.com/gpu"
ZONE = "topology.kubernetes.io/zone"


class Churn:
    """See the module's text."""

    def __init__(
        self, client: Client, rng: Random, *, nodes: int, load: float, controllers: bool = False
    ) -> None:
        """``load``: pods a second; a pod stays so long that the nodes are about full.

        With ``controllers`` running, leases are renewed for them, Deployments are made and scaled, and budgets
        left alone.
        """
        self._controllers = controllers
        self._client = client
        self._rng = rng
        self._size = nodes
        self._load = load
        self._next = 0
        self.nodes: dict[str, Object] = {}
        #: Pods that live, oldest first: (namespace, name), gangs as several.
        self._pods: deque[list[tuple[str, str]]] = deque()
        self._gated: list[tuple[str, str]] = []
        self._alive = 0
        self._awake = asyncio.Event()
        self._awake.set()
        self.counts: Counter[str] = Counter()
        self._told: dict[str, set[str]] = {}
        self._later: set[asyncio.Task[None]] = set()

    # -- the run ---------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Namespaces, priorities, nodes."""
        for space in SPACES:
            await self._client.create(NAMESPACES, {"metadata": {"name": space}})
        for name, value in PRIORITIES.items():
            policy = {"preemptionPolicy": "Never"} if name == "middle" else {}
            await self._client.create(CLASSES, {"metadata": {"name": name}, "value": value, **policy})
        for number in range(self._size):
            await self._add_node(f"node-{number}")
        for space in SPACES:
            for app in APPS[:2]:
                spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}}
                budget = {"metadata": {"name": app, "namespace": space}, "spec": spec}
                await self._client.create(BUDGETS, budget)

    async def run(self) -> None:
        """Act until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._act_for_ever())
            tasks.create_task(self._kubelets())
            if self._controllers:
                tasks.create_task(self._leases())

    def rest(self) -> None:
        """Do nothing more until ``go_on``; what is under way ends soon."""
        self._awake.clear()

    def go_on(self) -> None:
        self._awake.set()

    async def _act_for_ever(self) -> None:
        started = clock.monotonic()
        while True:
            await self._awake.wait()
            # The load swells and ebbs, so that there is plenty of room at times and none at others.
            swell = 1 + 0.6 * math.sin((clock.monotonic() - started) / 150 * math.tau)
            await clock.sleep(self._rng.expovariate(self._load * swell))
            chance = self._rng.random()
            if chance < 0.10:
                await self._try(self._touch_node())
            elif chance < 0.16:
                await self._try(self._touch_pod())
            elif chance < 0.18:
                await self._try(self._touch_workload() if self._controllers else self._touch_budget())
            else:
                await self._try(self._add())
                # So do the pods there are: at times all fit, at others many wait.
                most = self._size * (7 + 4 * math.sin((clock.monotonic() - started) / 420 * math.tau))
                while self._alive > most:
                    await self._try(self._remove())

    async def _try(self, action: Awaitable[Any]) -> None:
        """Others may have been faster: that is the point of it."""
        try:
            await action
        except ApiError as error:
            if error.code not in (404, 409, 422):
                self.counts[f"answer {error.code}"] += 1
            self.counts["lost races"] += 1

    def _soon(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        async def wait() -> None:
            await clock.sleep(seconds)
            await self._try(action())

        task = asyncio.ensure_future(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)

    # -- nodes -----------------------------------------------------------------------------------

    async def _add_node(self, name: str) -> None:
        rng = self._rng
        has = {"cpu": rng.choice(("2", "4", "8")), "memory": "16Gi", "pods": rng.choice(("8", "30", "110"))}
        has["ephemeral-storage"] = "50Gi"
        if rng.random() < 0.3:
            has[GPU] = "4"
        labels = {HOST: name, ZONE: rng.choice(ZONES), "disk": rng.choice(("ssd", "hdd"))}
        node: Object = {"metadata": {"name": name, "labels": labels}, "spec": {}}
        if rng.random() < 0.1:
            node["spec"]["taints"] = [self._taint()]
        images = [{"names": [f"app-{rng.choice(APPS)}:1"], "sizeBytes": rng.randrange(10**7, 10**9)}]
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": clock.timestamp()}
        await self._client.create(NODES, node)
        status = {"capacity": has, "allocatable": has, "images": images, "conditions": [ready]}
        self.nodes[name] = await self._client.patch(NODES, name, {"status": status}, subresource="status")
        self.counts["nodes added"] += 1

    def _taint(self) -> Object:
        rng = self._rng
        return {
            "key": rng.choice(("dedicated", "flaky")),
            "value": rng.choice(("x", "y")),
            "effect": rng.choice(("NoSchedule", "NoSchedule", "PreferNoSchedule", "NoExecute")),
        }

    async def _touch_node(self) -> None:
        rng = self._rng
        name = rng.choice(sorted(self.nodes))
        kind = rng.choice(
            ("heartbeat",) * 6
            + ("flap", "cordon", "cordon", "taint", "taint", "resize", "resize", "label", "images")
        )
        self.counts[f"nodes: {kind}"] += 1
        patch: Object
        if kind == "flap":
            await self._flap(name)
            return
        if kind in ("heartbeat", "resize", "images"):
            await self._client.patch(NODES, name, {"status": self._status(kind, name)}, subresource="status")
            return
        if kind == "cordon":
            patch = {"spec": {"unschedulable": True}}
            self._soon(rng.uniform(3, 30), lambda: self._patch_node(name, {"spec": {"unschedulable": None}}))
        elif kind == "taint":
            patch = {"spec": {"taints": [self._taint()]}}
            self._soon(rng.uniform(3, 30), lambda: self._patch_node(name, {"spec": {"taints": None}}))
        else:
            patch = {"metadata": {"labels": {rng.choice((ZONE, "disk")): rng.choice((*ZONES, "ssd", None))}}}
        await self._patch_node(name, patch)

    def _status(self, kind: str, name: str) -> Object:
        rng = self._rng
        if kind == "heartbeat":
            return {
                "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": clock.timestamp()}]
            }
        if kind == "images":
            return {
                "images": [{"names": [f"app-{app}:1"], "sizeBytes": 10**8} for app in rng.sample(APPS, 2)]
            }
        # Machines only grow: what pods have is never taken from them.
        cpu = int(self.nodes[name]["status"]["allocatable"]["cpu"])
        more = {"cpu": str(min(cpu + 1, 12)), GPU: "4"}
        self.nodes[name]["status"]["allocatable"]["cpu"] = more["cpu"]
        return {"capacity": more, "allocatable": more}

    async def _patch_node(self, name: str, patch: Object) -> None:
        await self._client.patch(NODES, name, patch)

    async def _flap(self, name: str) -> None:
        """A node goes with its pods, or leaves them; it or another comes."""
        rng = self._rng
        self.nodes.pop(name)
        await self._client.delete(NODES, name)
        orphans = await self._client.list(PODS, field_selector=f"spec.nodeName={name}")
        self._next += 1
        new = name if rng.random() < 0.7 else f"node-{self._next + 1000}"

        async def collect() -> None:
            for raw in orphans.items:
                metadata = orjson.loads(raw)["metadata"]
                await self._try(self._delete(metadata["namespace"], metadata["name"], 0))

        self._soon(rng.uniform(0, 6), collect)
        self._soon(rng.uniform(0.1, 20), lambda: self._add_node(new))

    # -- pods ------------------------------------------------------------------------------------

    async def _add(self) -> None:
        rng = self._rng
        self._next += 1
        name = f"p{self._next}"
        space = rng.choice(SPACES)
        kind = rng.choices(
            (
                "plain",
                "same",
                "apart",
                "near",
                "spread",
                "soft",
                "ports",
                "gpu",
                "picky",
                "gated",
                "gang",
                "volume",
                "foreign",
                "huge",
            ),
            (20, 20, 10, 6, 10, 8, 6, 5, 8, 5, 4, 4, 1, 3),
        )[0]
        self.counts[f"pods: {kind}"] += 1
        if kind == "gang":
            await self._add_gang(space, name)
            return
        pod = self._pod(space, name)
        getattr(self, f"_make_{kind}")(pod)
        if kind == "volume":
            await self._add_volume(pod)
        await self._create([pod])
        if kind == "gated":
            self._gated.append((space, name))

    async def _create(self, pods: list[Object]) -> None:
        made = []
        for pod in pods:
            created = await self._client.create(PODS, pod)
            made.append((created["metadata"]["namespace"], created["metadata"]["name"]))
        self._pods.append(made)
        self._alive += len(made)

    def _pod(self, space: str, name: str) -> Object:
        rng = self._rng
        app = rng.choice(APPS)
        asks = {
            "cpu": rng.choice(("100m", "250m", "500m", "1")),
            "memory": rng.choice(("128Mi", "1Gi", "2Gi")),
        }
        if rng.random() < 0.2:
            asks["ephemeral-storage"] = "5Gi"
        spec: Object = {
            "containers": [{"name": "c", "image": f"app-{app}:1", "resources": {"requests": asks}}],
            "terminationGracePeriodSeconds": rng.choice((0, 0, 30)),
            "priorityClassName": rng.choices(tuple(PRIORITIES), (60, 20, 15, 5))[0],
        }
        if rng.random() < 0.2:
            spec["tolerations"] = [{"key": "dedicated", "operator": "Exists"}]
        labels = {"app": app, "tier": rng.choice(("x", "y"))}
        return {"metadata": {"name": name, "namespace": space, "labels": labels}, "spec": spec}

    def _make_plain(self, pod: Object) -> None: ...

    def _make_same(self, pod: Object) -> None:
        """One of many alike: they share a template, and go in batches."""
        number = self._rng.randrange(4)
        pod["metadata"]["labels"] = {"app": "same", "kind": str(number)}
        pod["spec"]["containers"][0]["resources"]["requests"] = {
            "cpu": f"{100 + 50 * number}m",
            "memory": "256Mi",
        }
        pod["spec"]["containers"][0]["image"] = "same:1"
        pod["spec"].pop("tolerations", None)

    def _make_apart(self, pod: Object) -> None:
        key = self._rng.choice((HOST, HOST, HOST, ZONE))
        app = (
            pod["metadata"]["labels"]["app"]
            if key == HOST
            else self._rng.choice(("rare-1", "rare-2", "rare-3"))
        )
        pod["metadata"]["labels"]["app"] = app
        term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
        if key == HOST:
            term["labelSelector"]["matchLabels"]["tier"] = "x"
        must = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        pod["spec"]["affinity"] = {"podAntiAffinity": must}

    def _make_near(self, pod: Object) -> None:
        app = self._rng.choice(APPS)
        term = {"topologyKey": ZONE, "labelSelector": {"matchLabels": {"app": app}}}
        pod["spec"]["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}

    def _make_spread(self, pod: Object) -> None:
        pod["metadata"]["labels"]["app"] = app = f"spread-{self._rng.randrange(6)}"
        key = self._rng.choice((ZONE, HOST))
        pod["spec"]["topologySpreadConstraints"] = [
            {
                "maxSkew": self._rng.choice((1, 2)) if key == ZONE else 3,
                "topologyKey": key,
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": app}},
            }
        ]

    def _make_soft(self, pod: Object) -> None:
        selector = {"matchLabels": {"app": pod["metadata"]["labels"]["app"]}}
        soft = {"topologyKey": HOST, "labelSelector": selector}
        near = [{"weight": 50, "podAffinityTerm": {**soft, "topologyKey": ZONE}}]
        away = [{"weight": 20, "podAffinityTerm": soft}]
        kind = self._rng.choice(("podAffinity", "podAntiAffinity"))
        preferred = near if kind == "podAffinity" else away
        pod["spec"]["affinity"] = {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
        if self._rng.random() < 0.5:
            pod["spec"]["topologySpreadConstraints"] = [
                {"maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", **soft, "topologyKey": ZONE}
            ]

    def _make_ports(self, pod: Object) -> None:
        number = self._rng.choice((8080, 8081, 9090))
        port: Object = {"containerPort": 80, "hostPort": number}
        if self._rng.random() < 0.3:
            port["hostIP"] = "127.0.0.1"
        pod["spec"]["containers"][0]["ports"] = [port]

    def _make_gpu(self, pod: Object) -> None:
        count = self._rng.choice(("1", "2"))
        pod["spec"]["containers"][0]["resources"]["requests"][GPU] = count
        pod["spec"]["containers"][0]["resources"]["limits"] = {GPU: count}

    def _make_picky(self, pod: Object) -> None:
        if self._rng.random() < 0.5:
            pod["spec"]["nodeSelector"] = {"disk": self._rng.choice(("ssd", "hdd"))}
            return
        expression = {"key": ZONE, "operator": self._rng.choice(("In", "NotIn")), "values": ["z1"]}
        terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        pod["spec"]["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}

    def _make_gated(self, pod: Object) -> None:
        pod["spec"]["schedulingGates"] = [{"name": "example.com/wait"}]

    def _make_foreign(self, pod: Object) -> None:
        pod["spec"]["schedulerName"] = "somebody-else"

    def _make_huge(self, pod: Object) -> None:
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = self._rng.choice(("3", "6"))
        pod["spec"]["priorityClassName"] = self._rng.choice(("low", "high", "top"))

    def _make_volume(self, pod: Object) -> None:
        claim = {"claimName": pod["metadata"]["name"]}
        pod["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": claim}]

    async def _add_gang(self, space: str, name: str) -> None:
        size = self._rng.randrange(2, 7)
        pods = []
        for number in range(size):
            pod = self._pod(space, f"{name}-{number}")
            pod["metadata"]["labels"] = {GANG: name, "app": "gang"}
            pod["metadata"]["annotations"] = {GANG_MINIMUM: str(size)}
            pod["spec"]["priorityClassName"] = "high"
            pod["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "500m", "memory": "512Mi"}
            pods.append(pod)
        await self._create(pods)

    async def _add_volume(self, pod: Object) -> None:
        """A claim that is bound to a volume of one zone."""
        name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
        expression = {"key": ZONE, "operator": "In", "values": [self._rng.choice(ZONES)]}
        volume: Object = {
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": "csi.example.com", "volumeHandle": name},
                "claimRef": {"namespace": space, "name": name},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            },
        }
        bound = {"pv.kubernetes.io/bind-completed": "yes"}
        claim: Object = {
            "metadata": {"name": name, "namespace": space, "annotations": bound},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "",
                "volumeName": name,
            },
        }
        await self._client.create(PERSISTENT_VOLUMES, volume)
        await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        status = {"status": {"phase": "Bound"}}
        await self._client.patch(PERSISTENT_VOLUMES, name, status, subresource="status")
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, status, space, subresource="status")

    async def _remove(self) -> None:
        """One of the older half of the pods, or a whole gang."""
        if not self._pods:
            return
        at = self._rng.randrange(0, len(self._pods) // 2 + 1)
        gone = self._pods[at]
        del self._pods[at]
        self._alive -= len(gone)
        for space, name in gone:
            self.counts["pods deleted"] += 1
            await self._try(self._delete(space, name, None))

    async def _delete(self, space: str, name: str, grace: int | None) -> None:
        deleted = await self._client.delete(PODS, name, space, grace_period_seconds=grace)
        if any(
            "persistentVolumeClaim" in volume for volume in (deleted.get("spec") or {}).get("volumes") or ()
        ):
            await self._try(self._delete_volume(space, name))

    async def _delete_volume(self, space: str, name: str) -> None:
        """Nobody protects claims here: the finalizers go first."""
        free = {"metadata": {"finalizers": None}}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, free, space)
        await self._client.delete(PERSISTENT_VOLUME_CLAIMS, name, space)
        await self._client.patch(PERSISTENT_VOLUMES, name, free)
        await self._client.delete(PERSISTENT_VOLUMES, name)

    async def _touch_pod(self) -> None:
        rng = self._rng
        if self._gated and rng.random() < 0.5:
            space, name = self._gated.pop(rng.randrange(len(self._gated)))
            self.counts["gates lifted"] += 1
            await self._client.patch(PODS, name, {"spec": {"schedulingGates": None}}, space)
            return
        if not self._pods:
            return
        some = self._pods[rng.randrange(len(self._pods))]
        if len(some) > 1:
            return
        ((space, name),) = some
        if rng.random() < 0.6:
            self.counts["pods relabelled"] += 1
            labels = {"tier": rng.choice(("x", "y")), "note": rng.choice(("1", None))}
            await self._client.patch(PODS, name, {"metadata": {"labels": labels}}, space)
        else:
            await self._resize(space, name)

    async def _resize(self, space: str, name: str) -> None:
        """Less cpu in place: a kubelet would agree at once."""
        pod = await self._client.get(PODS, name, space)
        container = pod["spec"]["containers"][0]
        requests = {**container["resources"]["requests"], "cpu": "50m"}
        container["resources"]["requests"] = requests
        await self._client.update(PODS, pod, subresource="resize")
        self.counts["pods resized"] += 1

    async def _touch_budget(self) -> None:
        rng = self._rng
        space, name = rng.choice(SPACES), rng.choice(APPS[:2])
        budget = await self._client.get(BUDGETS, name, space)
        allowed = rng.randrange(4)
        budget["status"] = {
            "disruptionsAllowed": allowed,
            "currentHealthy": 5,
            "desiredHealthy": 5 - min(allowed, 5),
            "expectedPods": 5,
            "observedGeneration": budget["metadata"].get("generation", 1),
        }
        await self._client.update(BUDGETS, budget, subresource="status")
        self.counts["budgets set"] += 1

    async def _touch_workload(self) -> None:
        """A Deployment is made, scaled, or given another image."""
        rng = self._rng
        space, name = rng.choice(SPACES), f"web-{rng.randrange(3)}"
        replicas = {"spec": {"replicas": rng.randrange(8)}}
        self.counts["deployments touched"] += 1
        try:
            await self._client.patch(DEPLOYMENTS, name, replicas, space)
        except NotFound:
            pod = self._pod(space, name)
            if rng.random() < 0.5:
                self._make_spread(pod)
            del pod["metadata"]["name"], pod["metadata"]["namespace"]
            spec = {"selector": {"matchLabels": pod["metadata"]["labels"]}, "template": pod}
            made = {"metadata": {"name": name, "namespace": space}, "spec": {**spec, **replicas["spec"]}}
            await self._client.create(DEPLOYMENTS, made)

    # -- what kubelets do ------------------------------------------------------------------------

    async def _leases(self) -> None:
        """Every node says that it is well, all the time."""
        while True:
            for name in list(self.nodes):
                seconds = {
                    "holderIdentity": name,
                    "leaseDurationSeconds": 40,
                    "renewTime": clock.micro_timestamp(),
                }
                try:
                    await self._client.patch(LEASES, name, {"spec": seconds}, "kube-node-lease")
                except NotFound:
                    metadata = {"name": name, "namespace": "kube-node-lease"}
                    await self._try(self._client.create(LEASES, {"metadata": metadata, "spec": seconds}))
            await clock.sleep(15)

    async def _kubelets(self) -> None:
        """Pods that are bound run; those that are to end do, after a while."""
        revision = (await self._client.list(PODS, limit=1)).resource_version
        while True:
            try:
                async with self._client.watch(PODS, resource_version=revision) as batches:
                    async for events in batches:
                        for event in events:
                            pod = event.object
                            revision = pod["metadata"]["resourceVersion"]
                            if event.type == "MODIFIED":
                                self._kubelet(pod)
            except ApiError as error:
                assert error.code != 410, "the kubelets' watch missed something"
                await clock.sleep(0.5)

    def _kubelet(self, pod: Object) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        space, name = metadata["namespace"], metadata["name"]
        if spec.get("nodeName") not in self.nodes:
            return
        if "deletionTimestamp" in metadata:
            if "soak/ending" not in self._seen(metadata["uid"]):
                self._seen(metadata["uid"]).add("soak/ending")
                self._soon(self._rng.uniform(0.2, 4), lambda: self._delete(space, name, 0))
        elif "startTime" not in pod.get("status", {}) and "soak/started" not in self._seen(metadata["uid"]):
            self._seen(metadata["uid"]).add("soak/started")
            if self._rng.random() < 0.5:
                self._soon(self._rng.uniform(0.1, 3), lambda: self._start(space, name))

    def _seen(self, uid: str) -> set[str]:
        if len(self._told) > 20_000:
            for old in list(self._told)[:10_000]:
                del self._told[old]
        return self._told.setdefault(uid, set())

    async def _start(self, space: str, name: str) -> None:
        ended = self._rng.random() < 0.04
        phase = "Succeeded" if ended else "Running"
        status: dict[str, Any] = {"phase": phase, "startTime": clock.timestamp()}
        self.counts[f"pods {phase.lower()}"] += 1
        await self._client.patch(PODS, name, {"status": status}, space, subresource="status")
