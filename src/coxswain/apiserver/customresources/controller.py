"""Follows the CustomResourceDefinitions: accepts names, installs resources, removes them with all objects.

    written, new      names judged, resources installed, then the status says Established
    changed           resources installed anew; nobody's watch ends
    being deleted     status Terminating, objects deleted through the pipeline, then the finalizer taken off
    gone              resources removed; definitions that waited for its names are looked at again

Definitions are handled one at a time, in the order of their changes. Waiting for the objects of a deleted definition (they
may have finalizers) is a task of its own. ``start`` installs what is established already, before any request comes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import orjson

from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS, GVR, Object
from coxswain.apiserver.admission.webhooks.client import Caller, HttpCaller
from coxswain.apiserver.customresources import definitions, entries
from coxswain.apiserver.customresources.definitions import CLEANUP, Version
from coxswain.apiserver.customresources.published import Published
from coxswain.apiserver.customresources.remote import Converter
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.apiserver.watchcache import ResourceCache
from coxswain.apiserver.watchers import Scope, Watcher
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Answer, Call, UserInfo

log = logging.getLogger(__name__)

_MANAGER: Final = {"fieldManager": "kube-apiserver"}
_QUEUE: Final = 65536
_ATTEMPTS: Final = 10
#: Seconds between looks at whether the objects of a deleted definition are gone: the first, and the longest.
_FIRST_LOOK, _LONGEST_LOOK = 0.05, 5.0


class Controller:
    """See the module's text. ``published`` is what clients learn of custom resources now."""

    def __init__(self, pipeline: Pipeline, user: UserInfo, *, caller: Caller | None = None) -> None:
        """``user``: in whose name statuses are written and objects deleted; ``caller``: how webhooks are reached."""
        self._caller = caller or HttpCaller()
        self.published = Published()
        self._pipeline = pipeline
        self._registry = pipeline.core.registry
        self._user = user
        self._installed: dict[str, list[Version]] = {}
        self._states: dict[str, bytes] = {}
        self._cleanups: dict[str, asyncio.Task[None]] = {}

    # -- life

    def start(self) -> None:
        """Install every definition that is established already."""
        for definition in list(self._registry.lookup.list(CUSTOM_RESOURCE_DEFINITIONS)):
            if definitions.is_true(definition, "Established"):
                self._install(definition)

    async def run(self) -> None:
        """Follow the definitions until cancelled."""
        try:
            while True:
                await self._follow()
        finally:
            for task in list(self._cleanups.values()):
                await cancel_and_wait(task)
            self._cleanups.clear()
            await self._caller.close()

    async def _follow(self) -> None:
        cache = self._cache()
        wake = asyncio.Event()
        watcher = Watcher(Scope(), limit=_QUEUE)
        watcher.on_ready = wake.set
        cache.subscribe(watcher, None)
        try:
            names = {item.name for item in cache.scan()} | set(self._installed)
            while not watcher.ended:
                for name in sorted(names):
                    await self._sync(name)
                await wake.wait()
                wake.clear()
                names = {
                    delivery.event.item.name for delivery in watcher.drain() if delivery.event is not None
                }
        finally:
            cache.unsubscribe(watcher)
        if watcher.failure is None:
            await asyncio.Event().wait()  # the server is stopping, and so will this task

    def _cache(self) -> ResourceCache:
        entry = self._registry.get(CUSTOM_RESOURCE_DEFINITIONS)
        assert entry is not None and entry.cache is not None
        return entry.cache

    # -- one definition

    async def _sync(self, name: str) -> None:
        try:
            await self._judge(name)
        except Exception:
            log.exception("could not serve the definition %s; the next change of it tries again", name)

    async def _judge(self, name: str) -> None:
        definition = self._registry.lookup.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
        if definition is None:
            group = self._remove(name)
            if group:
                await self._judge_group(group)
            return
        if definition["metadata"].get("deletionTimestamp"):
            self._clean_up(name, definition)
            return
        others = self._others(definition)
        status = definitions.decide_status(definition, others, clock.timestamp())
        wanted = {**definition, "status": status} if status is not None else definition
        if definitions.is_true(wanted, "Established"):
            self._install(wanted)
        if status is not None:
            await self._write_status(name, definition, status)
            await self._judge_group(definition["spec"]["group"], name)

    def _others(self, definition: Object) -> list[Object]:
        group, name = definition["spec"]["group"], definition["metadata"]["name"]
        found = self._registry.lookup.list(CUSTOM_RESOURCE_DEFINITIONS)
        return [
            other for other in found if other["spec"]["group"] == group and other["metadata"]["name"] != name
        ]

    async def _judge_group(self, group: str, without: str = "") -> None:
        """Names may have become free: look again at definitions whose names were refused."""
        for other in list(self._registry.lookup.list(CUSTOM_RESOURCE_DEFINITIONS)):
            name = other["metadata"]["name"]
            if other["spec"]["group"] != group or name == without:
                continue
            if other["metadata"].get("deletionTimestamp") or definitions.is_true(other, "NamesAccepted"):
                continue
            status = definitions.decide_status(other, self._others(other), clock.timestamp())
            if status is not None:
                if definitions.is_true({"status": status}, "Established"):
                    self._install({**other, "status": status})
                await self._write_status(name, other, status)

    async def _write_status(self, name: str, definition: Object, status: Object) -> bool:
        """Write the status; False when somebody was quicker (then the change comes by again)."""
        answer = await self._update({**definition, "status": status}, name, "status")
        if answer.code >= 400 and answer.code not in (404, 409):
            log.warning("status of definition %s: %s", name, orjson.loads(answer.body).get("message"))
        return answer.code < 400

    async def _update(self, definition: Object, name: str, subresource: str) -> Answer:
        call = Call(
            "update",
            CUSTOM_RESOURCE_DEFINITIONS,
            "",
            name,
            subresource=subresource,
            query=_MANAGER,
            body=orjson.dumps(definition),
        )
        return await self._pipeline.call(call, self._user)

    # -- installation

    def _install(self, definition: Object) -> None:
        name = definition["metadata"]["name"]
        terminating = bool(definition["metadata"].get("deletionTimestamp"))
        status = definition.get("status") or {}
        state = orjson.dumps(
            [definition["spec"], status.get("acceptedNames"), status.get("storedVersions"), terminating]
        )
        if self._states.get(name) == state:
            return
        versions = definitions.versions(definition, terminating=terminating)
        storage = self._registry.storage
        if versions:
            spec = entries.cache_spec(versions)
            cache = storage.caches.get(spec.prefix)
            if cache is None:
                storage.add(spec)
            elif cache.spec.field_names != spec.field_names:
                cache.respecify(spec)
        made = entries.entries(definition, versions, self._converter(definition))
        kept = {entry.gvr for entry in made}
        old = self._installed.get(name, [])
        for entry in made:
            self._registry.add(entry)
        for version in old:
            if version.resource.gvr not in kept:
                self._registry.remove(version.resource.gvr)
        self._pipeline.forget([version.resource.gvr for version in old])
        self._installed[name] = versions
        self._states[name] = state
        self._publish()

    def _converter(self, definition: Object) -> Converter | None:
        if not entries.by_webhook(definition):
            return None
        return Converter(definition, self._registry.lookup, self._caller, new_uid)

    def _remove(self, name: str) -> str:
        """Serve the definition's resources no longer; its group, if there was one."""
        self._states.pop(name, None)
        task = self._cleanups.pop(name, None)
        if task is not None and not task.done():
            task.cancel()
        versions = self._installed.pop(name, None)
        if versions is None:
            return name.partition(".")[2]
        gvrs = [version.resource.gvr for version in versions]
        for gvr in gvrs:
            self._registry.remove(gvr)
        self._pipeline.forget(gvrs)
        self._publish()
        return name.partition(".")[2]

    def _publish(self) -> None:
        self.published = Published(version for versions in self._installed.values() for version in versions)

    # -- removal

    def _clean_up(self, name: str, definition: Object) -> None:
        if CLEANUP not in (definition["metadata"].get("finalizers") or ()):
            return
        running = self._cleanups.get(name)
        if running is not None and not running.done():
            return
        if name in self._installed:
            self._install(definition)
        loop = asyncio.get_running_loop()
        self._cleanups[name] = loop.create_task(self._empty(name), name=f"clean up {name}")

    async def _empty(self, name: str) -> None:
        """Delete all objects, wait until they are gone, then let the definition go."""
        try:
            await self._condition(
                name, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
            )
            if name not in self._installed:
                done = ("NeverEstablished", "resource was never established")
            else:
                await self._delete_objects(name)
                done = ("InstanceDeletionCompleted", "removed all instances")
            await self._condition(name, "False", *done, release=True)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("could not remove the objects of definition %s", name)

    async def _delete_objects(self, name: str) -> None:
        versions = self._installed[name]
        wait = _FIRST_LOOK
        while versions:
            gvr = versions[0].resource.gvr
            namespaces = self._namespaces(gvr)
            if not namespaces:
                return
            for namespace in namespaces:
                answer = await self._pipeline.call(Call("deletecollection", gvr, namespace), self._user)
                if answer.code >= 400:
                    message = orjson.loads(answer.body).get("message")
                    log.warning("objects of definition %s in %r: %s", name, namespace, message)
            if not self._namespaces(gvr):
                return
            await clock.sleep(wait)
            wait = min(wait * 2, _LONGEST_LOOK)

    def _namespaces(self, gvr: GVR) -> list[str]:
        """Where there are objects; the empty name for cluster-scoped ones."""
        entry = self._registry.get(gvr)
        if entry is None or entry.cache is None:
            return []
        return sorted({item.namespace for item in entry.cache.scan()})

    async def _condition(
        self, name: str, value: str, reason: str, message: str, *, release: bool = False
    ) -> None:
        for _ in range(_ATTEMPTS):
            definition = self._registry.lookup.get(CUSTOM_RESOURCE_DEFINITIONS, "", name)
            if definition is None:
                return
            status = definitions.with_condition(
                definition.get("status") or {}, "Terminating", value, reason, message, clock.timestamp()
            )
            if release:
                metadata = dict(definition["metadata"])
                metadata["finalizers"] = [found for found in metadata["finalizers"] if found != CLEANUP]
                definition = {**definition, "metadata": metadata}
            if await self._write_status(name, definition, status):
                return
