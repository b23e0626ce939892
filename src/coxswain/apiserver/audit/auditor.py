"""The auditor of a server: its policy, its sinks, and a ``Record`` for each request that is logged.

auditor = Auditor.open(settings)
record = auditor.receive(request, target, user)       None: not logged
... record.decided(...), record.completed(...)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from coxswain.api.names import Object
from coxswain.apiserver.audit import metrics
from coxswain.apiserver.audit.logfile import LogFile
from coxswain.apiserver.audit.policy import Policy, load
from coxswain.apiserver.audit.record import Record
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.client.interface import UserInfo

if TYPE_CHECKING:
    from coxswain.apiserver.http1 import Request
    from coxswain.apiserver.rest import Target

_MEGABYTE = 1 << 20
_DAY = 86400.0
#: Of an identifier that a client sends along.
_LONGEST_ID = 64
_LONGEST_AGENT = 1024
_UNKNOWN = UserInfo("")


class Sink(Protocol):
    """Takes events."""

    def write(self, event: Object) -> None: ...

    async def close(self) -> None: ...


class Auditor:
    """See the module's text."""

    def __init__(self, policy: Policy, sinks: Sequence[Sink]) -> None:
        self._policy = policy
        self._sinks = sinks

    @classmethod
    def open(cls, settings: AuditSettings) -> Auditor:
        """Read the policy, open the sinks. Raises ``ConfigurationError``."""
        assert settings.policy_file is not None
        policy = load(settings.policy_file)
        sinks: list[Sink] = []
        if settings.log_path:
            sinks.append(
                LogFile(
                    settings.log_path,
                    max_bytes=settings.log_max_size * _MEGABYTE,
                    max_backups=settings.log_max_backups,
                    max_age=settings.log_max_age * _DAY,
                )
            )
        if settings.webhook_config_file is not None:
            from coxswain.apiserver.asking import Peer
            from coxswain.apiserver.audit.webhook import Webhook

            webhook = Webhook(Peer.of(settings.webhook_config_file), settings)
            webhook.start()
            sinks.append(webhook)
        return cls(policy, sinks)

    def receive(self, request: Request, target: Target, user: UserInfo) -> Record | None:
        """A request came from ``user``, as authenticated. None: its policy level is None."""
        record = self._record(request, target, user)
        if record is not None:
            record.received()
        return record

    def unauthenticated(self, request: Request, target: Target) -> None:
        """Nobody we know came: one event, which says in which ways they tried (``WithFailedAuthenticationAudit``)."""
        record = self._record(request, target, _UNKNOWN)
        if record is not None:
            record.unauthenticated(attempted(request, target))

    def unauthenticated_stream(
        self, path: str, addresses: Sequence[str], agent: str, ways: Sequence[str]
    ) -> None:
        """The same at another door than HTTPS."""
        request = Attributes(_UNKNOWN, "post", path=path, is_resource=False)
        facts = {"requestURI": path, "sourceIPs": list(addresses), "userAgent": agent}
        record = self._judged(request, facts, (b"", ""), "")
        if record is not None:
            record.unauthenticated(_attempted(ways))

    def receive_call(
        self, request: Attributes, uri: str, addresses: Sequence[str], agent: str, body: tuple[bytes, str]
    ) -> Record | None:
        """A request came through another door than HTTPS. ``body`` comes with its content type."""
        facts = {"requestURI": uri, "sourceIPs": list(addresses), "userAgent": agent}
        record = self._judged(request, facts, body, "")
        if record is not None:
            record.received()
        return record

    def _record(self, request: Request, target: Target, user: UserInfo) -> Record | None:
        facts = {
            "requestURI": request.target.decode("utf-8", "replace"),
            "sourceIPs": _addresses(request),
            "userAgent": request.header(b"user-agent"),
        }
        body = (request.body, request.header(b"content-type", "application/json"))
        attributes = attributes_of(target, request.method, user)
        return self._judged(attributes, facts, body, request.header(b"audit-id"))

    def _judged(
        self, request: Attributes, facts: Object, body: tuple[bytes, str], own_id: str
    ) -> Record | None:
        verdict = self._policy.verdict(request)
        metrics.LEVELS.labels(verdict.level).inc()
        if verdict.level == "None":
            return None
        if len(facts["userAgent"]) > _LONGEST_AGENT:
            facts["userAgent"] = facts["userAgent"][:_LONGEST_AGENT] + "...TRUNCATED"
        audit_id = own_id if 0 < len(own_id) <= _LONGEST_ID and own_id.isprintable() else new_uid()
        return Record(verdict, audit_id, request, facts, body, self._write)

    def _write(self, event: Object) -> None:
        metrics.EVENTS.inc()
        for sink in self._sinks:
            sink.write(event)

    async def close(self) -> None:
        """Hand on what is left. Idempotent."""
        for sink in self._sinks:
            await sink.close()


def attributes_of(target: Target, method: str, user: UserInfo) -> Attributes:
    """A request as policies and authorizers see it."""
    route = target.route
    if route is None:
        return Attributes(user, method.lower(), path=target.path, is_resource=False)
    group, version, resource = route.resource
    namespace = route.namespace
    if resource == "namespaces" and not group and route.name:
        namespace = route.name
    verb = target.verb or method.lower()
    return Attributes(user, verb, group, version, resource, route.subresource, namespace, route.name)


def attempted(request: Request, target: Target) -> str:
    """In which ways somebody tried to say who they are."""
    scheme, _, rest = request.header(b"authorization").strip().partition(" ")
    ways = [
        name
        for name, tried in (
            ("basic", scheme.lower() == "basic" and bool(rest)),
            ("bearer", scheme.lower() == "bearer" and bool(rest)),
            ("access_token", bool(target.query.get("access_token", "").strip())),
            ("x509", request.connection.certificate is not None),
        )
        if tried
    ]
    return _attempted(ways)


def _attempted(ways: Sequence[str]) -> str:
    if ways:
        return f"Authentication failed, attempted: {', '.join(ways)}"
    return "Authentication failed, no credentials provided"


def _addresses(request: Request) -> list[str]:
    """Where a request comes from: what proxies say, then the connection's other end."""
    found: list[str] = []
    forwarded = request.header(b"x-forwarded-for").split(",")
    for text in (*forwarded, request.header(b"x-real-ip"), request.connection.address):
        address = text.strip()
        if address and address not in found and len(address) < _LONGEST_ID:
            found.append(address)
    return found
