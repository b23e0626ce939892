"""Informers: a shared, indexed copy of a resource, and handlers called for every change.

    API server --reflector--> Informer: store + indexes --> handlers (synchronous, in revision order)
                                  ^
    InformerFactory: one informer for each (resource, namespace, selectors, transform), however many ask

Guarantees:
- Objects are shared by everybody in the process: nobody may change one. Copy what you change.
- Handlers run on the loop, one after the other, after the store has the change; a batch of changes is
  applied without a pause, so nobody sees half of it. A handler that raises is logged; the rest go on.
- A handler added late first hears of everything that is there. ``on_delete`` gets the last state known,
  also of objects that went away unseen.
- After a relist, handlers hear only of differences (by resourceVersion).
- ``synced`` is true once the first list was applied.

``transform`` maps each object once, on arrival, to what the component needs: that alone is kept; as a ``Reading``
it also says what need not be parsed. The factory's default drops ``metadata.managedFields``, which no component reads and which an update may omit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, KeysView, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from coxswain.api.names import GVR, Object
from coxswain.api.partial import reader, whole
from coxswain.base.garbage import making_many
from coxswain.base.tasks import Supervisor
from coxswain.client.interface import Client, WatchEvent
from coxswain.client.reflector import Reflector

log = logging.getLogger(__name__)

Transform = Callable[[Object], Object]
IndexFunction = Callable[[Object], Iterable[str]]
NAMESPACE_INDEX = "namespace"
_MANY = 1000


def key_of(obj: Object) -> str:
    """``namespace/name``, or ``name`` for cluster-scoped objects."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of a key; the namespace is empty for cluster-scoped objects."""
    namespace, slash, name = key.rpartition("/")
    return (namespace, name) if slash else ("", key)


def without_managed_fields(obj: Object) -> Object:
    """The default transform: ``obj`` (changed in place) without ``metadata.managedFields``."""
    obj["metadata"].pop("managedFields", None)
    return obj


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A transform that says how much it reads: ``read`` parses no more than that of an object's JSON."""

    read: Callable[[bytes], Object]
    transform: Transform

    def __call__(self, obj: Object) -> Object:
        return self.transform(obj)


def _metadata_alone(obj: Object) -> Object:
    meta = {name: obj["metadata"][name] for name in _METADATA if name in obj["metadata"]}
    return {"apiVersion": obj.get("apiVersion", ""), "kind": obj.get("kind", ""), "metadata": meta}


_METADATA = (
    *("name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"),
    *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "ownerReferences", "finalizers"),
)
#: A transform for those who look at names, labels, owners and finalizers only.
only_metadata = Reading(
    reader({**whole("apiVersion", "kind"), "metadata": whole(*_METADATA)}), _metadata_alone
)


@dataclass(frozen=True, slots=True)
class Handler:
    """Callbacks of one component; any may be None. ``on_batch`` is called after each applied batch."""

    on_add: Callable[[Object], Any] | None
    on_update: Callable[[Object, Object], Any] | None
    on_delete: Callable[[Object], Any] | None
    on_batch: Callable[[], Any] | None = None


