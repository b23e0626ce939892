"""Performs what ``decide`` says for every StatefulSet.

Watches sets, their pods, revisions and claims. A pod's event goes to the set that owns it, an orphan's to the
sets that might adopt it, a claim's to the set that waits for it to go. There are no expectations: names are
known beforehand, so a stale cache makes the API server say that a pod exists already, and never a pod too many.
But a step waits until the caches show the last one's status and deletions (Kubernetes'
StaleControllerConsistencyStatefulSet): a pod that was deleted must not count as healthy when the next one is
made.
"""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api import meta, selectors
from coxswain.api.errors import AlreadyExists, ApiError, Conflict, InternalError, NotFound
from coxswain.api.names import CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS, Object
from coxswain.base import clock
from coxswain.client.client import create_call
from coxswain.client.informer import key_of
from coxswain.controllers.claim import decide_claims, is_staying, perform_claims
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.history.control import NameTaken, create_revision, delete_revision, renumber
from coxswain.controllers.history.revisions import (
    HASH_LABEL,
    beyond_limit,
    data_hash,
    data_of,
    holds_template,
    in_order,
    new_revision,
    next_number,
    without_live,
)
from coxswain.controllers.labels import Orphans, Selecting
from coxswain.controllers.ownwrites import OwnDeletions, OwnWrites
from coxswain.controllers.pods import OWNER_INDEX, owner_index, pod_informer
from coxswain.controllers.shell import Shell
from coxswain.controllers.statefulset.decide import (
    CreatePod,
    DeletePod,
    Fail,
    Instruction,
    RepairPod,
    State,
    UpdateClaim,
    new_status,
    plan,
    same_status,
)
from coxswain.controllers.statefulset.identity import (
    identity_labels,
    is_member,
    ordinal_of,
    revision_of,
    volumes_for,
)

NAME = "statefulset-controller"
#: Names tried for one revision before the step is given up.
_MOST_COLLISIONS = 10


