"""The watch cache of one resource: its objects as bytes, its recent events, its watchers.

    apply(change)      a committed change -> Event, offered to the watchers whom it may concern
    get / scan         the newest objects, in key order
    subscribe(watcher) registers it, after what happened since its revision was put into its queue

Guarantees:
- An object is kept as the JSON that GET serves, with a few facts beside it (labels, selectable fields).
- Events of a resource are offered in revision order, each once. Nobody waits for a watcher: one whose
  queue runs over is ended and has to list again.
- A watch from revision R sees every event after R, or is refused with 410 when the ring of recent events
  does not reach back that far. The ring is bounded by events and by bytes, and ``forget`` drops what is old.
- A selector is judged on the object before and after: leaving the selection is DELETED (with the object as
  it was), entering it ADDED.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson
from sortedcontainers import SortedList

from coxswain.api import errors
from coxswain.api.codec import splice_resource_version
from coxswain.api.names import Object
from coxswain.apiserver.bell import Bell
from coxswain.apiserver.watchers import Delivery, Watcher
from coxswain.store.interface import Change, Entry

_NO_LABELS: dict[str, str] = {}
#: The bucket of watchers of everything.
_EVERYWHERE = ("", "")
#: New keys that may wait to be put in order.
_MOST_UNSORTED = 4096
#: Positions of the fields that are part of the key.
_NAME, _NAMESPACE = -1, -2

#: Events that ``forget`` leaves however old they are, so that watches of quiet resources go on; as in Kubernetes.
_FEWEST = 100


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """What the cache must know of a resource.

    ``prefix`` is the store's key prefix and ends with a slash. ``field_names`` are the selectable fields
    besides metadata.name and metadata.namespace; ``field_values`` takes them from an object. ``indexed`` is
    the field of them that lists and watches are often narrowed by. ``keep_decoded`` keeps parsed objects for
    ``Lookup`` (sensible for small, often asked resources). ``shown_as`` is the group and resource that the metrics
    name.
    """

    prefix: str
    namespaced: bool
    field_names: tuple[str, ...] = ()
    field_values: Callable[[Object], tuple[str, ...]] = lambda obj: ()
    indexed: str = ""
    keep_decoded: bool = False
    shown_as: tuple[str, str] = ("", "")

    def replaced(self, fields: tuple[str, ...], name: str, value: str) -> tuple[str, ...]:
        """``fields`` of an object, of which field ``name`` now has ``value``."""
        at = self.field_names.index(name)
        return (*fields[:at], value, *fields[at + 1 :])


class Item:
    """An object at rest. ``key`` is ``namespace/name`` (or ``name``); ``raw`` carries its resourceVersion."""

    __slots__ = ("decoded", "fields", "key", "labels", "raw", "revision")

    def __init__(
        self, key: str, raw: bytes, revision: int, labels: dict[str, str], fields: tuple[str, ...]
    ) -> None:
        self.key = key
        self.raw = raw
        self.revision = revision
        self.labels = labels
        self.fields = fields
        self.decoded: Object | None = None

    @property
    def namespace(self) -> str:
        """Empty for cluster-scoped objects."""
        key = self.key
        at = key.find("/")
        return key[:at] if at >= 0 else ""

    @property
    def name(self) -> str:
        key = self.key
        return key[key.find("/") + 1 :]

    def decode(self) -> Object:
        """The object, freshly decoded: the caller's own."""
        obj: Object = orjson.loads(self.raw)
        return obj


class Fields(Mapping[str, str]):
    """What field selectors see of an item. They ask for one field or two of ten: each is looked up when asked for."""

    __slots__ = ("_item", "_positions")

    def __init__(self, item: Item, positions: Mapping[str, int]) -> None:
        self._item = item
        self._positions = positions

    def __getitem__(self, name: str) -> str:
        if name not in self._positions:
            raise KeyError(name)
        return self.get(name)

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """As of any mapping; written out because selectors call it for every event."""
        at = self._positions.get(name)
        if at is None:
            return default
        if at >= 0:
            fields = self._item.fields
            # What the ring remembers may be from before a custom resource got another selectable field.
            return fields[at] if at < len(fields) else ""
        return self._item.name if at == _NAME else self._item.namespace

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)


class Pending:
    """What a writer already knows of the bytes that it commits, so that the cache need not parse them."""

    __slots__ = ("fields", "item", "labels", "value")

    def __init__(self, value: bytes, labels: dict[str, str], fields: tuple[str, ...]) -> None:
        self.value = value
        self.labels = labels
        self.fields = fields
        #: Set by the cache when the commit has arrived there.
        self.item: Item | None = None


