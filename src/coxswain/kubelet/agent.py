"""The kubelet's agent: one node, its pods, and everything that looks after them.

    API watch (spec.nodeName=us) --+                          +--> runtime
    static pod directory ----------+--> one PodLoop a pod ----+--> status reporter --> API
    runtime events, relist --------+                          +--> event recorder --> API

Guarantees: a pod has one loop at a time; a pod whose object is gone is stopped; after a restart the runtime's
containers are found again before anything is started; what runs but belongs to no pod is stopped once the
first list has arrived. Cancelling ``run`` leaves the pods running, unless the configuration says drain.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator, Sequence

from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import PODS, SERVICES, Object
from coxswain.api.quantity import Quantity
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.client.interface import Client
from coxswain.kubelet import env, sources
from coxswain.kubelet.config import KubeletConfig
from coxswain.kubelet.node import NodeFacts, machine_info
from coxswain.kubelet.pod.view import PodView
from coxswain.kubelet.pod.worker import PodWorker
from coxswain.kubelet.pod_loop import PodLoop
from coxswain.kubelet.registration import Registration, machine_capacity
from coxswain.kubelet.reporter import StatusReporter
from coxswain.kubelet.runtime.interface import POD_UID_LABEL, Runtime, Version
from coxswain.kubelet.volumes import PodVolumes

log = logging.getLogger(__name__)

_FINISHED = ("Succeeded", "Failed")


class Agent:
    """One kubelet. Implements ``PodHost`` for its pod loops."""

    def __init__(self, client: Client, config: KubeletConfig, runtime: Runtime) -> None:
        self.client = client
        self.config = config
        self.runtime = runtime
        self.node_name = config.node_name
        self.host_ips: tuple[str, ...] = (config.node.address,)
        self.loops: dict[str, PodLoop] = {}
        self.ready = asyncio.Event()
        self.port = config.server.port
        self.version = Version("unknown", "", "unknown")
        os.makedirs(config.data_dir, mode=0o700, exist_ok=True)
        self.capacity = machine_capacity(config.node.max_pods, config.data_dir)
        self._machine = machine_info()
        self._mirrors: dict[str, Object] = {}
        self._static: dict[str, Object] = {}
        self._cache = sources.ObjectCache(client, config.volume_refresh)
        self._tokens = sources.TokenCache(client)
        self._reporter = StatusReporter(client)
        self._events = EventRecorder(client, "kubelet", config.node_name)
        self._informers = InformerFactory(client, f"kubelet {config.node_name}")
        self._pods = self._informers.informer(PODS, field_selector=f"spec.nodeName={config.node_name}")
        self._services = self._informers.informer(SERVICES)
        self.registration = Registration(client, config, self._facts, self._on_cidr)

    # ---- running

    async def run(self) -> None:
        """Until cancelled. ``ready`` is set when the node is registered and the pods are known."""
        self.version = await self.runtime.version()
        try:
            async with Supervisor(f"kubelet {self.node_name}") as tasks:
                if self.config.server.enabled:
                    await self._serve(tasks)
                await self.registration.register()
                tasks.supervise("lease", self.registration.keep_lease)
                tasks.supervise("node status", self.registration.keep_status)
                tasks.supervise("pod status", self._reporter.run)
                tasks.supervise("runtime events", self._follow_runtime)
                await self._informers.start()
                await self._informers.wait_for_sync()
                self._pods.add_handler(self._on_pod, lambda _, new: self._on_pod(new), self._on_pod_gone)
                if self.config.static_pod_dir:
                    self._load_static_pods()
                    tasks.supervise("static pods", self._follow_static_pods)
                await self._stop_orphans()
                tasks.supervise("relist", self._relist)
                tasks.supervise("volumes", self._refresh_volumes)
                self.ready.set()
                await asyncio.Event().wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(loop.close() for loop in list(self.loops.values())))
        self.loops.clear()
        await self._informers.stop()
        if self.config.drain:
            await stop_pods(self.runtime)
        await self._events.close()
        await self.runtime.close()

    async def _serve(self, tasks: Supervisor) -> None:
        from coxswain.kubelet.server import KubeletServer

        server = KubeletServer(self)
        self.port = await server.start()
        tasks.start("server", server.wait())

    def _facts(self) -> NodeFacts:
        node = self.config.node
        return NodeFacts(
            name=self.node_name,
            addresses=(("InternalIP", node.address), ("Hostname", self.node_name)),
            capacity=self.capacity,
            runtime_version=f"{self.version.name}://{self.version.version}",
            port=self.port,
            labels=dict(node.labels),
            taints=[{"key": key, "value": value, "effect": effect} for key, value, effect in node.taints],
            machine=self._machine,
        )

    def _on_cidr(self, cidr: str) -> None:
        use = getattr(self.runtime, "use_pod_cidr", None)
        if use is not None:
            use(cidr)

    # ---- pods

    def pods(self) -> Iterator[Object]:
        """The pods of this node, with their newest status."""
        for loop in self.loops.values():
            yield loop.worker.pod

    def _on_pod(self, pod: Object) -> None:
        meta = pod["metadata"]
        if sources.MIRROR in (meta.get("annotations") or {}):
            self._mirrors[f"{meta['namespace']}/{meta['name']}"] = pod
            return
        uid = meta["uid"]
        loop = self.loops.get(uid)
        if loop is not None:
            loop.update(pod)
            return
        for other in list(self.loops.values()):
            old = other.worker.pod["metadata"]
            if (old["namespace"], old["name"]) == (meta["namespace"], meta["name"]):
                other.removed()  # its successor is here: its own deletion was missed
        self._add(pod)

    def _add(self, pod: Object) -> None:
        # A finished pod without containers here needs nothing more until it is deleted.
        loop = PodLoop(self, pod, self.version.scheme)
        refusal = self._refusal(pod)
        if refusal is not None:
            loop.end(*refusal)
            self.event(pod, "Warning", *refusal)
        self.loops[pod["metadata"]["uid"]] = loop
        loop.start()

    def _on_pod_gone(self, pod: Object) -> None:
        meta = pod["metadata"]
        self._mirrors.pop(f"{meta['namespace']}/{meta['name']}", None)
        loop = self.loops.get(meta["uid"])
        if loop is not None:
            loop.removed()

    def ended(self, uid: str) -> None:
        """A pod loop is done with its pod."""
        self.loops.pop(uid, None)
        self._tokens.forget(uid)

    def _refusal(self, pod: Object) -> tuple[str, str] | None:
        """Why the pod cannot run here: kubelet's admission by pods, resources and host ports."""
        status = pod.get("status") or {}
        if (
            status.get("phase") in _FINISHED
            or status.get("startTime")
            or pod["metadata"].get("deletionTimestamp")
        ):
            return None
        others = [p for p in self.pods() if (p.get("status") or {}).get("phase") not in _FINISHED]
        if len(others) >= self.config.node.max_pods:
            return "OutOfpods", _too_much("pods", 1, len(others), self.config.node.max_pods)
        for resource, unit in (("cpu", 1000), ("memory", 1)):
            wanted = _requested(pod, resource, unit)
            used = sum(_requested(other, resource, unit) for other in others)
            capacity = _amount(self.capacity[resource], unit)
            if wanted and used + wanted > capacity:
                return f"OutOf{resource}", _too_much(resource, wanted, used, capacity)
        taken = {port for other in others for port in _host_ports(other)}
        if any(port in taken for port in _host_ports(pod)):
            why = "node(s) didn't have free ports for the requested pod ports"
            return "NodePorts", f"Pod was rejected: Predicate NodePorts failed: {why}"
        return None

    async def _stop_orphans(self) -> None:
        """Stop what an earlier kubelet started for pods that are gone, and remove their directories."""
        for sandbox in await self.runtime.sandboxes():
            if sandbox.config.uid not in self.loops:
                log.info("pod %s/%s is gone; stopping it", sandbox.config.namespace, sandbox.config.name)
                await self.runtime.remove_sandbox(sandbox.id)
        for box in await self.runtime.containers():
            if box.labels.get(POD_UID_LABEL) not in self.loops:
                await self.runtime.remove_container(box.id)
        directory = f"{self.config.data_dir}/pods"
        for uid in os.listdir(directory) if _is_dir(directory) else ():
            if uid not in self.loops:
                shutil.rmtree(f"{directory}/{uid}", ignore_errors=True)

    async def _follow_runtime(self) -> None:
        async for event in self.runtime.events():
            for sandbox in await self.runtime.sandboxes():
                if sandbox.id == event.sandbox_id and (loop := self.loops.get(sandbox.config.uid)):
                    loop.wake()

    async def _relist(self) -> None:
        while True:
            await clock.sleep(self.config.relist_interval)
            for loop in list(self.loops.values()):
                loop.wake()

    async def _refresh_volumes(self) -> None:
        while True:
            await clock.sleep(self.config.volume_refresh * clock.random().uniform(0.8, 1.0))
            for loop in list(self.loops.values()):
                await loop.refresh_volumes()

    # ---- static pods

    async def _follow_static_pods(self) -> None:
        while True:
            await self._sync_mirrors()
            await clock.sleep(self.config.static_pod_interval)
            self._load_static_pods()

    def _load_static_pods(self) -> None:
        found = sources.read_static_pods(self.config.static_pod_dir, self.node_name)
        wanted = {pod["metadata"]["uid"]: pod for pod in found}
        for uid in self._static.keys() - wanted.keys():
            if (loop := self.loops.get(uid)) is not None:
                loop.removed()
        for uid, pod in wanted.items():
            if uid not in self.loops:
                self._add(pod)
        self._static = wanted

    async def _sync_mirrors(self) -> None:
        """Every static pod has its mirror; mirrors of other versions go."""
        wanted = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in self._static.values()}
        for key, mirror in list(self._mirrors.items()):
            pod, meta = wanted.get(key), mirror["metadata"]
            mark = meta["annotations"][sources.MIRROR]
            if pod is None or pod["metadata"]["annotations"][sources.HASH] != mark:
                try:
                    await self.client.delete(
                        PODS, meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"]
                    )
                except (NotFound, ApiError) as error:
                    log.debug("mirror pod %s: %s", key, error)
                self._mirrors.pop(key, None)
        for key, pod in wanted.items():
            if key not in self._mirrors:
                await self._create_mirror(key, pod)

    async def _create_mirror(self, key: str, pod: Object) -> None:
        try:
            self._mirrors[key] = await self.client.create(
                PODS, sources.mirror_of(pod, self.registration.node)
            )
        except AlreadyExists:
            pass
        except ApiError as error:
            log.warning("mirror pod %s cannot be made: %s", key, error)
            return
        if (loop := self.loops.get(pod["metadata"]["uid"])) is not None:
            loop.forget_reported()

    # ---- what pod loops ask for (PodHost)

    async def view(self, uid: str, probes: dict[tuple[str, str], bool]) -> PodView:
        """The runtime's state of one pod."""
        return PodView.of(await self.runtime.sandboxes(uid), await self.runtime.containers(uid), probes)

    def pod_dir(self, uid: str) -> str:
        """The pod's own directory."""
        return f"{self.config.data_dir}/pods/{uid}"

    def log_dir(self, pod: Object) -> str:
        """Where the logs of the pod's containers are."""
        meta = pod["metadata"]
        return f"{self.config.data_dir}/logs/{meta.get('namespace', '')}_{meta['name']}_{meta['uid']}"

    async def prepare_volumes(self, pod: Object, volumes: PodVolumes) -> None:
        """Fetch what the volumes show, then make or refresh them. Raises ``RuntimeFailure``."""
        maps, secrets, tokens = _volume_sources(pod)
        snapshot = await self._cache.snapshot(pod["metadata"]["namespace"], maps, secrets)
        fetched = {key: await self._tokens.token(pod, *key) for key in tokens}
        loop = self.loops.get(pod["metadata"]["uid"])
        status = (loop.worker.pod if loop else pod).get("status") or {}
        ips = [entry["ip"] for entry in status.get("podIPs") or ()]
        volumes.setup(
            pod,
            snapshot,
            lambda audience, seconds: fetched[audience, seconds],
            self.capacity,
            (ips, list(self.host_ips)),
        )

    async def environment(self, pod: Object, container: Object, pod_ips: list[str]) -> dict[str, str]:
        """The container's variables. Raises ``RuntimeFailure``."""
        maps, secrets = _env_sources(container)
        namespace = pod["metadata"]["namespace"]
        snapshot = await self._cache.snapshot(namespace, maps, secrets)
        return env.environment(
            pod,
            container,
            snapshot,
            services=env.service_variables(self._visible_services(pod)),
            pod_ips=pod_ips or (list(self.host_ips) if pod["spec"].get("hostNetwork") else []),
            host_ips=list(self.host_ips),
            allocatable=self.capacity,
        )

    def _visible_services(self, pod: Object) -> list[Object]:
        """The namespace's services (unless the pod does not want them) and ``kubernetes``."""
        found = [
            s
            for s in self._services.list()
            if s["metadata"]["namespace"] == "default" and s["metadata"]["name"] == "kubernetes"
        ]
        namespace = pod["metadata"]["namespace"]
        if pod["spec"].get("enableServiceLinks") is not False:
            found += [
                s for s in self._services.list() if s["metadata"]["namespace"] == namespace and s not in found
            ]
        return found

    def report(self, worker: PodWorker, status: Object, delete: bool) -> None:
        """Write the status (a static pod's to its mirror)."""
        meta = worker.pod["metadata"]
        uid = meta["uid"]
        if uid in self._static:
            mirror = self._mirrors.get(f"{meta['namespace']}/{meta['name']}")
            if mirror is None:
                return
            uid, delete = mirror["metadata"]["uid"], False
        elif worker.is_gone:
            return
        self._reporter.report(meta["namespace"], meta["name"], uid, status, delete)

    def event(self, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None:
        """An event about the pod (or one container of it)."""
        meta = pod["metadata"]
        about = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": meta.get("namespace", ""),
            "name": meta["name"],
            "uid": meta["uid"],
        }
        if container:
            field = next(
                (
                    field
                    for field in ("initContainers", "ephemeralContainers")
                    if any(box["name"] == container for box in pod["spec"].get(field) or ())
                ),
                "containers",
            )
            about["fieldPath"] = f"spec.{field}{{{container}}}"
        self._events.event(about, kind, reason, message)


