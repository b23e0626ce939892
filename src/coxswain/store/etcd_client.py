"""How etcd is asked: one channel an endpoint, fail-over between them, errors in the store's words.

    call(method, request, answer)     one question; goes to the endpoint that answered last
    watch(request)                    a stream of answers from that endpoint

An endpoint that cannot be reached is left for the next one, and the question is put there when that is safe: always
for reading, and for writing when it is certain that the former endpoint never got it. A write that may have arrived
is not repeated, because its comparison might now fail against its own effect: it ends ``undecided``. When no
endpoint answers, questions wait ``patience`` seconds for one to come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.store.interface import StoreError, StoreFull, StoreUnavailable, ValueTooLarge

if TYPE_CHECKING:
    import grpc.aio

log = logging.getLogger(__name__)

RANGE: Final = "/etcdserverpb.KV/Range"
TXN: Final = "/etcdserverpb.KV/Txn"
COMPACT: Final = "/etcdserverpb.KV/Compact"
STATUS: Final = "/etcdserverpb.Maintenance/Status"
_WATCH: Final = "/etcdserverpb.Watch/Watch"

#: Seconds between attempts while no endpoint answers.
_PAUSE: Final = 0.1
#: How gRPC says that a request never left.
_UNSENT: Final = ("failed to connect to all addresses", "DNS resolution failed", "empty address list")


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """Where etcd is and how it is asked. The flags of kube-apiserver that set these begin with ``--etcd-``."""

    servers: tuple[str, ...] = ("http://127.0.0.1:2379",)
    """Addresses of the members, ``http(s)://host:port``; the first that answers is used."""
    ca_file: Path | None = None
    """Who signed the servers' certificates (PEM); without it those whom the system trusts."""
    certificate_file: Path | None = None
    """The client certificate (PEM) that is shown to etcd, with ``key_file``."""
    key_file: Path | None = None
    """Its key (PEM)."""
    prefix: str = "/registry"
    """What keys begin with in etcd."""
    timeout: float = 10.0
    """Seconds that one question may take; etcd itself gives up a write after seven."""
    patience: float = 2.0
    """Seconds that a question waits for an endpoint to come back when none answers."""
    start_timeout: float = 20.0
    """Seconds that etcd gets to answer for the first time."""
    probe_interval: float = 2.0
    """Seconds between looks at whether etcd answers, each of which may take as long."""
    compaction_interval: float = 300.0
    """Seconds between compactions, of which one server of all does each; 0: leave them to somebody else."""
    page: int = 1000
    """Keys that are fetched with one question when a list is read."""
    max_in_flight: int = 1024
    """Commits under way; more wait."""
    max_watch_changes: int = 100_000
    """How far a watcher may fall behind before it is cut off."""


class NotAvailableAtRevision(StoreError):
    """etcd has compacted the revision that was asked for, or has not reached it (``future``)."""

    def __init__(self, message: str, *, future: bool) -> None:
        super().__init__(message)
        self.future = future


