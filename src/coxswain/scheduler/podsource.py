"""Pods as the API server tells of them: from their bytes, without decoding what another pod said already.

    raw --glance--> (who it is, text of everything else that matters) --known text?--> Pod
                                                                   \\--- else decode, parse, remember the text

Pods of one kind differ in their names, and a pod that has just been bound differs from what it was in its node.
So most of what a watch brings is recognised by its text. ``PodSource`` follows all pods and keeps a ``Pod`` of each;
its guarantees are those of ``client.informer``: revision order, no pause within a batch, differences after a relist.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import orjson

from coxswain._native.glance import glance
from coxswain.api.names import PODS
from coxswain.base import clock
from coxswain.base.garbage import making_many
from coxswain.client.interface import Client, WatchEvent
from coxswain.client.reflector import Reflector
from coxswain.scheduler import pod as pods
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.template import Templates

log = logging.getLogger(__name__)
#: Texts that are remembered: a kilobyte each, or so; and how long they may be.
_MOST_KNOWN = 2048
_LONGEST = 16 << 10
_MANY = 1000


class PodReader:
    """Makes ``Pod``s of pods' bytes."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._known: dict[bytes, Pod] = {}

    def read(self, raw: bytes) -> Pod:
        """The pod; its template is interned."""
        seen = glance(raw)
        if seen is None:
            return pods.parse(orjson.loads(raw), self._templates)
        namespace, name, uid, version, node_name, started, kind = seen
        like = self._known.get(kind)
        if like is None:
            pod = pods.parse(orjson.loads(raw), self._templates)
            # Annotations and the pod's own name are not in the text.
            alike = not pod.group_by_label and "volumes" not in pod.template.spec
            if alike and len(kind) <= _LONGEST:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.pop(next(iter(self._known)))
                self._known[kind] = pod
            return pod
        key = f"{namespace}/{name}"
        return Pod(
            key,
            uid or key,
            like.template,
            like.priority,
            node_name,
            like.scheduler_name,
            like.gated,
            like.may_preempt,
            False,
            version,
            clock.parse_time(started) if started else math.inf,
            like.nominated,
            False,
            like.group,
            0,
            False,
            like.finished,
        )


class PodHandler(Protocol):
    """Who hears of pods, in revision order; ``pods_heard`` follows each batch."""

    def pod_added(self, pod: Pod) -> None: ...

    def pod_updated(self, old: Pod, new: Pod) -> None: ...

    def pod_deleted(self, pod: Pod) -> None: ...

    def pods_heard(self) -> None: ...


class PodSource:
    """See the module's text. ``run`` follows the API server until cancelled."""

    def __init__(self, client: Client, templates: Templates, handler: PodHandler) -> None:
        self._read = PodReader(templates).read
        self._handler = handler
        self._pods: dict[str, Pod] = {}
        self._synced = asyncio.Event()
        self._reflector = Reflector(client, PODS, self)

    async def run(self) -> None:
        await self._reflector.run()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    @property
    def synced(self) -> bool:
        """Whether the first list was applied."""
        return self._synced.is_set()

    def __len__(self) -> int:
        return len(self._pods)

    def get(self, key: str) -> Pod | None:
        """The pod ``namespace/name`` as it was last told."""
        return self._pods.get(key)

    def list(self) -> Iterable[Pod]:
        """All pods; a live view, not to be held across an await."""
        return self._pods.values()

    # -- the reflector's sink --------------------------------------------------------------------

    def decode(self, raws: Sequence[bytes]) -> Sequence[Pod]:
        with making_many(to_keep=len(raws) >= _MANY):
            return [self._read(raw) for raw in raws]

    def replace(self, objects: Sequence[Pod], revision: str) -> None:
        gone = dict(self._pods)
        with making_many(to_keep=len(objects) >= _MANY):
            for pod in objects:
                gone.pop(pod.key, None)
                self._upsert(pod)
            for pod in gone.values():
                self._delete(pod)
        self._synced.set()
        self._handler.pods_heard()

    def apply(self, events: Sequence[WatchEvent]) -> str:
        revision = ""
        for event in events:
            if event.type == "BOOKMARK":
                revision = orjson.loads(event.raw)["metadata"]["resourceVersion"]
                continue
            pod = self._read(event.raw)
            revision = pod.resource_version
            if event.type == "DELETED":
                self._delete(pod)
            else:
                self._upsert(pod)
        self._handler.pods_heard()
        return revision

    def _upsert(self, pod: Pod) -> None:
        old = self._pods.get(pod.key)
        if old is not None and old.resource_version == pod.resource_version and pod.resource_version:
            return
        if old is not None and old.uid != pod.uid:
            self._delete(old)  # another pod of that name: the old one's end was not seen
            old = None
        self._pods[pod.key] = pod
        if old is None:
            self._tell(self._handler.pod_added, pod)
        else:
            self._tell(self._handler.pod_updated, old, pod)

    def _delete(self, pod: Pod) -> None:
        if self._pods.pop(pod.key, None) is not None:
            self._tell(self._handler.pod_deleted, pod)

    def _tell(self, callback: Callable[..., Any], *pods: Pod) -> None:
        try:
            callback(*pods)
        except Exception:
            log.exception("what became of pod %s could not be taken note of", pods[-1].key)
