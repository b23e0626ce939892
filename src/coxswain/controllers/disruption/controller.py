"""Keeps the status of every PodDisruptionBudget, from its pods and the scales of their owners."""

from __future__ import annotations

from coxswain.api import meta, selectors
from coxswain.api.errors import ApiError, Conflict, NotFound
from coxswain.api.names import (
    DEPLOYMENTS,
    GVR,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Object,
)
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.disruption.decide import (
    disrupted,
    failed_status,
    needs_scale,
    new_status,
    overdue,
)
from coxswain.controllers.disruption.stale import StaleDisruptions
from coxswain.controllers.labels import Selected, Selecting, match_labels
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.served import ServedResources
from coxswain.controllers.shell import Shell

NAME = "disruption-controller"
BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
_SCALED = {
    ("apps", "ReplicaSet"): REPLICA_SETS,
    ("apps", "StatefulSet"): STATEFUL_SETS,
    ("apps", "Deployment"): DEPLOYMENTS,
    ("", "ReplicationController"): REPLICATION_CONTROLLERS,
}


class DisruptionController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._budgets = context.informers.informer(BUDGETS)
        self._selecting = Selecting(self._budgets)
        self._pods = pod_informer(context.informers)
        self._selected = Selected(self._pods)
        self._owners = {gvr: context.informers.informer(gvr) for gvr in _SCALED.values()}
        self._served = ServedResources(context.informers)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._stale = StaleDisruptions(context.client, self._pods)
        self._budgets.add_handler(self._changed, lambda _, new: self._changed(new), None)
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        async with Supervisor(NAME) as tasks:
            tasks.supervise("budgets", self._shell.run)
            tasks.supervise("stale disruptions", self._stale.run)
            await tasks.wait()

    def _changed(self, budget: Object) -> None:
        self._shell.add(key_of(budget))

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if meta.labels(old) != meta.labels(pod):
            self._pod_changed(old)
        self._pod_changed(pod)

    def _pod_changed(self, pod: Object) -> None:
        for budget in self._selecting.candidates(pod):
            if _selector(budget).matches(meta.labels(pod)):
                self._changed(budget)

    async def reconcile(self, key: str) -> float | None:
        """Bring the status of the budget ``key`` up to date; seconds until an eviction is given up."""
        budget = self._budgets.get(key)
        if budget is None:
            return None
        wanted = match_labels(budget)
        matches = _selector(budget).matches
        pods = [] if wanted is None else self._selected.matching(meta.namespace(budget), wanted, matches)
        if not pods:
            self._recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            expected = await self._scale(pods) if needs_scale(budget) else len(pods)
        except Conflict:
            raise
        except ApiError as error:
            why = f"Failed to calculate the number of expected pods: {error.message}"
            self._recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", why)
            await self._write(budget, failed_status(budget, error.message, clock.timestamp()))
            return None
        for pod in overdue(budget, pods, clock.now()):
            text = f"Pod was expected by PDB {key} to be deleted but it wasn't"
            self._recorder.event(pod, "Warning", "NotDeleted", text)
        kept, again = disrupted(budget, pods, clock.now())
        await self._write(budget, new_status(budget, pods, expected, kept, clock.timestamp()))
        return again

    async def _scale(self, pods: list[Object]) -> int:
        scales: dict[str, int] = {}
        for pod in pods:
            reference = meta.controller_of(pod)
            if reference is not None and reference["uid"] not in scales:
                uid, scale = await self._scale_of(reference, meta.namespace(pod), meta.name(pod))
                scales[uid] = scale
        return sum(scales.values())

    async def _scale_of(self, reference: Object, namespace: str, pod: str) -> tuple[str, int]:
        """The uid and replicas of the controller that decides: a replica set's Deployment, if it has one."""
        kind, name = reference["kind"], reference["name"]
        group = reference["apiVersion"].rpartition("/")[0]
        known = _SCALED.get((group, kind))
        if known is not None:
            owner = self._owners[known].get(f"{namespace}/{name}")
            if owner is not None and meta.uid(owner) == reference["uid"]:
                above = meta.controller_of(owner)
                if kind == "ReplicaSet" and above is not None and above["kind"] == "Deployment":
                    return await self._scale_of(above, namespace, pod)
                return meta.uid(owner), owner["spec"].get("replicas", 1)
        served = self._served.by_kind(reference["apiVersion"], kind)
        if served is not None and known is None:
            scale = await self._client.get(served.gvr, name, namespace, subresource="scale")
            return reference["uid"], (scale.get("spec") or {}).get("replicas", 0)
        raise NotFound(f'found no controllers for pod "{pod}"')

    async def _write(self, budget: Object, status: Object) -> None:
        if status != (budget.get("status") or {}):
            await self._client.update(BUDGETS, {**budget, "status": status}, subresource="status")


def _selector(budget: Object) -> selectors.Selector:
    return selectors.label_selector_from(budget["spec"].get("selector"))


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await DisruptionController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="disruption-controller")
