"""Performs what ``decide`` says for every DaemonSet.

Watches sets, their pods and revisions, and nodes. A node wakes the sets for which its verdict changed.
"""

from __future__ import annotations

from coxswain.api import meta, selectors
from coxswain.api.errors import ApiError
from coxswain.api.names import CONTROLLER_REVISIONS, DAEMON_SETS, GVR, NODES, PODS, Object
from coxswain.base import clock
from coxswain.client.informer import Informer, key_of
from coxswain.client.interface import STRATEGIC_MERGE_PATCH
from coxswain.controllers.claim import decide_claims, perform_claims
from coxswain.controllers.daemonset.decide import Plan, State, manage, new_status, roll, same_status
from coxswain.controllers.daemonset.placement import new_pod, target_node, verdict_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.expectations import Expectations
from coxswain.controllers.history.control import NameTaken, create_revision, delete_revision, renumber
from coxswain.controllers.history.revisions import (
    REVISION_LABEL,
    holds_template,
    in_order,
    new_revision,
    next_number,
    number_of,
)
from coxswain.controllers.labels import Orphans, Selecting
from coxswain.controllers.pods import (
    OWNER_INDEX,
    PodControl,
    owner_index,
    pod_informer,
    shown,
    until_available,
)
from coxswain.controllers.shell import Shell

NAME = "daemonset-controller"
#: Pods created or deleted in one step (``BurstReplicas``).
BURST = 250
#: Seconds between deletions of failed pods on one node: the first, and the most it doubles to.
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 900.0


