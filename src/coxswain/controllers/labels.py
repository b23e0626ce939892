"""Who selects whom by labels, without asking everybody: two indexes for informers.

    LabelIndex      on what is selected:  which objects have these labels?      selector -> pods
    SelectorIndex   on those who select:  whose selector may match these?       pod -> services, budgets

Objects with the same labels are filed together (the pods of one ReplicaSet are one entry), and a selector is looked
up under one of its pairs, the one that the fewest share. So a question costs what its answer is long, however many
objects a namespace has, unless all selectors agree in every pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.client.informer import Index, Informer

_NAME = "labels"
Pair = tuple[str, str, str]
Labels = Mapping[str, str]


class LabelIndex(Index):
    """Keys by namespace and labels."""

    def __init__(self, wanted: Callable[[Object], bool] = lambda _: True) -> None:
        """``wanted(obj)``: whether an object counts at all."""
        super().__init__(lambda obj: ())
        self._wanted = wanted
        #: (namespace, all labels) -> (labels, keys of the objects that have just these).
        self._groups: dict[tuple[str, frozenset[tuple[str, str]]], tuple[Labels, dict[str, None]]] = {}
        #: (namespace, label, value) -> groups that have it; (namespace, "", "") -> all of the namespace.
        self._having: dict[Pair, dict[tuple[str, frozenset[tuple[str, str]]], None]] = {}

    def insert(self, key: str, obj: Object) -> None:
        if not self._wanted(obj):
            return
        labels = meta.labels(obj)
        identity = meta.namespace(obj), frozenset(labels.items())
        group = self._groups.get(identity)
        if group is None:
            group = self._groups[identity] = (labels, {})
            for pair in _pairs(*identity):
                self._having.setdefault(pair, {})[identity] = None
        group[1][key] = None

    def drop(self, key: str, obj: Object) -> None:
        identity = meta.namespace(obj), frozenset(meta.labels(obj).items())
        group = self._groups.get(identity)
        if group is None:
            return
        group[1].pop(key, None)
        if not group[1]:
            del self._groups[identity]
            for pair in _pairs(*identity):
                having = self._having[pair]
                del having[identity]
                if not having:
                    del self._having[pair]

    def update(self, key: str, old: Object, new: Object) -> None:
        if meta.labels(old) != meta.labels(new) or self._wanted(old) != self._wanted(new):
            self.drop(key, old)
            self.insert(key, new)

    def matching(self, namespace: str, wanted: Labels, test: Callable[[Labels], bool]) -> Iterator[str]:
        """Keys of the objects that have all labels ``wanted`` and pass ``test``, which is asked once for equal labels."""
        pairs = [(namespace, *pair) for pair in wanted.items()] or [(namespace, "", "")]
        found = [self._having.get(pair) for pair in pairs]
        fewest = min((each or {} for each in found), key=len)
        for identity in fewest:
            labels, keys = self._groups[identity]
            if wanted.items() <= labels.items() and test(labels):
                yield from keys


class SelectorIndex(Index):
    """Keys of objects by the labels that they select."""

    def __init__(self, wanted: Callable[[Object], Labels | None] = lambda _: None) -> None:
        """``wanted(obj)``: labels without which an object is not selected; None selects nothing."""
        super().__init__(lambda obj: ())
        self._wanted = wanted
        #: Counts on with every change.
        self.version = 0
        self._filed: dict[str, Pair] = {}
        self._under: dict[Pair, dict[str, None]] = {}

    def insert(self, key: str, obj: Object) -> None:
        wanted = self._wanted(obj)
        if wanted is not None:
            self.put(key, meta.namespace(obj), wanted)

    def drop(self, key: str, obj: Object) -> None:
        self.discard(key)

    def update(self, key: str, old: Object, new: Object) -> None:
        if self._wanted(old) != self._wanted(new):
            self.drop(key, old)
            self.insert(key, new)

    def put(self, key: str, namespace: str, wanted: Labels) -> None:
        """``key``, which is not there, selects labels that have all of ``wanted``, or some of them."""
        pairs = [(namespace, *pair) for pair in wanted.items()] or [(namespace, "", "")]
        pair = min(pairs, key=lambda pair: len(self._under.get(pair, ())))
        self._filed[key] = pair
        self.version += 1
        self._under.setdefault(pair, {})[key] = None

    def discard(self, key: str) -> None:
        """``key`` selects nothing any more."""
        pair = self._filed.pop(key, None)
        if pair is None:
            return
        self.version += 1
        under = self._under[pair]
        del under[key]
        if not under:
            del self._under[pair]

    def candidates(self, namespace: str, labels: Labels) -> Iterator[str]:
        """Keys of all objects that select ``labels``, and of some that do not: test them. Each comes once."""
        for name, value in labels.items():
            yield from self._under.get((namespace, name, value), ())
        yield from self._under.get((namespace, "", ""), ())


def _pairs(namespace: str, labels: frozenset[tuple[str, str]]) -> Iterator[Pair]:
    yield namespace, "", ""
    for name, value in labels:
        yield namespace, name, value


def _any(labels: Labels) -> bool:
    return True


def match_labels(obj: Object) -> Labels | None:
    """What a workload's or a budget's ``spec.selector`` needs at least; of a replication controller, all that it is."""
    selector = obj["spec"].get("selector")
    if selector is None:
        return None
    labels = selector.get("matchLabels") or {}
    is_map = isinstance(labels, str) or not ({"matchLabels", "matchExpressions"} & selector.keys())
    return dict(selector) if is_map else labels


class Selected:
    """The objects of an informer by labels; the index is shared by all who ask for one."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._index = informer.attach_index(_NAME, LabelIndex)

    def matching(self, namespace: str, wanted: Labels, test: Callable[[Labels], bool] = _any) -> list[Object]:
        """Objects of ``namespace`` that have all labels ``wanted`` and whose labels pass ``test``."""
        objects = (self._informer.get(key) for key in self._index.matching(namespace, wanted, test))
        return [obj for obj in objects if obj is not None]


