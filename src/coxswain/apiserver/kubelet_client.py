"""How the API server reaches kubelets and, for ``proxy`` subresources, pods and services: plain HTTP(S).

The kubelet of a node listens on the node's InternalIP at ``status.daemonEndpoints.kubeletEndpoint.port``;
the API server shows it a client certificate. Answers are streamed: logs may be followed for ever.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coxswain.api import errors
from coxswain.api.names import Object

if TYPE_CHECKING:
    import aiohttp

KUBELET_PORT = 10250
_CHUNK = 64 << 10
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


@dataclass(slots=True)
class StreamReply:
    """An answer whose body comes in pieces."""

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

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """``tls`` carries the client certificate; None speaks plain HTTP."""
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._plain: set[tuple[str, int]] = set()

    async def kubelet(self, node: Object, path: str, query: Mapping[str, str]) -> StreamReply:
        """GET ``path`` of a node's kubelet. Raises ``ServiceUnavailable``."""
        host, port = kubelet_address(node)
        scheme = "http" if self._tls is None or (host, port) in self._plain else "https"
        try:
            return await self.request("GET", scheme, host, port, path, query)
        except errors.ServiceUnavailable:
            # A kubelet of a development cluster may speak plain HTTP, on this machine only.
            if scheme == "http" or not _is_loopback(host):
                raise
        reply = await self.request("GET", "http", host, port, path, query)
        self._plain.add((host, port))
        return reply

    async def request(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> StreamReply:
        """Any request to any address. Raises ``ServiceUnavailable``."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT)
            self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False)
        url = URL.build(scheme=scheme, host=host, port=port, path=path, query=query)
        kept = {name: value for name, value in (headers or {}).items() if name.lower() not in _HOP_HEADERS}
        try:
            response = await self._session.request(
                method,
                url,
                headers=kept,
                data=body or None,
                ssl=self._tls if self._tls is not None else True,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            message = f"error trying to reach service: {error}"
            raise errors.ServiceUnavailable(message) from None
        passed = {name: value for name, value in response.headers.items() if name.lower() not in _HOP_HEADERS}
        return StreamReply(response.status, _body(response), passed)

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_chunked(_CHUNK):
            yield chunk
    finally:
        response.close()
