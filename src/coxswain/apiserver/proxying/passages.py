"""Which requests are passed on, whether their user may, and how each is answered.

    proxies.concerns(target)                  asked of every request: cheap
    proxies.passage(request, target, user)    authorized (or refused) at once; awaited, it gives the answer

The answer is a whole one (``Reply``), one in pieces (``StreamReply``), or None: the connection was upgraded, belonged to
somebody else, and has ended.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import urlsplit

from coxswain.api import errors
from coxswain.api.names import NODES, PODS, SERVICES
from coxswain.apiserver.admission.connecting import admit_connection
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.http1 import Request
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.proxying import headers
from coxswain.apiserver.proxying.headers import Fields
from coxswain.apiserver.proxying.inprocess import unverified
from coxswain.apiserver.proxying.locations import Location, Places
from coxswain.apiserver.proxying.upgrades import pass_upgrade
from coxswain.apiserver.request import Reply, not_served, wrong_method
from coxswain.apiserver.routes import VERBS, Route
from coxswain.client.interface import UserInfo

Answer = Reply | StreamReply | None
Passage = Coroutine[Any, Any, Answer]

_STREAMED = frozenset({"exec", "attach", "portforward"})
CONNECT = _STREAMED | {"proxy"}
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REACHED = frozenset({NODES, PODS, SERVICES})


class Target(Protocol):
    """What a method and URL mean (``rest.Target``)."""

    @property
    def path(self) -> str: ...

    @property
    def route(self) -> Route | None: ...

    @property
    def verb(self) -> str | None: ...


class Extensions(Protocol):
    """The aggregation layer: requests for groups that other API servers serve."""

    def concerns(self, target: Target) -> bool: ...

    def passage(self, request: Request, target: Target, user: UserInfo) -> Passage: ...


class Proxies:
    """See the module's text."""

    def __init__(
        self,
        pipeline: Pipeline,
        kubelets: KubeletClient,
        *,
        loopback: bool = False,
        extensions: Extensions | None = None,
    ) -> None:
        """``loopback``: whether pods and services at addresses of this machine may be reached."""
        self._pipeline = pipeline
        self._kubelets = kubelets
        self._places = Places(pipeline.core.registry.lookup, loopback)
        self._extensions = extensions

    def concerns(self, target: Target) -> bool:
        """Whether somebody else answers this request."""
        route = target.route
        if route is not None and route.subresource in CONNECT and not route.resource.group:
            return True
        return self._extensions is not None and self._extensions.concerns(target)

    def passage(self, request: Request, target: Target, user: UserInfo) -> Passage:
        """The answer, for a task to wait for. Raises ``ApiError`` for who may not."""
        route = target.route
        if route is None or route.subresource not in CONNECT or route.resource.group:
            assert self._extensions is not None
            return self._extensions.passage(request, target, user)
        self._authorize(request, route, user)
        self._check(request, route)
        return self._connect(request, headers.on_the_wire(target.path), route, user)

    def is_long(self, request: Request, target: Target) -> bool:
        """Whether the answer may take for ever: streams, watches, and what is asked of nodes, pods and services."""
        route = target.route
        own = route is not None and route.subresource in CONNECT and not route.resource.group
        return own or target.verb == "watch" or headers.is_upgrade(request.headers)

    # -- who may

    def _authorize(self, request: Request, route: Route, user: UserInfo) -> None:
        verb = VERBS.get(request.method, "")
        self._pipeline.authorize(_attributes(user, verb, route))
        if route.subresource in _STREAMED and verb != "create":
            # A WebSocket begins with a GET, and still runs something: to read is not enough.
            self._pipeline.authorize(_attributes(user, "create", route))

    def _check(self, request: Request, route: Route) -> None:
        entry = self._pipeline.core.registry.get(route.resource)
        if entry is None or entry.resource.subresource(route.subresource) is None:
            raise not_served()
        if entry.gvr not in _REACHED or entry.namespaced != bool(route.namespace):
            raise not_served()
        allowed = {"GET", "POST"} if route.subresource in _STREAMED else _METHODS
        if request.method not in allowed:
            raise wrong_method()
        if route.subresource in _STREAMED and route.rest:
            raise not_served()

    # -- what happens

    async def _connect(self, request: Request, whole: str, route: Route, user: UserInfo) -> Answer:
        core = self._pipeline.core
        await core.storage.catch_up()
        query = headers.query_of(request.target)
        query = await self._admit(whole, route, user, query)
        if route.subresource in _STREAMED:
            location = self._places.stream(route.namespace, route.name, route.subresource, query)
            if not headers.is_upgrade(request.headers):
                raise errors.BadRequest("Upgrade request required")
            return await self._upgrade(request, location)
        path = behind(whole, 5 if not route.namespace else 7)
        if not path and request.method in ("GET", "HEAD"):
            return _moved(whole, query)
        location = self._places.proxy(route.resource, route.namespace, route.name, path or "/", query)
        if headers.is_upgrade(request.headers):
            return await self._upgrade(request, location)
        prefix = whole[: len(whole) - len(path)]
        return await self._pass_on(request, location, prefix)

    async def _admit(self, whole: str, route: Route, user: UserInfo, query: str) -> str:
        """Let admission judge the connection; the query to go on with. Raises ``ApiError``."""
        entry = self._pipeline.core.registry.get(route.resource)
        served = entry.resource.subresource(route.subresource) if entry is not None else None
        assert served is not None
        path = "" if route.subresource in _STREAMED else behind(whole, 5 if not route.namespace else 7)
        return await admit_connection(
            self._pipeline.core.admission,
            user,
            served.kind,
            route.resource,
            route.namespace,
            route.name,
            route.subresource,
            query,
            path,
        )

    async def _upgrade(self, request: Request, location: Location) -> Reply | None:
        fields = headers.passed_on(request.fields, request.connection.peer)
        fields += headers.upgrade_fields(request.headers)
        kubelets = self._kubelets
        if location.node and not kubelets.is_plain(location.host, location.port):
            try:
                return await pass_upgrade(request, location, fields, kubelets.tls, location.node)
            except errors.ApiError:
                if not kubelets.may_be_plain(location.host):
                    raise
        if location.node:
            location = replace(location, scheme="http")
        tls = self._unverified if location.scheme == "https" else None
        reply = await pass_upgrade(request, location, fields, tls)
        if location.node and kubelets.tls is not None:
            kubelets.note_plain(location.host, location.port)
        return reply

    async def _pass_on(self, request: Request, location: Location, prefix: str) -> StreamReply:
        fields = headers.passed_on(request.fields, request.connection.peer)
        fields += _forwarded(request, prefix + location.path)
        if location.node:
            reply = await self._kubelets.ask_kubelet(
                request.method,
                location.node,
                location.host,
                location.port,
                location.target,
                headers=fields,
                body=request.upload or request.body,
            )
        else:
            reply = await self._kubelets.request(
                request.method,
                location.scheme,
                location.host,
                location.port,
                location.target,
                tls=self._unverified if location.scheme == "https" else None,
                headers=fields,
                body=request.upload or request.body,
            )
        reply.headers = _redirected(reply.headers, location, prefix, request.header(b"host"))
        return reply

    @cached_property
    def _unverified(self) -> ssl.SSLContext:
        return unverified()


