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
        attributes = attributes_of(target, request.method, user)
        verdict = self._policy.verdict(attributes)
        metrics.LEVELS.labels(verdict.level).inc()
        if verdict.level == "None":
            return None
        own = request.header(b"audit-id")
        facts = {
            "requestURI": request.target.decode("utf-8", "replace"),
            "sourceIPs": _addresses(request),
            "userAgent": request.header(b"user-agent"),
        }
        body = (request.body, request.header(b"content-type", "application/json"))
        audit_id = own if 0 < len(own) <= _LONGEST_ID and own.isprintable() else new_uid()
        record = Record(verdict, audit_id, attributes, facts, body, self._write)
        record.received()
        return record

    def unauthenticated(self, request: Request, target: Target) -> None:
        """Nobody we know came (apiserver ``WithFailedAuthenticationAudit``)."""
        record = self.receive(request, target, _UNKNOWN)
        if record is not None:
            record.level = "Metadata"
            record.completed(401)

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


def _addresses(request: Request) -> list[str]:
    """Where a request comes from: what proxies say, then the connection's other end."""
    found: list[str] = []
    forwarded = request.header(b"x-forwarded-for").split(",")
    for text in (*forwarded, request.header(b"x-real-ip"), request.connection.address):
        address = text.strip()
        if address and address not in found and len(address) < _LONGEST_ID:
            found.append(address)
    return found
