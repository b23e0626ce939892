"""Keeps the slices of services without a selector in step with their Endpoints, and takes them away after."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, SERVICES, Object
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.endpointslice.controller import write
from coxswain.controllers.endpointslice.decide import MANAGED_BY, SERVICE_NAME
from coxswain.controllers.endpointslice.packing import Changes
from coxswain.controllers.endpointslice.tracker import SliceTracker
from coxswain.controllers.endpointslicemirroring import decide
from coxswain.controllers.shell import Shell

NAME = "endpointslice-mirroring-controller"
_INDEX = "mirrored service"


def _service_index(endpoint_slice: Object) -> tuple[str, ...]:
    labels = meta.labels(endpoint_slice)
    if labels.get(MANAGED_BY) != decide.CONTROLLER or SERVICE_NAME not in labels:
        return ()
    return (f"{meta.namespace(endpoint_slice)}/{labels[SERVICE_NAME]}",)


class Mirroring:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder
        self._endpoints = context.informers.informer(ENDPOINTS)
        self._services = context.informers.informer(SERVICES)
        self._slices = context.informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(_INDEX, _service_index)
        self._tracker = SliceTracker()
        self._told: dict[str, list[tuple[str, str]]] = {}
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._endpoints.add_handler(self._changed, self._updated, self._changed)
        self._services.add_handler(self._service_changed, self._service_updated, self._service_changed)
        self._slices.add_handler(self._slice_added, self._slice_updated, self._slice_deleted)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        for informer in (self._endpoints, self._services, self._slices):
            await informer.wait_synced()
        await self._shell.run()

    def _changed(self, endpoints: Object) -> None:
        """Most Endpoints belong to a service with a selector: they are nobody's business here."""
        key = key_of(endpoints)
        service = self._services.get(key)
        if service is None or not service["spec"].get("selector") or self._slices.by_index(_INDEX, key):
            self._shell.add(key)

    def _updated(self, old: Object, new: Object) -> None:
        if old.get("subsets") != new.get("subsets") or _marks(old) != _marks(new):
            self._changed(new)

    def _service_changed(self, service: Object) -> None:
        if not service["spec"].get("selector"):
            self._shell.add(key_of(service))

    def _service_updated(self, old: Object, new: Object) -> None:
        if bool(old["spec"].get("selector")) != bool(new["spec"].get("selector")):
            self._shell.add(key_of(new))

    def _slice_added(self, endpoint_slice: Object) -> None:
        # It may be ours and yet one too many: if the cache stood still for longer than the tracker waits.
        self._slice_updated(endpoint_slice, endpoint_slice)

    def _slice_updated(self, old: Object, new: Object) -> None:
        revision = int(meta.resource_version(new))
        for key in {*_service_index(old), *_service_index(new)}:
            if not self._tracker.is_ours(key, meta.key(new), revision):
                self._shell.add(key)

    def _slice_deleted(self, endpoint_slice: Object) -> None:
        for key in _service_index(endpoint_slice):
            if not self._tracker.is_ours(key, meta.key(endpoint_slice), None):
                self._shell.add(key)

    async def reconcile(self, key: str) -> float | None:
        """Make the mirrored slices of the service ``key`` right."""
        if not self._tracker.is_current(key, self._slices.get):
            return 0.05
        slices = self._slices.by_index(_INDEX, key)
        endpoints = self._endpoints.get(key)
        if endpoints is None or not decide.should_mirror(endpoints, self._services.get(key)):
            self._told.pop(key, None)
            going = [old for old in slices if not meta.is_terminating(old)]
            foreign = await write(self._client, self._tracker, key, Changes(delete=going))
        else:
            outcome = decide.plan(endpoints, slices)
            self._tell(key, endpoints, outcome.warnings)
            foreign = await write(self._client, self._tracker, key, outcome.changes)
        if foreign:
            self._shell.add(key)
        return None

    def _tell(self, key: str, endpoints: Object, warnings: list[tuple[str, str]]) -> None:
        if self._told.get(key, []) != warnings:
            recorder = self._recorder("endpoint-slice-mirroring-controller")
            for reason, text in warnings:
                recorder.event(endpoints, "Warning", reason, text)
        self._told[key] = warnings


def _marks(endpoints: Object) -> tuple[object, ...]:
    return meta.labels(endpoints), meta.annotations(endpoints), meta.is_terminating(endpoints)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await Mirroring(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="endpointslicemirroring-controller")
