"""Calling a webhook: where it is, how it is trusted, and what went wrong, in the words of Go's HTTP client.

``Caller`` sends one review and returns the answer's body. ``HttpCaller`` keeps its connections; the HTTP library
is loaded with the first call. A webhook given by service is reached at one of the service's endpoints (this server
may run where no proxy serves its ClusterIP), or at the ClusterIP where nobody keeps endpoints, and is always
verified as ``<service>.<namespace>.svc``.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from coxswain.api.fields import quote
from coxswain.api.names import ENDPOINTS, SERVICES
from coxswain.apiserver.admission.webhooks.configuration import Credentials
from coxswain.apiserver.admission.webhooks.hooks import Hook
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.proxying.locations import backends, slices_of
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.client.kubeconfig import Config
from coxswain.client.rest import tls_context

if TYPE_CHECKING:
    import aiohttp

#: The largest answer that is read: a patch of the largest object, in base64, and then some.
MAX_ANSWER = 16 << 20
_KEEP_ALIVE = 30.0
_OLDEST_CONTEXTS = 64
_NOBODY = Config("")
_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send a review. ``url`` is what messages show; ``host`` and ``port`` what is connected to."""

    url: str
    host: str
    port: int
    path: str
    #: The name that the certificate must be for.
    server_name: str
    authority: str
    ca_bundle: bytes = b""


class Caller(Protocol):
    """Sends reviews."""

    async def __call__(self, target: Target, body: bytes) -> bytes:
        """POST ``body``; the body of a 2xx answer. Raises ``CallFailedError``. The deadline is the asker's."""
        ...

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        ...


def target_of(hook: Hook, lookup: Lookup) -> Target:
    """Where ``hook`` listens now. Raises ``CallFailedError``."""
    timeout = f"timeout={hook.timeout:g}s"
    url = hook.client.get("url")
    if url:
        parts = urlsplit(url)
        query = f"{parts.query}&{timeout}" if parts.query else timeout
        path = f"{parts.path}?{query}"
        host = parts.hostname or ""
        shown = f"{parts.scheme}://{parts.netloc}{path}"
        return Target(shown, host, parts.port or 443, path, host, parts.netloc, hook.ca_bundle)
    service = hook.client.get("service") or {}
    namespace, name, port = service.get("namespace"), service.get("name"), int(service.get("port") or 443)
    server = f"{name}.{namespace}.svc"
    path = f"/{(service.get('path') or '').lstrip('/')}?{timeout}"
    shown = f"https://{server}:{port}{path}"
    try:
        host, real_port = resolve(lookup, str(namespace), str(name), port)
    except LookupError as error:
        raise CallFailedError(f'failed to call webhook: Post "{shown}": {error.args[0]}') from None
    return Target(shown, host, real_port, path, server, f"{server}:{port}", hook.ca_bundle)


def resolve(lookup: Lookup, namespace: str, name: str, port: int) -> tuple[str, int]:
    """Address and port behind a service's port. Raises ``LookupError`` with Kubernetes' words."""
    service = lookup.get(SERVICES, namespace, name)
    if service is None:
        raise LookupError(f"service {quote(name)} not found")
    spec = service.get("spec") or {}
    chosen = next((one for one in spec.get("ports") or () if one.get("port") == port), None)
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName")), port
    if chosen is None:
        raise LookupError(f"no service port {port} found for service {quote(name)}")
    found = backends(lookup, namespace, name, chosen.get("name") or "")
    if found:
        return found[clock.random().randrange(len(found))]
    address = spec.get("clusterIP")
    kept = slices_of(lookup, namespace, name) or lookup.get(ENDPOINTS, namespace, name) is not None
    if kept or not address or address == "None":
        raise LookupError(f"no endpoints available for service {quote(name)}")
    return str(address), port


