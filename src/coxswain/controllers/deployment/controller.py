"""Performs what ``decide`` says for every Deployment.

Watches deployments, replica sets and pods. A replica set's event goes to its owner, an orphan's to every
Deployment that might adopt it; a pod's deletion wakes the Deployment above it (Recreate waits for it). A step
waits until the cache shows the sets as the last one left them: who counts the pods that are asked for with a set
missing, or smaller than it is, asks for more than the surge allows.
"""

from __future__ import annotations

from coxswain.api import meta, selectors
from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import DEPLOYMENTS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.claim import decide_claims, perform_claims
from coxswain.controllers.deployment.decide import reconcile
from coxswain.controllers.deployment.revisions import has_progress_deadline, same_template, set_condition
from coxswain.controllers.deployment.rollout import (
    CreateSet,
    DeleteSet,
    Emit,
    Instruction,
    Rollout,
    UpdateSet,
    UpdateStatus,
)
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.labels import Selecting
from coxswain.controllers.ownwrites import OwnDependents
from coxswain.controllers.pods import OWNER_INDEX, owner_index, pod_informer
from coxswain.controllers.shell import Shell

NAME = "deployment-controller"


class DeploymentController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder(NAME)
        self._deployments = context.informers.informer(DEPLOYMENTS)
        self._selecting = Selecting(self._deployments)
        self._sets = context.informers.informer(REPLICA_SETS)
        self._sets.add_index(OWNER_INDEX, owner_index)
        self._pods = pod_informer(context.informers)
        self._own = OwnDependents(context.client, self._sets)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._deployments.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        self._sets.add_handler(self._set_changed, self._set_updated, self._set_changed)
        self._pods.add_handler(on_delete=self._pod_deleted)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _changed(self, deployment: Object) -> None:
        self._shell.add(key_of(deployment))

    def _set_updated(self, old: Object, new: Object) -> None:
        if meta.controller_of(old) != meta.controller_of(new):
            self._set_changed(old)
        self._set_changed(new)

    def _set_changed(self, replica_set: Object) -> None:
        reference = meta.controller_of(replica_set)
        if reference is not None:
            if reference.get("kind") == "Deployment":
                self._shell.add(f"{meta.namespace(replica_set)}/{reference['name']}")
            return
        for deployment in self._selecting.candidates(replica_set):
            if selectors.label_selector_from(deployment["spec"]["selector"]).matches(
                meta.labels(replica_set)
            ):
                self._changed(deployment)

    def _pod_deleted(self, pod: Object) -> None:
        reference = meta.controller_of(pod)
        if reference is None or reference.get("kind") != "ReplicaSet":
            return
        replica_set = self._sets.get(f"{meta.namespace(pod)}/{reference['name']}")
        if replica_set is not None:
            self._set_changed(replica_set)

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """One step for the Deployment ``key``; seconds until the next look, if time alone matters."""
        deployment = self._deployments.get(key)
        if deployment is None:
            self._own.forget(key)
            return None
        if not await self._own.caught_up(key):
            return None
        replica_sets = await self._claimed(deployment)
        pods = {meta.uid(rs): self._pods.by_index(OWNER_INDEX, meta.uid(rs)) for rs in replica_sets}
        instructions, again = reconcile(deployment, replica_sets, pods, clock.now())
        for instruction in instructions:
            if not await self._perform(deployment, instruction):
                break
        return again

    async def _claimed(self, deployment: Object) -> list[Object]:
        selector = selectors.label_selector_from(deployment["spec"]["selector"])
        candidates = [
            *self._sets.by_index(OWNER_INDEX, meta.uid(deployment)),
            *self._sets.by_index(OWNER_INDEX, f"orphan/{meta.namespace(deployment)}"),
        ]
        claims = decide_claims(deployment, candidates, lambda rs: selector.matches(meta.labels(rs)))
        return await perform_claims(self._client, DEPLOYMENTS, deployment, REPLICA_SETS, claims)

    async def _perform(self, deployment: Object, instruction: Instruction) -> bool:
        """Do one instruction; False ends the step (what follows was decided on a state that is not)."""
        match instruction:
            case CreateSet(replica_set):
                return await self._create(deployment, replica_set)
            case UpdateSet(replica_set):
                await self._update(deployment, replica_set)
            case DeleteSet(replica_set):
                await self._delete(replica_set)
            case UpdateStatus(changed):
                await self._client.update(DEPLOYMENTS, changed, subresource="status")
            case Emit(kind, reason, message):
                self._recorder.event(deployment, kind, reason, message)
        return True

    async def _update(self, deployment: Object, replica_set: Object) -> None:
        key = key_of(deployment)
        try:
            self._own.wrote(key, await self._client.update(REPLICA_SETS, replica_set))
        except ApiError:
            self._own.unsure(key, replica_set)
            raise

    async def _create(self, deployment: Object, replica_set: Object) -> bool:
        key = key_of(deployment)
        try:
            self._own.wrote(key, await self._client.create(REPLICA_SETS, replica_set))
        except AlreadyExists:
            await self._resolve_collision(deployment, replica_set)
            return False
        except ApiError as error:
            self._own.unsure(key, replica_set)
            await self._say_failed(deployment, replica_set, error)
            raise
        return True

    async def _resolve_collision(self, deployment: Object, replica_set: Object) -> None:
        """The name is taken: by ours that the cache has not seen yet, or by another template's hash."""
        found = await self._client.get(REPLICA_SETS, meta.name(replica_set), meta.namespace(replica_set))
        if meta.is_controlled_by(found, deployment) and same_template(found, deployment):
            return
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = status.get("collisionCount", 0) + 1
        await self._client.update(DEPLOYMENTS, {**deployment, "status": status}, subresource="status")

    async def _say_failed(self, deployment: Object, replica_set: Object, error: ApiError) -> None:
        causes = ((error.details or {}).get("causes")) or ()
        if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
            return
        message = f'Failed to create new replica set "{meta.name(replica_set)}": {error.message}'
        self._recorder.event(deployment, "Warning", "FailedCreate", message)
        if not has_progress_deadline(deployment):
            return
        copy = {**deployment, "status": dict(deployment.get("status") or {})}
        rollout = Rollout(copy, None, [], clock.now(), clock.timestamp())
        set_condition(rollout, "Progressing", "False", "FailedCreate", message)
        await self._client.update(DEPLOYMENTS, copy, subresource="status")

    async def _delete(self, replica_set: Object) -> None:
        try:
            await self._client.delete(
                REPLICA_SETS, meta.name(replica_set), meta.namespace(replica_set), uid=meta.uid(replica_set)
            )
        except NotFound:
            pass


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await DeploymentController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="deployment-controller")