def _attributes(user: UserInfo, verb: str, route: Route) -> Attributes:
    group, version, resource = route.resource
    return Attributes(user, verb, group, version, resource, route.subresource, route.namespace, route.name)


def behind(path: str, segments: int) -> str:
    """What follows the first ``segments`` segments of a path: empty, or from the slash on."""
    at = 0
    for _ in range(segments):
        at = path.find("/", at + 1)
        if at < 0:
            return ""
    return path[at:]


def _moved(path: str, query: str) -> StreamReply:
    """Relative links of a page make sense below a slash only."""

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    where = f"{path}/?{query}" if query else f"{path}/"
    return StreamReply(301, nothing(), {"Location": where})


def _forwarded(request: Request, path: str) -> Fields:
    host = request.header(b"host")
    fields = [("X-Forwarded-Uri", path)]
    return [*fields, ("X-Forwarded-Host", host)] if host else fields


def _redirected(fields: Mapping[str, str], location: Location, prefix: str, asked: str) -> Mapping[str, str]:
    """The headers, a redirect to the same server led back through the proxy."""
    where = fields.get("Location")
    if not where:
        return fields
    parts = urlsplit(where)
    same = parts.netloc in ("", location.authority, f"{location.host}:{location.port}", asked)
    if not same or not parts.path.startswith("/"):
        return fields
    path = parts.path if parts.path.startswith(prefix) else prefix + parts.path
    changed = type(fields)(fields)  # type: ignore[call-arg]
    changed["Location"] = f"{path}?{parts.query}" if parts.query else path  # type: ignore[index]
    return changed


__all__ = ["CONNECT", "Answer", "Extensions", "Passage", "Proxies", "Target", "behind"]
