"""Keeps the endpoint slices of every service with a selector.

    pod changed --> its services, and which pod it was --> those endpoints alone (``decide.apply``)
    anything else (the service, a foreign hand on a slice, a failure) --> all of the service's pods

A slice that was just written may not be in the cache yet, so a service waits until it is (``tracker``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import ENDPOINT_SLICES, NODES, Object
from coxswain.base import metrics, settings
from coxswain.client.client import create_call, delete_call, update_call
from coxswain.client.interface import Answers, Call, Client
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.endpointslice import decide, hints
from coxswain.controllers.endpointslice.decide import CONTROLLER, MANAGED_BY, SERVICE_NAME, ZONE
from coxswain.controllers.endpointslice.packing import MAX_ENDPOINTS, Changes
from coxswain.controllers.endpointslice.shelves import Shelves
from coxswain.controllers.endpointslice.tracker import SliceTracker
from coxswain.controllers.nodelifecycle.controller import NODE_INDEX, index_pods_by_node
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.services import ServiceEvents, Touched, current_pod
from coxswain.controllers.shell import Shell

NAME = "endpointslice-controller"
_INDEX, _HOLDING = "service", "endpoint"
#: Seconds in which changes of nodes are gathered before hints by proportion are worked out anew.
_GATHER = 1.0


_CHANGES = metrics.counter(
    "endpoint_slice_controller_changes", "Writes of endpoint slices by operation", ("operation",)
)
_SYNCS = metrics.counter("endpoint_slice_controller_syncs", "Syncs of services by result", ("result",))
_SUCCESS, _STALE, _ERROR = (_SYNCS.labels(result) for result in ("success", "stale", "error"))
_PER_SYNC = metrics.histogram(
    "endpoint_slice_controller_endpointslices_changed_per_sync",
    "Endpoint slices written in a sync, by whether hints by topology are asked for, and traffic distribution",
    ("topology", "traffic_distribution"),
    buckets=(0, 1, 2, 3, 5, 10, 20, 50, 100),
)
_SLICES = metrics.gauge("endpoint_slice_controller_num_endpoint_slices", "Endpoint slices that there are")
_ENDPOINTS = metrics.gauge("endpoint_slice_controller_endpoints_desired", "Endpoints in all slices")


@dataclass(frozen=True, slots=True)
class EndpointSliceSettings:
    """kube-controller-manager's flags."""

    max_endpoints_per_slice: int = MAX_ENDPOINTS
    """Endpoints in a slice, 1 to 1000."""


def _service_index(endpoint_slice: Object) -> tuple[str, ...]:
    labels = meta.labels(endpoint_slice)
    if labels.get(MANAGED_BY) != CONTROLLER or SERVICE_NAME not in labels:
        return ()
    return (f"{meta.namespace(endpoint_slice)}/{labels[SERVICE_NAME]}",)


def _holding_index(endpoint_slice: Object) -> Iterable[str]:
    services = _service_index(endpoint_slice)
    if not services:
        return ()
    return [f"{services[0]}/{decide.identity(each)}" for each in endpoint_slice.get("endpoints") or ()]


