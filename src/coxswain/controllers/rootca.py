"""The root certificate publisher: every active namespace has the ConfigMap ``kube-root-ca.crt``.

Pods verify the API server with it (their projected token volume mounts it). The certificate comes from
the option ``root_ca`` (PEM text); without it, it is read from ``kube-system/extension-apiserver-authentication``,
where the API server publishes the authority it trusts. Somebody's change is put right again.
"""

from __future__ import annotations

from coxswain.api.errors import AlreadyExists, ApiError, NotFound
from coxswain.api.names import CONFIGMAPS, NAMESPACES
from coxswain.base import clock, metrics
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.serviceaccount import is_active, is_terminating_error
from coxswain.controllers.shell import Shell

NAME = "kube-root-ca.crt"
_KEY = "ca.crt"
_WHY = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as"
    " the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of"
    " Kubernetes clusters."
)
_DESCRIPTION = {"kubernetes.io/description": _WHY}
_SYNCS = metrics.counter("root_ca_cert_publisher_sync", "Namespaces looked at, by HTTP code", ("code",))
_SECONDS = metrics.histogram(
    "root_ca_cert_publisher_sync_duration_seconds", "Seconds that took, likewise", ("code",)
)


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    namespaces = context.informers.informer(NAMESPACES)
    published = context.informers.informer(CONFIGMAPS, field_selector=f"metadata.name={NAME}")
    certificate = await root_certificate(context)

    async def reconcile(name: str) -> None:
        started, code = clock.monotonic(), "200"
        try:
            await publish(name)
        except ApiError as error:
            code = str(error.code)
            raise
        finally:
            _SYNCS.labels(code).inc()
            _SECONDS.labels(code).observe(clock.monotonic() - started)

    async def publish(name: str) -> None:
        if not is_active(namespaces.get(name)):
            return
        data = {_KEY: certificate}
        current = published.get(f"{name}/{NAME}")
        if current is None:
            meta = {"name": NAME, "namespace": name, "annotations": _DESCRIPTION}
            fresh = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            try:
                await context.client.create(CONFIGMAPS, fresh)
            except (AlreadyExists, NotFound):
                return
            except ApiError as error:
                if not is_terminating_error(error):
                    raise
        elif current.get("data") != data:
            await context.client.update(CONFIGMAPS, {**current, "data": data})

    shell = Shell("root-ca-certificate-publisher-controller", reconcile, context.workers)
    namespaces.add_handler(
        lambda obj: shell.add(obj["metadata"]["name"]), lambda _, new: shell.add(new["metadata"]["name"])
    )
    published.add_handler(
        None,
        lambda _, new: shell.add(new["metadata"]["namespace"]),
        lambda obj: shell.add(obj["metadata"]["namespace"]),
    )
    await context.informers.start()
    await namespaces.wait_synced()
    await published.wait_synced()
    await shell.run()


async def root_certificate(context: ControllerContext) -> str:
    """The certificate (PEM) that pods should trust: the option's, else that of the cluster."""
    if context.options.get("root_ca"):
        return str(context.options["root_ca"])
    source = await context.informers.client.get(
        CONFIGMAPS, "extension-apiserver-authentication", "kube-system"
    )
    return str((source.get("data") or {}).get("client-ca-file") or "")


DESCRIPTOR = Descriptor("root-ca-certificate-publisher-controller", run, account="root-ca-cert-publisher")
