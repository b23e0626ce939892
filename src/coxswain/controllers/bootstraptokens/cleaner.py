"""Deletes bootstrap tokens when they expire."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import SECRETS
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.bootstraptokens.tokens import NAMESPACE, SECRET_TYPE, expiry
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "token-cleaner-controller"


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    secrets = context.informers.informer(SECRETS, NAMESPACE, field_selector=f"type={SECRET_TYPE}")

    async def reconcile(key: str) -> float | None:
        secret = secrets.get(key)
        end = expiry(secret) if secret is not None else None
        if secret is None or end is None:
            return None
        if end > clock.now():
            return end - clock.now()
        try:
            await context.client.delete(SECRETS, meta.name(secret), NAMESPACE, uid=meta.uid(secret))
        except NotFound:
            pass
        return None

    shell = Shell(NAME, reconcile, context.workers)
    secrets.add_handler(lambda new: shell.add(key_of(new)), lambda _, new: shell.add(key_of(new)))
    await context.informers.start()
    await secrets.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="token-cleaner")
