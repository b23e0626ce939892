"""The taint eviction controller: deletes pods that do not (or no longer) tolerate their node's taints.

    node tainted, pod bound --> how long does it bear that? --> wait --> condition DisruptionTarget, delete
                                                                 |
                        taint or pod gone, toleration added <----+  (cancelled)

A pod's time starts when we first see it under the taint, and is not started anew by further changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from coxswain.api.errors import Conflict, NotFound
from coxswain.api.meta import is_pod_finished, is_terminating, set_condition
from coxswain.api.names import NODES, PODS, Object
from coxswain.base import clock, metrics
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.nodelifecycle.controller import NODE_INDEX, index_pods_by_node
from coxswain.controllers.nodelifecycle.tolerance import execute_taints, seconds_tolerated
from coxswain.controllers.pods import patch_status, pod_informer
from coxswain.controllers.shell import Shell

_DELETIONS = metrics.counter(
    "taint_eviction_controller_pod_deletions", "Pods deleted because of taints of their nodes."
)
_LATENCY = metrics.histogram(
    "taint_eviction_controller_pod_deletion_duration_seconds",
    "Seconds from when a taint took effect for a pod to the pod's deletion.",
    buckets=(0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 30, 60, 120, 180, 240),
)


@dataclass(slots=True)
class Sentence:
    """A pod whose time runs."""

    uid: str
    started_at: float


class TaintEviction:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._nodes = context.informers.informer(NODES)
        self._pods = pod_informer(context.informers)
        self._recorder = context.recorder("taint-eviction-controller")
        self._sentences: dict[str, Sentence] = {}
        self._shell = Shell("taint-eviction-controller", self.reconcile, context.workers)

    async def run(self) -> None:
        """Run until cancelled."""
        index_pods_by_node(self._pods)
        await self._informers.start()
        await self._nodes.wait_synced()
        await self._pods.wait_synced()
        self._nodes.add_handler(self._on_node, self._on_node_change)
        self._pods.add_handler(self._on_pod, self._on_pod_change, self._on_pod_gone)
        await self._shell.run()

    def _on_node(self, node: Object) -> None:
        if execute_taints(node):
            self._consider_pods(node)

    def _on_node_change(self, old: Object, new: Object) -> None:
        if execute_taints(old) != execute_taints(new):
            self._consider_pods(new)

    def _consider_pods(self, node: Object) -> None:
        for pod in self._pods.by_index(NODE_INDEX, node["metadata"]["name"]):
            self._shell.add(key_of(pod))

    def _on_pod(self, pod: Object) -> None:
        node = self._nodes.get(pod["spec"].get("nodeName") or "")
        if node is not None and execute_taints(node):
            self._shell.add(key_of(pod))

    def _on_pod_change(self, old: Object, new: Object) -> None:
        for name in ("nodeName", "tolerations"):
            if old["spec"].get(name) != new["spec"].get(name):
                self._on_pod(new)
                return

    def _on_pod_gone(self, pod: Object) -> None:
        self._sentences.pop(key_of(pod), None)

    async def reconcile(self, key: str) -> float | None:
        """Look at one pod; seconds until its time is over."""
        pod = self._pods.get(key)
        if pod is None or is_terminating(pod) or is_pod_finished(pod):
            self._sentences.pop(key, None)
            return None
        node = self._nodes.get(pod["spec"].get("nodeName") or "")
        seconds = seconds_tolerated(pod, execute_taints(node)) if node is not None else None
        if seconds is None:
            if self._sentences.pop(key, None) is not None:
                self._tell(pod, f"Cancelling deletion of Pod {key}")
            return None
        uid = pod["metadata"]["uid"]
        sentence = self._sentences.get(key)
        if sentence is None or sentence.uid != uid:
            sentence = self._sentences[key] = Sentence(uid, clock.monotonic())
        left = sentence.started_at + seconds - clock.monotonic()
        if left > 1e-6:
            return left
        await self._evict(key, pod)
        _DELETIONS.inc()
        _LATENCY.observe(max(-left, 0.0))
        return None

    async def _evict(self, key: str, pod: Object) -> None:
        meta = pod["metadata"]
        self._tell(pod, f"Marking for deletion Pod {key}")
        changed: Object = {
            "status": {"conditions": [dict(each) for each in pod["status"].get("conditions") or ()]}
        }
        reason = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        try:
            if set_condition(changed, reason):
                await patch_status(self._client, pod, changed["status"])
            await self._client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        except NotFound:
            pass
        except Conflict:
            raise  # it changed: look at it again
        self._sentences.pop(key, None)

    def _tell(self, pod: Object, message: str) -> None:
        self._recorder.event(pod, "Normal", "TaintManagerEviction", message)


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await TaintEviction(context).run()


DESCRIPTOR = Descriptor("taint-eviction-controller", run, account="node-controller")
