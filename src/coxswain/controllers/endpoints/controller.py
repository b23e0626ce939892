"""Keeps the Endpoints of every service with a selector; a service without one is its owner's affair.

Who is in them is kept too (``members``): a pod that changes is looked at alone, all pods only when the service changed.
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, NotFound
from coxswain.api.names import ENDPOINTS, Object
from coxswain.client.informer import split_key
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.endpoints.decide import desired
from coxswain.controllers.endpoints.members import Members
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.services import ServiceEvents, Touched, current_pod
from coxswain.controllers.shell import Shell

NAME = "endpoints-controller"


class EndpointsController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._endpoints = context.informers.informer(ENDPOINTS)
        self._pods = pod_informer(context.informers)
        self._touched = Touched()
        self._members: dict[str, Members] = {}
        self._events = ServiceEvents(context.informers, self._pods, self._shell.add_after, self._touched.note)
        self._services = self._events.services
        self._endpoints.add_handler(on_delete=self._endpoints_deleted)

    def _endpoints_deleted(self, endpoints: Object) -> None:
        self._shell.add(meta.key(endpoints))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._informers.wait_for_sync()
        await self._shell.run()

    async def reconcile(self, key: str) -> float | None:
        """Make the Endpoints of the service ``key`` what its pods are."""
        service = self._services.get(key)
        if service is None or not service["spec"].get("selector"):
            self._touched.take(key)
            self._members.pop(key, None)
            if service is None:
                await self._remove(key)
            return None
        current = self._endpoints.get(key)
        wanted = desired(service, self._up_to_date(key, service), self._pods.get, current)
        if current is None:
            try:
                await self._client.create(ENDPOINTS, wanted)
            except AlreadyExists:
                return 1.0  # the watch will bring it
        elif _content(current) != _content(wanted):
            await self._client.update(ENDPOINTS, wanted)
        return None

    def _up_to_date(self, key: str, service: Object) -> Members:
        # Whatever fails here leaves none behind, and so the next look is one at all pods.
        changed, members = self._touched.take(key), self._members.pop(key, None)
        if changed is None or members is None:
            members = Members(service, self._events.pods_of(service))
        else:
            for uid, pod in changed.items():
                members.put(uid, current_pod(self._pods, service, uid, pod))
        self._members[key] = members
        return members

    async def _remove(self, key: str) -> None:
        """The service is gone: so are its Endpoints, unless somebody else made them."""
        current = self._endpoints.get(key)
        if current is None or "endpoints.kubernetes.io/managed-by" not in meta.labels(current):
            return
        namespace, name = split_key(key)
        try:
            await self._client.delete(ENDPOINTS, name, namespace, uid=meta.uid(current))
        except NotFound:
            pass


def _content(endpoints: Object) -> tuple[object, ...]:
    return endpoints.get("subsets") or [], meta.labels(endpoints), meta.annotations(endpoints)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await EndpointsController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="endpoint-controller")