class DaemonSetController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._sets = context.informers.informer(DAEMON_SETS)
        self._selecting = Selecting(self._sets)
        self._nodes = context.informers.informer(NODES)
        self._pods = pod_informer(context.informers)
        self._revisions = context.informers.informer(CONTROLLER_REVISIONS)
        self._revisions.add_index(OWNER_INDEX, owner_index)
        self._orphans = {each.resource: Orphans(each) for each in (self._pods, self._revisions)}
        self._expectations = Expectations(shown(self._pods))
        self._pod_control = PodControl(context.client, self._recorder, self._expectations)
        self._failures: dict[tuple[str, str], tuple[float, float]] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._sets.add_handler(self._changed, lambda _, new: self._changed(new), self._set_deleted)
        self._nodes.add_handler(self._all_changed, self._node_updated, self._all_changed)
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _changed(self, owner: Object) -> None:
        self._shell.add(key_of(owner))

    def _set_deleted(self, owner: Object) -> None:
        self._expectations.forget(key_of(owner))
        uid = meta.uid(owner)
        self._failures = {key: value for key, value in self._failures.items() if key[0] != uid}

    def _all_changed(self, node: Object) -> None:
        for owner in self._sets.list():
            self._changed(owner)

    def _node_updated(self, old: Object, node: Object) -> None:
        if meta.labels(old) == meta.labels(node) and old.get("spec") == node.get("spec"):
            return
        for owner in self._sets.list():
            verdict = verdict_of(owner)
            if verdict(old) != verdict(node):
                self._changed(owner)

    def _owner_key(self, pod: Object) -> str | None:
        reference = meta.controller_of(pod)
        if reference is None or reference.get("kind") != "DaemonSet":
            return None
        return f"{meta.namespace(pod)}/{reference['name']}"

    def _pod_added(self, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_deleted(pod)
        elif key := self._owner_key(pod):
            self._expectations.created(key)
            self._shell.add(key)
        else:
            self._wake_adopters(pod)

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if meta.is_terminating(pod):
            self._pod_deleted(pod)
            return
        for key in filter(None, dict.fromkeys((self._owner_key(old), self._owner_key(pod)))):
            self._shell.add(key)
        self._wake_adopters(pod)

    def _pod_deleted(self, pod: Object) -> None:
        if key := self._owner_key(pod):
            self._expectations.deleted(key, meta.uid(pod))
            self._shell.add(key)

    def _wake_adopters(self, pod: Object) -> None:
        if meta.controller_of(pod) is not None:
            return
        for owner in self._selecting.candidates(pod):
            if selectors.label_selector_from(owner["spec"].get("selector")).matches(meta.labels(pod)):
                self._changed(owner)

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One step for the set ``key``; seconds until the next look, if time alone matters."""
        owner = self._sets.get(key)
        if owner is None or meta.is_terminating(owner):
            return None
        if not owner["spec"].get("selector"):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._recorder.event(owner, "Warning", "SelectingAll", message)
            return None
        # Asked before the pods are read: what arrives while we wait below is not among those read.
        satisfied = self._expectations.satisfied(key)
        pods = await self._owned(owner, self._pods, PODS)
        revisions = in_order(await self._owned(owner, self._revisions, CONTROLLER_REVISIONS))
        current = await self._current_revision(owner, revisions, pods)
        state = self._state(owner, meta.labels(current).get(REVISION_LABEL, meta.name(current)), pods)
        again: float | None = None
        try:
            if satisfied:
                plan = manage(state, lambda pod, node: self._delay(owner, node))
                again = plan.again
                if not plan.create and not plan.delete:
                    plan = roll(state)
                await self._perform(key, state, plan)
                await self._clean_up(owner, revisions, pods)
        finally:
            status = new_status(state, observed=satisfied)
            if not same_status(owner.get("status") or {}, status):
                await self._client.update(DAEMON_SETS, {**owner, "status": status}, subresource="status")
        # Of every pod: one that surges beside its elder is not in the status, and the elder waits for it.
        available = until_available(pods, state.min_ready, clock.now())
        waits = (again, available, self._expectations.overdue(key))
        return min((wait for wait in waits if wait is not None), default=None)

    def _state(self, owner: Object, hashed: str, pods: list[Object]) -> State:
        by_node: dict[str, list[Object]] = {}
        for pod in pods:
            node = target_node(pod)
            if node and not (meta.is_terminating(pod) and meta.is_pod_finished(pod)):
                by_node.setdefault(node, []).append(pod)
        verdict = verdict_of(owner)
        verdicts = {meta.name(node): verdict(node) for node in self._nodes.list()}
        return State(owner, hashed, verdicts, by_node, clock.now())

    async def _owned(self, owner: Object, informer: Informer, resource: GVR) -> list[Object]:
        selector = selectors.label_selector_from(owner["spec"].get("selector"))
        candidates = [
            *informer.by_index(OWNER_INDEX, meta.uid(owner)),
            *self._orphans[informer.resource].may_join(owner),
        ]
        claims = decide_claims(owner, candidates, lambda one: selector.matches(meta.labels(one)))
        return await perform_claims(self._client, DAEMON_SETS, owner, resource, claims)

    def _delay(self, owner: Object, node: str) -> float:
        """Seconds until a failed pod of ``node`` may be deleted; 0 counts as a deletion."""
        key, now = (meta.uid(owner), node), clock.monotonic()
        last, wait = self._failures.get(key, (now - 2 * _LONGEST_DELAY, 0.0))
        if now - last < wait:
            return last + wait - now
        expired = now - last >= 2 * _LONGEST_DELAY
        self._failures[key] = (now, _FIRST_DELAY if expired else min(2 * wait, _LONGEST_DELAY))
        return 0.0

    async def _perform(self, key: str, state: State, plan: Plan) -> None:
        owner = state.owner
        for node, pod in plan.ended:
            failed = meta.pod_phase(pod) == "Failed"
            outcome, verb = ("failed", "kill") if failed else ("succeeded", "delete")
            message = f"Found {outcome} daemon pod {key_of(pod)} on node {node}, will try to {verb} it"
            kind, reason = ("Warning", "FailedDaemonPod") if failed else ("Normal", "SucceededDaemonPod")
            self._recorder.event(owner, kind, reason, message)
        failure: ApiError | None = None
        if plan.create:
            pods = [new_pod(owner, node, state.hashed) for node in plan.create[:BURST]]
            _, failure = await self._pod_control.create_each(key, owner, pods)
        if plan.delete:
            failed_delete = await self._pod_control.delete(key, owner, plan.delete[:BURST])
            failure = failure or failed_delete
        if failure is not None:
            raise failure

    # -- history -------------------------------------------------------------------------------------------

    async def _current_revision(self, owner: Object, revisions: list[Object], pods: list[Object]) -> Object:
        """The revision of the present template: found (once), renumbered or made."""
        equal = [one for one in revisions if holds_template(one, owner)]
        number = next_number([one for one in revisions if one not in equal])
        if not equal:
            return await self._make_revision(owner, number)
        current = equal[-1]
        for double in equal[:-1]:
            await self._relabel(pods, meta.labels(current).get(REVISION_LABEL, ""), double)
            await delete_revision(self._client, double)
        if number_of(current) < number:
            current = await renumber(self._client, current, number)
        return current

    async def _make_revision(self, owner: Object, number: int) -> Object:
        status = owner.get("status") or {}
        hashed = meta.pod_template_hash(owner["spec"]["template"], status.get("collisionCount"))
        revision = new_revision(owner, number, hashed, {REVISION_LABEL: hashed})
        try:
            return await create_revision(self._client, owner, revision)
        except NameTaken:
            changed = {**status, "collisionCount": (status.get("collisionCount") or 0) + 1}
            await self._client.update(DAEMON_SETS, {**owner, "status": changed}, subresource="status")
            raise ApiError(f"name of revision {meta.name(revision)} is taken, trying another") from None

    async def _relabel(self, pods: list[Object], hashed: str, double: Object) -> None:
        stale = meta.labels(double).get(REVISION_LABEL)
        for pod in pods:
            if meta.labels(pod).get(REVISION_LABEL) == stale:
                patch = {"metadata": {"labels": {REVISION_LABEL: hashed}}}
                await self._client.patch(
                    PODS, meta.name(pod), patch, meta.namespace(pod), kind=STRATEGIC_MERGE_PATCH
                )

    async def _clean_up(self, owner: Object, revisions: list[Object], pods: list[Object]) -> None:
        old = [one for one in revisions if not holds_template(one, owner)]
        live = {meta.labels(pod).get(REVISION_LABEL) for pod in pods}
        surplus = len(old) - int(owner["spec"].get("revisionHistoryLimit", 10))
        unused = [one for one in old if meta.labels(one).get(REVISION_LABEL) not in live]
        for revision in unused[: max(0, surplus)]:
            await delete_revision(self._client, revision)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await DaemonSetController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="daemon-set-controller")
