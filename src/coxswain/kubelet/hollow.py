"""Hollow nodes: thousands of nodes that pretend, in one task, on the injected clock.

    one watch of pods with a node --> what to write --> batches of status patches and deletions
    one timer a second            --> a tenth of the leases, a three-hundredth of the node statuses

A pod bound to one of the nodes is Running and Ready at once; one that is to be deleted is deleted at once. What the
node controller wrote about pods while their node was silent is put right when it is back.
Nothing runs, nothing is probed, no events are made. A node annotated ``coxswain.dev/hollow-heartbeat:
stopped`` lets its lease and status go stale and its pods alone, as a dead machine would; taking the
annotation away brings it back. Nodes that somebody deletes stay away.

All writes go through ``Client.batch``: of a pod this process pays one decoding and one patch.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, LEASES, NODES, PODS, Object
from coxswain.api.partial import Alike, reader, whole
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import Informer, Reading
from coxswain.client.interface import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Answer, Call, Client
from coxswain.kubelet import node as nodes

log = logging.getLogger(__name__)

HEARTBEAT_ANNOTATION = "coxswain.dev/hollow-heartbeat"
SCHEME = "hollow"
_BATCH = 256
_IN_FLIGHT = 4
#: Where addresses of pods begin whose node has no range of its own.
_FIRST_ADDRESS = int(ipaddress.ip_address("10.64.0.0"))

#: What is read of a pod: what becomes of it and, until it runs, what its status tells of its containers.
_CONTAINERS = Alike(whole("name", "image", "restartPolicy", "resources"))
_read_pod = reader(
    {
        "metadata": whole(
            *("namespace", "name", "uid", "resourceVersion", "generation"),
            *("deletionTimestamp", "finalizers"),
        ),
        "spec": {
            **whole("nodeName", "hostNetwork", "resources"),
            "containers": _CONTAINERS,
            "initContainers": _CONTAINERS,
        },
        "status": whole("phase", "podIP", "qosClass", "conditions"),
    }
)


@dataclass(frozen=True, slots=True)
class HollowSettings:
    """Shape and rhythm of hollow nodes."""

    capacity: tuple[tuple[str, str], ...] = (
        ("cpu", "8"),
        ("memory", "32Gi"),
        ("ephemeral-storage", "100Gi"),
        ("pods", "110"),
    )
    """Capacity and allocatable of each node, as quantities."""
    lease_interval: float = 10.0
    """Seconds between two renewals of a lease; a quarter of its duration, as kubelet does."""
    status_interval: float = 300.0
    """Seconds between two node status writes; kubelet's nodeStatusReportFrequency."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels beyond those that every node has."""
    pod_latency: float = 0.0
    """Seconds from a pod's binding to its status; 0 for as fast as possible."""


@dataclass(slots=True)
class _HollowNode:
    name: str
    index: int
    uid: str = ""
    cidr_base: int = 0
    stopped: bool = False
    gone: bool = False
    addresses: set[int] = field(default_factory=set)

    @property
    def ip(self) -> str:
        return f"10.{128 + (self.index >> 16)}.{self.index >> 8 & 255}.{self.index & 255}"

    @property
    def base(self) -> int:
        """The address before its pods' first, as a number."""
        return self.cidr_base or _FIRST_ADDRESS + self.index * 256


