"""How admission, authorization and allocators read the cluster: synchronously, from the watch cache.

A ``Lookup`` answers from memory with what every acknowledged write has left there. It never waits and
never touches the store, so it may be used inside decisions. Objects are shared: whoever asks must not
change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from coxswain.api.names import GVR, Object


class Lookup(Protocol):
    """See the module's text for the guarantees. Unknown resources are empty."""

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        """One object, or None. ``namespace`` is empty for cluster-scoped resources."""
        ...

    def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        """Objects in key order; of all namespaces when ``namespace`` is empty."""
        ...

    def raw(self, gvr: GVR, namespace: str, name: str) -> bytes | None:
        """The JSON of one object as it is served, or None."""
        ...

    def labels(self, gvr: GVR, namespace: str, name: str) -> Mapping[str, str]:
        """The labels of one object, without reading the rest of it; empty where there is none."""
        ...

    def generation(self, gvr: GVR) -> int:
        """A number that changes whenever any object of the resource changed: a cheap cache key."""
        ...

    def on_change(self, gvr: GVR, changed: Callable[[], None]) -> None:
        """Call ``changed`` after every change of the resource (before whoever made it gets an answer), for ever.

        For resources that exist from the start, and for callbacks that do next to nothing.
        """
        ...
