"""The pod garbage collector: deletes pods that nobody else will.

Every 20 seconds:
- pods of nodes that do not exist any more (asked live, after a quarantine of 40 seconds);
- terminating pods that were never bound to a node;
- terminating pods of nodes that are tainted out-of-service and not ready;
- the oldest finished pods beyond a threshold (12,500), evicted ones first.

A pod that was still running is marked Failed, with the condition DisruptionTarget, before it is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from coxswain.api.errors import ApiError, NotFound
from coxswain.api.meta import is_pod_finished, is_pod_ready, is_terminating, set_condition
from coxswain.api.names import NODES, PODS, Object
from coxswain.base import clock, metrics, settings
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodelifecycle.controller import NODE_INDEX, index_pods_by_node
from coxswain.controllers.nodelifecycle.health import ready_status
from coxswain.controllers.pods import patch_status, pod_informer

log = logging.getLogger(__name__)
_INDEX, _FINISHED, _UNBOUND = "pod garbage", "finished", "terminating without a node"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_FORCED = metrics.counter(
    "pod_gc_collector_force_delete_pods",
    "Pods that the pod garbage collector began to delete, by namespace and reason",
    ("namespace", "reason"),
)
_FORCED_ERRORS = metrics.counter(
    "pod_gc_collector_force_delete_pod_errors",
    "Of those, the ones that could not be",
    ("namespace", "reason"),
)


@dataclass(frozen=True, slots=True)
class PodGCSettings:
    """kube-controller-manager's defaults."""

    terminated_threshold: int = 12_500
    """Finished pods that are kept (--terminated-pod-gc-threshold); 0: all."""
    period: float = 20.0
    """Seconds between looks."""
    quarantine: float = 40.0
    """Seconds that a node must be missing before its pods count as orphans."""


def _concerns(pod: Object) -> tuple[str, ...]:
    """The index that spares a look at every pod: most concern nobody here."""
    if is_pod_finished(pod):
        return (_FINISHED,)
    return (_UNBOUND,) if is_terminating(pod) and not pod["spec"].get("nodeName") else ()


def surplus(pods: Iterable[Object], threshold: int) -> list[Object]:
    """The finished pods to delete: evicted ones first, then the oldest, so that ``threshold`` remain."""
    finished = [pod for pod in pods if is_pod_finished(pod)]
    if threshold <= 0 or len(finished) <= threshold:
        return []
    finished.sort(
        key=lambda pod: (
            pod["status"].get("reason") != "Evicted",
            pod["metadata"].get("creationTimestamp") or "",
            pod["metadata"]["name"],
        )
    )
    return finished[: len(finished) - threshold]


def never_bound(pods: Iterable[Object]) -> list[Object]:
    """Terminating pods that no node knows of."""
    return [pod for pod in pods if is_terminating(pod) and not pod["spec"].get("nodeName")]


def is_out_of_service(node: Object) -> bool:
    """Whether an administrator said that the node is gone for good, and it is not ready."""
    taints = (node.get("spec") or {}).get("taints") or ()
    return ready_status(node) != "True" and any(taint["key"] == OUT_OF_SERVICE for taint in taints)


class PodGC:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._settings = settings.read(PodGCSettings, context.options)
        self._informers = context.informers
        self._pods = pod_informer(context.informers)
        self._nodes = context.informers.informer(NODES)
        self._missing_since: dict[str, float] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        index_pods_by_node(self._pods)
        self._pods.add_index(_INDEX, _concerns)
        await self._informers.start()
        await self._pods.wait_synced()
        await self._nodes.wait_synced()
        while True:
            await self.collect()
            await clock.sleep(self._settings.period)

    async def collect(self) -> None:
        """One pass."""
        finished = self._pods.by_index(_INDEX, _FINISHED)
        await self._delete(surplus(finished, self._settings.terminated_threshold), "terminated")
        for node in list(self._nodes.list()):
            if is_out_of_service(node):
                lost = self._pods.by_index(NODE_INDEX, node["metadata"]["name"])
                await self._delete([pod for pod in lost if is_terminating(pod)], "out-of-service")
        await self._delete_orphans()
        unbound = never_bound([*self._pods.by_index(_INDEX, _UNBOUND), *finished])
        await self._delete(unbound, "unscheduled")

    async def _delete_orphans(self) -> None:
        used = self._pods.index_values(NODE_INDEX)
        missing = {name for name in used if self._nodes.get(name) is None}
        now = clock.monotonic()
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        for name, since in list(self._missing_since.items()):
            if now - since >= self._settings.quarantine and await self._is_gone(name):
                orphans = self._pods.by_index(NODE_INDEX, name)
                await self._delete(orphans, "orphaned", "PodGC: node no longer exists")

    async def _is_gone(self, name: str) -> bool:
        try:
            await self._client.get(NODES, name)
        except NotFound:
            return True
        except ApiError as error:
            log.info("node %s: %s", name, error)
        return False

    async def _delete(self, pods: Sequence[Object], reason: str, why: str = "") -> None:
        for pod in pods:
            meta = pod["metadata"]
            _FORCED.labels(meta["namespace"], reason).inc()
            try:
                if not is_pod_finished(pod):
                    await self._mark_failed(pod, why)
                await self._client.delete(
                    PODS, meta["name"], meta["namespace"], grace_period_seconds=0, uid=meta["uid"]
                )
            except NotFound:
                continue
            except ApiError as error:
                _FORCED_ERRORS.labels(meta["namespace"], reason).inc()
                log.info("pod %s/%s: %s; it is tried again", meta["namespace"], meta["name"], error)

    async def _mark_failed(self, pod: Object, why: str) -> None:
        conditions = [dict(entry) for entry in pod["status"].get("conditions") or ()]
        changed: Object = {"status": {"phase": "Failed", "conditions": conditions}}
        if is_pod_ready(pod):
            set_condition(changed, {"type": "Ready", "status": "False", "reason": "PodFailed"})
        if why:
            condition = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
            set_condition(changed, {**condition, "message": why})
        await patch_status(self._client, pod, changed["status"])


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await PodGC(context).run()


DESCRIPTOR = Descriptor("pod-garbage-collector-controller", run, account="pod-garbage-collector")