class EndpointSliceController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder
        self._settings = settings.read(EndpointSliceSettings, context.options)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._slices = context.informers.informer(ENDPOINT_SLICES)
        self._shelves = self._slices.attach_index(_INDEX, lambda: Shelves(_service_index))
        self._slices.add_index(_HOLDING, _holding_index)
        self._pods = pod_informer(context.informers)
        index_pods_by_node(self._pods)
        self._dirty = Touched()
        self._zones: dict[str, str] = {}
        self._ratios: Mapping[str, float] | None = None
        self._ratios_known = False
        #: Services with hints by proportion -> family -> what was last told about them.
        self._hinted: dict[str, dict[str, str]] = {}
        self._tracker = SliceTracker()
        self._events = ServiceEvents(context.informers, self._pods, self._shell.add_after, self._dirty.note)
        self._services = self._events.services
        self._slices.add_handler(self._slice_added, self._slice_updated, self._slice_deleted)
        metrics.follow(_ENDPOINTS, self._count_endpoints)
        metrics.follow(_SLICES, self._count_slices)
        self._nodes = context.informers.informer(NODES)
        self._nodes.add_handler(self._node_added, self._node_updated, self._node_gone)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _look_at_all(self, key: str, delay: float = 0.0) -> None:
        self._dirty.note(key, None)
        self._shell.add_after(key, delay)

    def _slice_added(self, endpoint_slice: Object) -> None:
        # It may be ours and yet one too many: if the cache stood still for longer than the tracker waits.
        self._slice_updated(endpoint_slice, endpoint_slice)

    def _slice_updated(self, old: Object, new: Object) -> None:
        revision = int(meta.resource_version(new))
        for key in {*_service_index(old), *_service_index(new)}:
            if not self._tracker.is_ours(key, meta.key(new), revision):
                self._look_at_all(key)

    def _slice_deleted(self, endpoint_slice: Object) -> None:
        for key in _service_index(endpoint_slice):
            if not self._tracker.is_ours(key, meta.key(endpoint_slice), None):
                self._look_at_all(key)

    def _node_added(self, node: Object) -> None:
        self._zones[meta.name(node)] = meta.labels(node).get(ZONE, "")
        self._node_changed(node)

    def _node_updated(self, old: Object, new: Object) -> None:
        if meta.labels(old).get(ZONE) != meta.labels(new).get(ZONE):
            self._node_added(new)
        elif self._hinted and _capacity_facts(old) != _capacity_facts(new):
            self._shares_changed()

    def _node_gone(self, node: Object) -> None:
        self._zones.pop(meta.name(node), None)
        self._node_changed(node)

    def _node_changed(self, node: Object) -> None:
        """Endpoints carry their node's zone, come with their node and vanish with it."""
        for pod in self._pods.by_index(NODE_INDEX, meta.name(node)):
            self._events.pod_changed(pod)
        self._shares_changed()

    def _shares_changed(self) -> None:
        self._ratios_known = False
        for key in self._hinted:
            self._look_at_all(key, _GATHER)

    def _zone_shares(self) -> Mapping[str, float] | None:
        if not self._ratios_known:
            self._ratios, self._ratios_known = hints.cpu_shares(self._nodes.list()), True
        return self._ratios

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Make the slices of the service ``key`` what its pods are. Its slices go with it by their owner."""
        service = self._services.get(key)
        if service is None or not service["spec"].get("selector") or meta.is_terminating(service):
            self._forget(key)
            return None
        if service["spec"].get("type") == "ExternalName" or key not in self._dirty:
            return None
        if not self._tracker.is_current(key, self._slices.get):
            _STALE.inc()
            return 0.05
        changed = self._dirty.take(key)
        try:
            changes = self._changes(key, service, changed)
            foreign = await write(self._client, self._tracker, key, changes)
        except BaseException:
            self._dirty.note(key, None)
            _ERROR.inc()
            raise
        _SUCCESS.inc()
        _count(service, changes)
        if foreign:
            self._look_at_all(key)
        return None

    def _count_endpoints(self) -> float:
        return len(self._slices.index_values(_HOLDING))

    def _count_slices(self) -> float:
        return sum(1 for each in self._slices.list() if _service_index(each))

    def _forget(self, key: str) -> None:
        self._tracker.forget(key)
        self._dirty.take(key)
        self._hinted.pop(key, None)

    def _changes(self, key: str, service: Object, changed: Mapping[str, str] | None) -> Changes:
        around = decide.Surroundings(self._zones, self._zone_shares, self._settings.max_endpoints_per_slice)
        if changed is not None:
            pods = {uid: current_pod(self._pods, service, uid, pod) for uid, pod in changed.items()}
            found = decide.apply(
                service,
                pods,
                lambda uid: self._slices.by_index(_HOLDING, f"{key}/{uid}"),
                lambda family: self._shelves.only(key, family),
                around,
            )
            if found is not None:
                return found
        slices = self._slices.by_index(_INDEX, key)
        outcome = decide.plan(service, self._events.pods_of(service), slices, around)
        self._tell(key, service, outcome.hints)
        return outcome.changes

    def _tell(self, key: str, service: Object, families: Mapping[str, str]) -> None:
        """Hints by proportion came, or went: each once."""
        before = self._hinted.get(key, {})
        if before == families:
            return
        recorder = self._recorder("endpoint-slice-controller")
        for family, why in families.items():
            if before.get(family) == why:
                continue
            reason = f"TopologyAwareHints{'Disabled' if why else 'Enabled'}"
            text = why or "Topology Aware Hints has been enabled"
            recorder.event(service, "Warning" if why else "Normal", reason, f"{text}, addressType: {family}")
        for family in before.keys() - families.keys():
            if not before[family]:
                text = f"Topology Aware Hints has been disabled, addressType: {family}"
                recorder.event(service, "Warning", "TopologyAwareHintsDisabled", text)
        if families:
            self._hinted[key] = dict(families)
        else:
            self._hinted.pop(key, None)


async def write(client: Client, tracker: SliceTracker, key: str, changes: Changes) -> bool:
    """Perform ``changes`` in one batch and note what was written. Raises the first failure's ``ApiError``.

    Returns whether somebody else changed a slice of the service meanwhile.
    """
    calls = [create_call(ENDPOINT_SLICES, new) for new in changes.create]
    calls += [update_call(ENDPOINT_SLICES, new) for new in changes.update]
    calls += [
        delete_call(ENDPOINT_SLICES, meta.name(old), meta.namespace(old), uid=meta.uid(old))
        for old in changes.delete
    ]
    if not calls:
        return False
    tracker.begin(key)
    try:
        failure = _note(tracker, key, calls, await client.batch(calls))
    finally:
        foreign = tracker.end(key)
    if failure is not None:
        raise failure
    return foreign


def _count(service: Object, changes: Changes) -> None:
    writes = {"create": changes.create, "update": changes.update, "delete": changes.delete}
    for operation, slices in writes.items():
        if slices:
            _CHANGES.labels(operation).inc(len(slices))
    topology = "Auto" if hints.wants_auto(service) else "Disabled"
    distribution = service["spec"].get("trafficDistribution") or ""
    _PER_SYNC.labels(topology, distribution).observe(sum(map(len, writes.values())))


def _note(tracker: SliceTracker, key: str, calls: Sequence[Call], answers: Answers) -> ApiError | None:
    failure: ApiError | None = None
    for call, answer in zip(calls, answers, strict=True):
        try:
            written = answer.object()
        except ApiError as error:
            if not (call.verb == "delete" and error.code == 404):
                failure = failure or error
            continue
        if call.verb == "delete":
            tracker.removed(key, f"{call.namespace}/{call.name}")
        else:
            tracker.wrote(key, written)
    return failure


def _capacity_facts(node: Object) -> tuple[object, ...]:
    """What of a node counts for the zones' shares."""
    cpu = ((node.get("status") or {}).get("allocatable") or {}).get("cpu")
    return cpu, meta.is_condition_true(node, "Ready"), sorted(meta.labels(node))


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await EndpointSliceController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="endpointslice-controller")
