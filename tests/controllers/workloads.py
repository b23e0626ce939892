"""A small world for workload controllers: the API double, the controllers, and a kubelet in a few lines.

``World`` runs replica set and deployment controllers under virtual time. Pods become Ready one second after
their creation unless their image is in ``world.broken``; deleted pods vanish after a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from coxswain.api import meta
from coxswain.api.names import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.controllers.deployment import controller as deployment
from coxswain.controllers.descriptor import ControllerContext
from coxswain.controllers.replicaset import controller as replicaset
from fakeapi import FakeApi


def template(image: str = "web:1", **spec: Any) -> Object:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


def replica_set(name: str = "rs", replicas: int = 3, **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "d", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(),
            **spec,
        },
    }


def a_deployment(replicas: int = 3, image: str = "web:1", **spec: Any) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "d", "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            **spec,
        },
    }


class World:
    """See the module's text."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.broken: set[str] = set()
        self.watchers: list[Callable[[World], None]] = []

    def pods(self, **labels: str) -> list[Object]:
        found = self.api.objects(PODS, "d")
        return [pod for pod in found if labels.items() <= meta.labels(pod).items()]

    def active(self) -> list[Object]:
        return [pod for pod in self.pods() if meta.is_pod_active(pod)]

    def ready(self) -> list[Object]:
        return [pod for pod in self.active() if meta.is_pod_ready(pod)]

    def images(self) -> list[str]:
        return sorted(pod["spec"]["containers"][0]["image"] for pod in self.active())

    def sets(self) -> list[Object]:
        return self.api.objects(REPLICA_SETS, "d")

    def deployment(self) -> Object:
        return self.api.object(DEPLOYMENTS, "web", "d")

    def edit(self, change: Callable[[Object], Any]) -> None:
        self.api.change(DEPLOYMENTS, "web", "d", change)

    def condition(self, kind: str) -> tuple[str, str, str] | None:
        found = meta.condition(self.deployment(), kind)
        return (found["status"], found["reason"], found["message"]) if found else None

    def events(self) -> list[tuple[str, str, str]]:
        return [(e["type"], e["reason"], e["message"]) for e in self.api.objects(EVENTS, "d")]

    async def settle(self, seconds: float = 30.0) -> None:
        """Let virtual time pass."""
        await clock.sleep(seconds)

    async def kubelet(self) -> None:
        """Run pods: Ready after a second, gone a second after their deletion."""
        ages: dict[str, float] = {}
        while True:
            await clock.sleep(0.25)
            for pod in self.pods():
                age = clock.monotonic() - ages.setdefault(meta.uid(pod), clock.monotonic())
                if meta.is_terminating(pod):
                    self._end(pod)
                elif age >= 1 and meta.pod_phase(pod) != "Running":
                    self._start(pod)
            for watcher in self.watchers:
                watcher(self)

    def _start(self, pod: Object) -> None:
        if pod["spec"]["containers"][0]["image"] in self.broken:
            return
        stamp = clock.timestamp()

        def run(obj: Object) -> None:
            obj["spec"]["nodeName"] = "n"
            obj["status"] = {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp}],
            }

        self.api.change(PODS, meta.name(pod), "d", run)

    def _end(self, pod: Object) -> None:
        if clock.now() - clock.parse_time(pod["metadata"]["deletionTimestamp"]) > -29:
            self.api.remove(PODS, meta.name(pod), "d")


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A world whose controllers run."""
    it = World()
    client = it.api.client()
    informers = InformerFactory(client)
    recorders: dict[str, EventRecorder] = {}

    def recorder(component: str) -> EventRecorder:
        return recorders.setdefault(component, EventRecorder(client, component))

    context = ControllerContext(client, informers, recorder)
    async with Supervisor("world") as tasks:
        tasks.start("replica sets", replicaset.run(context))
        tasks.start("deployments", deployment.run(context))
        tasks.start("kubelet", it.kubelet())
        try:
            yield it
        finally:
            for each in recorders.values():
                await each.close()
            await informers.stop()