class Event:
    """One change. ``item`` is the object now (for a deletion as it last was, at the deletion's revision)."""

    __slots__ = ("_frames", "_previous_raw", "item", "previous", "revision", "type")

    def __init__(self, kind: str, item: Item, previous: Item | None, revision: int) -> None:
        self.type = kind
        self.item = item
        self.previous = previous
        self.revision = revision
        self._frames: dict[object, bytes] | None = None
        self._previous_raw: bytes | None = None

    def forget_frames(self) -> None:
        """Let go of what was made for watchers; one that comes later has it made again."""
        self._frames = self._previous_raw = None

    def raw(self, kind: str) -> bytes:
        """The object to show for ``kind``: leaving a selection shows it as it was, at the new revision."""
        if kind == "DELETED" and self.type == "MODIFIED" and self.previous is not None:
            if self._previous_raw is None:
                self._previous_raw = at_revision(self.previous, self.revision)
            return self._previous_raw
        return self.item.raw

    def frame(self, kind: str, render: Callable[[bytes], bytes] | None = None) -> bytes:
        """The JSON line of a watch; made once for all watchers that see the same."""
        if self._frames is None:
            self._frames = {}
        key = (kind, render)
        frame = self._frames.get(key)
        if frame is None:
            raw = self.raw(kind)
            frame = watch_frame(kind, render(raw) if render else raw)
            self._frames[key] = frame
        return frame


def at_revision(item: Item, revision: int) -> bytes:
    """The JSON of ``item`` as if it had been written at ``revision``."""
    # The server's own resourceVersion is the first: it opens metadata, and only kind and apiVersion precede it.
    return item.raw.replace(
        b'"resourceVersion":"%d"' % item.revision, b'"resourceVersion":"%d"' % revision, 1
    )


