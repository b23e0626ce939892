"""Performs what ``decide`` says for every ReplicaSet, and for every ReplicationController: a ``Flavor`` says
how those differ.

Watches replica sets and pods. A pod event goes to the owner it names; an orphan's to every replica set that
might adopt it. One key is handled by one worker at a time; ``Expectations`` keep a stale cache from making
too many pods.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

from coxswain.api import meta, selectors
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.claim import decide_claims, perform_claims
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.expectations import Expectations
from coxswain.controllers.labels import Orphans, Selecting
from coxswain.controllers.pods import (
    OWNER_INDEX,
    PodControl,
    owner_index,
    pod_from_template,
    pod_informer,
    shown,
    until_available,
)
from coxswain.controllers.replicaset.decide import new_status, plan_replicas, same_status
from coxswain.controllers.shell import Shell

NAME = "replicaset-controller"


@dataclass(frozen=True, slots=True)
class Flavor:
    """One of the kinds that keep a number of pods: its names, and what its selector looks like."""

    name: str
    component: str
    resource: GVR
    kind: str
    selector: Callable[[Object], selectors.Selector]
    counts_terminating: bool


REPLICA_SET = Flavor(
    name=NAME,
    component=NAME,
    resource=REPLICA_SETS,
    kind="ReplicaSet",
    selector=lambda owner: selectors.label_selector_from(owner["spec"].get("selector")),
    counts_terminating=True,
)


class ReplicaSetController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext, flavor: Flavor = REPLICA_SET) -> None:
        self._flavor = flavor
        self._client = context.client
        self._informers = context.informers
        self._sets = context.informers.informer(flavor.resource)
        self._selecting = Selecting(self._sets)
        self._sets.add_index(OWNER_INDEX, owner_index)
        self._pods = pod_informer(context.informers)
        self._orphans = Orphans(self._pods)
        self._expectations = Expectations(shown(self._pods))
        self._pod_control = PodControl(context.client, context.recorder(flavor.component), self._expectations)
        self._shell = Shell(flavor.name, self.reconcile, context.workers)
        self._sets.add_handler(self._set_added, self._set_updated, self._set_deleted)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _set_added(self, owner: Object) -> None:
        self._shell.add(key_of(owner))

    def _set_updated(self, old: Object, owner: Object) -> None:
        self._shell.add(key_of(owner))

    def _set_deleted(self, owner: Object) -> None:
        self._expectations.forget(key_of(owner))
        self._shell.add(key_of(owner))

    def _owner_key(self, pod: Object) -> str | None:
        """The key of the replica set that controls ``pod``, if it is the one we know."""
        reference = meta.controller_of(pod)
        if reference is None or reference.get("kind") != self._flavor.kind:
            return None
        key = f"{meta.namespace(pod)}/{reference['name']}"
        owner = self._sets.get(key)
        return key if owner is not None and meta.uid(owner) == reference["uid"] else None

    def _pod_added(self, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_deleted(pod)
        elif key := self._owner_key(pod):
            self._expectations.created(key)
            self._shell.add(key)
        elif meta.controller_of(pod) is None:
            self._wake_adopters(pod)

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_deleted(pod)
            return
        key, old_key = self._owner_key(pod), self._owner_key(old)
        if old_key and old_key != key:
            self._shell.add(old_key)
        if key:
            self._shell.add(key)
        elif meta.controller_of(pod) is None and (old_key or meta.labels(old) != meta.labels(pod)):
            self._wake_adopters(pod)

    def _pod_deleted(self, pod: Object) -> None:
        if key := self._owner_key(pod):
            self._expectations.deleted(key, meta.uid(pod))
            self._shell.add(key)

    def _wake_adopters(self, pod: Object) -> None:
        for owner in self._selecting.candidates(pod):
            if self._flavor.selector(owner).matches(meta.labels(pod)):
                self._shell.add(key_of(owner))

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Make the pods of the set ``key`` what it asks for, its status what is; seconds until the next look."""
        owner = self._sets.get(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        satisfied = self._expectations.satisfied(key)
        pods = await self._claimed(owner)
        active = [pod for pod in pods if meta.is_pod_active(pod)]
        failure: ApiError | None = None
        reason = ""
        if satisfied and not meta.is_terminating(owner):
            doubtful = self._expectations.doubtful(key)
            plan = plan_replicas(owner, active, self._siblings(owner, active), clock.now(), doubtful)
            if plan.create:
                reason = "FailedCreate"
                pod = pod_from_template(owner["spec"]["template"], owner)
                _, failure = await self._pod_control.create(key, owner, pod, plan.create)
            elif plan.delete:
                reason = "FailedDelete"
                failure = await self._pod_control.delete(key, owner, plan.delete)
        await self._write_status(owner, pods, active, (reason, failure.message) if failure else None)
        if failure is not None:
            raise failure
        waits = (
            self._expectations.overdue(key),
            until_available(active, owner["spec"].get("minReadySeconds", 0), clock.now()),
        )
        return min((wait for wait in waits if wait is not None), default=None)

    async def _claimed(self, owner: Object) -> list[Object]:
        selector = self._flavor.selector(owner)
        candidates = [
            *self._pods.by_index(OWNER_INDEX, meta.uid(owner)),
            *(pod for pod in self._orphans.may_join(owner) if not meta.is_pod_finished(pod)),
        ]
        claims = decide_claims(owner, candidates, lambda pod: selector.matches(meta.labels(pod)))
        return await perform_claims(self._client, self._flavor.resource, owner, PODS, claims)

    def _siblings(self, owner: Object, active: list[Object]) -> list[Object]:
        """The active pods of all replica sets that share the owner's controller."""
        parent = meta.controller_of(owner)
        if parent is None:
            return active
        return [
            pod
            for sibling in self._sets.by_index(OWNER_INDEX, parent["uid"])
            for pod in self._pods.by_index(OWNER_INDEX, meta.uid(sibling))
            if meta.is_pod_active(pod)
        ]

    async def _write_status(
        self, owner: Object, pods: list[Object], active: list[Object], failure: tuple[str, str] | None
    ) -> None:
        # A Deployment takes down others by what is available here: not what this controller has just deleted. (In
        # Kubernetes it is, until the deletion is in the cache.)
        leaving = self._expectations.leaving(key_of(owner))
        active = [pod for pod in active if meta.uid(pod) not in leaving]
        terminating = 0
        if self._flavor.counts_terminating:
            terminating = sum(not meta.is_pod_finished(pod) and _ends(pod, leaving) for pod in pods)
        status = new_status(owner, active, terminating, failure, clock.timestamp(), clock.now())
        if not same_status(owner.get("status") or {}, status):
            await self._client.update(
                self._flavor.resource, {**owner, "status": status}, subresource="status"
            )


def _ends(pod: Object, leaving: Set[str]) -> bool:
    """Whether the pod is terminating, or will be once the cache has its deletion, and does not go at once."""
    if meta.is_terminating(pod):
        return True
    spec = pod["spec"]
    return meta.uid(pod) in leaving and bool(
        spec.get("nodeName") and spec.get("terminationGracePeriodSeconds", 30)
    )


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await ReplicaSetController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="replicaset-controller")
