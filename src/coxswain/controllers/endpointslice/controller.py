"""Keeps the endpoint slices of every service with a selector.

A slice that was just written may not be in the cache yet, so a service waits until it is (``tracker``).
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import ENDPOINT_SLICES, NODES, Object
from coxswain.client.client import create_call, delete_call, update_call
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.endpointslice.decide import (
    CONTROLLER,
    MANAGED_BY,
    SERVICE_NAME,
    ZONE,
    Changes,
    reconcile,
)
from coxswain.controllers.endpointslice.tracker import SliceTracker
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.services import ServiceEvents, selects
from coxswain.controllers.shell import Shell

NAME = "endpointslice-controller"
_INDEX = "service"


def _service_index(endpoint_slice: Object) -> tuple[str, ...]:
    labels = meta.labels(endpoint_slice)
    if labels.get(MANAGED_BY) != CONTROLLER or SERVICE_NAME not in labels:
        return ()
    return (f"{meta.namespace(endpoint_slice)}/{labels[SERVICE_NAME]}",)


class EndpointSliceController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._slices = context.informers.informer(ENDPOINT_SLICES)
        self._slices.add_index(_INDEX, _service_index)
        self._nodes = context.informers.informer(NODES)
        self._pods = pod_informer(context.informers)
        self._services = ServiceEvents(context.informers, self._pods, self._shell.add_after).services
        self._slices.add_handler(None, self._slice_updated, self._slice_deleted)
        self._nodes.add_handler(self._node_changed, self._node_updated, self._node_changed)
        self._tracker = SliceTracker()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    # -- events --------------------------------------------------------------------------------------------

    def _slice_updated(self, old: Object, new: Object) -> None:
        revision = int(meta.resource_version(new))
        for key in {*_service_index(old), *_service_index(new)}:
            if not self._tracker.is_ours(key, meta.key(new), revision):
                self._shell.add(key)

    def _slice_deleted(self, endpoint_slice: Object) -> None:
        for key in _service_index(endpoint_slice):
            if not self._tracker.is_ours(key, meta.key(endpoint_slice), None):
                self._shell.add(key)

    def _node_updated(self, old: Object, new: Object) -> None:
        if meta.labels(old).get(ZONE) != meta.labels(new).get(ZONE):
            self._node_changed(new)

    def _node_changed(self, node: Object) -> None:
        """Endpoints carry their node's zone, and vanish with their node."""
        if not self._services.synced:
            return
        for service in self._services.list():
            self._shell.add_after(meta.key(service), 1.0)

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Make the slices of the service ``key`` what its pods are. Its slices go with it by their owner."""
        service = self._services.get(key)
        if service is None or not service["spec"].get("selector") or meta.is_terminating(service):
            self._tracker.forget(key)
            return None
        if service["spec"].get("type") == "ExternalName":
            return None
        slices = self._slices.by_index(_INDEX, key)
        if not self._tracker.is_current(key, self._slices.get):
            return 0.05
        pods = [pod for pod in self._pods.in_namespace(meta.namespace(service)) if selects(service, pod)]
        zones = {meta.name(node): meta.labels(node).get(ZONE, "") for node in self._nodes.list()}
        await self._write(key, reconcile(service, pods, slices, zones))
        return None

    async def _write(self, key: str, changes: Changes) -> None:
        calls = [create_call(ENDPOINT_SLICES, new) for new in changes.create]
        calls += [update_call(ENDPOINT_SLICES, new) for new in changes.update]
        calls += [
            delete_call(ENDPOINT_SLICES, meta.name(old), meta.namespace(old), uid=meta.uid(old))
            for old in changes.delete
        ]
        if not calls:
            return
        failure: ApiError | None = None
        for call, answer in zip(calls, await self._client.batch(calls), strict=True):
            try:
                written = answer.object()
            except ApiError as error:
                if not (call.verb == "delete" and error.code == 404):
                    failure = failure or error
                continue
            if call.verb == "delete":
                self._tracker.removed(key, f"{call.namespace}/{call.name}")
            else:
                self._tracker.wrote(key, written)
        if failure is not None:
            raise failure


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await EndpointSliceController(context).run()


DESCRIPTOR = Descriptor(NAME, run)
