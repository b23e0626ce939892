"""Signs ``kube-public/cluster-info`` with every bootstrap token that may, and takes away other signatures."""

from __future__ import annotations

from coxswain.api.errors import NotFound
from coxswain.api.names import CONFIGMAPS, SECRETS
from coxswain.base import clock
from coxswain.controllers.bootstraptokens.tokens import (
    NAMESPACE,
    SECRET_TYPE,
    expiry,
    signed,
    signing_token,
)
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "bootstrap-signer-controller"
_CLUSTER_INFO = "kube-public/cluster-info"


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    secrets = context.informers.informer(SECRETS, NAMESPACE, field_selector=f"type={SECRET_TYPE}")
    published = context.informers.informer(
        CONFIGMAPS, "kube-public", field_selector="metadata.name=cluster-info"
    )

    async def reconcile(key: str) -> float | None:
        info = published.get(key)
        if info is None:
            return None
        now = clock.now()
        tokens = dict(filter(None, (signing_token(secret, now) for secret in secrets.list())))
        data = signed(info.get("data") or {}, tokens)
        if data is not None:
            try:
                await context.client.update(CONFIGMAPS, {**info, "data": data})
            except NotFound:
                return None
        ends = [end for secret in secrets.list() if (end := expiry(secret)) is not None and end > now]
        return min(ends) - now if ends else None

    shell = Shell(NAME, reconcile, 1)

    def again(*_: object) -> None:
        shell.add(_CLUSTER_INFO)

    secrets.add_handler(again, again, again)
    published.add_handler(again, again)
    await context.informers.start()
    await secrets.wait_synced()
    await published.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="bootstrap-signer")
