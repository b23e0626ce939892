"""How the API server reaches kubelets, pods, services and extension servers: plain HTTP(S) requests from one pool.

The kubelet of a node listens on the node's InternalIP at ``status.daemonEndpoints.kubeletEndpoint.port``; the API
server shows it a client certificate, and the kubelet's own has to be good for the node's name. Answers are streamed: logs
may be followed for ever.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from coxswain.api import errors
from coxswain.api.names import Object

if TYPE_CHECKING:
    import aiohttp

    from coxswain.apiserver.uploads import Upload

KUBELET_PORT = 10250
#: Seconds to connect; a follow may then be silent for as long as it likes.
_CONNECT_TIMEOUT = 10.0
_HOP_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
#: What aiohttp would add by itself to a request that is somebody else's.
_NOT_OURS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(slots=True)
class StreamReply:
    """An answer whose body comes in pieces. ``headers`` may have several items of one name."""

    code: int
    body: AsyncIterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


def kubelet_address(node: Object) -> tuple[str, int]:
    """Host and port of a node's kubelet. Raises ``ServiceUnavailable`` for a node that says neither."""
    status = node.get("status") or {}
    by_type = {one.get("type"): one.get("address") for one in status.get("addresses") or ()}
    host = next((by_type[kind] for kind in ("InternalIP", "Hostname", "ExternalIP") if by_type.get(kind)), "")
    if not host:
        raise errors.ServiceUnavailable(f"node {node['metadata']['name']} has no address")
    endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
    return host, int(endpoint.get("Port") or endpoint.get("port") or KUBELET_PORT)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class KubeletClient:
    """A pool of connections; made on first use, so that start-up does not pay for it."""

    def __init__(self, tls: ssl.SSLContext | None, *, allow_plain: bool = True) -> None:
        """``tls``, towards kubelets, carries the client certificate; None speaks plain HTTP to them.

        ``allow_plain``: a kubelet on this machine may speak plain HTTP though there is ``tls`` (development).
        """
        self.tls = tls
        self._allow_plain = allow_plain
        self._session: aiohttp.ClientSession | None = None
        self._plain: set[tuple[str, int]] = set()

    def is_plain(self, host: str, port: int) -> bool:
        """Whether this kubelet is known to speak plain HTTP."""
        return self.tls is None or (host, port) in self._plain

    def may_be_plain(self, host: str) -> bool:
        """Whether a kubelet there may speak plain HTTP: in development, on this machine only."""
        return self.tls is not None and self._allow_plain and _is_loopback(host)

    def note_plain(self, host: str, port: int) -> None:
        """This kubelet speaks plain HTTP."""
        self._plain.add((host, port))

    async def kubelet(self, node: Object, path: str, query: Mapping[str, str]) -> StreamReply:
        """GET ``path`` of a node's kubelet. Raises ``ServiceUnavailable``."""
        from urllib.parse import quote, urlencode

        host, port = kubelet_address(node)
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        return await self.ask_kubelet("GET", node["metadata"]["name"], host, port, target)

    async def ask_kubelet(
        self,
        method: str,
        node: str,
        host: str,
        port: int,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Upload = b"",
    ) -> StreamReply:
        """Any request to the kubelet of ``node``. Raises ``ServiceUnavailable``."""
        fields = list(headers)
        if not self.is_plain(host, port):
            try:
                return await self.request(
                    method,
                    "https",
                    host,
                    port,
                    target,
                    tls=self.tls,
                    server_name=node,
                    headers=fields,
                    body=body,
                )
            except errors.ServiceUnavailable:
                if not self.may_be_plain(host):
                    raise
        reply = await self.request(method, "http", host, port, target, headers=fields, body=body)
        if self.tls is not None:
            self.note_plain(host, port)
        return reply

    async def request(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int,
        target: str,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | Upload = b"",
    ) -> StreamReply:
        """Any request to any address; ``target`` is path and query as they go over the wire.

        Raises ``ServiceUnavailable``.
        """
        import aiohttp
        from multidict import CIMultiDict
        from yarl import URL

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT),
                # Followed logs and watches hold their connections: no bound, or they would starve each other.
                connector=aiohttp.TCPConnector(limit=0),
                # What one user's answer sets must not go along with the next user's request.
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_NOT_OURS,
            )
        shown = f"[{host}]" if ":" in host else host
        url = URL(f"{scheme}://{shown}:{port}{target}", encoded=True)
        kept = [(name, value) for name, value in headers if name.lower() not in _HOP_HEADERS]
        if not isinstance(body, bytes):
            # The client has been told already to go on, and only a length that is known can be told.
            kept = [field for field in kept if field[0].lower() != "expect"]
            if body.length is not None:
                kept.append(("Content-Length", str(body.length)))
        try:
            response = await self._session.request(
                method,
                url,
                headers=CIMultiDict(kept),
                data=body or None,
                ssl=tls if tls is not None else True,
                server_hostname=server_name or None if tls is not None else None,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = f"error trying to reach service: {error or 'the connection timed out'}"
            raise errors.ServiceUnavailable(message) from None
        passed: CIMultiDict[str] = CIMultiDict(
            (name, value) for name, value in response.headers.items() if name.lower() not in _HOP_HEADERS
        )
        return StreamReply(response.status, _Body(response), passed)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Body:
    """The pieces of an answer as they come. ``aclose`` lets the connection go, wherever the reading stands."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._response.content.readany()
        if not piece:
            self._response.release()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Read no further. Idempotent."""
        self._response.close()
