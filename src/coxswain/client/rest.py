"""The REST transport: HTTPS to any Kubernetes API server.

Client certificates, bearer tokens and token files (read again every minute, for they rotate); one pool of
kept-alive connections; watches as JSON lines. The library is imported with the first call, because it
takes longer to import than most commands take to run.

What goes wrong on the wire is an ``ApiError``: a lost or refused connection ``ServiceUnavailable``, a
deadline ``Timeout``, an answer that is no Status the error of its HTTP code.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from coxswain.api import errors
from coxswain.api.names import GVR
from coxswain.base import clock, metrics
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import JSON, NOTHING, Answer, Answers, Call, EventType, RawList, WatchEvent
from coxswain.client.kubeconfig import Config

if TYPE_CHECKING:
    import aiohttp

_METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
_REQUESTS = metrics.counter(
    "rest_client_requests",
    "Requests to API servers, by HTTP code, method and host.",
    ("code", "method", "host"),
)
_SECONDS = metrics.histogram(
    "rest_client_request_duration_seconds",
    "How long API servers took to begin their answers, by method and host.",
    ("verb", "host"),
)
_TOKEN_SECONDS = 60.0
_READ_BUFFER = 1 << 20


def path_of(call: Call) -> str:
    """``/apis/apps/v1/namespaces/d/deployments/web/status`` of a call."""
    group, version, resource = call.resource
    parts = ["", "apis", group, version] if group else ["", "api", version]
    if call.namespace:
        parts += ["namespaces", quote(call.namespace, safe="")]
    parts.append(resource)
    if call.name and (call.verb not in ("create", "list", "watch", "deletecollection") or call.subresource):
        parts.append(quote(call.name, safe=""))
        if call.subresource:
            parts.append(quote(call.subresource, safe="/"))
    return "/".join(parts)


class RestTransport:
    """A ``Transport`` over HTTPS. ``timeout`` is seconds for one request (watches and streams have none)."""

    def __init__(self, config: Config, *, timeout: float = 60.0, connections: int = 64) -> None:
        self._config = config
        self._host = config.server.partition("://")[2].partition("/")[0]
        self._timeout = timeout
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._token = ""
        self._token_read = float("-inf")
        #: Gets the text of every warning that the server sends beside an answer.
        self.on_warning: Callable[[str], None] | None = None

    def use_token(self, token: str) -> None:
        """Carry ``token`` from the next request on."""
        self._config = replace(self._config, token=token, token_file="")

    # ---- Transport

    async def call(self, call: Call) -> Answer:
        async with self._request(call) as response:
            body = await response.read()
        if response.status >= 400:
            return Answer(response.status, _as_status(response.status, body))
        return Answer(response.status, body)

    async def get_path(self, path: str, accept: str = JSON) -> Answer:
        """What the server has at any path: discovery, health, metrics."""
        async with self._request(Call("get", GVR("", "", ""), accept=accept), path=path) as response:
            body = await response.read()
        if response.status >= 400:
            return Answer(response.status, _as_status(response.status, body))
        return Answer(response.status, body)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        return list(await asyncio.gather(*(self._call_safely(call) for call in calls)))

    async def list(self, call: Call) -> RawList:
        decoded = (await self.call(call)).object()
        meta = decoded.get("metadata") or {}
        kind = str(decoded.get("kind") or "").removesuffix("List")
        # Items of a list carry no type of their own; objects elsewhere do, and components rely on it.
        typed = {"apiVersion": decoded.get("apiVersion"), "kind": kind}
        items = decoded.get("items") or ()
        return RawList(
            [orjson.dumps(item if "kind" in item else typed | item) for item in items],
            str(meta.get("resourceVersion") or ""),
            str(meta.get("continue") or ""),
            int(meta.get("remainingItemCount") or 0),
        )

    @asynccontextmanager
    async def watch(self, call: Call) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent]]]:
        async with self._request(call, endless=True) as response:
            await _raise_failure(response)
            events = self._events(response)
            try:
                yield events
            finally:
                await events.aclose()

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        context = self._request(call, endless=True)
        response = await context.__aenter__()
        try:
            await _raise_failure(response)
        except BaseException as error:
            await context.__aexit__(type(error), error, error.__traceback__)
            raise
        return _body(context, response)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- inside

    async def _call_safely(self, call: Call) -> Answer:
        try:
            return await self.call(call)
        except errors.ApiError as error:
            return Answer(error.code, orjson.dumps(error.status()))

    @asynccontextmanager
    async def _request(
        self, call: Call, *, endless: bool = False, path: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        session = await self._connected()
        limit = aiohttp.ClientTimeout(
            total=None if endless else self._timeout, connect=min(self._timeout, 30.0)
        )
        # Only our own server knows how to answer with nothing.
        accept = JSON if call.accept == NOTHING else call.accept
        headers = {"Accept": accept, **await self._authorization()}
        if call.body:
            headers["Content-Type"] = call.content_type
        fields = [*headers.items(), *self._config.impersonation]
        method, server = _METHODS[call.verb], self._host
        loop = asyncio.get_running_loop()
        started, code = loop.time(), "<error>"
        try:
            async with session.request(
                method,
                self._config.server + (path or path_of(call)),
                params=_query(call),
                data=call.body or None,
                headers=fields,
                timeout=limit,
                server_hostname=self._config.server_name or None,
                allow_redirects=False,
            ) as response:
                code = str(response.status)
                _SECONDS.labels(method, server).observe(loop.time() - started)
                if self.on_warning is not None:
                    for warning in response.headers.getall("Warning", ()):
                        self.on_warning(_warning_text(warning))
                yield response
        except TimeoutError:
            raise errors.Timeout(f"{self._config.server} did not answer within {self._timeout:g} s") from None
        except aiohttp.ClientError as error:
            raise errors.ServiceUnavailable(f"{self._config.server}: {_words(error)}") from error
        finally:
            _REQUESTS.labels(code, method, server).inc()

    async def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            secure = self._config.server.startswith("https://")
            connector = aiohttp.TCPConnector(
                limit=0 if self._connections <= 0 else self._connections,
                ssl=tls_context(self._config) if secure else True,
                keepalive_timeout=60,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, read_bufsize=_READ_BUFFER, headers={"User-Agent": self._config.agent}
            )
        return self._session

    async def _authorization(self) -> Mapping[str, str]:
        token = self._config.token
        if self._config.token_file:
            if clock.monotonic() - self._token_read > _TOKEN_SECONDS:
                self._token = _read_token(self._config.token_file)
                self._token_read = clock.monotonic()
            token = self._token
        said = self._config.authorization(token)
        return {"Authorization": said} if said else {}

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Sequence[WatchEvent], None]:
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            events = [_event(line) for line in lines if line]
            if events:
                if events[-1].type == "ERROR":
                    if len(events) > 1:
                        yield events[:-1]
                    raise errors.from_status(orjson.loads(events[-1].raw))
                yield events


def tls_context(config: Config) -> ssl.SSLContext:
    """The TLS context of a configuration. Raises ``ConfigurationError`` for certificates that cannot work."""
    context = ssl.create_default_context()
    try:
        if config.authority:
            context = ssl.create_default_context(cadata=config.authority.decode())
        if config.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.certificate:
            _load_pair(context, config.certificate, config.key)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the kubeconfig's certificates cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # The ssl module reads files only: a private one (0600) that is gone before anybody connects.
    handle, path = tempfile.mkstemp(prefix="coxswain-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


def _read_token(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError as error:
        raise errors.Unauthorized(f"token file {path} cannot be read: {error.strerror}") from None


def _query(call: Call) -> Mapping[str, str]:
    query = dict(call.query)
    if call.verb == "watch":
        query["watch"] = "true"
    if call.verb in ("list", "watch") and call.name:
        query.setdefault("fieldSelector", f"metadata.name={call.name}")
    return query


def _warning_text(header: str) -> str:
    """The text of ``299 - "text"``."""
    quoted = header.split(" ", 2)[-1].strip()
    if len(quoted) > 1 and quoted[0] == quoted[-1] == '"':
        return re.sub(r"\\(.)", r"\1", quoted[1:-1])
    return quoted


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _as_status(code: int, body: bytes) -> bytes:
    """``body`` if it is a Status, else a Status that says what a proxy or an old server said."""
    try:
        if orjson.loads(body).get("kind") == "Status":
            return body
    except (ValueError, AttributeError):
        pass
    text = body[:200].decode(errors="replace").strip()
    error = errors.from_status({"code": code, "message": text})
    return orjson.dumps(error.status())


async def _raise_failure(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        body = _as_status(response.status, await response.read())
        raise errors.from_status(orjson.loads(body))


async def _body(context: Any, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        await context.__aexit__(None, None, None)


_HEADS: tuple[tuple[bytes, EventType], ...] = (
    (b'{"type":"ADDED","object":', "ADDED"),
    (b'{"type":"MODIFIED","object":', "MODIFIED"),
    (b'{"type":"DELETED","object":', "DELETED"),
)


def _event(line: bytes) -> WatchEvent:
    """An event from its line, without decoding the object where the frame is the usual one."""
    for head, kind in _HEADS:
        if line.startswith(head) and line.endswith(b"}"):
            return WatchEvent(kind, line[len(head) : -1])
    try:
        frame = orjson.loads(line)
        return WatchEvent(frame["type"], orjson.dumps(frame["object"]))
    except (ValueError, KeyError, TypeError):
        raise errors.InternalError("the watch sent something that is no event") from None
