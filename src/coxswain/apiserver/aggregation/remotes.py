"""One extension API server: how it is reached, whether it answers, and what it says that it serves."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.aggregation.availability import PASSED, Reference, Verdict, addresses, check, failed
from coxswain.apiserver.aggregation.settings import AggregationSettings
from coxswain.apiserver.discovery import AGGREGATED_V2, RemoteVersion, version_of_list
from coxswain.apiserver.kubelet_client import KubeletClient, StreamReply
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.proxying.headers import Fields, identity
from coxswain.apiserver.proxying.locations import Location
from coxswain.apiserver.uploads import Upload
from coxswain.base import clock
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

#: Who asks when this server itself wants to know something.
AGGREGATOR = UserInfo("system:kube-aggregator", ("system:masters",))
#: Largest document that is read from an extension server, in bytes.
_MOST = 16 << 20


@dataclass(frozen=True, slots=True)
class Documents:
    """What an extension server says of one group version. Empty where it says nothing."""

    resources: tuple[Object, ...] = ()
    v3: bytes = b""
    v2: Object | None = None

    @property
    def v3_hash(self) -> str:
        """Changes with the OpenAPI v3 document."""
        return hashlib.sha256(self.v3).hexdigest()


class Remote:
    """The server behind one APIService, as long as its spec does not change."""

    def __init__(
        self,
        service: Object,
        lookup: Lookup,
        client: KubeletClient,
        certificate: tuple[Path, Path],
        settings: AggregationSettings,
    ) -> None:
        spec = service["spec"]
        reference = Reference.of(service)
        assert reference is not None
        self.name: str = service["metadata"]["name"]
        self.spec = spec
        self.group: str = spec.get("group") or ""
        self.version: str = spec["version"]
        self.reference = reference
        #: What requests wait for: that the last look was good.
        self.available = False
        #: Whether ``documents`` are what the server says now.
        self.fresh = False
        self.documents = Documents()
        self._lookup = lookup
        self._client = client
        self._settings = settings
        self._tls, self.tls_problem = _tls(spec, certificate)

    @property
    def path(self) -> str:
        """``/apis/<group>/<version>``."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def server_name(self) -> str:
        """The name that the server's certificate has to be good for."""
        return f"{self.reference.name}.{self.reference.namespace}.svc"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Our side of TLS; None when the APIService's CA bundle cannot be used."""
        return self._tls

    def locate(self, path: str, query: str = "") -> Location | None:
        """An address to ask; None when there is none."""
        found = addresses(self._lookup, self.reference, endpoint_routing=self._settings.endpoint_routing)
        if not found:
            return None
        host, port = clock.random().choice(found)
        return Location("https", host, port, path, query)

    async def request(
        self, method: str, location: Location, fields: Fields, body: bytes | Upload = b""
    ) -> StreamReply:
        """Ask the server. Raises ``ServiceUnavailable``."""
        return await self._client.request(
            method,
            location.scheme,
            location.host,
            location.port,
            location.target,
            tls=self._tls,
            server_name=self.server_name,
            headers=fields,
            body=body,
        )

    def as_served(self) -> RemoteVersion:
        """What discovery says of it."""
        return RemoteVersion(
            self.group,
            self.version,
            int(self.spec.get("groupPriorityMinimum") or 0),
            int(self.spec.get("versionPriority") or 0),
            self.documents.resources,
            self.fresh,
        )

    # -- looking

    async def look(self) -> Verdict:
        """Whether the server answers."""
        problem = check(self._lookup, self.reference)
        if problem is not None:
            return problem
        location = self.locate(self.path)
        if location is None:
            return failed(f"no address of {self.server_name} is known")
        shown = f"https://{location.host}:{location.port}{self.path}"
        if self.tls_problem:
            return failed(f"failing or missing response from {shown}: {self.tls_problem}")
        try:
            async with asyncio.timeout(self._settings.probe_timeout):
                reply = await self.request("GET", location, identity(AGGREGATOR))
                await _close(reply)
        except TimeoutError:
            return failed(f"failing or missing response from {shown}: context deadline exceeded")
        except errors.ApiError as error:
            return failed(f"failing or missing response from {shown}: {error.message}")
        if not 200 <= reply.code < 300:
            why = f"bad status from {shown}: {reply.code}"
            return failed(f"failing or missing response from {shown}: {why}")
        return PASSED

    async def read_documents(self) -> bool:
        """Read discovery and OpenAPI anew; whether anything is different now."""
        before = (self.documents, self.fresh)
        try:
            resources = await self._resources()
            v3 = await self._get(f"/openapi/v3{self.path}", "application/json", missing=b"")
            v2 = await self._get("/openapi/v2", "application/json", missing=b"")
        except (errors.ApiError, ValueError, TimeoutError) as error:
            log.warning("documents of %s: %s", self.name, error)
            self.fresh = False
        else:
            self.documents = Documents(resources, _checked(v3), _object(v2))
            self.fresh = True
        return (self.documents, self.fresh) != before

    async def _resources(self) -> tuple[Object, ...]:
        """From aggregated discovery, or from the list that every server has."""
        body = await self._get("/apis", f"{AGGREGATED_V2},application/json", missing=b"{}")
        listed = _object(body) or {}
        if listed.get("kind") == "APIGroupDiscoveryList":
            for group in listed.get("items") or ():
                if (group.get("metadata") or {}).get("name", "") == self.group:
                    for version in group.get("versions") or ():
                        if version.get("version") == self.version:
                            return tuple(version.get("resources") or ())
        older = _object(await self._get(self.path, "application/json"))
        return version_of_list(older or {}, self.group, self.version)

    async def _get(self, path: str, accept: str, *, missing: bytes | None = None) -> bytes:
        """A document; ``missing`` when the server has none. Raises ``ApiError``."""
        location = self.locate(path)
        if location is None:
            raise errors.ServiceUnavailable(f"no address of {self.server_name} is known")
        async with asyncio.timeout(self._settings.probe_timeout):
            reply = await self.request("GET", location, [*identity(AGGREGATOR), ("Accept", accept)])
            if reply.code != 200:
                await _close(reply)
                if missing is not None:
                    return missing
                raise errors.ServiceUnavailable(f"GET {path} answered {reply.code}")
            return await _read(reply)


async def _read(reply: StreamReply) -> bytes:
    pieces, size = [], 0
    try:
        async for piece in reply.body:
            size += len(piece)
            if size > _MOST:
                raise ValueError(f"a document is longer than {_MOST} bytes")
            pieces.append(piece)
    finally:
        await _close(reply)
    return b"".join(pieces)


async def _close(reply: StreamReply) -> None:
    """Read no further."""
    close: Callable[[], Any] | None = getattr(reply.body, "aclose", None)
    if close is not None:
        await close()


def _object(data: bytes) -> Object | None:
    if not data:
        return None
    found = orjson.loads(data)
    return found if isinstance(found, dict) else None


def _checked(data: bytes) -> bytes:
    """An OpenAPI document that is one, or nothing."""
    return data if _object(data) is not None else b""


def _tls(spec: Object, certificate: Iterable[Path]) -> tuple[ssl.SSLContext | None, str]:
    """TLS by an APIService's ``caBundle`` and ``insecureSkipTLSVerify``, and what is wrong with them."""
    try:
        bundle = base64.b64decode(spec.get("caBundle") or "", validate=True).decode()
        context = ssl.create_default_context(cadata=bundle or None)
        if spec.get("insecureSkipTLSVerify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate_file, key_file = certificate
        context.load_cert_chain(certificate_file, key_file)
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError, OSError) as error:
        return None, f"unable to load root certificates: {error}"
    return context, ""
