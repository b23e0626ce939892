"""What a controller wrote itself and its cache may not show yet.

A status that counts (a Job's) is a record: who decides from an older record decides again what was decided. So a
key rests until the cache has caught up with our own last write (Kubernetes' StaleControllerConsistency):

    wrote(key, answer)        the cache has to reach the answer's revision
    unsure(key)               a write failed, and may have been done: the next look asks the server first
    await caught_up(...)      False: leave the key alone, the watch event of the write will queue it

``OwnDeletions`` does the same for what was deleted for a key: until the cache shows it going or gone, it looks as
healthy as ever. ``OwnDependents`` does it for what was written below a key, into a cache of another kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, Object
from coxswain.client.informer import Informer
from coxswain.client.interface import Client


class OwnWrites:
    """Revisions of our last writes, by key."""

    def __init__(self, client: Client, resource: GVR) -> None:
        self._client = client
        self._resource = resource
        self._revisions: dict[str, int] = {}
        self._unsure: set[str] = set()

    def wrote(self, key: str, answer: Object) -> None:
        """A write of ours was answered with ``answer``."""
        self._revisions[key] = int(meta.resource_version(answer))

    def unsure(self, key: str) -> None:
        """A write of ours failed."""
        self._unsure.add(key)

    async def caught_up(self, key: str, cached: Object) -> bool:
        """Whether ``cached`` is at least what we know to have been written. Raises ``ApiError``."""
        if key in self._unsure:
            try:
                live = await self._client.get(self._resource, meta.name(cached), meta.namespace(cached))
            except NotFound:
                return False
            self._unsure.discard(key)
            self.wrote(key, live)
        if int(meta.resource_version(cached)) < self._revisions.get(key, 0):
            return False
        self._revisions.pop(key, None)
        return True

    def forget(self, key: str) -> None:
        """The object is gone."""
        self._revisions.pop(key, None)
        self._unsure.discard(key)


class OwnDeletions:
    """Uids of what we deleted for a key, and of what we may have."""

    def __init__(self, client: Client, resource: GVR) -> None:
        self._client = client
        self._resource = resource
        self._sure: dict[str, set[str]] = {}
        self._unsure: dict[str, set[str]] = {}

    def deleted(self, key: str, uid: str) -> None:
        """A deletion of ours was accepted, or came too late."""
        self._sure.setdefault(key, set()).add(uid)

    def unsure(self, key: str, uid: str) -> None:
        """A deletion of ours failed."""
        self._unsure.setdefault(key, set()).add(uid)

    async def caught_up(self, key: str, cached: Iterable[Object]) -> bool:
        """Whether ``cached``, all that the key has, shows as whole only what is. Raises ``ApiError``."""
        sure, unsure = self._sure.get(key), self._unsure.get(key)
        if not sure and not unsure:
            return True
        whole = {meta.uid(obj): obj for obj in cached if not meta.is_terminating(obj)}
        for uid in sorted((unsure or set()) & whole.keys()):
            if await self._is_going(whole[uid]):
                self.deleted(key, uid)
        self._unsure.pop(key, None)
        if still := self._sure.pop(key, set()) & whole.keys():
            self._sure[key] = still
        return not still

    async def _is_going(self, obj: Object) -> bool:
        try:
            live = await self._client.get(self._resource, meta.name(obj), meta.namespace(obj))
        except NotFound:
            return True
        return meta.uid(live) != meta.uid(obj) or meta.is_terminating(live)

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._sure.pop(key, None)
        self._unsure.pop(key, None)


class OwnDependents:
    """Revisions up to which an informer has to come before it shows what was written for a key."""

    def __init__(self, client: Client, informer: Informer) -> None:
        self._client = client
        self._informer = informer
        self._revisions: dict[str, int] = {}
        self._unsure: dict[str, dict[str, Object]] = {}

    def wrote(self, key: str, answer: Object) -> None:
        """A creation or an update of ours was answered with ``answer``."""
        self._revisions[key] = max(self._revisions.get(key, 0), int(meta.resource_version(answer)))

    def unsure(self, key: str, obj: Object) -> None:
        """Writing ``obj`` failed."""
        self._unsure.setdefault(key, {})[meta.name(obj)] = obj

    async def caught_up(self, key: str) -> bool:
        """Whether the informer shows at least what we know to have been written. Raises ``ApiError``."""
        for name, obj in list(self._unsure.get(key, {}).items()):
            try:
                self.wrote(key, await self._client.get(self._informer.resource, name, meta.namespace(obj)))
            except NotFound:
                pass  # and if it was there in between: the cache need not see it
            del self._unsure[key][name]
        self._unsure.pop(key, None)
        if self._revisions.get(key, 0) > int(self._informer.revision or 0):
            return False
        self._revisions.pop(key, None)
        return True

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._revisions.pop(key, None)
        self._unsure.pop(key, None)
