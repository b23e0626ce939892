"""Pods as controllers see them: what is kept of each, who owns it, and how one is made from a template.

All controllers of a process share one informer of pods, and pods of one owner share what they have in common: of a
hundred thousand replicas, each costs about two kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import PODS, Object
from coxswain.api.partial import Alike, Part, alike, reader, whole
from coxswain.base import clock
from coxswain.client.client import create_call, delete_call
from coxswain.client.events import EventRecorder
from coxswain.client.informer import Informer, InformerFactory, Reading
from coxswain.client.interface import STRATEGIC_MERGE_PATCH, Call, Client
from coxswain.controllers.expectations import Expectations

#: The finalizer of a pod that its Job has not counted yet.
JOB_TRACKING = "batch.kubernetes.io/job-tracking"

_ALIKE_META = ("ownerReferences", "labels", "annotations", "finalizers")
_META = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")

_CLAIMS = frozenset({"persistentVolumeClaim", "ephemeral"})

#: All that is read of a pod. Pods of one owner have much alike, and replicas become ready in the same second.
_CONTAINER_STATUS = whole("name", "restartCount") | {"state": whole("terminated")}
_READ: Part = {
    "metadata": whole(*_META) | alike("namespace", *_ALIKE_META),
    "spec": {
        **whole("hostname", "subdomain", "priority", "affinity"),
        **alike("nodeName", "tolerations"),
        "containers": Alike(whole("name", "ports")),
        "volumes": whole("name", *sorted(_CLAIMS)),
    },
    "status": {
        **whole("podIP", "podIPs", "startTime"),
        **alike("phase", "reason"),
        "conditions": Alike(whole(*_CONDITION), each=True),
        "containerStatuses": Alike(_CONTAINER_STATUS),
        "initContainerStatuses": Alike(_CONTAINER_STATUS),
    },
}

OWNER_INDEX = "controller"


def _slim(pod: Object) -> Object:
    """What of a pod that was read by ``_READ`` is kept; changed in place. Parts are shared: nobody may change one."""
    spec, status = pod.setdefault("spec", {}), pod.setdefault("status", {})
    spec.setdefault("containers", [])
    if volumes := spec.pop("volumes", None):
        claimed = [volume for volume in volumes if not _CLAIMS.isdisjoint(volume)]
        if claimed:
            spec["volumes"] = claimed
    if "affinity" in spec and ("nodeName" in spec or not _is_daemon(pod)):
        del spec["affinity"]  # it only says which node a daemon's pod is meant for
    _keep_exits(status)
    pod["apiVersion"], pod["kind"] = "v1", "Pod"
    return pod


#: The transform that all controllers share, so that there is one copy of the pods in a controller manager.
KEPT = Reading(reader(_READ), _slim)


def _is_daemon(pod: Object) -> bool:
    reference = meta.controller_of(pod)
    return reference is not None and reference.get("kind") == "DaemonSet"


def _keep_exits(status: Object) -> None:
    """How often containers were restarted, and how they ended, where one did: a Job's policy and back-off ask."""
    for name, counted in (("containerStatuses", "restarts"), ("initContainerStatuses", "initRestarts")):
        found = status.pop(name, None) or ()
        restarts = sum(each.get("restartCount", 0) for each in found)
        if restarts or name == "containerStatuses":
            status[counted] = restarts
        ends = [(each.get("state") or {}).get("terminated") for each in found]
        if any(ends):
            status[name] = [
                {"name": each["name"], "state": {"terminated": _exit(ended)} if ended else {}}
                for each, ended in zip(found, ends, strict=True)
            ]


def _exit(ended: Object) -> Object:
    return {name: ended[name] for name in ("exitCode", "finishedAt") if ended.get(name) is not None}


def pod_informer(informers: InformerFactory) -> Informer:
    """The controllers' shared pod informer, indexed by owner (see ``owner_index``)."""
    informer = informers.informer(PODS, transform=KEPT)
    informer.add_index(OWNER_INDEX, owner_index)
    return informer


def owner_index(obj: Object) -> Iterable[str]:
    """The uid of the controlling owner, or ``orphan/<namespace>``."""
    reference = meta.controller_of(obj)
    return (reference["uid"] if reference else f"orphan/{meta.namespace(obj)}",)


def shown(pods: Informer) -> Callable[[], int]:
    """Up to which revision ``pods`` shows what is (see ``Expectations``)."""
    return lambda: int(pods.revision or 0)


async def patch_status(client: Client, pod: Object, status: Object) -> Object:
    """Write ``status`` (of conditions, those that change) to the pod as it was seen; raises ``ApiError``.

    What controllers keep of a pod is not all of it, so its status must not be replaced.
    """
    seen = {"uid": meta.uid(pod), "resourceVersion": meta.resource_version(pod)}
    return await client.patch(
        PODS,
        meta.name(pod),
        {"metadata": seen, "status": status},
        meta.namespace(pod),
        kind=STRATEGIC_MERGE_PATCH,
        subresource="status",
    )


