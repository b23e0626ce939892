"""Follows the APIServices: registers what is served here, looks at extension servers, keeps what clients learn up to date.

    start                 an APIService for each group version served here; conditions of all
    a definition changed  APIServices of custom resources
    an APIService names a Service   a task of its own: look, write the condition, read the documents; again after
                          ``probe_interval``, sooner when something failed, at once when the Service or its slices changed
    it goes, or changes   the task ends, and requests for it are answered here again

Nothing else waits for an extension server: a slow one delays no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import orjson

from coxswain.api import kinds
from coxswain.api.names import (
    CONFIGMAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    GVR,
    SERVICES,
    Object,
)
from coxswain.apiserver.aggregation import metrics, registration
from coxswain.apiserver.aggregation.availability import LOCAL, Verdict, with_condition
from coxswain.apiserver.aggregation.extensions import Extensions
from coxswain.apiserver.aggregation.merged import MergedPublished
from coxswain.apiserver.aggregation.registration import Change
from coxswain.apiserver.aggregation.remotes import Remote
from coxswain.apiserver.aggregation.settings import AggregationSettings
from coxswain.apiserver.customresources.published import Published
from coxswain.apiserver.kubelet_client import KubeletClient
from coxswain.apiserver.pipeline import Pipeline
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import Call, UserInfo

log = logging.getLogger(__name__)

API_SERVICES: Final = GVR("apiregistration.k8s.io", "v1", "apiservices")
_MANAGER: Final = {"fieldManager": "kube-apiserver"}
_AUTHENTICATION: Final = "extension-apiserver-authentication"
#: Seconds that changes which come together are gathered.
_GATHER: Final = 0.02


class Aggregator:
    """See the module's text. ``extensions`` answers requests; ``published`` says what clients learn."""

    def __init__(
        self,
        pipeline: Pipeline,
        user: UserInfo,
        client: KubeletClient,
        certificate: tuple[Path, Path],
        settings: AggregationSettings,
        *,
        request_header: dict[str, str] | None = None,
    ) -> None:
        """``certificate``: certificate and key shown to extension servers. ``user``: who writes.

        ``request_header``: what extension servers must know to believe us, for their ConfigMap in kube-system.
        """
        self.extensions = Extensions(pipeline)
        self._pipeline = pipeline
        self._lookup = pipeline.core.registry.lookup
        self._user = user
        self._client = client
        self._certificate = certificate
        self._settings = settings
        self._request_header = request_header or {}
        self._changed = asyncio.Event()
        self._followers: dict[str, _Follower] = {}
        self._merged: MergedPublished | None = None
        self._registered = False
        #: By definition: its revision, and the APIServices that it wants.
        self._definitions: dict[str, tuple[int, dict[str, Object]]] = {}

    # -- what clients learn

    def published(self, base: Published) -> Published:
        """``base`` with what extension servers serve."""
        remotes = self.extensions.remotes
        if not remotes:
            self._merged = None
            return base
        if self._merged is None or self._merged.base is not base:
            self._merged = MergedPublished(
                base, [(one.as_served(), one.documents) for one in remotes.values()]
            )
        return self._merged

    def forget_published(self) -> None:
        """Something that clients learn has changed."""
        self._merged = None

    # -- life

    async def run(self) -> None:
        """Follow the APIServices until cancelled."""
        for resource in (API_SERVICES, CUSTOM_RESOURCE_DEFINITIONS):
            self._lookup.on_change(resource, self._changed.set)
        for resource in (SERVICES, ENDPOINT_SLICES, ENDPOINTS):
            self._lookup.on_change(resource, self._backends_changed)
        try:
            await self._publish_request_header()
            while True:
                self._changed.clear()
                await self._register()
                await self._sync()
                await self._changed.wait()
                await clock.sleep(_GATHER)
        finally:
            for name in list(self._followers):
                await self._drop(name)

    def _backends_changed(self) -> None:
        for follower in self._followers.values():
            follower.look_soon()

    # -- what is served here

    async def _register(self) -> None:
        existing = {one["metadata"]["name"]: one for one in self._lookup.list(API_SERVICES)}
        wanted = registration.built_in({found.gvr[:2] for found in kinds.resources()})
        wanted |= self._custom_services()
        changes = registration.decide(existing, wanted, at_start=not self._registered)
        if changes:
            answers = await self._pipeline.exchange([_call(change) for change in changes], self._user)
            for change, answer in zip(changes, answers, strict=True):
                if answer.code >= 400 and answer.code not in (404, 409):
                    log.warning("%s APIService %s: %s", change.verb, change.name, answer.body.decode())
        self._registered = True

    def _custom_services(self) -> dict[str, Object]:
        """The APIServices of custom resources. Definitions are long: only changed ones are read again."""
        entry = self._pipeline.core.registry.get(CUSTOM_RESOURCE_DEFINITIONS)
        assert entry is not None and entry.cache is not None
        known, self._definitions = self._definitions, {}
        found: dict[str, Object] = {}
        for item in entry.cache.scan():
            one = known.get(item.key)
            if one is None or one[0] != item.revision:
                one = (item.revision, registration.custom([item.decode()]))
            self._definitions[item.key] = one
            found |= one[1]
        return found

    async def _sync(self) -> None:
        """Conditions of local APIServices; a follower for each of the others."""
        statuses: list[Call] = []
        seen: set[str] = set()
        for service in list(self._lookup.list(API_SERVICES)):
            name = service["metadata"]["name"]
            if (service.get("spec") or {}).get("service") is None:
                status = with_condition(service, LOCAL, clock.timestamp())
                if status is not None:
                    statuses.append(_status_call(service, status))
                continue
            seen.add(name)
            follower = self._followers.get(name)
            if follower is not None and follower.remote.spec == service["spec"]:
                continue
            if follower is not None:
                await self._drop(name)
            self._add(name, service)
        for name in self._followers.keys() - seen:
            await self._drop(name)
        if statuses:
            await self._pipeline.exchange(statuses, self._user)

    # -- what is served elsewhere

    def _add(self, name: str, service: Object) -> None:
        remote = Remote(service, self._lookup, self._client, self._certificate, self._settings)
        self.extensions.remotes[remote.group, remote.version] = remote
        self.forget_published()
        follower = self._followers[name] = _Follower(self, remote, self._settings)
        follower.start()

    async def _drop(self, name: str) -> None:
        follower = self._followers.pop(name)
        remote = follower.remote
        if self.extensions.remotes.get((remote.group, remote.version)) is remote:
            del self.extensions.remotes[remote.group, remote.version]
            with contextlib.suppress(KeyError):
                metrics.UNAVAILABLE.remove(remote.name)
        self.forget_published()
        await follower.stop()

    async def write(self, name: str, verdict: Verdict) -> None:
        """Put a verdict into an APIService's status."""
        service = self._lookup.get(API_SERVICES, "", name)
        if service is None:
            return
        status = with_condition(service, verdict, clock.timestamp())
        if status is None:
            return
        log.info("APIService %s: %s (%s)", name, verdict.reason, verdict.message)
        answer = await self._pipeline.call(_status_call(service, status), self._user)
        if answer.code >= 400 and answer.code not in (404, 409):
            log.warning("status of APIService %s: %s", name, answer.body.decode())

    async def _publish_request_header(self) -> None:
        """Tell extension servers whose certificate to believe, and in which headers the user's name is."""
        found = self._lookup.get(CONFIGMAPS, "kube-system", _AUTHENTICATION)
        if not self._request_header or found is None:
            return
        data = {**(found.get("data") or {}), **self._request_header}
        if data != found.get("data"):
            call = Call(
                "update",
                CONFIGMAPS,
                "kube-system",
                _AUTHENTICATION,
                query=_MANAGER,
                body=orjson.dumps({**found, "data": data}),
            )
            await self._pipeline.call(call, self._user)