class HttpCaller:
    """The caller over HTTPS."""

    def __init__(self, credentials: Credentials | None = None) -> None:
        """``credentials``: who this server is to webhooks; nobody without them."""
        self._session: aiohttp.ClientSession | None = None
        self._credentials = credentials
        self._contexts: dict[tuple[bytes, bytes], ssl.SSLContext] = {}

    async def __call__(self, target: Target, body: bytes) -> bytes:
        import aiohttp
        from yarl import URL

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE)
            # The only deadline is the webhook's own.
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None)
            )
        host = f"[{target.host}]" if ":" in target.host else target.host
        headers = {
            "Host": target.authority,
            "Content-Type": "application/json",
            "Accept": "application/json, */*",
            "User-Agent": "kube-apiserver-admission",
        }
        who = self._who(target)
        said = who.authorization(_token(who))
        if said:
            headers["Authorization"] = said
        try:
            async with self._session.post(
                URL(f"https://{host}:{target.port}{target.path}", encoded=True),
                data=body,
                headers=[*headers.items(), *who.impersonation],
                ssl=self._context(target, who),
                server_hostname=target.server_name,
                allow_redirects=False,
            ) as response:
                answer = await _read(response)
                if not 200 <= response.status < 300:
                    raise CallFailedError(f"failed to call webhook: {_status_text(response.status, answer)}")
                return answer
        except (aiohttp.ClientError, OSError) as error:
            raise failed(target, _words(error, target)) from None

    def _who(self, target: Target) -> Config:
        if self._credentials is None:
            return _NOBODY
        authority = target.authority
        return self._credentials.of(authority if _PORT.search(authority) else f"{authority}:443")

    def _context(self, target: Target, who: Config) -> ssl.SSLContext:
        """TLS that trusts the webhook's own certificates; one for each bundle, so that connections are shared."""
        key = (target.ca_bundle, who.certificate)
        context = self._contexts.get(key)
        if context is None:
            try:
                context = tls_context(replace(who, authority=target.ca_bundle))
            except ConfigurationError as error:
                if who.certificate and not target.ca_bundle:
                    raise CallFailedError(f"could not get REST client: {error}") from None
                raise CallFailedError(
                    "could not get REST client: unable to load root certificates: "
                    "unable to parse bytes as PEM block"
                ) from None
            if len(self._contexts) >= _OLDEST_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[key] = context
        return context

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    answer = bytearray()
    async for chunk in response.content.iter_any():
        answer += chunk
        if len(answer) > MAX_ANSWER:
            raise CallFailedError(f"failed to call webhook: the answer is larger than {MAX_ANSWER} bytes")
    return bytes(answer)


def _token(who: Config) -> str:
    """The token as it is now: files of tokens rotate. Raises ``CallFailedError``."""
    if not who.token_file:
        return who.token
    try:
        with open(who.token_file) as file:
            return file.read().strip()
    except OSError as error:
        why = f"open {who.token_file}: {(error.strerror or '').lower()}"
        raise CallFailedError(f"could not get REST client: {why}") from None


def failed(target: Target, why: str) -> CallFailedError:
    """``failed to call webhook: Post "url": why``."""
    return CallFailedError(f'failed to call webhook: Post "{target.url}": {why}')


def _words(error: Exception, target: Target) -> str:
    """Go's words for what happened on the connection."""
    import aiohttp

    where = f"dial tcp {target.host}:{target.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"tls: failed to verify certificate: x509: {_verify_message(error.certificate_error)}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {target.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"tls: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError):
            return f"{where}: connect: connection refused"
        return f"{where}: connect: {(error.os_error.strerror or str(error.os_error)).lower()}"
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "EOF"
    if isinstance(error, ConnectionResetError | aiohttp.ClientOSError):
        return "read: connection reset by peer"
    return str(error) or type(error).__name__


def _verify_message(error: Exception) -> str:
    text = getattr(error, "verify_message", "") or str(error)
    if "self-signed" in text or "unable to get local issuer" in text:
        return "certificate signed by unknown authority"
    if "expired" in text:
        return "certificate has expired or is not yet valid"
    return str(text)


_BY_STATUS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    413: "Request entity too large",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def _status_text(code: int, body: bytes) -> str:
    """``errors.NewGenericServerResponse``'s message."""
    text = body[:2048].decode(errors="replace").strip()
    if code in _BY_STATUS:
        return _BY_STATUS[code]
    if code == 403:
        return text or "forbidden"
    if code >= 500:
        return (
            f"an error on the server ({quote(text or 'unknown')}) has prevented the request from succeeding"
        )
    return f"the server responded with the status code {code} but did not return more information"
