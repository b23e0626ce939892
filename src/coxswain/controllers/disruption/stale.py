"""Takes back the announcement of a disruption that did not happen.

Who is about to disrupt a pod sets its condition ``DisruptionTarget``. A pod that is still there two minutes
later, and is not being deleted, was spared (an eviction was refused, a preemption given up): the condition
becomes False. What the kubelet announces for itself stands, however long it takes.
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import PODS, Object
from coxswain.base import clock
from coxswain.client.informer import Informer, key_of
from coxswain.client.interface import STRATEGIC_MERGE_PATCH, Client
from coxswain.controllers.shell import Shell

CONDITION = "DisruptionTarget"
BY_KUBELET = "TerminationByKubelet"
#: Seconds from the announcement after which it is stale.
STALE_AFTER = 120.0


def time_left(pod: Object, now: float) -> float | None:
    """Seconds until the announcement is stale (0 or less: it is); None when there is none that can be."""
    if meta.is_terminating(pod) or meta.is_pod_finished(pod):
        return None
    condition = meta.condition(pod, CONDITION)
    if condition is None or condition["status"] != "True" or condition.get("reason") == BY_KUBELET:
        return None
    return clock.parse_time(condition["lastTransitionTime"]) + STALE_AFTER - now


class StaleDisruptions:
    """The shell; ``run`` ends with its task."""

    def __init__(self, client: Client, pods: Informer) -> None:
        self._client = client
        self._pods = pods
        self._shell = Shell("stale pod disruptions", self.reconcile, 1)
        pods.add_handler(self._changed, lambda _, new: self._changed(new))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._shell.run()

    def _changed(self, pod: Object) -> None:
        if meta.condition(pod, CONDITION) is not None and time_left(pod, 0.0) is not None:
            self._shell.add(key_of(pod))

    async def reconcile(self, key: str) -> float | None:
        """Look at one pod; seconds until its announcement is stale."""
        pod = self._pods.get(key)
        left = time_left(pod, clock.now()) if pod is not None else None
        if pod is None or left is None or left > 0:
            return left
        ended = {"type": CONDITION, "status": "False", "lastTransitionTime": clock.timestamp()}
        patch = {
            "metadata": {"uid": meta.uid(pod), "resourceVersion": meta.resource_version(pod)},
            "status": {"conditions": [{**ended, "reason": None, "message": None}]},
        }
        try:
            await self._client.patch(
                PODS,
                meta.name(pod),
                patch,
                meta.namespace(pod),
                kind=STRATEGIC_MERGE_PATCH,
                subresource="status",
            )
        except NotFound:
            pass
        return None
