"""The namespace controller: empties a terminating namespace, says what is left, and lets it go.

    Terminating --> delete pods --(none left)--> delete everything else --(nothing left)--> finalize
                        ^                              |
                        +---- conditions, look again --+  (later and later; at once when the last pod is gone)

Pods go first (Kubernetes' ordered deletion), so that nothing they need (policies, secrets, accounts) goes
from under them. One that has ended and that its Job alone keeps is not waited for: a Job keeps the pod of an index
that failed until it has made another, and none can be made here, so the Job has to go (Kubernetes waits, and with it
the namespace for ever). Content that waits for finalizers or for pods' grace periods is counted in the namespace's
conditions, in kube-controller-manager's words. Only kinds that have content are asked to delete, and conditions are
written only when they change.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from coxswain.api.errors import ApiError, Conflict, MethodNotAllowed, NotFound
from coxswain.api.meta import is_pod_finished, set_condition
from coxswain.api.names import NAMESPACES, PODS, Object
from coxswain.api.partial import reader, whole
from coxswain.client.informer import NAMESPACE_INDEX
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.pods import JOB_TRACKING, pod_informer
from coxswain.controllers.served import Served, ServedResources
from coxswain.controllers.shell import Shell

FINALIZER = "kubernetes"
_FIRST_LOOK, _LONGEST_WAIT = 0.25, 15.0
#: Lists under way at a time: a namespace asks for about forty.
_CONCURRENCY = 16


@dataclass
class Remains:
    """What is left of a namespace's content after a pass."""

    #: resource.group -> objects
    resources: Counter[str] = field(default_factory=Counter)
    #: finalizer -> objects
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    #: Seconds until the last pod's grace period ends.
    estimate: float = 0.0
    #: Pods that have to go before anything else does.
    pods: int = 0

    @property
    def nothing(self) -> bool:
        return not self.resources and not self.failures

    def count(self, served: Served, items: Iterable[Object]) -> None:
        """Add what a list of ``served`` still shows."""
        for item in items:
            meta = item["metadata"]
            self.resources[f"{served.gvr.resource}.{served.gvr.group}"] += 1
            self.finalizers.update(meta.get("finalizers") or ())
            if served.gvr == PODS:
                self.estimate = max(self.estimate, float(meta.get("deletionGracePeriodSeconds") or 0))
                self.pods += not (is_pod_finished(item) and meta.get("finalizers") == [JOB_TRACKING])