class _Endpoint:
    """One member of the etcd cluster."""

    def __init__(self, target: str, credentials: Any) -> None:
        import grpc.aio

        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 1000),
            # Slower than etcd's --grpc-keepalive-min-time (5 s): more would count as an attack.
            ("grpc.keepalive_time_ms", 10_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self.name = target
        self.channel: grpc.aio.Channel = (
            grpc.aio.insecure_channel(target, options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options)
        )
        self.methods: dict[str, Any] = {
            name: self.channel.unary_unary(name) for name in (RANGE, TXN, COMPACT, STATUS)
        }
        self.watch: Any = self.channel.stream_stream(_WATCH)
        self.streams: set[Any] = set()


class EtcdClient:
    """See the module's text. Make it inside a running loop."""

    def __init__(self, settings: EtcdSettings) -> None:
        """Raises ``ConfigurationError`` for addresses and files that cannot be used."""
        from coxswain.store.etcd_metrics import Costs

        self._settings = settings
        self._endpoints = [_Endpoint(*_target(address, settings)) for address in settings.servers]
        self._current = 0
        self._costs = {method: Costs(method) for method in (RANGE, TXN, COMPACT, STATUS)}
        if not self._endpoints:
            raise ConfigurationError("no address of etcd is given: --etcd-servers")

    async def close(self) -> None:
        """Hang up everywhere."""
        for endpoint in self._endpoints:
            await endpoint.channel.close()

    async def call(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        writes: bool = False,
        timeout: float = 0.0,
        patience: float = -1.0,
    ) -> Any:
        """The ``answer`` message to ``request``. ``writes``: it must not be done twice.

        ``timeout`` and ``patience`` in seconds, by the settings unless given. Raises ``StoreUnavailable``,
        ``StoreFull``, ``ValueTooLarge``, ``NotAvailableAtRevision`` and, for what else etcd refuses, ``StoreError``.
        """
        import grpc.aio

        data, costs = request.SerializeToString(), self._costs[method]
        until = clock.monotonic() + (self._settings.patience if patience < 0 else patience)
        tried = 0
        while True:
            endpoint = self._endpoints[self._current]
            started = clock.monotonic()
            try:
                got = await endpoint.methods[method](data, timeout=timeout or self._settings.timeout)
                costs.seconds(clock.monotonic() - started)
                return answer.FromString(got)
            except grpc.aio.AioRpcError as error:
                costs.failed()
                failure = _translate(error, endpoint.name)
            if not isinstance(failure, StoreUnavailable):
                raise failure
            self.leave(endpoint.name)
            if writes and failure.undecided:
                raise failure
            tried += 1
            if tried >= len(self._endpoints):
                if clock.monotonic() >= until:
                    raise StoreUnavailable(str(failure))
                await clock.sleep(_PAUSE)

    @property
    def endpoint(self) -> str:
        """Where questions go now."""
        return self._endpoints[self._current].name

    def leave(self, name: str) -> None:
        """Ask the next endpoint from now on, if ``name`` is still the one that is asked; its watches end."""
        if self.endpoint == name and len(self._endpoints) > 1:
            left = self._endpoints[self._current]
            self._current = (self._current + 1) % len(self._endpoints)
            log.warning("etcd does not answer at %s; asking %s", name, self.endpoint)
            for stream in tuple(left.streams):
                stream.cancel()

    async def watch(self, request: Any, answer: Any) -> AsyncGenerator[Any]:
        """The stream of ``answer`` messages to one ``WatchRequest``. Raises as ``call`` does; it never just ends."""
        import grpc.aio

        endpoint = self._endpoints[self._current]
        stream = endpoint.watch()
        endpoint.streams.add(stream)
        try:
            await stream.write(request.SerializeToString())
            while True:
                got = await stream.read()
                if got is grpc.aio.EOF:
                    break
                yield answer.FromString(got)
            raise StoreUnavailable(f"{endpoint.name} ended the watch: {await stream.details()}")
        except grpc.aio.AioRpcError as error:
            failure = _translate(error, endpoint.name)
            if isinstance(failure, StoreUnavailable):
                self.leave(endpoint.name)
            raise failure from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise StoreUnavailable(f"{endpoint.name} was left") from None
        finally:
            endpoint.streams.discard(stream)
            stream.cancel()


def _translate(error: grpc.aio.AioRpcError, endpoint: str) -> StoreError:
    """What etcd or gRPC says, as an error of the store's."""
    import grpc

    code, details = error.code(), error.details() or ""
    if "database space exceeded" in details:
        return StoreFull(details)
    if "request is too large" in details or "received message larger than max" in details:
        return ValueTooLarge(details)
    if code is grpc.StatusCode.OUT_OF_RANGE:
        return NotAvailableAtRevision(details, future="future" in details)
    if "too many requests" in details:
        return StoreUnavailable(f"{endpoint}: {details}")
    lost = (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    )
    if code in lost:
        unsent = any(words in details for words in _UNSENT)
        return StoreUnavailable(f"{endpoint}: {details or code.name}", undecided=not unsent)
    return StoreError(f"etcd refuses: {details or code.name}")


def _target(address: str, settings: EtcdSettings) -> tuple[str, Any]:
    """gRPC's name of an address, and the credentials for it (None: without TLS)."""
    import grpc

    encrypted = any((settings.ca_file, settings.certificate_file, settings.key_file))
    parts = urlsplit(address if "://" in address else f"{'https' if encrypted else 'http'}://{address}")
    try:
        port = parts.port or 2379
    except ValueError:
        port = 0
    if parts.scheme not in ("http", "https") or not parts.hostname or not port:
        raise ConfigurationError(f"--etcd-servers {address}: has to be http(s)://host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.scheme == "http":
        return f"{host}:{port}", None
    if (settings.certificate_file is None) != (settings.key_file is None):
        raise ConfigurationError("--etcd-certfile and --etcd-keyfile need each other")
    return f"{host}:{port}", grpc.ssl_channel_credentials(
        _read(settings.ca_file, "--etcd-cafile"),
        _read(settings.key_file, "--etcd-keyfile"),
        _read(settings.certificate_file, "--etcd-certfile"),
    )


def _read(path: Path | None, flag: str) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError as error:
        raise ConfigurationError(f"{flag} {path}: {error.strerror}") from None