class Orphans:
    """The objects of an informer that nobody controls; there may be many in a namespace, few of one's own labels."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._index = informer.attach_index("labels of orphans", lambda: LabelIndex(_is_orphan))

    def may_join(self, owner: Object) -> list[Object]:
        """Those that ``owner`` may select: test them."""
        wanted = match_labels(owner)
        if wanted is None:
            return []
        objects = (
            self._informer.get(key) for key in self._index.matching(meta.namespace(owner), wanted, _any)
        )
        return [obj for obj in objects if obj is not None]


def _is_orphan(obj: Object) -> bool:
    return meta.controller_of(obj) is None


class Selecting:
    """The objects of an informer by whom they select."""

    def __init__(self, informer: Informer, wanted: Callable[[Object], Labels | None] = match_labels) -> None:
        """See ``SelectorIndex`` for ``wanted``; who shares the informer shares the index."""
        self._informer = informer
        self._index = informer.attach_index("selector", lambda: SelectorIndex(wanted))
        #: The labels that were asked about last, of which namespace, at which version of the index; and the answer.
        self._last: tuple[Labels, str, int, list[str]] = ({}, "", -1, [])

    def candidates(self, obj: Object) -> list[Object]:
        """Those of ``obj``'s namespace that may select it: test them."""
        namespace, labels, version = meta.namespace(obj), meta.labels(obj), self._index.version
        known, of, at, keys = self._last
        # Pods of one owner come one after the other, and share their labels (``pods.KEPT``).
        if labels is not known or of != namespace or at != version:
            keys = list(self._index.candidates(namespace, labels))
            self._last = (labels, namespace, version, keys)
        if not keys:
            return []
        found = (self._informer.get(key) for key in keys)
        return [each for each in found if each is not None]
