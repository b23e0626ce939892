"""A Lookup over plain dicts, for tests of what reads the cluster synchronously."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from coxswain.api.names import GVR, Object


class DictLookup:
    """``put`` objects in; every change moves the resource's generation."""

    def __init__(self) -> None:
        self.objects: dict[GVR, dict[tuple[str, str], Object]] = {}
        self.generations: dict[GVR, int] = {}
        self.gets = 0
        self.listeners: dict[GVR, list[Callable[[], None]]] = {}

    def put(self, gvr: GVR, name: str, namespace: str = "", **parts: Any) -> Object:
        meta = {"name": name, "uid": f"uid-{name}", **parts.pop("metadata", {})}
        if namespace:
            meta["namespace"] = namespace
        obj: Object = {"metadata": meta, **parts}
        self.objects.setdefault(gvr, {})[namespace, name] = obj
        self._touch(gvr)
        return obj

    def drop(self, gvr: GVR, name: str, namespace: str = "") -> None:
        del self.objects[gvr][namespace, name]
        self._touch(gvr)

    def _touch(self, gvr: GVR) -> None:
        self.generations[gvr] = self.generations.get(gvr, 0) + 1
        for changed in self.listeners.get(gvr, ()):
            changed()

    def get(self, gvr: GVR, namespace: str, name: str) -> Object | None:
        self.gets += 1
        return self.objects.get(gvr, {}).get((namespace, name))

    def list(self, gvr: GVR, namespace: str = "") -> Iterable[Object]:
        found = self.objects.get(gvr, {})
        return [obj for key, obj in sorted(found.items()) if not namespace or key[0] == namespace]

    def raw(self, gvr: GVR, namespace: str, name: str) -> bytes | None:
        obj = self.get(gvr, namespace, name)
        return None if obj is None else orjson.dumps(obj)

    def labels(self, gvr: GVR, namespace: str, name: str) -> Mapping[str, str]:
        obj = self.get(gvr, namespace, name)
        return (obj or {"metadata": {}})["metadata"].get("labels") or {}

    def generation(self, gvr: GVR) -> int:
        return self.generations.get(gvr, 0)

    def on_change(self, gvr: GVR, changed: Callable[[], None]) -> None:
        self.listeners.setdefault(gvr, []).append(changed)
