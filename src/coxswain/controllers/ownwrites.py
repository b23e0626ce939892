"""What a controller wrote itself and its cache may not show yet.

A status that counts (a Job's) is a record: who decides from an older record decides again what was decided. So a
key rests until the cache has caught up with our own last write (Kubernetes' StaleControllerConsistency):

    wrote(key, answer)        the cache has to reach the answer's revision
    unsure(key)               a write failed, and may have been done: the next look asks the server first
    await caught_up(...)      False: leave the key alone, the watch event of the write will queue it
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import GVR, Object
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
