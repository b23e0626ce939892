"""Leader election over a Lease, with client-go's algorithm (``tools/leaderelection``).

    candidate --(no holder, holder expired, or we)--> write the lease with compare-and-swap --> leader
    leader --(renewed every retry_period)--> leader --(not renewed within renew_deadline)--> lost

``Election`` decides (sans-IO): it is told what lease was observed and when, and says what to write. Clocks
of machines are never compared: a lease counts as expired when *we* have not seen it change for as long as
its holder promised. At most one candidate believes that it leads as long as clocks run at about the same
rate and ``lease_seconds`` is longer than ``renew_deadline``.

``LeaderElector.run`` performs it: waits to lead, runs the work, and ends with ``LeadershipLost`` when the
lease could not be renewed; on a normal end or cancellation the lease is released at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from coxswain.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from coxswain.api.names import LEASES, Object
from coxswain.base import clock, metrics
from coxswain.base.errors import ConfigurationError, CoxswainError
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Client

log = logging.getLogger(__name__)
_JITTER = 1.2
#: Seconds beyond the lease's end before a leader that cannot renew counts as unhealthy (kube-scheduler's).
_TOLERANCE = 20.0
_MASTER = metrics.gauge(
    "leader_election_master_status", "1 while this process leads, by the lease's name.", ("name",)
)


class LeadershipLost(CoxswainError):
    """The lease could not be renewed in time; another one may lead now."""


@dataclass(frozen=True, slots=True)
class ElectionSettings:
    """client-go's defaults. ``lease_seconds`` > ``renew_deadline`` > ``retry_period`` * 1.2."""

    lease_seconds: float = 15.0
    """Seconds that a candidate waits after the last sign of life of the leader."""
    renew_deadline: float = 10.0
    """Seconds after which a leader that could not renew gives up."""
    retry_period: float = 2.0
    """Seconds between tries."""

    def __post_init__(self) -> None:
        if not self.lease_seconds > self.renew_deadline > self.retry_period * _JITTER > 0:
            raise ConfigurationError(
                "leader election: the lease duration must exceed the renew deadline, and that 1.2 times the retry period"
            )


class Election:
    """What to do about the lease, given what was seen of it. All times are seconds, monotonic or wall."""

    def __init__(self, identity: str, settings: ElectionSettings) -> None:
        self.identity = identity
        self.settings = settings
        self.lease: Object | None = None
        self._seen_at = 0.0

    @property
    def holder(self) -> str:
        """Who holds the lease as last observed; empty for nobody."""
        return str(((self.lease or {}).get("spec") or {}).get("holderIdentity") or "")

    @property
    def leading(self) -> bool:
        """Whether the lease as last observed is ours."""
        return self.lease is not None and self.holder == self.identity

    def observe(self, lease: Object | None, monotonic: float) -> None:
        """The lease as it was just read or written; None: it does not exist."""
        if lease is None or self.lease is None or lease.get("spec") != self.lease.get("spec"):
            self._seen_at = monotonic
        self.lease = lease

    def valid(self, monotonic: float) -> bool:
        """Whether its holder's promise still stands, by our own clock."""
        spec = (self.lease or {}).get("spec") or {}
        duration = float(spec.get("leaseDurationSeconds") or 0)
        return bool(self.holder) and monotonic < self._seen_at + duration

    def wanted(self, now: float, monotonic: float) -> Object | None:
        """The spec to write in order to lead or to go on leading; None: somebody else leads."""
        if not self.leading and self.valid(monotonic):
            return None
        old = (self.lease or {}).get("spec") or {}
        stamp = clock.format_micro_time(now)
        transitions = int(old.get("leaseTransitions") or 0)
        acquired = old.get("acquireTime") if self.leading else stamp
        if self.lease is not None and not self.leading:
            transitions += 1
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.settings.lease_seconds),
            "acquireTime": acquired or stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions,
        }

    def released(self, now: float) -> Object | None:
        """The spec that lets others lead at once; None when the lease is not ours."""
        if not self.leading or self.lease is None:
            return None
        stamp = clock.format_micro_time(now)
        return {
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": stamp,
            "renewTime": stamp,
            "leaseTransitions": int(self.lease["spec"].get("leaseTransitions") or 0),
        }


