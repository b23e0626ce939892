"""Paths that are no resources: discovery, OpenAPI, version, health, metrics, keys, and the list of them all.

Bodies that do not change while the server runs are built once. Every path is authorized as a non-resource
request before it gets here.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping

import orjson

from coxswain.apiserver import discovery, metrics
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.customresources.published import Published
from coxswain.apiserver.discovery import Catalog
from coxswain.apiserver.health import Health
from coxswain.apiserver.negotiation import JSON, encode, negotiate
from coxswain.apiserver.request import Reply

TEXT = "text/plain; charset=utf-8"
KUBERNETES_VERSION = ("1", "36", "v1.36.2")
_GIT_COMMIT = "0" * 40
_JWKS = "application/jwk-set+json"


def version_info() -> dict[str, str]:
    """``/version``."""
    major, minor, git = KUBERNETES_VERSION
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": git,
        "gitCommit": _GIT_COMMIT,
        "gitTreeState": "clean",
        "buildDate": "2026-06-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{machine}",
    }


metrics.build_info(version_info())


class Endpoints:
    """Answers GET requests for non-resource paths."""

    def __init__(
        self,
        health: Health,
        *,
        published: Callable[[], Published],
        address: str,
        issuer: Issuer | None = None,
    ) -> None:
        """``published`` tells what is served now; ``address`` is ``host:port`` as clients reach the server."""
        self._health = health
        self._published = published
        self._address = address
        self._issuer = issuer
        self._documents: dict[tuple[str, str], bytes] = {}
        self._documented: Catalog | None = None
        self._tags: dict[tuple[str, str], tuple[bytes, str]] = {}

    def answer(self, path: str, query: Mapping[str, str], accept: str, pretty: bool) -> Reply | None:
        """The reply for ``path``, or None when nothing is there. Raises ``NotAcceptable``."""
        health = self._health.answer(path, query)
        if health is not None:
            return Reply(health.code, health.text.encode(), TEXT)
        path = path.rstrip("/") or "/"
        if path == "/api" or path == "/apis" or path.startswith(("/api/", "/apis/")):
            return self._discovery(path, accept, pretty)
        if path.startswith("/openapi/"):
            reply = self._openapi(path, accept)
            return None if reply is None else self._tagged(path, reply)
        return self._other(path, pretty)

    def _tagged(self, path: str, reply: Reply) -> Reply:
        """``reply`` with its ETag, worked out once for each document: clients keep them and ask whether they changed."""
        key = (path, reply.content_type)
        known = self._tags.get(key)
        if known is None or known[0] is not reply.body:
            known = self._tags[key] = (reply.body, hashlib.sha512(reply.body).hexdigest().upper())
        reply.etag = known[1]
        return reply

    def _other(self, path: str, pretty: bool) -> Reply | None:
        if path == "/version":
            return Reply(200, encode(version_info(), JSON, pretty=True))
        if path == "/metrics":
            return Reply(200, metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/":
            return Reply(200, encode({"paths": self._paths()}, JSON, pretty=True))
        if self._issuer is not None and path == "/openid/v1/jwks":
            return Reply(200, orjson.dumps(self._issuer.jwks()), _JWKS)
        if self._issuer is not None and path == "/.well-known/openid-configuration":
            return Reply(200, orjson.dumps(self._issuer.configuration(f"https://{self._address}")))
        return None

    def _paths(self) -> list[str]:
        catalog = self._published().catalog
        paths = {"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/metrics", "/version"}
        paths.update(("/openapi/v2", "/openapi/v3", "/openid/v1/jwks", *self._health.paths()))
        for group in catalog.groups:
            paths.add(f"/apis/{group.name}")
            paths.update(f"/apis/{group.name}/{version}" for version in group.versions)
        return sorted(paths)

    # -- discovery

    def _discovery(self, path: str, accept: str, pretty: bool) -> Reply | None:
        catalog = self._published().catalog
        if path in ("/api", "/apis"):
            aggregated = self._aggregated(catalog, path, accept)
            if aggregated is not None:
                return aggregated
        parts = path.split("/")[1:]
        representation = negotiate(accept)
        document: object | None = None
        if path == "/api":
            document = discovery.api_versions(self._address)
        elif path == "/apis":
            document = discovery.api_groups(catalog)
        elif parts[0] == "api" and len(parts) == 2:
            document = discovery.api_resources(catalog, "", parts[1])
        elif parts[0] == "apis" and len(parts) == 2:
            document = discovery.api_group(catalog, parts[1])
        elif parts[0] == "apis" and len(parts) == 3:
            document = discovery.api_resources(catalog, parts[1], parts[2])
        if not isinstance(document, dict):
            return None
        body = encode(document, representation.media_type, pretty=pretty)
        return Reply(200, body, representation.media_type)

    def _aggregated(self, catalog: Catalog, path: str, accept: str) -> Reply | None:
        version = _aggregated_version(accept)
        if not version:
            return None
        if catalog is not self._documented:
            self._documents.clear()
            self._documented = catalog
        key = (path, version)
        body = self._documents.get(key)
        if body is None:
            build = discovery.aggregated if version == "v2" else discovery.aggregated_v2beta1
            body = orjson.dumps(build(catalog, legacy=path == "/api"))
            self._documents[key] = body
        kind = discovery.AGGREGATED_V2 if version == "v2" else discovery.AGGREGATED_V2BETA1
        return self._tagged(path, Reply(200, body, kind))

    # -- OpenAPI

    def _openapi(self, path: str, accept: str) -> Reply | None:
        published = self._published()
        if path == "/openapi/v2":
            return self._openapi_v2(accept)
        if path == "/openapi/v3":
            return Reply(200, orjson.dumps(published.v3_index()))
        body = published.v3_bytes(path.removeprefix("/openapi/v3/"))
        return None if body is None else Reply(200, body)

    def _openapi_v2(self, accept: str) -> Reply:
        """In protobuf where that is asked for: kubectl reads the old document in no other form."""
        from coxswain.api import openapi_gnostic

        published = self._published()
        wanted = {clause.partition(";")[0].strip() for clause in accept.split(",")}
        if wanted & openapi_gnostic.ACCEPTED:
            return Reply(200, published.v2_protobuf(), openapi_gnostic.MEDIA_TYPE)
        if "protobuf" in accept and not wanted & {JSON, "*/*"}:
            negotiate("application/x-unavailable")  # raises NotAcceptable
        return Reply(200, published.v2_bytes())


def _aggregated_version(accept: str) -> str:
    """v2 or v2beta1 when the client asks for aggregated discovery before anything else that we have."""
    for clause in accept.split(","):
        parameters = {part.strip() for part in clause.split(";")}
        if "as=APIGroupDiscoveryList" in parameters and "g=apidiscovery.k8s.io" in parameters:
            if "v=v2" in parameters:
                return "v2"
            if "v=v2beta1" in parameters:
                return "v2beta1"
        elif JSON in parameters and len(parameters) == 1:
            return ""
    return ""
