"""The scheduler as a component: informers in, bindings, conditions and events out.

    informers (pods, nodes) --handlers--> cache + node table, queue      synchronous, in revision order
    loop: queue.pop -> cycle.schedule -> assume -> writer (bindings)     one run of identical pods a step
                                     \\-> reject  -> writer (conditions), events
    writer: batches to the API --settled--> confirm, or forget and try again

A pod is bound at most once by us: it is assumed before its binding is sent, and leaves the queue only when the
API has it on a node. After a restart everything is rebuilt from the informers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson

from coxswain.api.names import NAMESPACES, NODES, PODS, SERVICES, Object
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory, only_metadata
from coxswain.client.interface import NOTHING, STRATEGIC_MERGE_PATCH, Answer, Call, Client
from coxswain.scheduler import metrics
from coxswain.scheduler import pod as pods
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.config import SchedulerConfig
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.diagnosis import Diagnosis
from coxswain.scheduler.framework import Event
from coxswain.scheduler.nodetable import Node, NodeTable
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.queue import QueuedPod, SchedulingQueue
from coxswain.scheduler.template import Templates
from coxswain.scheduler.writer import Writer

log = logging.getLogger(__name__)
_FINISHED = ("Succeeded", "Failed")


async def run(client: Client, config: SchedulerConfig | None = None) -> None:
    """Schedule pods until cancelled."""
    await Scheduler(client, config or SchedulerConfig()).run()


class Scheduler:
    """See the module's text."""

    def __init__(self, client: Client, config: SchedulerConfig) -> None:
        self.config = config
        self.table = NodeTable()
        self.templates = Templates(self.table)
        self.cache = Cache(self.table)
        self.queue = SchedulingQueue(
            initial_backoff=config.pod_initial_backoff_seconds,
            max_backoff=config.pod_max_backoff_seconds,
            max_unschedulable=config.pod_max_in_unschedulable_seconds,
        )
        self.profile = default_profile(
            config.scheduler_name, percentage_of_nodes_to_score=config.percentage_of_nodes_to_score
        )
        self.cycle = Cycle(self.table, clock.random().getrandbits(63))
        self.writer = Writer(client, batch=config.bind_batch_size, concurrency=config.bind_concurrency)
        self.events = EventRecorder(client, config.scheduler_name, series=True, yields_to=self._is_binding)
        self.informers = InformerFactory(client, "scheduler's informers")
        self._attempts = metrics.Attempts(config.scheduler_name)
        self._wake = asyncio.Event()
        self._happened = Event(0)

    async def run(self) -> None:
        """Until cancelled; every task has ended on return."""
        nodes = self.informers.informer(NODES, transform=_trim_node)
        nodes.add_handler(self._node_added, self._node_updated, self._node_deleted, self._wake.set)
        placed = self.informers.informer(PODS, transform=self._parse_pod)
        placed.add_handler(self._pod_added, self._pod_updated, self._pod_deleted, self._wake.set)
        namespaces = self.informers.informer(NAMESPACES, transform=only_metadata)
        namespaces.add_handler(
            self._namespace_set, lambda _, new: self._namespace_set(new), self._namespace_gone
        )
        services = self.informers.informer(SERVICES, transform=_trim_service)
        services.add_handler(self._service_set, lambda _, new: self._service_set(new), self._service_gone)
        try:
            async with Supervisor("scheduler") as tasks:
                await self.informers.start()
                await self.informers.wait_for_sync()
                log.info("scheduling: %d nodes, %d pods wait", len(self.table), len(self.queue))
                tasks.supervise("writer", self.writer.run)
                await tasks.supervise("scheduling", self._schedule_for_ever)
        finally:
            await self.informers.stop()
            await self.events.close()

    # -- informers -------------------------------------------------------------------------------

    def _parse_pod(self, obj: Object) -> Object:
        """The informer keeps this instead of the pod: a few facts and the interned template."""
        metadata = obj["metadata"]
        kept = {name: metadata.get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
        finished = (obj.get("status") or {}).get("phase") in _FINISHED
        return {
            "metadata": kept,
            "pod": pods.parse(obj, self.templates),
            "finished": finished,
            "deleting": "deletionTimestamp" in metadata,
        }

    def _pod_added(self, obj: Object) -> None:
        pod: Pod = obj["pod"]
        if obj["finished"]:
            self._pod_deleted(obj)
        elif pod.node_name:
            self.queue.delete(pod.key)
            if self.cache.place(pod):
                self._happened |= Event.POD_ADD
        elif pod.scheduler_name == self.config.scheduler_name:
            if obj["deleting"]:
                self.queue.delete(pod.key)
            elif not self.cache.knows(pod.key):
                self.queue.add(pod, clock.monotonic(), gated=self._is_gated(pod))
                metrics.INCOMING_ADD.inc()

    def _pod_updated(self, old: Object, new: Object) -> None:
        self._pod_added(new)

    def _pod_deleted(self, obj: Object) -> None:
        key = obj["pod"].key
        self.queue.delete(key)
        self.writer.drop(key)
        if self.cache.remove(key):
            self._happened |= Event.POD_DELETE

    def _is_gated(self, pod: Pod) -> bool:
        return any(plugin.gate(pod) is not None for plugin in self.profile.gates)

    def _node_added(self, obj: Object) -> None:
        old = self.table.find(obj["metadata"]["name"])
        self._happened |= changes(old, self.table.set_node(obj))

    def _node_updated(self, old: Object, new: Object) -> None:
        if any(old[part] != new[part] for part in ("spec", "status")) or _labels(old) != _labels(new):
            self._node_added(new)

    def _node_deleted(self, obj: Object) -> None:
        self.table.remove_node(obj["metadata"]["name"])

    def _namespace_set(self, obj: Object) -> None:
        self.table.facts.set_namespace(obj["metadata"]["name"], _labels(obj) or {})

    def _namespace_gone(self, obj: Object) -> None:
        self.table.facts.remove_namespace(obj["metadata"]["name"])

    def _service_set(self, obj: Object) -> None:
        self.table.facts.set_service(obj["metadata"]["namespace"], obj["metadata"]["name"], obj["selector"])

    def _service_gone(self, obj: Object) -> None:
        self.table.facts.remove_service(obj["metadata"]["namespace"], obj["metadata"]["name"])

    # -- scheduling ------------------------------------------------------------------------------

    async def _schedule_for_ever(self) -> None:
        while True:
            await self.writer.has_room(self.config.max_unbound)
            now = clock.monotonic()
            if self._happened:
                self.queue.move(self._happened, now)
                self._happened = Event(0)
            self.queue.tick(now)
            batch = self.queue.pop(self.config.batch_size)
            if batch:
                self._schedule(batch, now)
                await asyncio.sleep(0)
            else:
                self._measure()
                await self._wait(now)

    async def _wait(self, now: float) -> None:
        """Until something happened or the next pod is due."""
        due = self.queue.next_due()
        try:
            async with asyncio.timeout(None if due is None else max(due - now, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _schedule(self, batch: list[QueuedPod], started: float) -> None:
        try:
            outcomes = self.cycle.schedule([queued.pod for queued in batch], self.profile)
        except Exception:
            log.exception("deciding for %s and %d more failed", batch[0].pod.key, len(batch) - 1)
            self._attempts.count("error", clock.monotonic() - started, len(batch))
            for queued in batch:
                self.queue.retry(queued, started)
            return
        now = clock.monotonic()
        metrics.ALGORITHM.observe(now - started)
        failed = 0
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Placement):
                self._bind(queued, outcome, started)
            else:
                failed += 1
                self._reject(queued, outcome, now)
        if failed:
            self._attempts.count("unschedulable", now - started, failed)

    def _bind(self, queued: QueuedPod, placement: Placement, started: float) -> None:
        pod, node_name = placement.pod, placement.node_name
        self.cache.note_assumed(pod, node_name)

        def settle(answer: Answer) -> None:
            self._bound(queued, pod, node_name, started, answer)

        self.writer.put(pod.key, binding(pod, node_name), settle)

    def _bound(self, queued: QueuedPod, pod: Pod, node_name: str, started: float, answer: Answer) -> None:
        now = clock.monotonic()
        if answer.code < 300:
            self.queue.delete(pod.key)
            self._attempts.count("scheduled", now - started)
            metrics.SLI.observe(now - queued.first_seen)
            metrics.POD_ATTEMPTS.observe(queued.attempts)
            message = f"Successfully assigned {pod.key} to {node_name}"
            self.events.event(_reference(pod), "Normal", "Scheduled", message, action="Binding")
            return
        if not self.cache.forget(pod):
            return  # an informer has already said where the pod is, or that it is gone
        self._happened |= Event.POD_DELETE  # its room is free again
        if answer.code == 404:
            self.queue.delete(pod.key)
            return
        self._attempts.count("error", now - started)
        message = f"binding rejected: {_message_of(answer)}"
        log.warning("pod %s: %s", pod.key, message)
        self.events.event(_reference(pod), "Warning", "FailedScheduling", message, action="Scheduling")
        self._condition(queued, "SchedulerError", message)
        self.queue.retry(queued, now)
        self._wake.set()

    def _reject(self, queued: QueuedPod, failure: Failure, now: float) -> None:
        found: Diagnosis = failure.diagnosis
        self.queue.reject(queued, found.wakes_on, now)
        metrics.INCOMING_FAILED.inc()
        self.events.event(
            _reference(queued.pod), "Warning", "FailedScheduling", found.message, action="Scheduling"
        )
        self._condition(queued, "Unschedulable", found.message)

    def _condition(self, queued: QueuedPod, reason: str, message: str) -> None:
        """PodScheduled=False, written only when it says something new."""
        if queued.message == message:
            return
        queued.message = message
        queued.since = queued.since or clock.timestamp()
        self.writer.put(queued.pod.key, condition_patch(queued, reason), _ignore)

    def _is_binding(self) -> bool:
        """Whether pods are being placed: that goes before telling about it."""
        return len(self.writer) > 0 or self.queue.size("active") > 0

    def _measure(self) -> None:
        metrics.PENDING_ACTIVE.set(self.queue.size("active"))
        metrics.PENDING_BACKOFF.set(self.queue.size("backoff"))
        metrics.PENDING_UNSCHEDULABLE.set(self.queue.size("unschedulable"))
        metrics.PENDING_GATED.set(self.queue.size("gated"))
        metrics.CACHE_NODES.set(len(self.table))
        metrics.CACHE_PODS.set(len(self.cache))
        metrics.CACHE_ASSUMED.set(self.cache.assumed)


def changes(old: Node | None, new: Node) -> Event:
    """What a node's change may help with."""
    if old is None:
        return Event.NODE_ADD
    happened = Event(0)
    if old.allocatable != new.allocatable:
        happened |= Event.NODE_ALLOCATABLE
    if old.labels != new.labels:
        happened |= Event.NODE_LABEL
    if old.taints != new.taints or old.unschedulable != new.unschedulable:
        happened |= Event.NODE_TAINT
    return happened


def binding(pod: Pod, node_name: str) -> Call:
    """The call that binds ``pod``."""
    namespace, _, name = pod.key.partition("/")
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
        "target": {"kind": "Node", "name": node_name},
    }
    return Call("create", PODS, namespace, name, "binding", body=orjson.dumps(body), accept=NOTHING)


def condition_patch(queued: QueuedPod, reason: str) -> Call:
    """The call that sets the PodScheduled condition to what ``queued`` says."""
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": queued.message,
        "lastProbeTime": None,
        "lastTransitionTime": queued.since,
    }
    return Call(
        "patch",
        PODS,
        queued.pod.namespace,
        queued.pod.name,
        "status",
        body=orjson.dumps({"status": {"conditions": [condition]}}),
        content_type=STRATEGIC_MERGE_PATCH,
    )


def _trim_node(obj: Object) -> Object:
    """The informer keeps this of a node: what the node table reads."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    return {
        "metadata": {name: metadata.get(name) for name in ("name", "uid", "resourceVersion", "labels")},
        "spec": {"taints": spec.get("taints"), "unschedulable": spec.get("unschedulable")},
        "status": {"allocatable": status.get("allocatable"), "images": status.get("images")},
    }


def _trim_service(obj: Object) -> Object:
    metadata = obj["metadata"]
    kept = {name: metadata.get(name) for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"metadata": kept, "selector": (obj.get("spec") or {}).get("selector")}


def _labels(obj: Object) -> Any:
    return obj["metadata"].get("labels")


def _reference(pod: Pod) -> Object:
    metadata: Object = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
    if pod.resource_version:
        metadata["resourceVersion"] = pod.resource_version
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def _message_of(answer: Answer) -> str:
    try:
        return str(orjson.loads(answer.body).get("message") or answer.code)
    except (ValueError, AttributeError):
        return str(answer.code)


def _ignore(answer: Answer) -> None:
    """A condition that could not be written is written with the next attempt's message."""
