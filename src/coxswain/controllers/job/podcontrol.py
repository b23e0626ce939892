"""The calls of the job controller about pods: in batches, with expectations, said in events on the Job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import PODS, Object
from coxswain.client.client import create_call, delete_call, patch_call
from coxswain.client.events import EventRecorder
from coxswain.client.interface import STRATEGIC_MERGE_PATCH, Call, Client
from coxswain.controllers.expectations import Expectations
from coxswain.controllers.job.view import FINALIZER, is_tracked


def strip_call(pod: Object, *, as_seen: bool = False) -> Call:
    """The call that takes the tracking finalizer from ``pod``; ``as_seen``: only if it did not change since."""
    patch = {"metadata": {"uid": meta.uid(pod), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    if as_seen:
        patch["metadata"]["resourceVersion"] = meta.resource_version(pod)
    return patch_call(PODS, meta.name(pod), patch, meta.namespace(pod), STRATEGIC_MERGE_PATCH)


class JobPods:
    """``removing`` holds, by Job, the uids whose finalizer we took and that no watch has shown without it."""

    def __init__(self, client: Client, recorder: EventRecorder, expectations: Expectations) -> None:
        self._client = client
        self._recorder = recorder
        self._expectations = expectations
        self.removing: dict[str, set[str]] = defaultdict(set)

    async def create(self, key: str, job: Object, pods: Sequence[Object]) -> tuple[int, ApiError | None]:
        """Create ``pods`` in doubling batches until one fails; how many were, and the first failure."""
        self._expectations.expect_creations(key, len(pods))
        done = at = 0
        size, failure = 1, None
        while at < len(pods) and failure is None:
            calls = [create_call(PODS, pod) for pod in pods[at : at + size]]
            at, size = at + len(calls), size * 2
            for answer in await self._client.batch(calls):
                try:
                    created = answer.object()
                except ApiError as error:
                    failure = failure or error
                else:
                    done += 1
                    self._expectations.wrote(key, created)
                    message = f"Created pod: {meta.name(created)}"
                    self._recorder.event(job, "Normal", "SuccessfulCreate", message)
        if failure is not None:
            self._expectations.created(key, len(pods) - done)
            causes = ((failure.details or {}).get("causes")) or ()
            if not any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
                message = f"Error creating: {failure.message}"
                self._recorder.event(job, "Warning", "FailedCreate", message)
        return done, failure

    async def delete(
        self, key: str, job: Object, pods: Sequence[Object], strip: bool
    ) -> tuple[list[Object], ApiError | None]:
        """Delete ``pods``, their finalizers first if ``strip``; those that are gone, and the first failure.

        Kubernetes takes the finalizer whatever became of the pod: one that ended unseen is run again. Here a pod
        that is not any more as it was seen keeps it, and is looked at again.
        """
        failure: ApiError | None = None
        if strip:
            pods, failure = await self.strip(key, pods, as_seen=True)
        self._expectations.expect_deletions(key, [meta.uid(pod) for pod in pods])
        gone: list[Object] = []
        calls = [delete_call(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod)) for pod in pods]
        for pod, answer in zip(pods, await self._client.batch(calls), strict=True):
            try:
                answer.object()
            except ApiError as error:
                self._expectations.deleted(key, meta.uid(pod))
                if error.code == 404:
                    gone.append(pod)
                    continue
                failure = failure or error
                message = f"Error deleting: {error.message}"
                self._recorder.event(job, "Warning", "FailedDelete", message)
            else:
                gone.append(pod)
                self._recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")
        return gone, failure

    async def strip(
        self, key: str, pods: Sequence[Object], *, as_seen: bool = False
    ) -> tuple[list[Object], ApiError | None]:
        """Take the tracking finalizers (see ``strip_call``); the pods that have none now, and the first failure."""
        tracked = [pod for pod in pods if is_tracked(pod)]
        removing = self.removing[key]
        removing.update(meta.uid(pod) for pod in tracked)
        done, failure = [pod for pod in pods if not is_tracked(pod)], None
        answers = await self._client.batch([strip_call(pod, as_seen=as_seen) for pod in tracked])
        for pod, answer in zip(tracked, answers, strict=True):
            try:
                answer.object()
            except ApiError as error:
                removing.discard(meta.uid(pod))
                if error.code != 404:
                    failure = failure or error
                    continue
            done.append(pod)
        return done, failure