class StatefulSetController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._sets = context.informers.informer(STATEFUL_SETS)
        self._selecting = Selecting(self._sets)
        self._pods = pod_informer(context.informers)
        self._orphans = Orphans(self._pods)
        self._revisions = context.informers.informer(CONTROLLER_REVISIONS)
        self._revisions.add_index(OWNER_INDEX, owner_index)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._waiting: dict[str, set[str]] = {}  # sets by the key of the claim that has to go first
        self._own = OwnWrites(context.client, STATEFUL_SETS)
        self._deletions = OwnDeletions(context.client, PODS)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._sets.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        self._pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)
        self._claims.add_handler(None, lambda _, new: self._claim_changed(new), self._claim_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _changed(self, owner: Object) -> None:
        self._shell.add(key_of(owner))

    def _pod_updated(self, old: Object, pod: Object) -> None:
        if meta.controller_of(old) != meta.controller_of(pod):
            self._pod_changed(old)
        self._pod_changed(pod)

    def _pod_changed(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is not None:
            if reference.get("kind") == "StatefulSet":
                self._shell.add(f"{meta.namespace(pod)}/{reference['name']}")
            return
        for owner in self._selecting.candidates(pod):
            if self._matches(owner, pod):
                self._changed(owner)

    def _claim_changed(self, claim: Object) -> None:
        for key in self._waiting.pop(meta.key(claim), ()):
            self._shell.add(key)

    @staticmethod
    def _matches(owner: Object, pod: Object) -> bool:
        selector = selectors.label_selector_from(owner["spec"].get("selector"))
        return is_member(owner, pod) and selector.matches(meta.labels(pod))

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One step for the set ``key``; seconds until the next look, if time alone matters."""
        owner = self._sets.get(key)
        if owner is None or meta.is_terminating(owner):
            self._own.forget(key)
            self._deletions.forget(key)
            return None  # the garbage collector takes what it leaves
        if not await self._caught_up(key, owner):
            return None
        revisions = in_order(await self._owned_revisions(owner))
        pods = await self._owned_pods(owner)
        update, collisions = await self._update_revision(owner, revisions)
        current_name = (owner.get("status") or {}).get("currentRevision")
        current = next((one for one in revisions if meta.name(one) == current_name), update)
        state = State(owner, current, update, pods, lambda name: self._claim(owner, name), clock.now())
        step = plan(state)
        for name in step.waits:
            self._waiting.setdefault(f"{meta.namespace(owner)}/{name}", set()).add(key)
        try:
            await self._perform(owner, step.instructions)
        finally:
            await self._write_status(owner, new_status(state, collisions))
        live = {meta.name(current), meta.name(update), *map(revision_of, pods)}
        history = without_live(revisions, live)
        for revision in beyond_limit(history, owner["spec"].get("revisionHistoryLimit", 10)):
            await delete_revision(self._client, revision)
        return step.again

    async def _caught_up(self, key: str, owner: Object) -> bool:
        pods = self._pods.by_index(OWNER_INDEX, meta.uid(owner))
        return await self._own.caught_up(key, owner) and await self._deletions.caught_up(key, pods)

    def _claim(self, owner: Object, name: str) -> Object | None:
        return self._claims.get(f"{meta.namespace(owner)}/{name}")

    async def _owned_pods(self, owner: Object) -> list[Object]:
        candidates = [
            *self._pods.by_index(OWNER_INDEX, meta.uid(owner)),
            *self._orphans.may_join(owner),
        ]
        claims = decide_claims(owner, candidates, lambda pod: self._matches(owner, pod))
        return await perform_claims(self._client, STATEFUL_SETS, owner, PODS, claims)

    async def _owned_revisions(self, owner: Object) -> list[Object]:
        selector = selectors.label_selector_from(owner["spec"].get("selector"))
        candidates = [
            *self._revisions.by_index(OWNER_INDEX, meta.uid(owner)),
            *self._revisions.by_index(OWNER_INDEX, f"orphan/{meta.namespace(owner)}"),
        ]
        claims = decide_claims(owner, candidates, lambda one: selector.matches(meta.labels(one)))
        claims.release.clear()  # a set lists only those it selects, and lets the others be
        return await perform_claims(self._client, STATEFUL_SETS, owner, CONTROLLER_REVISIONS, claims)

    async def _update_revision(self, owner: Object, revisions: Sequence[Object]) -> tuple[Object, int]:
        """The revision of the present template, made or renumbered if need be; the collision count."""
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        equal = [one for one in revisions if holds_template(one, owner)]
        if equal and equal[-1] is revisions[-1]:
            return equal[-1], collisions
        number = next_number(revisions)
        if equal:
            return await renumber(self._client, equal[-1], number), collisions
        for _ in range(_MOST_COLLISIONS):
            hashed = data_hash(data_of(owner), collisions)
            try:
                revision = new_revision(owner, number, hashed, {HASH_LABEL: hashed})
                return await create_revision(self._client, owner, revision), collisions
            except NameTaken:
                collisions += 1
        raise InternalError(f"no free name for a revision of stateful set {meta.name(owner)}")

    async def _write_status(self, owner: Object, status: Object) -> None:
        if same_status(owner.get("status") or {}, status):
            return
        try:
            written = await self._client.update(
                STATEFUL_SETS, {**owner, "status": status}, subresource="status"
            )
        except ApiError:
            self._own.unsure(key_of(owner))
            raise
        self._own.wrote(key_of(owner), written)

    # -- instructions --------------------------------------------------------------------------------------

    async def _perform(self, owner: Object, instructions: Sequence[Instruction]) -> None:
        """Do ``instructions`` in order; new pods of a Parallel set go out in doubling batches."""
        position, size = 0, 1
        while position < len(instructions):
            batch: list[CreatePod] = []
            for instruction in instructions[position : position + size]:
                if not isinstance(instruction, CreatePod):
                    break
                batch.append(instruction)
            if batch:
                await self._create(owner, batch)
                position, size = position + len(batch), min(2 * size, 500)
            else:
                await self._perform_one(owner, instructions[position])
                position += 1

    async def _perform_one(self, owner: Object, instruction: Instruction) -> None:
        match instruction:
            case DeletePod(pod, as_seen):
                await self._delete(owner, pod, meta.resource_version(pod) if as_seen else "")
            case RepairPod(pod):
                await self._repair(owner, pod)
            case UpdateClaim(claim):
                await self._update_claim(owner, claim)
            case Fail(message):
                raise InternalError(message)

    async def _create(self, owner: Object, batch: Sequence[CreatePod]) -> None:
        for creation in batch:
            for claim in creation.claims:
                await self._create_claim(owner, creation.name, claim)
        pods = [creation.pod for creation in batch if creation.pod is not None]
        if not pods:
            return
        failure: ApiError | None = None
        answers = await self._client.batch([create_call(PODS, pod) for pod in pods])
        for pod, answer in zip(pods, answers, strict=True):
            try:
                answer.object()
            except AlreadyExists as error:
                failure = failure or error  # the cache will know soon
            except ApiError as error:
                failure = failure or error
                self._say(owner, "Create", pod, error)
            else:
                self._say(owner, "Create", pod, None)
        if failure is not None:
            raise failure

    async def _create_claim(self, owner: Object, pod_name: str, claim: Object) -> None:
        subject = f"Create Claim {meta.name(claim)}"
        place = f"Pod {pod_name} in StatefulSet {meta.name(owner)}"
        try:
            await self._client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        except AlreadyExists:
            raise
        except ApiError as error:
            message = f"{subject} for {place} failed error: {error.message}"
            self._recorder.event(owner, "Warning", "FailedCreate", message)
            raise
        self._recorder.event(owner, "Normal", "SuccessfulCreate", f"{subject} {place} success")

    async def _delete(self, owner: Object, pod: Object, version: str) -> None:
        key, uid = key_of(owner), meta.uid(pod)
        try:
            await self._client.delete(
                PODS, meta.name(pod), meta.namespace(pod), uid=uid, resource_version=version
            )
        except NotFound:
            self._deletions.deleted(key, uid)
            return
        except ApiError as error:
            if version and isinstance(error, Conflict):
                raise  # it is not any more what was to go: nothing was done
            self._deletions.unsure(key, uid)
            self._say(owner, "Delete", pod, error)
            raise
        self._deletions.deleted(key, uid)
        self._say(owner, "Delete", pod, None)

    async def _update_claim(self, owner: Object, claim: Object) -> None:
        """A set that was deleted with its dependents orphaned, unseen so far, must not take its claims with it."""
        given = any(reference["uid"] == meta.uid(owner) for reference in meta.owner_references(claim))
        if not given or await is_staying(self._client, STATEFUL_SETS, owner):
            await self._client.update(PERSISTENT_VOLUME_CLAIMS, claim)

    async def _repair(self, owner: Object, pod: Object) -> None:
        fresh = await self._client.get(PODS, meta.name(pod), meta.namespace(pod))
        ordinal = ordinal_of(fresh)
        fresh["metadata"]["labels"] = {**meta.labels(fresh), **identity_labels(owner, ordinal)}
        if owner["spec"].get("volumeClaimTemplates"):
            fresh["spec"]["volumes"] = volumes_for(owner, fresh["spec"].get("volumes") or [], ordinal)
        try:
            await self._client.update(PODS, fresh)
        except ApiError as error:
            self._say(owner, "Update", pod, error)
            raise
        self._say(owner, "Update", pod, None)

    def _say(self, owner: Object, verb: str, pod: Object, error: ApiError | None) -> None:
        subject = f"{verb} Pod {meta.name(pod)} in StatefulSet {meta.name(owner)}"
        if error is None:
            self._recorder.event(owner, "Normal", f"Successful{verb}", f"{subject} successful")
        else:
            message = f"{subject} failed error: {error.message}"
            self._recorder.event(owner, "Warning", f"Failed{verb}", message)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await StatefulSetController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="statefulset-controller")
