"""Writes into each ValidatingAdmissionPolicy's status, once a generation, what its expressions get wrong."""

from __future__ import annotations

from coxswain.api.errors import NotFound
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS, GVR
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "validatingadmissionpolicy-status-controller"
POLICIES = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    policies = context.informers.informer(POLICIES)
    definitions = context.informers.informer(CUSTOM_RESOURCE_DEFINITIONS)

    async def reconcile(name: str) -> None:
        # The language is loaded with the first policy: most clusters have none.
        from coxswain.controllers.policystatus.decide import new_status

        policy = policies.get(name)
        status = new_status(policy, list(definitions.list())) if policy is not None else None
        if policy is None or status is None:
            return
        try:
            await context.client.update(POLICIES, {**policy, "status": status}, subresource="status")
        except NotFound:
            return

    shell = Shell(NAME, reconcile, context.workers)
    policies.add_handler(lambda new: shell.add(key_of(new)), lambda _, new: shell.add(key_of(new)))
    await context.informers.start()
    await policies.wait_synced()
    await definitions.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="validatingadmissionpolicy-status-controller")