class HollowNodes:
    """All hollow nodes of a process; ``run`` it."""

    def __init__(self, client: Client, names: Sequence[str], settings: HollowSettings | None = None) -> None:
        self._client = client
        self._settings = settings or HollowSettings()
        self._nodes = {name: _HollowNode(name, index) for index, name in enumerate(names, 1)}
        self._order = list(self._nodes.values())
        self._outbox: list[Call] = []
        self._under_way: set[tuple[str, str]] = set()
        self._news = asyncio.Event()
        self._handled: set[tuple[str, str]] = set()
        self._doubted: dict[str, Object] = {}
        self._given: dict[str, tuple[str, int]] = {}
        self._to_start: list[tuple[_HollowNode, Object]] = []
        self._transitions: dict[str, dict[str, str]] = {}
        slim_pod = Reading(_read_pod, self._slim_pod)
        self._pods = Informer(client, PODS, field_selector="spec.nodeName!=", transform=slim_pod)
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Register the nodes and keep them alive until cancelled."""
        await self._register()
        self.registered.set()
        node_informer = Informer(self._client, NODES, transform=self._slim_node)
        node_informer.add_handler(self._on_node, lambda _, new: self._on_node(new), self._on_node_gone)
        pods = self._pods
        async with Supervisor("hollow nodes") as tasks:
            tasks.supervise("nodes", node_informer.run)
            await node_informer.wait_synced()
            pods.add_handler(
                self._on_pod, lambda _, new: self._on_pod(new), self._on_pod_gone, self._start_all
            )
            tasks.supervise("pods", pods.run)
            for number in range(_IN_FLIGHT):
                tasks.supervise(f"writer {number}", self._write)
            tasks.supervise("heartbeats", self._heartbeats)
            await asyncio.Event().wait()

    # ---- nodes

    async def _register(self) -> None:
        now, micro = clock.timestamp(), clock.micro_timestamp()
        await self._insist(
            [_create(NODES, self._node_object(node, now)) for node in self._order], self._learn
        )
        leases = [_create(LEASES, nodes.lease(n.name, micro, n.uid)) for n in self._order]
        await self._insist(leases)
        # Nodes that were there before (we were restarted) say that they are well again.
        await self._insist([self._node_status_call(n, now) for n in self._order if not n.uid])

    def _learn(self, call: Call, answer: Answer) -> None:
        created = answer.object()
        self._nodes[created["metadata"]["name"]].uid = created["metadata"]["uid"]

    def _facts(self, node: _HollowNode) -> nodes.NodeFacts:
        return nodes.NodeFacts(
            name=node.name,
            addresses=(("InternalIP", node.ip), ("Hostname", node.name)),
            capacity=dict(self._settings.capacity),
            runtime_version=f"{SCHEME}://1.0",
            labels=dict(self._settings.labels),
        )

    def _node_object(self, node: _HollowNode, now: str) -> Object:
        return nodes.node_object(self._facts(node), now)

    def _node_status_call(self, node: _HollowNode, now: str) -> Call:
        # Only heartbeat times move; conditions are one atomic list under a merge patch, so all of it goes.
        fresh = nodes.conditions(now)
        for condition in fresh:
            condition["lastTransitionTime"] = self._transitions.get(node.name, {}).get(condition["type"], now)
        status = {**nodes.status(self._facts(node), now), "conditions": fresh}
        return _patch(NODES, node.name, "", {"status": status}, "status")

    async def _insist(self, calls: list[Call], learn: Callable[[Call, Answer], None] | None = None) -> None:
        """Send until each was answered with success, conflict or absence; pause between rounds."""
        delay = 0.1
        while calls:
            failed: list[Call] = []
            for start in range(0, len(calls), _BATCH):
                part = calls[start : start + _BATCH]
                for call, answer in zip(part, await self._send(part), strict=True):
                    if answer is None or answer.code >= 500 or answer.code in (403, 404, 429):
                        failed.append(call)
                    elif answer.code < 400 and learn is not None:
                        learn(call, answer)
            if failed and calls and failed[0].resource == NODES and failed[0].verb == "patch":
                return
            calls = failed
            if calls:
                await clock.sleep(delay)
                delay = min(delay * 2, 5.0)

    async def _send(self, calls: list[Call]) -> Sequence[Answer | None]:
        try:
            return await self._client.batch(calls)
        except ApiError as error:
            log.warning("hollow nodes: a batch of %d writes failed: %s", len(calls), error)
            return [None] * len(calls)

    def _slim_node(self, obj: Object) -> Object:
        node = self._nodes.get(obj["metadata"]["name"])
        slim: Object = {"metadata": {k: obj["metadata"].get(k) for k in ("name", "resourceVersion", "uid")}}
        if node is not None:
            annotations = obj["metadata"].get("annotations") or {}
            slim["stopped"] = annotations.get(HEARTBEAT_ANNOTATION) == "stopped"
            slim["cidr"] = (obj.get("spec") or {}).get("podCIDR", "")
            slim["since"] = {
                condition["type"]: condition.get("lastTransitionTime")
                for condition in (obj.get("status") or {}).get("conditions") or ()
                if condition.get("status") != "Unknown"
            }
        return slim

    def _on_node(self, slim: Object) -> None:
        node = self._nodes.get(slim["metadata"]["name"])
        if node is None:
            return
        node.gone = False
        node.uid = slim["metadata"]["uid"]
        self._transitions[node.name] = slim["since"]
        if slim["cidr"]:
            node.cidr_base = int(ipaddress.ip_network(slim["cidr"]).network_address)
        if node.stopped != slim["stopped"]:
            node.stopped = slim["stopped"]
            log.info("hollow node %s: heartbeats %s", node.name, "stopped" if node.stopped else "resumed")
            if not node.stopped:
                self._queue(self._node_status_call(node, clock.timestamp()))
                self._queue(self._lease_call(node, clock.micro_timestamp()))
                for pod in list(self._pods.list()):
                    self._on_pod(pod)
                self._start_all()

    def _on_node_gone(self, slim: Object) -> None:
        node = self._nodes.get(slim["metadata"]["name"])
        if node is not None:
            node.gone = True

    def _lease_call(self, node: _HollowNode, micro: str) -> Call:
        spec = {"holderIdentity": node.name, "renewTime": micro}
        return _patch(LEASES, node.name, nodes.LEASE_NAMESPACE, {"spec": spec})

    def _lease_lost(self, name: str) -> None:
        """The lease went with a node that was deleted and is there again: it needs one of its own."""
        node = self._nodes[name]
        if not node.gone and not node.stopped:
            self._queue(_create(LEASES, nodes.lease(name, clock.micro_timestamp(), node.uid)))

    async def _heartbeats(self) -> None:
        """Every second the share of the nodes whose turn it is, so that the load is even."""
        lease_at = status_at = 0.0
        last = clock.monotonic()
        while True:
            await clock.sleep(1.0)
            passed, last = clock.monotonic() - last, clock.monotonic()
            count = len(self._order)
            self._reassure()
            lease_at = self._beat(lease_at, passed * count / self._settings.lease_interval, False)
            status_at = self._beat(status_at, passed * count / self._settings.status_interval, True)

    def _reassure(self) -> None:
        """Say of pods that they are ready, where the node controller wrote otherwise."""
        for slim in self._doubted.values():
            if not self._nodes[slim["node"]].stopped:
                self._queue(_ready_again(slim["metadata"], clock.timestamp()))

    def _beat(self, position: float, share: float, status: bool) -> float:
        """Renew the ``share`` of nodes after ``position``; the new position."""
        count = len(self._order)
        end = position + min(share, count)
        stamp = clock.timestamp() if status else clock.micro_timestamp()
        for index in range(int(position), int(end)):
            node = self._order[index % count]
            if not node.stopped and not node.gone:
                make = self._node_status_call if status else self._lease_call
                self._queue(make(node, stamp))
        return end % count

    # ---- pods

    def _slim_pod(self, obj: Object) -> Object:
        """What is kept of a pod: enough to know it; its containers only while it is to be started."""
        full, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
        kept = {key: full.get(key) for key in ("namespace", "name", "uid", "resourceVersion")}
        slim: Object = {"metadata": kept, "node": spec.get("nodeName", ""), "phase": status.get("phase")}
        if full.get("deletionTimestamp"):
            slim["deleting"] = True
            slim["finalizers"] = bool(full.get("finalizers"))
        if slim["node"] in self._nodes and slim["phase"] in (None, "Pending"):
            slim["pod"] = obj
        elif status.get("podIP"):
            slim["ip"] = status["podIP"]
            slim["doubted"] = not slim.get("deleting") and _is_doubted(obj)
        return slim

    def _on_pod(self, slim: Object) -> None:
        node = self._nodes.get(slim["node"])
        if node is None:
            return
        identity = slim["metadata"]
        uid = identity["uid"]
        if "ip" in slim and uid not in self._given:
            self._learn_address(node, uid, slim["ip"])
        if node.stopped:
            return
        if slim.get("deleting"):
            if (uid, "delete") not in self._handled:
                self._handled.add((uid, "delete"))
                self._remove(identity, slim)
        elif (pod := slim.pop("pod", None)) is not None and (uid, "start") not in self._handled:
            self._handled.add((uid, "start"))
            self._to_start.append((node, pod))
        if slim.get("doubted"):
            self._doubted[uid] = slim
        else:
            self._doubted.pop(uid, None)

    def _on_pod_gone(self, slim: Object) -> None:
        uid = slim["metadata"]["uid"]
        self._handled.discard((uid, "start"))
        self._handled.discard((uid, "delete"))
        self._doubted.pop(uid, None)
        if (given := self._given.pop(uid, None)) is not None:
            self._nodes[given[0]].addresses.discard(given[1])

    def _learn_address(self, node: _HollowNode, uid: str, ip: str) -> None:
        """A pod that we gave its address before we were restarted."""
        number = int(ipaddress.ip_address(ip)) - node.base
        if 2 <= number < 255:
            node.addresses.add(number)
            self._given[uid] = (node.name, number)

    def _start_all(self) -> None:
        """A list came to its end: all addresses that are taken are known, and who has been deleted meanwhile."""
        waiting, self._to_start = self._to_start, []
        for node, pod in waiting:
            if (pod["metadata"]["uid"], "delete") not in self._handled:
                self._start(node, pod)

    def _start(self, node: _HollowNode, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        number = next((n for n in range(2, 255) if n not in node.addresses), 254)
        node.addresses.add(number)
        self._given[uid] = (node.name, number)
        ip = node.ip if pod["spec"].get("hostNetwork") else str(ipaddress.ip_address(node.base + number))
        status = running_status(pod, ip, node.ip, clock.timestamp())
        identity = pod["metadata"]
        body = {"metadata": {"uid": uid}, "status": status}
        call = _patch(PODS, identity["name"], identity["namespace"], body, "status")
        if self._settings.pod_latency:
            asyncio.get_running_loop().call_later(self._settings.pod_latency, self._queue_if_wanted, call)
        else:
            self._queue(call)

    def _remove(self, identity: Object, slim: Object) -> None:
        name, namespace, uid = identity["name"], identity["namespace"], identity["uid"]
        if slim["finalizers"] and slim["phase"] not in ("Succeeded", "Failed"):
            # Whoever holds the finalizer wants to see how the pod ended.
            body = {"metadata": {"uid": uid}, "status": {"phase": "Failed"}}
            self._queue(_patch(PODS, name, namespace, body, "status"))
        options = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid},
        }
        self._queue(Call("delete", PODS, namespace, name, body=orjson.dumps(options)))

    # ---- writing

    def _queue(self, call: Call) -> None:
        self._outbox.append(call)
        self._news.set()

    def _queue_if_wanted(self, call: Call) -> None:
        if not self._is_late(call):
            self._queue(call)

    def _is_late(self, call: Call) -> bool:
        """It says that a pod runs which has been deleted since."""
        if call.resource != PODS or call.verb != "patch":
            return False
        body = orjson.loads(call.body)
        going = (body["metadata"]["uid"], "delete") in self._handled
        return going and body["status"].get("phase") == "Running"

    async def _write(self) -> None:
        """Send what is queued, in batches; what the server could not do now is tried again."""
        while True:
            await self._news.wait()
            part = self._take()
            if not part:
                continue
            try:
                answers = await self._send(part)
            finally:
                self._under_way.difference_update((call.namespace, call.name) for call in part)
                self._news.set()
            again = [
                call
                for call, answer in zip(part, answers, strict=True)
                if answer is None or answer.code in (429, 500, 503, 504) or self._clashed(call, answer)
            ]
            for call, answer in zip(part, answers, strict=True):
                if call.resource == LEASES and answer is not None and answer.code == 404:
                    self._lease_lost(call.name)
            if again:
                await clock.sleep(clock.random().uniform(0.5, 1.5))
                self._outbox.extend(call for call in again if not self._is_late(call))
                self._news.set()

    def _take(self) -> list[Call]:
        """The next batch, under way from now on.

        Calls of a batch, and batches, overtake each other; an object has one write under way at a time.
        """
        head, rest = self._outbox[:_BATCH], self._outbox[_BATCH:]
        part: list[Call] = []
        waiting: list[Call] = []
        for call in head:
            place = (call.namespace, call.name)
            (waiting if place in self._under_way else part).append(call)
            self._under_way.add(place)
        self._outbox = waiting + rest
        if not part or not self._outbox:
            self._news.clear()
        return part

    def _clashed(self, call: Call, answer: Answer) -> bool:
        """A patch met another write; it is not that its pod has been replaced by one of the same name."""
        if answer.code != 409 or call.verb != "patch":
            return False
        if call.resource != PODS:
            return True
        uid = orjson.loads(call.body)["metadata"]["uid"]
        return uid in self._given or (uid, "delete") in self._handled


def _is_doubted(pod: Object) -> bool:
    """The containers are ready, and somebody says that the pod is not: its node was silent."""
    found = {c["type"]: c["status"] for c in pod["status"].get("conditions") or ()}
    is_running = pod["status"].get("phase") == "Running"
    return is_running and found.get("ContainersReady") == "True" and found.get("Ready") == "False"


def _ready_again(identity: Object, now: str) -> Call:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    body = {"metadata": {"uid": identity["uid"]}, "status": {"conditions": [ready]}}
    call = _patch(PODS, identity["name"], identity["namespace"], body, "status")
    call.content_type = STRATEGIC_MERGE_PATCH
    return call


def running_status(pod: Object, ip: str, host_ip: str, now: str) -> Object:
    """The status of ``pod`` with everything started, ready, and all init containers done."""
    spec, full = pod["spec"], pod["metadata"]
    generation = full.get("generation") or 0
    marks: Object = {"lastProbeTime": None, "lastTransitionTime": now}
    if generation:
        marks["observedGeneration"] = generation
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    found = [{"type": kind, "status": "True", **marks} for kind in kinds]
    scheduled = old.get("PodScheduled") or {}
    since = scheduled.get("lastTransitionTime") or now
    found.append({"type": "PodScheduled", "status": "True", **marks, "lastTransitionTime": since})
    status: Object = {
        "phase": "Running",
        "conditions": [c for c in old.values() if c["type"] not in (*kinds, "PodScheduled")] + found,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": now,
        "qosClass": (pod.get("status") or {}).get("qosClass") or meta.qos_class(pod),
        "containerStatuses": [_container_status(c, full["uid"], now, False) for c in spec["containers"]],
    }
    if generation:
        status["observedGeneration"] = generation
    if init := spec.get("initContainers"):
        status["initContainerStatuses"] = [
            _container_status(c, full["uid"], now, c.get("restartPolicy") != "Always") for c in init
        ]
    return status


def _container_status(container: Object, uid: str, now: str, done: bool) -> Object:
    identifier = f"{SCHEME}://{uid}/{container['name']}"
    state: Object = {"running": {"startedAt": now}}
    if done:
        ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
        state = {"terminated": {**ended, "containerID": identifier}}
    return {
        "name": container["name"],
        "state": state,
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": container.get("image", ""),
        "imageID": container.get("image", ""),
        "containerID": identifier,
        "started": not done,
    }


def _create(resource: GVR, obj: Object) -> Call:
    return Call("create", resource, obj["metadata"].get("namespace", ""), body=orjson.dumps(obj))


def _patch(resource: GVR, name: str, namespace: str, patch: Object, subresource: str = "") -> Call:
    body = orjson.dumps(patch)
    return Call("patch", resource, namespace, name, subresource, body=body, content_type=MERGE_PATCH)


async def run(
    client: Client,
    names: Sequence[str] = (),
    count: int = 0,
    *,
    prefix: str = "hollow-",
    settings: HollowSettings | None = None,
) -> None:
    """Run hollow nodes (``names``, or ``hollow-1`` to ``hollow-count``) until cancelled."""
    names = list(names) or [f"{prefix}{number}" for number in range(1, count + 1)]
    await HollowNodes(client, names, settings).run()