class _Follower:
    """Looks at one extension server, again and again."""

    def __init__(self, aggregator: Aggregator, remote: Remote, settings: AggregationSettings) -> None:
        self.remote = remote
        self._aggregator = aggregator
        self._settings = settings
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._read_at = 0.0

    def start(self) -> None:
        """Begin; ``stop`` ends it."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"follow {self.remote.name}")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            await cancel_and_wait(self._task)

    def look_soon(self) -> None:
        """What is behind the Service may have changed."""
        self._soon.set()

    async def _run(self) -> None:
        wait = self._settings.retry_interval
        while True:
            self._soon.clear()
            try:
                await self._look()
            except Exception:
                log.exception("could not look at %s; trying again", self.remote.name)
            good = self.remote.available and self.remote.fresh
            wait = self._settings.retry_interval if good else min(wait * 2, self._settings.probe_interval)
            try:
                async with asyncio.timeout(self._settings.probe_interval if good else wait):
                    await self._soon.wait()
                    # A roll-out changes slices many times: one look is enough for what comes together.
                    await clock.sleep(self._settings.gather)
            except TimeoutError:
                pass

    async def _look(self) -> None:
        remote = self.remote
        verdict = await remote.look()
        before = remote.available
        remote.available = verdict.ok
        metrics.UNAVAILABLE.labels(remote.name).set(not verdict.ok)
        if not verdict.ok:
            if before:
                metrics.LOST.labels(remote.name, verdict.reason).inc()
            if remote.fresh:
                remote.fresh = False
                self._aggregator.forget_published()
        elif not before or not remote.fresh or clock.monotonic() >= self._read_at:
            self._read_at = clock.monotonic() + self._settings.refresh_interval
            if await remote.read_documents():
                self._aggregator.forget_published()
        # Last: who waits for the condition finds discovery up to date.
        await self._aggregator.write(remote.name, verdict)


def _call(change: Change) -> Call:
    if change.verb == "delete":
        options = {"preconditions": {"uid": change.object["metadata"]["uid"]}}
        return Call("delete", API_SERVICES, "", change.name, body=orjson.dumps(options))
    name = "" if change.verb == "create" else change.name
    return Call(
        change.verb,  # type: ignore[arg-type]
        API_SERVICES,
        "",
        name,
        query=_MANAGER,
        body=orjson.dumps(change.object),
    )


def _status_call(service: Object, status: Object) -> Call:
    body = orjson.dumps({**service, "status": status})
    return Call("update", API_SERVICES, "", service["metadata"]["name"], "status", _MANAGER, body)


def request_header_data(
    authority: bytes,
    names: Iterable[str],
    *,
    users: Iterable[str] = ("X-Remote-User",),
    uids: Iterable[str] = ("X-Remote-Uid",),
    groups: Iterable[str] = ("X-Remote-Group",),
    extra: Iterable[str] = ("X-Remote-Extra-",),
) -> dict[str, str]:
    """The entries of the ConfigMap ``extension-apiserver-authentication`` that concern us."""

    def listed(values: Iterable[str]) -> str:
        return orjson.dumps(list(values)).decode()

    return {
        "requestheader-allowed-names": listed(names),
        "requestheader-client-ca-file": authority.decode(),
        "requestheader-extra-headers-prefix": listed(extra),
        "requestheader-group-headers": listed(groups),
        "requestheader-uid-headers": listed(uids),
        "requestheader-username-headers": listed(users),
    }
