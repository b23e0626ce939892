"""Runs the controllers that were asked for, in one process, over one client and shared informers.

    run() --(leader election, if wanted)--> one supervised task a controller
                                               | crashes: logged, started again with back-off
                                               v
                                            the others go on

Guarantees: ``run`` returns only when every controller's tasks have ended; a controller that crashes never
takes another with it; with leader election, controllers run only while this process leads, and losing the
lease ends ``run`` with ``LeadershipLost`` (the process should exit and start anew, as Kubernetes' does).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from coxswain.base import clock, metrics
from coxswain.base.tasks import Supervisor
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.client.interface import Client
from coxswain.client.leaderelection import ElectionSettings, LeaderElector
from coxswain.controllers import registry
from coxswain.controllers.descriptor import WORKERS, ControllerContext, Descriptor

log = logging.getLogger(__name__)
LEASE = "kube-controller-manager"
_RUNNING = metrics.gauge(
    "running_managed_controllers", "1 while a controller runs, by its name", ("name", "manager")
)


@dataclass(slots=True)
class Health:
    """How one controller is doing."""

    running: bool = False
    crashes: int = 0
    last_error: str = ""
    started_at: float = 0.0
    #: Why it is not ready yet, in its own words; empty: it is.
    waiting: str = ""

    def not_yet(self, why: str) -> None:
        """See ``ControllerContext``."""
        self.waiting = why


@dataclass
class Manager:
    """The controllers of one process.

    ``options`` holds each controller's own settings by its name; ``workers`` likewise (else ``WORKERS``). ``acting_as``
    makes the client of a service account in kube-system: controllers that have one act as that. Raises
    ``ConfigurationError`` for an unknown controller, and for options that one cannot work with.
    """

    client: Client
    selection: str = "*"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    lookup: Callable[[str], Descriptor] = registry.descriptor
    acting_as: Callable[[str], Client] | None = None
    elector: LeaderElector | None = None
    health: dict[str, Health] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = registry.select(self.selection)
        for name in self.names:
            if (options := self.options.get(name)) and (check := self.lookup(name).check) is not None:
                check(options)
        self.informers = InformerFactory(self.client, "controllers' informers")
        self._recorders: dict[tuple[str, str], EventRecorder] = {}

    def recorder(self, component: str, account: str = "") -> EventRecorder:
        """The recorder of ``component``, which writes as ``account``; shared by all who ask for it."""
        key = component, account
        if key not in self._recorders:
            self._recorders[key] = EventRecorder(self._client_of(account), component)
        return self._recorders[key]

    def live(self) -> dict[str, Callable[[], str | None]]:
        """Health checks: the election's, and one a controller under its name (None: well)."""
        checks = {name: partial(self._unwell, name) for name in self.names}
        return {"leaderElection": self._unelected, **checks}

    def _unelected(self) -> str | None:
        return self.elector.unhealthy() if self.elector is not None else None

    def _unwell(self, name: str) -> str | None:
        health = self.health.get(name)
        if health is None or health.running:
            return None  # we stand by, or it runs
        return f"it ended: {health.last_error or 'no error'}"

    def unsynced(self) -> str | None:
        """A readiness check: every informer has its first list, controllers' own too, or this process stands by."""
        if self.elector is not None and not self.elector.is_leader:
            return None
        if not self.informers.synced:
            return "informers have not synced"
        waiting = (f"{name}: {health.waiting}" for name, health in self.health.items() if health.waiting)
        return next(waiting, None)

    def healthy(self) -> bool:
        """Every controller runs (one that crashed is unhealthy until it runs again)."""
        return all(health.running for health in self.health.values()) and bool(self.health)

    async def run(self) -> None:
        """Run the controllers until cancelled."""
        try:
            async with Supervisor("controllers") as tasks:
                for name in self.names:
                    self.health[name] = Health()
                    tasks.supervise(name, partial(self._run_one, name))
                await asyncio.Event().wait()
        finally:
            await self.informers.stop()
            await asyncio.gather(*(recorder.close() for recorder in self._recorders.values()))

    async def run_elected(self, identity: str, settings: ElectionSettings | None = None) -> None:
        """Run the controllers while ``identity`` leads. Raises ``LeadershipLost``."""
        self.elector = LeaderElector(self.client, LEASE, identity, settings=settings)
        await self.elector.run(self.run)

    async def _run_one(self, name: str) -> None:
        health = self.health[name]
        descriptor = self.lookup(name)
        context = ControllerContext(
            client=self._client_of(descriptor.account),
            informers=self.informers,
            recorder=partial(self.recorder, account=descriptor.account),
            workers=self.workers.get(name, WORKERS),
            options=self.options.get(name, {}),
            not_yet=health.not_yet,
        )
        health.waiting = ""
        runs = _RUNNING.labels(name, LEASE)
        runs.set(1)
        health.running, health.started_at = True, clock.monotonic()
        try:
            await descriptor.run(context)
        except Exception as error:
            health.crashes += 1
            health.last_error = str(error)
            raise
        finally:
            health.running = False
            runs.set(0)

    def _client_of(self, account: str) -> Client:
        return self.acting_as(account) if account and self.acting_as is not None else self.client


async def run(
    client: Client,
    selection: str = "*",
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    workers: Mapping[str, int] | None = None,
    identity: str = "",
    acting_as: Callable[[str], Client] | None = None,
) -> None:
    """Run the selected controllers until cancelled; with ``identity``, only while it holds the lease.

    Raises ``ConfigurationError`` for an unknown controller and ``LeadershipLost``.
    """
    manager = Manager(client, selection, options or {}, workers or {}, acting_as=acting_as)
    log.info("controllers: %s", ", ".join(manager.names))
    await (manager.run_elected(identity) if identity else manager.run())