def watch_frame(kind: str, raw: bytes) -> bytes:
    """One line of a JSON watch."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), raw)


class ResourceCache:
    """See the module's text."""

    def __init__(
        self,
        spec: CacheSpec,
        *,
        revision: int,
        ring_events: int,
        ring_bytes: int = 64 << 20,
        unreadable: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``revision``: what the cache has seen so far; ``ring_events``, ``ring_bytes``: how much it remembers.

        ``unreadable``: storage keys whose values no key opens, and why; others keep it up to date.
        """
        self.spec = spec
        self._positions = _positions(spec)
        self._unreadable = unreadable
        self.items: dict[str, Item] = {}
        self.generation = 0
        #: Objects shown to watches before their first event.
        self.shown = 0
        #: Called after every change, before it is offered to watchers (see ``Lookup.on_change``).
        self.listeners: tuple[Callable[[], None], ...] = ()
        #: A watch from before this revision cannot be served any more.
        self.floor = revision
        #: The revision of the newest change here (or of the load): lists at or after it show what is here now.
        self.latest = revision
        #: Keys in order, and those that were added since somebody asked for the order.
        self._keys: SortedList[str] = SortedList()
        self._unsorted: dict[str, None] = {}
        self._ring: deque[Event] = deque()
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        #: Bytes of the objects in the ring.
        self._remembered = 0
        self._index: dict[str, dict[str, Item]] = {}
        self._index_position = spec.field_names.index(spec.indexed) if spec.indexed else -1
        # Groups keep the order of arrival, so that a seeded run repeats itself.
        self._watchers: dict[tuple[str, str], dict[Watcher, None]] = {}
        self._bell = Bell()

    def __len__(self) -> int:
        return len(self.items)

    # -- filling

    def load(self, key: str, value: bytes, revision: int) -> None:
        """Take an entry as it was at the start; no event."""
        self._put(self._item(key, value, revision, None), self.items.get(key))

    def load_all(self, entries: Sequence[Entry], revision: int) -> None:
        """Become what ``entries`` say at ``revision``: for the start, and after having lost the thread."""
        self.items.clear()
        self._index.clear()
        self._ring.clear()
        self._remembered = 0
        self.floor = self.latest = revision
        start = len(self.spec.prefix)
        for entry in entries:
            item = self._item(entry.key[start:], entry.value, entry.modified, None)
            self.items[item.key] = item
            self._index_add(item)
        self._keys = SortedList(self.items)
        self._unsorted.clear()
        self.generation += 1
        self._tell()

    def apply(self, change: Change, pending: Pending | None) -> Event:
        """Take a committed change and offer its event to the watchers."""
        key = change.key[len(self.spec.prefix) :]
        previous = self.items.get(key)
        if change.value is None:
            event = self._remove(key, change, previous)
        else:
            item = self._item(key, change.value, change.revision, pending)
            self._put(item, previous)
            kind = "ADDED" if previous is None else "MODIFIED"
            event = Event(kind, item, previous, change.revision)
        self.generation += 1
        if self.listeners:
            self._tell()
        if previous is not None:
            previous.decoded = None  # the ring may keep it for minutes
        self.latest = change.revision
        self._remember(event)
        self._offer(event)
        return event

    def _tell(self) -> None:
        for changed in self.listeners:
            changed()

    def _item(self, key: str, value: bytes, revision: int, pending: Pending | None) -> Item:
        raw = splice_resource_version(value, revision)
        if pending is not None and pending.value is value:
            item = Item(key, raw, revision, pending.labels, pending.fields)
            pending.item = item
            return item
        obj: Object = orjson.loads(value)
        labels = (obj.get("metadata") or {}).get("labels") or _NO_LABELS
        return Item(key, raw, revision, labels, self.spec.field_values(obj))

    def respecify(self, spec: CacheSpec) -> None:
        """Take other selectable fields (a custom resource's definition changed); watchers stay."""
        self.spec = spec
        self._positions = _positions(spec)
        for item in self.items.values():
            item.fields = spec.field_values(item.decode())

    def item_of(self, entry: Entry) -> Item:
        """An entry read from the store, as an item that is not kept."""
        return self._item(entry.key[len(self.spec.prefix) :], entry.value, entry.modified, None)

    def _put(self, item: Item, previous: Item | None) -> None:
        self.items[item.key] = item
        if previous is None:
            self._unsorted[item.key] = None
            if len(self._unsorted) > _MOST_UNSORTED:
                self._sorted()
        else:
            self._index_remove(previous)
        self._index_add(item)

    def _sorted(self) -> SortedList[str]:
        """All keys, in order: in a burst of new objects, keys are put in order together, and only when it matters."""
        if self._unsorted:
            self._keys.update(self._unsorted)
            self._unsorted.clear()
        return self._keys

    def _remove(self, key: str, change: Change, previous: Item | None) -> Event:
        if previous is None:
            # The store deletes only what is there: then the cache has lost something, and says what it can.
            previous = Item(key, b"{}", 0, _NO_LABELS, ("",) * len(self.spec.field_names))
        else:
            del self.items[key]
            if key in self._unsorted:
                del self._unsorted[key]
            else:
                self._keys.remove(key)
            self._index_remove(previous)
        raw = at_revision(previous, change.revision)
        last = Item(key, raw, change.revision, previous.labels, previous.fields)
        # What it was differs from what it last was in nothing but the revision: one of them is enough to keep.
        return Event("DELETED", last, last, change.revision)

    def _index_add(self, item: Item) -> None:
        if self._index_position >= 0:
            self._index.setdefault(item.fields[self._index_position], {})[item.key] = item

    def _index_remove(self, item: Item) -> None:
        if self._index_position >= 0:
            value = item.fields[self._index_position]
            group = self._index[value]
            del group[item.key]
            if not group:
                del self._index[value]

    def _remember(self, event: Event) -> None:
        ring = self._ring
        ring.append(event)
        self._remembered += len(event.item.raw)
        while len(ring) > self._ring_events or (self._remembered > self._ring_bytes and len(ring) > 1):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._ring.popleft()
        self._remembered -= len(oldest.item.raw)
        self.floor = oldest.revision

    def forget(self, revision: int) -> None:
        """Drop the events up to ``revision``, but for the newest hundred, and what was made of all for watchers."""
        ring = self._ring
        while len(ring) > _FEWEST and ring[0].revision <= revision:
            self._forget_oldest()
        for event in ring:
            event.forget_frames()

    # -- reading

    def get(self, namespace: str, name: str) -> Item | None:
        """The object. Raises ``InternalError`` when it is there, but encrypted with a key that is not."""
        key = f"{namespace}/{name}" if namespace else name
        item = self.items.get(key)
        if item is None and self._unreadable and self.spec.prefix + key in self._unreadable:
            why = self._unreadable[self.spec.prefix + key]
            raise errors.InternalError(f"Internal error occurred: {why}")
        return item

    def refuse_unreadable(self, namespace: str = "") -> None:
        """Raises ``InternalError`` when a list would have to show what no key opens, in Kubernetes' words."""
        if self._unreadable:
            prefix = f"{self.spec.prefix}{namespace}/" if namespace else self.spec.prefix
            for key, why in self._unreadable.items():
                if key.startswith(prefix):
                    raise errors.InternalError(
                        f'Internal error occurred: unable to transform key "{key}": {why}'
                    )

    def scan(self, namespace: str = "", after: str = "") -> Iterator[Item]:
        """Items in key order, of one namespace or all, behind key ``after``."""
        items = self.items
        if not namespace and not after:
            keys: Iterator[str] = iter(self._sorted())
        else:
            low = f"{namespace}/" if namespace else ""
            high = f"{namespace}0" if namespace else None
            start = after if after > low else low
            keys = self._sorted().irange(start, high, inclusive=(not after, False))
        for key in keys:
            yield items[key]

    def count(self, namespace: str = "", after: str = "") -> int:
        """How many keys ``scan`` would give."""
        low = f"{namespace}/" if namespace else ""
        keys = self._sorted()
        first = keys.bisect_right(after) if after > low else keys.bisect_left(low)
        last = keys.bisect_left(f"{namespace}0") if namespace else len(keys)
        return max(0, last - first)

    def by_index(self, value: str) -> list[Item]:
        """Items whose indexed field is ``value``, in key order."""
        group = self._index.get(value)
        return [group[key] for key in sorted(group)] if group else []

    def fields_of(self, item: Item) -> Fields:
        """What field selectors see of an item."""
        return Fields(item, self._positions)

    # -- watching

    def subscribe(self, watcher: Watcher, revision: int | None) -> None:
        """Register ``watcher``; events after ``revision`` (None: from now on) are put into its queue first.

        Raises ``Expired`` when the ring does not reach back to ``revision``.
        """
        if revision is not None:
            if revision < self.floor:
                raise too_old(revision, self.floor)
            for event in self._since(revision):
                watcher.offer(event, self)
        watcher.bell = self._bell
        self._watchers.setdefault(watcher.bucket, {})[watcher] = None

    def unsubscribe(self, watcher: Watcher) -> None:
        """Forget ``watcher``. Idempotent."""
        group = self._watchers.get(watcher.bucket)
        if group is not None:
            group.pop(watcher, None)
            if not group:
                del self._watchers[watcher.bucket]

    def audience(self, namespace: str) -> int:
        """About how many watch what happens in ``namespace`` (those of single objects not counted)."""
        groups = self._watchers
        if not groups:
            return 0
        everywhere = len(groups.get(("", ""), ()))
        return everywhere + len(groups.get(("namespace", namespace), ())) if namespace else everywhere

    def watchers(self) -> list[Watcher]:
        """Everyone who watches."""
        return [watcher for group in self._watchers.values() for watcher in group]

    def _since(self, revision: int) -> list[Event]:
        recent: list[Event] = []
        for event in reversed(self._ring):
            if event.revision <= revision:
                break
            recent.append(event)
        recent.reverse()
        return recent

    def _offer(self, event: Event) -> None:
        groups = self._watchers
        everywhere = groups.get(_EVERYWHERE)
        if everywhere:
            for watcher in tuple(everywhere):
                watcher.offer(event, self)
        if len(groups) > (everywhere is not None):
            for bucket in self._narrower(event):
                group = groups.get(bucket)
                if group:
                    for watcher in tuple(group):
                        watcher.offer(event, self)

    def _narrower(self, event: Event) -> list[tuple[str, str]]:
        """Under which keys those watchers are filed whom ``event`` may concern, but for those of everything."""
        item, previous, at = event.item, event.previous, self._index_position
        buckets = [("name", item.key), ("namespace", item.namespace)]
        if at >= 0 and item.fields:
            value = item.fields[at]
            buckets.append(("field", value))
            if previous is not None and previous.fields[at] != value:
                buckets.append(("field", previous.fields[at]))
        return buckets


def _positions(spec: CacheSpec) -> dict[str, int]:
    """Where ``Fields`` finds what."""
    own = {"metadata.name": _NAME} | ({"metadata.namespace": _NAMESPACE} if spec.namespaced else {})
    return {name: at for at, name in enumerate(spec.field_names)} | own


def too_old(revision: int, oldest: int) -> errors.Expired:
    """The refusal of a watch that begins too far back, in Kubernetes' words."""
    return errors.Expired(f"too old resource version: {revision} ({oldest})")


__all__ = ["CacheSpec", "Delivery", "Event", "Item", "Pending", "ResourceCache", "too_old", "watch_frame"]