def _is_dir(path: str) -> bool:
    return os.path.isdir(path)


def _amount(text: str, unit: int) -> int:
    quantity = Quantity.parse(text)
    return quantity.milli() if unit == 1000 else quantity.value()


def _requested(pod: Object, resource: str, unit: int) -> int:
    """The pod's effective request: its containers together, or its largest init container."""

    def of(container: Object) -> int:
        requests = (container.get("resources") or {}).get("requests") or {}
        return _amount(requests.get(resource) or "0", unit)

    regular = sum(of(container) for container in pod["spec"].get("containers") or ())
    init = max((of(container) for container in pod["spec"].get("initContainers") or ()), default=0)
    return max(regular, init)


def _too_much(resource: str, wanted: int, used: int, capacity: int) -> str:
    return (
        f"Pod was rejected: Node didn't have enough resource: {resource}, "
        f"requested: {wanted}, used: {used}, capacity: {capacity}"
    )


def _host_ports(pod: Object) -> list[tuple[int, str]]:
    return [
        (int(port["hostPort"]), port.get("protocol") or "TCP")
        for container in pod["spec"].get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


def _env_sources(container: Object) -> tuple[list[str], list[str]]:
    """Names of the config maps and secrets that the container's environment reads."""
    maps: list[str] = []
    secrets: list[str] = []
    for source in container.get("envFrom") or ():
        for key, names in (("configMapRef", maps), ("secretRef", secrets)):
            if source.get(key):
                names.append(source[key]["name"])
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        for key, names in (("configMapKeyRef", maps), ("secretKeyRef", secrets)):
            if source.get(key):
                names.append(source[key]["name"])
    return maps, secrets


def _volume_sources(pod: Object) -> tuple[list[str], list[str], list[tuple[str, int]]]:
    """Names of config maps and secrets, and the tokens, that the pod's volumes show."""
    maps: list[str] = []
    secrets: list[str] = []
    tokens: list[tuple[str, int]] = []
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("configMap"):
            maps.append(volume["configMap"]["name"])
        if volume.get("secret"):
            secrets.append(volume["secret"]["secretName"])
        for part in (volume.get("projected") or {}).get("sources") or ():
            if part.get("configMap"):
                maps.append(part["configMap"]["name"])
            if part.get("secret"):
                secrets.append(part["secret"]["name"])
            if token := part.get("serviceAccountToken"):
                tokens.append((token.get("audience") or "", int(token.get("expirationSeconds") or 3600)))
    return maps, secrets, tokens


async def run(client: Client, config: KubeletConfig, runtime: Runtime) -> None:
    """Run a kubelet until cancelled; the pods go on running unless ``config.drain``. Closes ``runtime``."""
    await Agent(client, config, runtime).run()


async def stop_pods(runtime: Runtime, grace: float = 1.0) -> None:
    """Stop every pod of this node within about ``grace`` seconds, and take its network away."""
    containers = await runtime.containers()
    await asyncio.gather(*(runtime.stop_container(box.id, grace) for box in containers))
    sandboxes: Sequence[str] = [sandbox.id for sandbox in await runtime.sandboxes()]
    await asyncio.gather(*(runtime.stop_sandbox(identifier) for identifier in sandboxes))
    release = getattr(runtime, "release_network", None)
    if release is not None:
        await release()
