"""Watches every served resource, keeps the graph, and performs what the rules decide.

    informers --(upsert, remove)--> graph --> queues: examine, orphan --> workers --> decide --> API

Every write carries the uid and resourceVersion that the decision was made on: had the object changed,
the write conflicts and the object is looked at again. An owner counts as absent only after a live GET said
so; such answers are kept for a while, for an absent uid never comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from functools import partial

from coxswain.api.errors import ApiError, Conflict, NotFound
from coxswain.api.names import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    GVR,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    Object,
)
from coxswain.base.errors import InvariantError
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import Informer, InformerFactory, only_metadata
from coxswain.client.interface import Propagation
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.garbagecollector import decide
from coxswain.controllers.garbagecollector.decide import Instruction, OwnerState
from coxswain.controllers.garbagecollector.graph import (
    FOREGROUND,
    ORPHAN,
    Consequences,
    Graph,
    Identity,
    Node,
    names,
)
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.served import Served, ServedResources
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)

#: Kinds that other controllers hold whole: their informers are shared. Of all else only metadata is kept.
_SHARED = frozenset(
    {
        PODS,
        NODES,
        NAMESPACES,
        SERVICES,
        ENDPOINTS,
        ENDPOINT_SLICES,
        SERVICE_ACCOUNTS,
        REPLICA_SETS,
        DEPLOYMENTS,
    }
)
#: Never collected and never owners, as in Kubernetes.
_IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
_SYNC_SECONDS = 30.0
_ABSENT = 500
#: Seconds after which a dependent is looked at again whose owner exists but was not seen by an informer.
_UNSEEN_AGAIN = 60.0


class GarbageCollector:
    """One instance a process; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._own = InformerFactory(context.informers.client, "garbage collector's informers")
        self._served = ServedResources(context.informers)
        self._recorder = context.recorder("garbage-collector-controller")
        self._monitors: dict[GVR, Informer] = {}
        self._not_yet = context.not_yet
        self._absent: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.graph = Graph()
        self._examine = Shell("garbage_collector_attempt_to_delete", self.examine, max(context.workers, 5))
        self._orphan = Shell("garbage_collector_attempt_to_orphan", self.orphan, context.workers)

    async def run(self) -> None:
        """Run until cancelled."""
        self._not_yet("its informers have not synced")
        try:
            await self._informers.start()
            await self._served.definitions.wait_synced()
            async with Supervisor("garbage collector") as tasks:
                tasks.supervise("monitors", self._follow_definitions)
                await self._wait_synced()
                self._not_yet("")
                tasks.start("examine", self._examine.run())
                tasks.start("orphan", self._orphan.run())
                await asyncio.Event().wait()
        finally:
            await self._own.stop()

    # ---- monitors

    async def _follow_definitions(self) -> None:
        changed = asyncio.Event()
        handler = self._served.definitions.add_handler(
            lambda _: changed.set(), lambda _old, _new: changed.set(), lambda _: changed.set()
        )
        try:
            while True:
                changed.clear()
                await self._watch_what_is_served()
                await changed.wait()
        finally:
            self._served.definitions.remove_handler(handler)

    async def _watch_what_is_served(self) -> None:
        wanted = {
            served.gvr: served
            for served in self._served.all()
            if {"list", "watch", "delete"} <= served.verbs
            and (served.gvr.group, served.gvr.resource) not in _IGNORED
        }
        for gvr in [gvr for gvr in self._monitors if gvr not in wanted]:
            await self._stop_watching(gvr)
        for gvr, served in wanted.items():
            if gvr not in self._monitors:
                self._start_watching(served)
        await self._informers.start()
        await self._own.start()

    def _start_watching(self, served: Served) -> None:
        if served.gvr in _SHARED:
            monitor = _shared(self._informers, served.gvr)
        else:
            monitor = self._own.informer(served.gvr, transform=only_metadata)
        self._monitors[served.gvr] = monitor
        seen = partial(self._seen, served)
        monitor.add_handler(seen, lambda _, new: seen(new), self._gone)

    async def _stop_watching(self, gvr: GVR) -> None:
        monitor = self._monitors.pop(gvr)
        await self._own.forget(monitor)
        for obj in list(monitor.list()):
            self._gone(obj)

    async def _wait_synced(self) -> None:
        """Wait for the first lists; a resource that cannot be listed must not stop all collection."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                for monitor in list(self._monitors.values()):
                    await monitor.wait_synced()
        except TimeoutError:
            missing = [gvr.group_resource for gvr, monitor in self._monitors.items() if not monitor.synced]
            log.warning("garbage collector: going on without %s", ", ".join(missing))

    def _seen(self, served: Served, obj: Object) -> None:
        meta = obj["metadata"]
        identity = Identity(served.gvr, served.kind, meta.get("namespace") or "", meta["name"], meta["uid"])
        self._queue(self.graph.upsert(identity, meta))

    def _gone(self, obj: Object) -> None:
        self._queue(self.graph.remove(obj["metadata"]["uid"]))

    def _queue(self, after: Consequences) -> None:
        for uid in after.examine:
            self._examine.add(uid)
        for uid in after.orphan:
            self._orphan.add(uid)

    # ---- examining

    async def examine(self, uid: str) -> float | None:
        """Look at one object and do what its owners' states ask for; seconds until it must be seen again."""
        node = self.graph.nodes.get(uid)
        if node is None or node.virtual:
            return None
        if node.waiting:
            await self._perform(node, decide.on_waiting(node))
        elif not node.being_deleted and node.owners:
            states = [await self._state(node, owner) for owner in node.owners]
            await self._perform(node, decide.on_owners(node, states))
            if any(self._unseen(owner) for owner in node.owners):
                return _UNSEEN_AGAIN
        return None

    def _unseen(self, owner: Object) -> bool:
        known = self.graph.nodes.get(owner["uid"])
        return known is None or known.virtual

    async def _state(self, node: Node, owner: Object) -> OwnerState:
        known = self.graph.nodes.get(owner["uid"])
        if known is not None and not known.virtual and names(owner, node.identity, known.identity):
            return OwnerState.WAITING if known.waiting else OwnerState.SOLID
        served = self._served.by_kind(owner["apiVersion"], owner["kind"])
        if served is None:
            # Nothing serves this kind now; it may come back, and with it the owner.
            raise NotFound(f"unable to get REST mapping for {owner['apiVersion']}/{owner['kind']}.")
        namespace = node.identity.namespace if served.namespaced else ""
        if served.namespaced and not namespace:
            self._warn(node, owner, "")
            return OwnerState.SOLID  # not a valid reference: Kubernetes never collects because of it
        return await self._look_up(node, owner, served, namespace)

    async def _look_up(self, node: Node, owner: Object, served: Served, namespace: str) -> OwnerState:
        cached = (owner["uid"], namespace)
        if cached in self._absent:
            return OwnerState.DANGLING
        try:
            live = await self._client.get(served.gvr, owner["name"], namespace)
        except NotFound:
            live = {"metadata": {}}
        meta = live["metadata"]
        if meta.get("uid") == owner["uid"]:
            waiting = "deletionTimestamp" in meta and FOREGROUND in (meta.get("finalizers") or ())
            return OwnerState.WAITING if waiting else OwnerState.SOLID
        known = self.graph.nodes.get(owner["uid"])
        if known is not None and not known.virtual:
            self._warn(node, owner, namespace)
        self._absent[cached] = None
        if len(self._absent) > _ABSENT:
            self._absent.popitem(last=False)
        return OwnerState.DANGLING

    def _warn(self, node: Node, owner: Object, namespace: str) -> None:
        """Tell the user of a reference that crosses namespaces."""
        identity = node.identity
        about = {
            "apiVersion": identity.gvr.api_version,
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "uid": identity.uid,
        }
        parts = ", ".join(f"{part}: {owner[part]}" for part in ("apiVersion", "kind", "name", "uid"))
        where = (
            f"ownerRef [{owner['apiVersion']}/{owner['kind']}, namespace: {namespace}, name: {owner['name']}, "
            f'uid: {owner["uid"]}] does not exist in namespace "{namespace}"'
            if namespace
            else f"ownerRef [{parts}] is namespaced, and its dependent is not"
        )
        self._recorder.event(about, "Warning", "OwnerRefInvalidNamespace", where)

    # ---- performing

    async def _perform(self, node: Node, what: Instruction) -> None:
        try:
            match what:
                case decide.Examine(uids):
                    for uid in uids:
                        self._examine.add(uid)
                case decide.RemoveFinalizer(finalizer):
                    await self._remove_finalizer(node, finalizer)
                case decide.SetOwners(owners):
                    await self._patch(node, {"ownerReferences": list(owners)})
                case decide.Delete(policy, unblock):
                    await self._delete(node, policy, unblock)
        except NotFound:
            # It is gone, and its event is on the way (or was lost: the graph must not keep it).
            if self._is_stale(node):
                self._gone({"metadata": {"uid": node.identity.uid}})

    async def _delete(self, node: Node, policy: Propagation, unblock: bool) -> None:
        version = node.resource_version
        if unblock:
            owners = [{**owner, "blockOwnerDeletion": False} for owner in node.owners]
            version = (await self._patch(node, {"ownerReferences": owners}))["metadata"]["resourceVersion"]
        identity = node.identity
        await self._client.delete(
            identity.gvr,
            identity.name,
            identity.namespace,
            propagation=policy,
            uid=identity.uid,
            resource_version=version,
        )

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        finalizers = [entry for entry in node.finalizers if entry != finalizer]
        if len(finalizers) != len(node.finalizers):
            await self._patch(node, {"finalizers": finalizers})

    async def _patch(self, node: Node, meta: Object) -> Object:
        identity = node.identity
        exactly = {"uid": identity.uid, "resourceVersion": node.resource_version}
        patch = {"metadata": {**meta, **exactly}}
        return await self._client.patch(identity.gvr, identity.name, patch, identity.namespace)

    def _is_stale(self, node: Node) -> bool:
        monitor = self._monitors.get(node.identity.gvr)
        if monitor is None:
            return True
        namespace, name = node.identity.namespace, node.identity.name
        held = monitor.get(f"{namespace}/{name}" if namespace else name)
        return held is None or held["metadata"]["uid"] != node.identity.uid

    async def orphan(self, uid: str) -> None:
        """Let the dependents of a deleted owner stand alone, then let the owner go."""
        owner = self.graph.nodes.get(uid)
        if owner is None or not owner.orphaning:
            return
        dependents = list(owner.dependents.values())
        results = await asyncio.gather(*(self._cut(node, uid) for node in dependents), return_exceptions=True)
        failures = [error for error in results if isinstance(error, BaseException)]
        for error in failures:
            if not isinstance(error, ApiError):
                raise InvariantError(f"orphaning the dependents of {owner.identity}") from error
        if failures:
            raise Conflict(f"{len(failures)} of {len(dependents)} dependents are not orphaned yet")
        try:
            await self._remove_finalizer(owner, ORPHAN)
        except NotFound:
            return

    async def _cut(self, node: Node, uid: str) -> None:
        owners = [owner for owner in node.owners if owner["uid"] != uid]
        if len(owners) == len(node.owners):
            return
        try:
            await self._patch(node, {"ownerReferences": owners})
        except NotFound:
            return


def _shared(informers: InformerFactory, resource: GVR) -> Informer:
    return pod_informer(informers) if resource == PODS else informers.informer(resource)


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await GarbageCollector(context).run()


DESCRIPTOR = Descriptor("garbage-collector-controller", run, account="generic-garbage-collector")
