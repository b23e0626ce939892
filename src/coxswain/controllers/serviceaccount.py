"""The service account controller: every active namespace has a ServiceAccount ``default``.

Pods that name no account run as that one; a namespace is usable once it exists. It is made again when it
is deleted, and nothing is written where it is already there.
"""

from __future__ import annotations

from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import NAMESPACES, SERVICE_ACCOUNTS, Object
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "default"


def is_active(namespace: Object | None) -> bool:
    """Whether content may be created in a namespace."""
    return namespace is not None and (namespace.get("status") or {}).get("phase", "Active") == "Active"


def is_terminating_error(error: ApiError) -> bool:
    """Whether a create was refused because the namespace goes away."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    namespaces = context.informers.informer(NAMESPACES)
    accounts = context.informers.informer(SERVICE_ACCOUNTS)

    async def reconcile(name: str) -> None:
        if not is_active(namespaces.get(name)) or accounts.get(f"{name}/{NAME}") is not None:
            return
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": NAME, "namespace": name},
        }
        try:
            await context.client.create(SERVICE_ACCOUNTS, account)
        except (AlreadyExists, NotFound):
            return
        except ApiError as error:
            if not is_terminating_error(error):
                raise

    shell = Shell("serviceaccount-controller", reconcile, context.workers)
    namespaces.add_handler(
        lambda obj: shell.add(obj["metadata"]["name"]), lambda _, new: shell.add(new["metadata"]["name"])
    )
    accounts.add_handler(on_delete=lambda obj: shell.add(obj["metadata"]["namespace"]))
    await context.informers.start()
    await namespaces.wait_synced()
    await accounts.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor("serviceaccount-controller", run, account="service-account-controller")
