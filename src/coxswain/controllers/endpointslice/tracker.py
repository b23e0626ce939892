"""What was written and not yet seen: acting on an older slice would undo the newer write.

Kubernetes' ``EndpointSliceTracker``, by revision: a service is held back until the cache shows every slice
that was written for it, or until ``PATIENCE`` seconds have passed (the slice was replaced meanwhile).

A change that is seen while writes for its service are under way may be one of those: their answers come on another
stream. So it is judged when they are there.

    begin(service) --> wrote, removed ... --> end(service): did anybody else change a slice meanwhile?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock

PATIENCE = 30.0
_DELETED = 0


@dataclass(slots=True)
class _Written:
    since: float
    revisions: dict[str, int] = field(default_factory=dict)


class SliceTracker:
    """Revisions of slices by service key."""

    def __init__(self) -> None:
        self._of: dict[str, _Written] = {}
        self._under_way: dict[str, list[tuple[str, int | None]]] = {}

    def begin(self, service: str) -> None:
        """Writes for ``service`` go out now."""
        self._under_way[service] = []

    def end(self, service: str) -> bool:
        """They are answered; whether a change was seen meanwhile that is not ours."""
        seen = self._under_way.pop(service)
        return not all(self.is_ours(service, key, revision) for key, revision in seen)

    def wrote(self, service: str, endpoint_slice: Object) -> None:
        """A slice was created or updated for ``service``; ``endpoint_slice`` is the server's answer."""
        self._note(service, meta.key(endpoint_slice), int(meta.resource_version(endpoint_slice)))

    def removed(self, service: str, slice_key: str) -> None:
        """A slice was deleted for ``service``."""
        self._note(service, slice_key, _DELETED)

    def _note(self, service: str, slice_key: str, revision: int) -> None:
        written = self._of.setdefault(service, _Written(clock.monotonic()))
        written.since = clock.monotonic()
        written.revisions[slice_key] = revision

    def is_ours(self, service: str, slice_key: str, revision: int | None) -> bool:
        """Whether a change seen in the cache (``revision`` None: its deletion) is one that we made, or may be.

        The last that we made of a slice is waited for no longer, once seen.
        """
        if service in self._under_way:
            self._under_way[service].append((slice_key, revision))
            return True
        written = self._of.get(service)
        expected = written.revisions.get(slice_key) if written is not None else None
        if written is None or expected is None:
            return False
        if expected == (_DELETED if revision is None else revision):
            del written.revisions[slice_key]
            if not written.revisions:
                del self._of[service]
            return True
        return revision is not None and revision < expected

    def is_current(self, service: str, cached: Callable[[str], Object | None]) -> bool:
        """Whether the cache shows all that was written for ``service``."""
        written = self._of.get(service)
        if written is None:
            return True
        for slice_key, revision in written.revisions.items():
            found = cached(slice_key)
            seen = found is None if revision == _DELETED else _is_at(found, revision)
            if not seen and clock.monotonic() - written.since < PATIENCE:
                return False
        del self._of[service]
        return True

    def forget(self, service: str) -> None:
        """The service is gone."""
        self._of.pop(service, None)


def _is_at(found: Object | None, revision: int) -> bool:
    return found is not None and int(meta.resource_version(found)) >= revision