class Index:
    """Objects' keys by what a function says of the object."""

    def __init__(self, function: IndexFunction) -> None:
        self.function = function
        self.keys: dict[str, dict[str, None]] = {}

    def insert(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            self.keys.setdefault(value, {})[key] = None

    def drop(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            members = self.keys.get(value)
            if members is not None:
                members.pop(key, None)
                if not members:
                    del self.keys[value]

    def update(self, key: str, old: Object, new: Object) -> None:
        """``old`` has become ``new``; most changes leave an object where it is. Who keeps more than keys overrides it."""
        if tuple(self.function(old)) != tuple(self.function(new)):
            self.drop(key, old)
            self.insert(key, new)


AnyIndex = TypeVar("AnyIndex", bound=Index)


class Informer:
    """See the module's text. Made by ``InformerFactory``; also usable alone with ``run``."""

    def __init__(
        self,
        client: Client,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        transform: Transform | None = without_managed_fields,
    ) -> None:
        self.resource = resource
        self.revision = ""
        self._transform = transform
        self._parse = transform.read if isinstance(transform, Reading) else orjson.loads
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, Index] = {}
        self._handlers: list[Handler] = []
        self._synced = asyncio.Event()
        self._reflector = Reflector(
            client,
            resource,
            self,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
        )

    # ---- reading

    @property
    def synced(self) -> bool:
        """Whether the first list was applied."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: str) -> Object | None:
        """The object of ``namespace/name`` (or ``name``); shared, not to be changed."""
        return self._objects.get(key)

    def list(self) -> Iterable[Object]:
        """All objects; a live view, not to be held across an await."""
        return self._objects.values()

    def by_index(self, name: str, value: str) -> Sequence[Object]:
        """Objects for which the index function gave ``value``, in the order in which they came to have it."""
        objects = self._objects
        return [objects[key] for key in self._indexes[name].keys.get(value, ())]

    def index_values(self, name: str) -> KeysView[str]:
        """The values that some object has in an index; a live view, not to be held across an await."""
        return self._indexes[name].keys.keys()

    def in_namespace(self, namespace: str) -> Sequence[Object]:
        """Objects of a namespace (an index made on first use)."""
        if NAMESPACE_INDEX not in self._indexes:
            self.add_index(NAMESPACE_INDEX, lambda obj: (obj["metadata"].get("namespace", ""),))
        return self.by_index(NAMESPACE_INDEX, namespace)

    # ---- set-up

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Index by ``function``; an index of that name that exists already is kept."""
        self.attach_index(name, lambda: Index(function))

    def attach_index(self, name: str, make: Callable[[], AnyIndex]) -> AnyIndex:
        """An index of one's own kind, kept up to date from now on; one of that name that exists is given instead."""
        known = self._indexes.get(name)
        if known is not None:
            return known  # type: ignore[return-value]
        index = self._indexes[name] = make()
        for key, obj in self._objects.items():
            index.insert(key, obj)
        return index

    def add_handler(
        self,
        on_add: Callable[[Object], Any] | None = None,
        on_update: Callable[[Object, Object], Any] | None = None,
        on_delete: Callable[[Object], Any] | None = None,
        on_batch: Callable[[], Any] | None = None,
    ) -> Handler:
        """Call back for every change from now on, and at once for everything that is there."""
        handler = Handler(on_add, on_update, on_delete, on_batch)
        self._handlers.append(handler)
        if on_add is not None:
            for obj in list(self._objects.values()):
                self._guard(on_add, obj)
        if on_batch is not None and self.synced:
            self._guard(on_batch)
        return handler

    def remove_handler(self, handler: Handler) -> None:
        """Stop calling ``handler``."""
        self._handlers = [other for other in self._handlers if other is not handler]

    async def run(self) -> None:
        """Follow the API server until cancelled."""
        await self._reflector.run()

    # ---- the reflector's sink

    def decode(self, raws: Sequence[bytes]) -> Sequence[Object]:
        with making_many(to_keep=len(raws) >= _MANY):
            return [self._decode(raw) for raw in raws]

    def replace(self, objects: Sequence[Object], revision: str) -> None:
        self.revision = revision
        gone = set(self._objects)
        with making_many(to_keep=len(objects) >= _MANY):
            for obj in objects:
                key = key_of(obj)
                gone.discard(key)
                self._upsert(key, obj)
            for key in gone:
                self._delete(key, None)
        self._synced.set()
        self._end_batch()

    def apply(self, events: Sequence[WatchEvent]) -> str:
        revision = ""
        for event in events:
            if event.type == "BOOKMARK":
                revision = orjson.loads(event.raw)["metadata"]["resourceVersion"]
                continue
            obj = self._decode(event.raw)
            revision = obj["metadata"]["resourceVersion"]
            if event.type == "DELETED":
                self._delete(key_of(obj), obj)
            else:
                self._upsert(key_of(obj), obj)
        if revision:
            self.revision = revision
        self._end_batch()
        return revision

    # ---- inside

    def _decode(self, raw: bytes) -> Object:
        obj: Object = self._parse(raw)
        return self._transform(obj) if self._transform is not None else obj

    def _upsert(self, key: str, obj: Object) -> None:
        old = self._objects.get(key)
        if old is not None and old["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]:
            return
        if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
            self._delete(key, None)  # another object of that name: the old one's end was not seen
            old = None
        self._objects[key] = obj
        for index in self._indexes.values():
            if old is None:
                index.insert(key, obj)
            else:
                index.update(key, old, obj)
        # Twelve handlers of a hundred thousand pods: calling through another function would show.
        for handler in self._handlers:
            try:
                if old is None:
                    if handler.on_add is not None:
                        handler.on_add(obj)
                elif handler.on_update is not None:
                    handler.on_update(old, obj)
            except Exception:
                self._say_failed(handler.on_add if old is None else handler.on_update)

    def _delete(self, key: str, last: Object | None) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        for index in self._indexes.values():
            index.drop(key, old)
        for handler in self._handlers:
            if handler.on_delete is not None:
                self._guard(handler.on_delete, last or old)

    def _end_batch(self) -> None:
        for handler in self._handlers:
            if handler.on_batch is not None:
                self._guard(handler.on_batch)

    def _guard(self, callback: Callable[..., Any], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            self._say_failed(callback)

    def _say_failed(self, callback: object) -> None:
        name = getattr(callback, "__qualname__", repr(callback))
        log.exception("%s: handler %s failed", self.resource.group_resource, name)


_Key = tuple[GVR, str, str, str, Transform | None]


class Follower(Protocol):
    """What a factory runs beside informers: what a component follows a resource with in its own way."""

    @property
    def synced(self) -> bool:
        """Whether the first list was applied."""
        ...

    async def run(self) -> None:
        """Until cancelled."""
        ...

    async def wait_synced(self) -> None: ...


class InformerFactory:
    """One informer for each thing that is asked for, shared by all who ask.

    Ask for informers and add handlers first, then ``await start()`` and ``await wait_for_sync()``; both
    may be repeated after asking for more. ``stop`` ends them all.
    """

    def __init__(self, client: Client, name: str = "informers") -> None:
        self.client = client
        self._informers: dict[_Key, Informer] = {}
        self._tasks: dict[_Key, asyncio.Task[Any]] = {}
        self._followers: dict[str, Follower] = {}
        self._running: list[Follower] = []
        self._supervisor = Supervisor(name)

    def informer(
        self,
        resource: GVR,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        transform: Transform | None = without_managed_fields,
    ) -> Informer:
        """The shared informer; it runs after the next ``start``."""
        key = (resource, namespace, label_selector, field_selector, transform)
        if key not in self._informers:
            self._informers[key] = Informer(
                self.client,
                resource,
                namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                transform=transform,
            )
        return self._informers[key]

    def all(self) -> Sequence[Informer]:
        """Every informer that was asked for."""
        return list(self._informers.values())

    def follow(self, name: str, follower: Follower) -> None:
        """Run ``follower`` too, from the next ``start`` on."""
        self._followers[name] = follower

    async def start(self) -> None:
        """Run every informer that does not run yet."""
        for key, informer in self._informers.items():
            if key not in self._tasks:
                self._tasks[key] = self._supervisor.supervise(key[0].group_resource, informer.run)
        for name, follower in self._followers.items():
            if follower not in self._running:
                self._running.append(follower)
                self._supervisor.supervise(name, follower.run)

    async def wait_for_sync(self) -> None:
        """Return when every informer that runs has its first list."""
        for key in list(self._tasks):
            await self._informers[key].wait_synced()
        for follower in self._running:
            await follower.wait_synced()

    @property
    def synced(self) -> bool:
        """Whether some run, and all that run have their first list."""
        running = [*(self._informers[key] for key in self._tasks), *self._running]
        return bool(running) and all(one.synced for one in running)

    async def forget(self, informer: Informer) -> None:
        """Stop one informer and drop it (its resource is no longer served)."""
        for key, known in list(self._informers.items()):
            if known is informer:
                del self._informers[key]
                task = self._tasks.pop(key, None)
                if task is not None:
                    task.cancel()
                    await asyncio.wait([task])

    async def stop(self) -> None:
        """End every informer; returns when all have ended."""
        await self._supervisor.close()