def pod_from_template(template: Object, owner: Object, *, prefix: str | None = None) -> Object:
    """A pod to be created for ``owner`` from its template (``controller.GetPodFromTemplate``)."""
    source = template.get("metadata") or {}
    metadata: Object = {
        "generateName": prefix or f"{meta.name(owner)}-",
        "namespace": meta.namespace(owner),
        "ownerReferences": [meta.owner_reference(owner)],
    }
    for name in ("labels", "annotations", "finalizers"):
        if source.get(name):
            metadata[name] = source[name]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def until_available(pods: Iterable[Object], min_ready: int, now: float) -> float | None:
    """Seconds until the next ready pod has been ready for ``min_ready`` seconds: no event will say so."""
    waits: list[float] = []
    for pod in pods if min_ready else ():
        ready = meta.condition(pod, "Ready")
        if ready is not None and ready.get("status") == "True" and ready.get("lastTransitionTime"):
            left = clock.parse_time(ready["lastTransitionTime"]) + min_ready - now
            if left > 0:
                waits.append(left)
    return min(waits, default=None)


class PodControl:
    """Creates and deletes pods in batches, keeps expectations, says so in events on the owner."""

    def __init__(self, client: Client, recorder: EventRecorder, expectations: Expectations) -> None:
        self._client = client
        self._recorder = recorder
        self._expectations = expectations

    async def create(self, key: str, owner: Object, pod: Object, count: int) -> tuple[int, ApiError | None]:
        """Create ``count`` copies of ``pod``; see ``create_each``."""
        return await self._create(key, owner, [create_call(PODS, pod)] * count)

    async def create_each(
        self, key: str, owner: Object, pods: Sequence[Object]
    ) -> tuple[int, ApiError | None]:
        """Create ``pods`` in doubling batches; stop at the first batch with a failure.

        Doubling spares the API server a thousand refusals when the first pod is already over quota
        (``slowStartBatch``). Returns how many were created, and the first failure.
        """
        return await self._create(key, owner, [create_call(PODS, pod) for pod in pods])

    async def _create(self, key: str, owner: Object, calls: Sequence[Call]) -> tuple[int, ApiError | None]:
        count = len(calls)
        self._expectations.expect_creations(key, count)
        done, size = 0, 1
        while done < count:
            answers = await self._client.batch(calls[done : done + size])
            failure: ApiError | None = None
            for answer in answers:
                try:
                    created = answer.object()
                except ApiError as error:
                    failure = failure or error
                else:
                    done += 1
                    self._expectations.wrote(key, created)
                    name = meta.name(created)
                    self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name}")
            if failure is not None:
                self._expectations.created(key, count - done)
                self._say_failed(owner, failure)
                return done, failure
            size *= 2
        return done, None

    def _say_failed(self, owner: Object, failure: ApiError) -> None:
        causes = ((failure.details or {}).get("causes")) or ()
        if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
            return
        self._recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {failure.message}")

    async def delete(self, key: str, owner: Object, pods: Sequence[Object]) -> ApiError | None:
        """Delete ``pods``; the first failure, if any. One that is gone already is no failure."""
        self._expectations.expect_deletions(key, [meta.uid(pod) for pod in pods])
        calls = [delete_call(PODS, meta.name(pod), meta.namespace(pod), uid=meta.uid(pod)) for pod in pods]
        failure: ApiError | None = None
        for pod, answer in zip(pods, await self._client.batch(calls), strict=True):
            try:
                answer.object()
            except ApiError as error:
                if error.code == 404 or error.code >= 500:
                    self._expectations.doubt(key, meta.uid(pod))
                else:
                    self._expectations.deleted(key, meta.uid(pod))
                if error.code != 404:
                    failure = failure or error
                    message = f"Error deleting: {error.message}"
                    self._recorder.event(owner, "Warning", "FailedDelete", message)
            else:
                message = f"Deleted pod: {meta.name(pod)}"
                self._recorder.event(owner, "Normal", "SuccessfulDelete", message)
        return failure


def deletion_rank(pod: Object, related: Mapping[str, int], now: float) -> tuple[Any, ...]:
    """Sort key: pods that should go first come first (``controller.ActivePodsWithRanks``).

    Unassigned before assigned, pending before running, not ready before ready, lower deletion cost,
    more siblings on the node, ready for a shorter time (in powers of two), more restarts, younger.
    ``related`` counts the owner's pods on each node.
    """
    spec, status = pod["spec"], pod["status"]
    node = spec.get("nodeName", "")
    ready = meta.condition(pod, "Ready")
    is_ready = ready is not None and ready.get("status") == "True"

    def age_rank(stamp: object) -> float:
        # Logarithmic, so that a little older does not mean a lot safer (LogarithmicScaleDown).
        seconds = now - clock.parse_time(str(stamp)) if stamp else 0.0
        return math.floor(math.log2(seconds)) if seconds > 1 else 0.0

    phase_order = {"Pending": 0, "Unknown": 1, "Running": 2}
    return (
        bool(node),
        phase_order.get(status.get("phase", ""), 0),
        is_ready,
        _deletion_cost(pod),
        -related.get(node, 0),
        age_rank(ready.get("lastTransitionTime")) if ready and is_ready else 0.0,
        -status.get("restarts", 0),
        age_rank(pod["metadata"].get("creationTimestamp")),
        meta.uid(pod),
    )


def _deletion_cost(pod: Object) -> int:
    text = meta.annotations(pod).get("controller.kubernetes.io/pod-deletion-cost", "0")
    try:
        return int(text)
    except ValueError:
        return 0
