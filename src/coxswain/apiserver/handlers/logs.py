"""``pods/log`` and the ``proxy`` subresources: answers that come from a kubelet, pod or service.

The pipeline has authorized the request already; what is left is to find out whom to ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from coxswain.api import errors, meta
from coxswain.api.fields import Errors, invalid
from coxswain.api.names import ENDPOINTS, NODES, PODS, SERVICES, Object
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.options import number
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
    if ctx.subresource == "log":
        if ctx.verb != "get":
            raise wrong_method()
        return await _logs(core, kubelets, ctx)
    return await _proxy(core, kubelets, ctx)


# -- logs


async def _logs(core: Core, kubelets: KubeletClient, ctx: Context) -> StreamReply:
    pod = core.registry.lookup.get(PODS, ctx.namespace, ctx.name)
    if pod is None:
        raise errors.not_found(PODS, ctx.name)
    _check_log_options(ctx)
    container = _container(pod, ctx.query.get("container") or "")
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


def _container(pod: Object, asked: str) -> str:
    """The container whose log is meant. Raises ``BadRequest``."""
    spec = pod.get("spec") or {}
    main = [one.get("name") or "" for one in spec.get("containers") or ()]
    init = [one.get("name") or "" for one in spec.get("initContainers") or ()]
    ephemeral = [one.get("name") or "" for one in spec.get("ephemeralContainers") or ()]
    name = meta.name(pod)
    if asked:
        if asked not in (*main, *init, *ephemeral):
            raise errors.BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(main) == 1:
        return main[0]
    listed = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        listed += f" or one of the init containers: [{' '.join(init)}]"
    if ephemeral:
        listed += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise errors.BadRequest(listed)


# -- proxies

_METHODS = {"get": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


async def _proxy(core: Core, kubelets: KubeletClient, ctx: Context) -> StreamReply:
    """Pass a request on. The path behind ``/proxy`` comes in the query parameter ``path``, as in Kubernetes."""
    scheme, name, port = _split_name(ctx.name)
    query = {key: value for key, value in ctx.query.items() if key != "path"}
    path = "/" + (ctx.query.get("path") or "").lstrip("/")
    if ctx.entry.gvr == NODES:
        node = core.registry.lookup.get(NODES, "", name)
        if node is None:
            raise errors.not_found(NODES, name)
        return await kubelets.kubelet(node, path, query)
    if ctx.entry.gvr == PODS:
        host, number_ = _pod_target(core, ctx.namespace, name, port)
    elif ctx.entry.gvr == SERVICES:
        host, number_ = _service_target(core, ctx.namespace, name, port)
    else:
        raise not_served()
    headers = {"Content-Type": ctx.content_type} if ctx.body else {}
    method = _METHODS.get(ctx.verb, "GET")
    return await kubelets.request(
        method, scheme or "http", host, number_, path, query, headers=headers, body=ctx.body
    )


def _split_name(name: str) -> tuple[str, str, str]:
    """``[scheme:]name[:port]`` into its parts."""
    parts = name.split(":")
    if len(parts) == 1:
        return "", name, ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return parts[0], parts[1], parts[2]
    raise errors.BadRequest(f'invalid proxy request "{name}"')


def _pod_target(core: Core, namespace: str, name: str, port: str) -> tuple[str, int]:
    pod = core.registry.lookup.get(PODS, namespace, name)
    if pod is None:
        raise errors.not_found(PODS, name)
    host = (pod.get("status") or {}).get("podIP") or ""
    if not host:
        raise errors.BadRequest(f"address not allowed: pod {name} has no address yet")
    declared = [
        one
        for container in (pod.get("spec") or {}).get("containers") or ()
        for one in container.get("ports") or ()
    ]
    if not port:
        return host, int(declared[0]["containerPort"]) if declared else 80
    return host, _port_number(port, {one.get("name"): one.get("containerPort") for one in declared})


def _service_target(core: Core, namespace: str, name: str, port: str) -> tuple[str, int]:
    service = core.registry.lookup.get(SERVICES, namespace, name)
    if service is None:
        raise errors.not_found(SERVICES, name)
    ports = (service.get("spec") or {}).get("ports") or []
    chosen = next((one for one in ports if port in ("", one.get("name"), str(one.get("port")))), None)
    endpoints = core.registry.lookup.get(ENDPOINTS, namespace, name) or {}
    for subset in endpoints.get("subsets") or ():
        for candidate in subset.get("ports") or ():
            same = chosen is not None and (candidate.get("name") or "") == (chosen.get("name") or "")
            if same and subset.get("addresses"):
                return subset["addresses"][0]["ip"], int(candidate["port"])
    raise errors.ServiceUnavailable(f'no endpoints available for service "{name}"')


def _port_number(text: str, named: dict[str | None, int | None]) -> int:
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    number_ = named.get(text)
    if number_ is None:
        raise errors.BadRequest(f'invalid port "{text}"')
    return int(number_)