class LeaderElector:
    """One candidate for the lease ``namespace/name``. ``identity`` must be unique among candidates."""

    def __init__(
        self,
        client: Client,
        name: str,
        identity: str,
        *,
        namespace: str = "kube-system",
        settings: ElectionSettings | None = None,
        on_new_leader: Callable[[str], Any] | None = None,
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._settings = settings or ElectionSettings()
        self._on_new_leader = on_new_leader
        self._reported = ""
        self._renewed_at = 0.0
        self._master = _MASTER.labels(name)
        self._master.set(0)
        self.election = Election(identity, self._settings)

    @property
    def is_leader(self) -> bool:
        return self.election.leading

    def unhealthy(self) -> str | None:
        """What is wrong with a leader that should have lost its lease long ago; None when all is well."""
        late = clock.monotonic() - self._renewed_at - self._settings.lease_seconds
        if self.is_leader and late > _TOLERANCE:
            return f"failed election to renew leadership on lease {self._name}"
        return None

    async def run(self, lead: Callable[[], Awaitable[Any]]) -> None:
        """Wait to lead, then run ``lead()``; returns when it returns.

        Raises ``LeadershipLost`` after ``lead`` was cancelled because the lease was not renewed.
        """
        await self._acquire()
        self._master.set(1)
        log.info("%s leads %s/%s", self.election.identity, self._namespace, self._name)
        work = asyncio.ensure_future(lead())
        renewal = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait([work, renewal], return_when=asyncio.FIRST_COMPLETED)
            if renewal.done() and not work.done():
                await cancel_and_wait(work)
                await renewal  # raises LeadershipLost
            await work
        finally:
            for task in (work, renewal):
                await cancel_and_wait(task)
            self._master.set(0)
            await self._release()

    async def _acquire(self) -> None:
        while not await self._try():
            await clock.sleep(self._settings.retry_period * clock.random().uniform(1.0, _JITTER + 1.0))

    async def _renew(self) -> None:
        renewed = clock.monotonic()
        while True:
            await clock.sleep(self._settings.retry_period)
            left = renewed + self._settings.renew_deadline - clock.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.0)):
                    good = await self._try()
            except TimeoutError:
                good = False
            if good:
                renewed = clock.monotonic()
            elif left <= self._settings.retry_period or self.election.holder not in (
                "",
                self.election.identity,
            ):
                raise LeadershipLost(
                    f"{self.election.identity} lost the lease {self._namespace}/{self._name}"
                    f" (held by {self.election.holder or 'nobody'})"
                )

    async def _try(self) -> bool:
        """One attempt to get or renew the lease; whether we lead."""
        try:
            if not self.election.leading:
                await self._look()
            spec = self.election.wanted(clock.now(), clock.monotonic())
            return spec is not None and await self._write(spec)
        except (ApiError, OSError) as error:
            log.debug("lease %s/%s: %s", self._namespace, self._name, error)
            return False

    async def _look(self) -> None:
        try:
            lease: Object | None = await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            lease = None
        self._observe(lease)

    async def _write(self, spec: Object) -> bool:
        lease = self.election.lease
        try:
            if lease is None:
                meta = {"name": self._name, "namespace": self._namespace}
                fresh = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
                written = await self._client.create(LEASES, {**fresh, "spec": spec})
            else:
                written = await self._client.update(LEASES, {**lease, "spec": spec})
        except (Conflict, AlreadyExists, NotFound):
            await self._look()  # what we believed is old
            return False
        self._observe(written)
        return True

    def _observe(self, lease: Object | None) -> None:
        self.election.observe(lease, clock.monotonic())
        if self.election.leading:
            self._renewed_at = clock.monotonic()
        holder = self.election.holder
        if holder and holder != self._reported:
            self._reported = holder
            if self._on_new_leader is not None:
                self._on_new_leader(holder)

    async def _release(self) -> None:
        spec = self.election.released(clock.now())
        if spec is None or self.election.lease is None:
            return
        try:
            async with asyncio.timeout(self._settings.renew_deadline):
                written = await self._client.update(LEASES, {**self.election.lease, "spec": spec})
            self._observe(written)
        except (ApiError, OSError, TimeoutError) as error:
            log.info("lease %s/%s was not released: %s", self._namespace, self._name, error)
