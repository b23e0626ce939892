"""Watches ServiceCIDRs and the addresses in use, and writes finalizers and conditions."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import IP_ADDRESSES, SERVICE_CIDRS, Object
from coxswain.base import clock
from coxswain.client.informer import key_of, only_metadata
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.servicecidr.decide import next_step
from coxswain.controllers.shell import Shell

NAME = "service-cidr-controller"


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    ranges = context.informers.informer(SERVICE_CIDRS)
    addresses = context.informers.informer(IP_ADDRESSES, transform=only_metadata)

    async def reconcile(name: str) -> float | None:
        cidr = ranges.get(name)
        if cidr is None:
            return None
        deleted = cidr["metadata"].get("deletionTimestamp")
        deleted_for = clock.now() - clock.parse_time(deleted) if deleted else 0.0
        step = next_step(cidr, ranges.list(), addresses.list() if deleted else (), deleted_for)
        try:
            if step.finalizers is not None:
                metadata = {"resourceVersion": meta.resource_version(cidr), "finalizers": step.finalizers}
                cidr = await context.client.patch(SERVICE_CIDRS, name, {"metadata": metadata})
            if step.condition is not None:
                changed = {**cidr, "status": _status(cidr, step.condition)}
                await context.client.update(SERVICE_CIDRS, changed, subresource="status")
        except NotFound:
            return None
        return step.again

    shell = Shell(NAME, reconcile, context.workers)

    def look_at_those_that_go(_: Object) -> None:
        for cidr in ranges.list():
            if meta.is_terminating(cidr):
                shell.add(key_of(cidr))

    def changed(cidr: Object) -> None:
        shell.add(key_of(cidr))
        look_at_those_that_go(cidr)

    ranges.add_handler(changed, lambda _, new: changed(new), changed)
    addresses.add_handler(None, None, look_at_those_that_go)
    await context.informers.start()
    await ranges.wait_synced()
    await addresses.wait_synced()
    await shell.run()


def _status(cidr: Object, condition: Object) -> Object:
    status = cidr.get("status") or {}
    copy = {"status": {**status, "conditions": [dict(entry) for entry in status.get("conditions") or ()]}}
    meta.set_condition(copy, condition)
    return copy["status"]


DESCRIPTOR = Descriptor(NAME, run, account="service-cidrs-controller")
