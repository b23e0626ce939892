"""Proxies of nodes, pods and services for components in this process and behind the gRPC door.

There is no HTTP request to pass on, so it is made from the call: the path behind ``/proxy`` comes in the query parameter
``path``. No upgrades.
"""

from __future__ import annotations

import ssl
from urllib.parse import quote, urlencode

from coxswain.api.names import NODES, PODS, SERVICES
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.proxying.locations import Places
from coxswain.apiserver.request import Context, Core, not_served

_METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


async def open_proxy(core: Core, kubelets: KubeletClient, ctx: Context) -> StreamReply:
    """Ask what ``ctx`` names. Raises ``ApiError``."""
    if ctx.entry.gvr not in (NODES, PODS, SERVICES):
        raise not_served()
    query = urlencode({key: value for key, value in ctx.query.items() if key != "path"})
    path = "/" + quote((ctx.query.get("path") or "").lstrip("/"))
    found = Places(core.registry.lookup).proxy(ctx.entry.gvr, ctx.namespace, ctx.name, path, query)
    method = _METHODS.get(ctx.verb, "GET")
    fields = [("Content-Type", ctx.content_type)] if ctx.body else []
    if found.node:
        return await kubelets.ask_kubelet(
            method, found.node, found.host, found.port, found.target, headers=fields, body=ctx.body
        )
    return await kubelets.request(
        method,
        found.scheme,
        found.host,
        found.port,
        found.target,
        tls=unverified() if found.scheme == "https" else None,
        headers=fields,
        body=ctx.body,
    )


def unverified() -> ssl.SSLContext:
    """TLS towards pods and services, whose certificates nobody knows: as in Kubernetes, not verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
