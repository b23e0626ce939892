"""``pods/log``: an answer that comes from the kubelet of the pod's node.

The pipeline has authorized the request already; what is left is to find out whom to ask. What else a kubelet, pod or
service answers is passed on by ``proxying``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from coxswain.api import errors
from coxswain.api.fields import Errors, invalid
from coxswain.api.names import NODES, PODS
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.options import number
from coxswain.apiserver.proxying.inprocess import open_proxy
from coxswain.apiserver.proxying.locations import container_of
from coxswain.apiserver.request import Context, Core, not_served, wrong_method

SUBRESOURCES = frozenset({"log", "proxy"})

_LOG_PARAMETERS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
    "stream",
)


async def open_stream(core: Core, kubelets: KubeletClient | None, ctx: Context) -> StreamReply:
    """Open the stream that ``ctx`` asks for. Raises ``ApiError``."""
    if ctx.entry.resource.subresource(ctx.subresource) is None or kubelets is None:
        raise not_served()
    await core.storage.catch_up()
    if ctx.subresource == "proxy":
        return await open_proxy(core, kubelets, ctx)
    if ctx.verb != "get":
        raise wrong_method()
    return await _logs(core, kubelets, ctx)


# -- logs


async def _logs(core: Core, kubelets: KubeletClient, ctx: Context) -> StreamReply:
    pod = core.registry.lookup.get(PODS, ctx.namespace, ctx.name)
    if pod is None:
        raise errors.not_found(PODS, ctx.name)
    _check_log_options(ctx)
    container = container_of(pod, ctx.query.get("container") or "")
    node_name = (pod.get("spec") or {}).get("nodeName")
    if not node_name:
        return StreamReply(200, _nothing(), {"Content-Type": "text/plain"})
    node = core.registry.lookup.get(NODES, "", node_name)
    if node is None:
        raise errors.not_found(NODES, node_name)
    query = {name: ctx.query[name] for name in _LOG_PARAMETERS if ctx.query.get(name)}
    reply = await kubelets.kubelet(node, f"/containerLogs/{ctx.namespace}/{ctx.name}/{container}", query)
    if reply.code >= 400:
        raise await _failure(reply)
    return StreamReply(200, reply.body, {"Content-Type": "text/plain"})


async def _nothing() -> AsyncIterator[bytes]:
    """The log of a pod that no node runs yet."""
    yield b""


async def _failure(reply: StreamReply) -> errors.ApiError:
    """What a kubelet refused with, as the API server passes it on."""
    text = b"".join([chunk async for chunk in reply.body])[:4096].decode(errors="replace").strip()
    if reply.code == 404:
        return errors.NotFound(text or "the kubelet does not know the container")
    if reply.code == 400:
        return errors.BadRequest(text)
    return errors.InternalError(f"the kubelet answered {reply.code}: {text}")


def _check_log_options(ctx: Context) -> None:
    problems: Errors = []
    for name, least in (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)):
        value = number(ctx.query, name)
        if value is not None and value < least:
            problems.append(
                invalid(
                    name,
                    value,
                    f"must be greater than or equal to {least}" if not least else "must be greater than 0",
                )
            )
    if ctx.query.get("sinceSeconds") and ctx.query.get("sinceTime"):
        problems.append(invalid("", "", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if problems:
        raise errors.invalid("", "PodLogOptions", ctx.name, problems)
