"""Keeps the status of every ResourceQuota true.

    quotas --index: which sources each names--> Monitors: one informer for each source that some quota names
                                                   | objects come, go, or change their charge
                                                   v
      API <--status, if it changed-- reconcile <-- queue of quotas in that namespace that name that source

What is new was charged by admission, in the same status, before it existed: a count never takes back what was charged
for objects that were not seen yet (``charges``). Objects that come, and charges, make a quota be counted only when it
has been quiet for a second; changes and ends of objects are gathered for a moment: the end of a thousand pods costs
a few sums, not a thousand. Every status is counted anew after five minutes at the latest. A quota whose sources are
not all listed yet waits: half a count is worse than an old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import orjson

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, Object
from coxswain.api.quota.names import sources
from coxswain.base import clock
from coxswain.client.informer import Informer, InformerFactory, key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.resourcequota import objects
from coxswain.controllers.resourcequota.charges import Charges, grown, kept, used_of
from coxswain.controllers.resourcequota.decide import new_status, share, usage
from coxswain.controllers.served import ServedResources
from coxswain.controllers.shell import Shell

NAME = "resourcequota-controller"
RESOURCE_QUOTAS = GVR("", "v1", "resourcequotas")

#: Seconds for which changes are gathered before the quotas they concern are counted.
GATHER = 0.2
#: Seconds without a charge after which a quota is counted though nothing has changed or gone.
SETTLE = 1.0
#: Objects asked for at once where the server is asked.
_PAGE = 500
_BY_SOURCE, _BY_NAMESPACE_AND_SOURCE = "counted", "counted in namespace"


class Monitors:
    """Informers of what quotas count, by source; ``changed(source, namespace, new)`` tells of every change.

    ``changed`` is called with an empty namespace when a source's first list has come; ``new`` is whether all
    that happened is that an object came. ``arrived(source, old, obj)`` is called before, for objects that came
    since the first list (``old`` is None then) or whose charge changed.
    """

    def __init__(
        self,
        context: ControllerContext,
        changed: Callable[[str, str, bool], None],
        arrived: Callable[[str, Object | None, Object], None],
    ) -> None:
        self._arrived = arrived
        self._own = InformerFactory(context.informers.client, "resource quota controller's informers")
        self._changed = changed
        self._informers: dict[str, Informer] = {}

    async def watch(self, source: str, resource: GVR) -> Informer:
        """The informer for ``source``, started now if there was none (of this version)."""
        informer = self._informers.get(source)
        if informer is not None and informer.resource == resource:
            return informer
        informer = self._own.informer(resource, transform=objects.transform_of(source))
        replaced = self._informers.pop(source, None)
        self._informers[source] = informer
        informer.add_handler(
            lambda obj: self._came(source, obj, informer.synced),
            lambda old, obj: self._updated(source, old, obj),
            lambda obj: self._tell(source, obj),
            partial(self._listed, source, set()),
        )
        await self._own.start()
        if replaced is not None:
            await self._own.forget(replaced)
        return informer

    async def keep_only(self, wanted: Callable[[str], bool]) -> None:
        """Stop watching what is not wanted any more."""
        for source in list(self._informers):
            # Asked anew each time: others work while one informer ends.
            if source in self._informers and not wanted(source):
                await self._own.forget(self._informers.pop(source))

    async def stop(self) -> None:
        """End every informer."""
        await self._own.stop()

    def _came(self, source: str, obj: Object, since_listed: bool) -> None:
        if since_listed:
            self._arrived(source, None, obj)
        self._tell(source, obj, new=True)

    def _updated(self, source: str, old: Object, obj: Object) -> None:
        if not objects.same_charge(old, obj):
            self._arrived(source, old, obj)
            self._tell(source, obj)

    def _tell(self, source: str, obj: Object, *, new: bool = False) -> None:
        self._changed(source, meta.namespace(obj), new)

    def _listed(self, source: str, told: set[str]) -> None:
        if source not in told:
            told.add(source)
            self._changed(source, "", False)


class ResourceQuotaController:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._served = ServedResources(context.informers)
        self._monitors = Monitors(context, self._wake, self._arrived)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._quotas = context.informers.informer(RESOURCE_QUOTAS)
        self._quotas.add_index(_BY_SOURCE, sources)
        self._quotas.add_index(_BY_NAMESPACE_AND_SOURCE, _namespaced_sources)
        #: Quotas to count at once; when others were last charged; and what is held for objects to come.
        self._urgent: set[str] = set()
        self._charged: dict[str, float] = {}
        self._charges: dict[str, Charges] = {}
        self._quotas.add_handler(self._quota_added, self._quota_updated, self._deleted)
        self._served.definitions.add_handler(
            self._definition_changed, lambda _, new: self._definition_changed(new), self._definition_changed
        )

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await self._informers.start()
            await self._quotas.wait_synced()
            await self._served.definitions.wait_synced()
            await self._shell.run()
        finally:
            await self._monitors.stop()

    # -- events --------------------------------------------------------------------------------------------

    def _add(self, quota: Object) -> None:
        self._count_soon(key_of(quota), 0.0)

    def _deleted(self, quota: Object) -> None:
        self._charged.pop(key_of(quota), None)
        self._charges.pop(key_of(quota), None)
        self._add(quota)

    def _quota_added(self, quota: Object) -> None:
        charges = self._charges[key_of(quota)] = Charges()
        charges.seen(quota, clock.monotonic())
        self._add(quota)

    def _quota_updated(self, old: Object, quota: Object) -> None:
        self._charges[key_of(quota)].seen(quota, clock.monotonic())
        if old.get("spec") != quota.get("spec"):
            self._add(quota)
        elif old.get("status") != quota.get("status"):
            self._count_when_quiet(key_of(quota))

    def _arrived(self, source: str, old: Object | None, obj: Object) -> None:
        """An object came, or changed what it is charged: what was held for it is not any more."""
        revision = int(meta.resource_version(obj))
        for quota in self._quotas.by_index(_BY_NAMESPACE_AND_SOURCE, f"{meta.namespace(obj)}/{source}"):
            before = share(quota, source, old) if old is not None else {}
            more = grown(before, share(quota, source, obj))
            if more:
                self._charges[key_of(quota)].arrived(revision, more)

    def _wake(self, source: str, namespace: str, new: bool) -> None:
        """Count soon what concerns ``source`` in a namespace, or in all of them."""
        if not namespace:
            for quota in self._quotas.by_index(_BY_SOURCE, source):
                self._add(quota)
            return
        for quota in self._quotas.by_index(_BY_NAMESPACE_AND_SOURCE, f"{namespace}/{source}"):
            if new:
                self._count_when_quiet(key_of(quota))
            else:
                self._count_soon(key_of(quota), GATHER)

    def _count_soon(self, key: str, delay: float) -> None:
        self._urgent.add(key)
        self._shell.add_after(key, delay) if delay else self._shell.add(key)

    def _count_when_quiet(self, key: str) -> None:
        """Count ``SETTLE`` seconds after the last such call."""
        self._charged[key] = clock.monotonic()
        self._shell.add_after(key, SETTLE)

    def _definition_changed(self, definition: Object) -> None:
        spec = definition["spec"]
        self._wake(f"{spec['names']['plural']}.{spec['group']}", "", False)

    # -- reconcile -----------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        """Count what is in use of one quota, and write it if that is news."""
        if key not in self._urgent:
            wait = self._charged.get(key, 0.0) + SETTLE - clock.monotonic()
            return wait if wait > 0 else await self._count(key)
        self._urgent.discard(key)
        try:
            return await self._count(key)
        except BaseException:
            self._urgent.add(key)
            raise

    async def _count(self, key: str) -> float | None:
        await self._monitors.keep_only(self._is_wanted)
        quota = self._quotas.get(key)
        if quota is None:
            return None
        charges = self._charges[key]
        informers = await self._monitored(quota)
        if informers is None:
            return None  # the first list of what is missing wakes it
        reached = {source: int(informer.revision or 0) for source, informer in informers.items()}
        now = clock.monotonic()  # one for all: what is not doubted now is held, though it ages while we ask
        doubted = charges.settle(reached, now) & informers.keys()
        listed = await self._asked(quota, {source: informers[source] for source in doubted}, charges, now)
        # What was charged while we waited is in the newest quota: an older one may not be written any more.
        newest = self._quotas.get(key)
        if newest is None or not _asks_the_same(newest, quota):
            return None  # its event wakes it
        quota, namespace = newest, meta.namespace(newest)
        counted: dict[str, Iterable[Object]] = dict.fromkeys(sources(quota), ())
        counted |= {source: informer.in_namespace(namespace) for source, informer in informers.items()}
        used, again = usage(quota, counted | listed, clock.now())
        used = kept(used, used_of(quota), charges.held(now))
        await self._write(quota, new_status(quota, used), charges)
        doubt = charges.next_doubt(now)
        return again if doubt is None else min(again, doubt)

    async def _write(self, quota: Object, status: Object | None, charges: Charges) -> None:
        if status is None:
            return
        written = None
        charges.writing()
        try:
            changed = {**quota, "status": status}
            written = await self._client.update(RESOURCE_QUOTAS, changed, subresource="status")
        except NotFound:
            pass
        finally:
            charges.wrote(written)

    async def _monitored(self, quota: Object) -> dict[str, Informer] | None:
        """Informers of what the quota's limits are about, by source; None while some are not listed yet.

        Of a source that nobody serves there are none.
        """
        informers: dict[str, Informer] = {}
        for source in sources(quota):
            resource = self._resource(source)
            if resource is not None:
                informers[source] = await self._monitors.watch(source, resource)
        return informers if all(informer.synced for informer in informers.values()) else None

    async def _asked(
        self, quota: Object, informers: dict[str, Informer], charges: Charges, now: float
    ) -> dict[str, Iterable[Object]]:
        """The objects of sources whose caches are in doubt, as the server has them now."""
        found: dict[str, Iterable[Object]] = {}
        for source, informer in informers.items():
            transform, token = objects.transform_of(source), ""
            kept_objects: list[Object] = []
            while True:
                page = await self._client.list(
                    informer.resource, meta.namespace(quota), limit=_PAGE, continue_=token
                )
                kept_objects += (transform(orjson.loads(raw)) for raw in page.items)
                token = page.continue_
                if not token:
                    break
            charges.listed(source, int(page.resource_version), now)
            found[source] = kept_objects
        return found

    def _is_wanted(self, source: str) -> bool:
        return source in self._quotas.index_values(_BY_SOURCE) and self._resource(source) is not None

    def _resource(self, source: str) -> GVR | None:
        for served in self._served.all():
            if served.namespaced and served.gvr.group_resource == source and "watch" in served.verbs:
                return served.gvr
        return None


def _asks_the_same(quota: Object, other: Object) -> bool:
    return meta.uid(quota) == meta.uid(other) and quota.get("spec") == other.get("spec")


def _namespaced_sources(quota: Object) -> list[str]:
    return [f"{meta.namespace(quota)}/{source}" for source in sources(quota)]


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await ResourceQuotaController(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="resourcequota-controller")