def conditions(remains: Remains) -> list[Object]:
    """The namespace's conditions for what is left, in Kubernetes' order and words."""
    content = [
        f"{name} has {number} resource instances" for name, number in sorted(remains.resources.items())
    ]
    waiting = [
        f"{name} in {number} resource instances" for name, number in sorted(remains.finalizers.items())
    ]
    failures = sorted(remains.failures)
    return [
        _condition(
            "NamespaceDeletionDiscoveryFailure",
            "",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(failures)}"
            if failures
            else "",
            "ContentDeletionFailed" if failures else "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        _condition(
            "NamespaceContentRemaining",
            f"Some resources are remaining: {', '.join(content)}" if content else "",
            "SomeResourcesRemain" if content else "ContentRemoved",
            "All content successfully removed",
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            f"Some content in the namespace has finalizers remaining: {', '.join(waiting)}"
            if waiting
            else "",
            "SomeFinalizersRemain" if waiting else "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]


def _condition(kind: str, trouble: str, reason: str, fine: str) -> Object:
    return {
        "type": kind,
        "status": "True" if trouble else "False",
        "reason": reason,
        "message": trouble or fine,
    }


_META = whole("name", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers")
#: What is looked at of content.
_of_any, _of_a_pod = reader({"metadata": _META}), reader({"metadata": _META, "status": whole("phase")})


def _is_going(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]


class NamespaceController:
    """Performs the deletion; one instance a process."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._namespaces = context.informers.informer(NAMESPACES)
        self._served = ServedResources(context.informers)
        self._waits: dict[str, float] = {}
        self._pods = pod_informer(context.informers)
        self._pods.add_index(NAMESPACE_INDEX, lambda pod: (pod["metadata"]["namespace"],))
        self._informers = context.informers
        self._shell = Shell("namespace-controller", self.reconcile, context.workers)

    async def run(self) -> None:
        """Run until cancelled."""

        def consider(namespace: Object) -> None:
            if "deletionTimestamp" in namespace["metadata"]:
                self._shell.add(namespace["metadata"]["name"])

        self._namespaces.add_handler(consider, lambda _, new: consider(new))
        self._pods.add_handler(on_delete=self._pod_gone)
        await self._informers.start()
        await self._namespaces.wait_synced()
        await self._served.definitions.wait_synced()
        await self._shell.run()

    def _pod_gone(self, pod: Object) -> None:
        name = pod["metadata"]["namespace"]
        if name in self._waits and name not in self._pods.index_values(NAMESPACE_INDEX):
            self._shell.add(name)

    async def reconcile(self, name: str) -> float | None:
        """One pass over a namespace; seconds until the next when something is left."""
        namespace = self._namespaces.get(name)
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            self._waits.pop(name, None)
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        remains = await self._empty(name)
        if remains.nothing:
            self._waits.pop(name, None)
            await self._finalize(namespace)
            return None
        await self._report(namespace, remains)
        return self._wait(name, remains)

    async def _empty(self, name: str) -> Remains:
        remains = Remains()
        every = [
            served
            for served in self._served.all()
            if served.namespaced and {"list", "delete"} <= served.verbs
        ]
        await self._delete_all(name, (served for served in every if served.gvr == PODS), remains)
        if not remains.pods and not remains.failures:
            await self._delete_all(name, (served for served in every if served.gvr != PODS), remains)
        return remains

    async def _delete_all(self, name: str, every: Iterable[Served], remains: Remains) -> None:
        gate = asyncio.Semaphore(_CONCURRENCY)

        async def one(served: Served) -> None:
            async with gate:
                try:
                    remains.count(served, await self._delete_content(name, served))
                except NotFound:
                    pass  # this server does not serve it: there is no content
                except ApiError as error:
                    remains.failures.append(f"{served.gvr.group_resource}: {error}")

        await asyncio.gather(*(one(served) for served in every))

    async def _delete_content(self, name: str, served: Served) -> list[Object]:
        """Delete every object of a kind; what is there afterwards."""
        # One tells mostly whether there is anything to do, and a namespace may hold a hundred thousand.
        first = await self._list(name, served, limit=1)
        if not first:
            return []
        if _is_going(first[0]) and all(map(_is_going, items := await self._list(name, served))):
            return items
        try:
            if "deletecollection" not in served.verbs:
                raise MethodNotAllowed("no collections")
            await self._client.delete_collection(served.gvr, name)
        except MethodNotAllowed:
            for item in await self._list(name, served):
                meta = item["metadata"]
                try:
                    await self._client.delete(
                        served.gvr, meta["name"], name, uid=meta["uid"], propagation="Background"
                    )
                except (NotFound, Conflict):
                    continue
        return await self._list(name, served)

    async def _list(self, name: str, served: Served, limit: int = 0) -> list[Object]:
        page = await self._client.list(served.gvr, name, limit=limit)
        return [(_of_a_pod if served.gvr == PODS else _of_any)(raw) for raw in page.items]

    async def _finalize(self, namespace: Object) -> None:
        finalizers = [entry for entry in namespace["spec"]["finalizers"] if entry != FINALIZER]
        spec = {**namespace["spec"], "finalizers": finalizers}
        try:
            await self._client.update(NAMESPACES, {**namespace, "spec": spec}, subresource="finalize")
        except NotFound:
            return

    async def _report(self, namespace: Object, remains: Remains) -> None:
        changed = copy.deepcopy(namespace)
        updates = [set_condition(changed, condition) for condition in conditions(remains)]
        if not any(updates):
            return
        try:
            await self._client.update(NAMESPACES, changed, subresource="status")
        except (Conflict, NotFound):
            return  # the next pass reports again

    def _wait(self, name: str, remains: Remains) -> float:
        """Soon at first, then ever later, at most half of what the pods still need (as Kubernetes)."""
        wait = self._waits.get(name, _FIRST_LOOK)
        self._waits[name] = min(wait * 2, _LONGEST_WAIT)
        return min(wait, remains.estimate / 2 + 1) if remains.estimate else wait


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await NamespaceController(context).run()


DESCRIPTOR = Descriptor("namespace-controller", run, account="namespace-controller")
