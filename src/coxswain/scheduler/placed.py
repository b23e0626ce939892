"""Placed pods by template and row: what spreading and pod affinity count.

Pods of one template match the same selectors, so a selector is tried once for each template, and the pods that it
matches are a sum of a few arrays. A template on few nodes is a small dictionary, one on many an array.

Groups are filed under their labels, and those that have opinions of other pods under a label that those must have:
where every pod is of a template of its own, as a StatefulSet's are, a selector looks at few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coxswain.api.selectors import Selector, label_selector_from

if TYPE_CHECKING:
    from coxswain.scheduler.template import Template

_DENSE_FROM: Final = 64
#: Changes that are remembered; who lags further behind counts afresh, which costs about as much.
_LOGGED: Final = 4096


@dataclass(slots=True)
class Group:
    """Pods of one template that are placed; those being deleted are counted apart."""

    template: Template
    deleting: bool
    rows: dict[int, int] = field(default_factory=dict)
    dense: NDArray[np.int64] | None = None

    def add(self, row: int, sign: int) -> None:
        count = self.rows.get(row, 0) + sign
        if count:
            self.rows[row] = count
        else:
            self.rows.pop(row, None)
        if self.dense is not None and row < len(self.dense):
            self.dense[row] += sign
        else:
            self.dense = None

    def add_to(self, counts: NDArray[np.int64], weight: int = 1) -> None:
        """Add ``weight`` for each pod to its row of ``counts``, which is as long as the table's arrays."""
        if len(self.rows) < _DENSE_FROM:
            for row, count in self.rows.items():
                counts[row] += weight * count
            return
        if self.dense is None or len(self.dense) != len(counts):
            self.dense = np.zeros(len(counts), np.int64)
            self.dense[list(self.rows)] = list(self.rows.values())
        counts += self.dense if weight == 1 else weight * self.dense


class Placed(NamedTuple):
    """Pods of one template came to ``rows`` (``sign`` 1), or left them (-1)."""

    template: Template
    deleting: bool
    rows: Sequence[int]
    sign: int


class PlacedLog:
    """What happened since a position. Bounded: who lags too far behind is told "everything" (None)."""

    def __init__(self) -> None:
        self._entries: list[Placed] = []
        self._start = 0

    @property
    def end(self) -> int:
        return self._start + len(self._entries)

    def add(self, entry: Placed) -> None:
        self._entries.append(entry)
        if len(self._entries) > 2 * _LOGGED:
            del self._entries[:_LOGGED]
            self._start += _LOGGED

    def rewind(self, position: int) -> None:
        """Forget what was logged since: it was taken back. (Nobody may have read meanwhile.)"""
        del self._entries[max(position - self._start, 0) :]

    def since(self, position: int) -> Sequence[Placed] | None:
        return None if position < self._start else self._entries[position - self._start :]


_Key = tuple["Template", bool]
_Label = tuple[str, str]


class PlacedPods:
    """Groups of placed pods."""

    def __init__(self) -> None:
        self.log = PlacedLog()
        self._groups: dict[_Key, Group] = {}
        #: Those whose own pods state affinity or anti-affinity to others.
        self._opinionated: dict[_Key, Group] = {}
        self._labelled: dict[_Label, dict[_Key, Group]] = {}
        #: The opinionated by a label that each of their terms asks for; None: by none in particular.
        self._about: dict[_Label | None, dict[_Key, Group]] = {}

    def add(self, template: Template, deleting: bool, row: int, sign: int) -> None:
        """Count a pod (or, with -1, one less) on a row."""
        self.log.add(Placed(template, deleting, (row,), sign))
        group = self._group(template, deleting)
        group.add(row, sign)
        if not group.rows:
            self._drop(template, deleting)

    def add_many(self, template: Template, rows: Sequence[int]) -> None:
        """Count a pod, not being deleted, on each of ``rows``."""
        self.log.add(Placed(template, False, rows, 1))
        group = self._group(template, False)
        counts = group.rows
        for row in rows:
            counts[row] = counts.get(row, 0) + 1
        if group.dense is not None and max(rows) < len(group.dense):
            np.add.at(group.dense, rows, 1)
        else:
            group.dense = None

    def _group(self, template: Template, deleting: bool) -> Group:
        key = (template, deleting)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(template, deleting)
            for label in template.labels.items():
                self._labelled.setdefault(label, {})[key] = group
            if template.opinionated:
                self._opinionated[key] = group
                for about in _asked_for(template):
                    self._about.setdefault(about, {})[key] = group
        return group

    def _drop(self, template: Template, deleting: bool) -> None:
        key = (template, deleting)
        del self._groups[key]
        for label in template.labels.items():
            _unfile(self._labelled, label, key)
        if self._opinionated.pop(key, None) is not None:
            for about in _asked_for(template):
                _unfile(self._about, about, key)

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    @property
    def opinionated(self) -> Iterator[Group]:
        """Groups whose pods have affinity or anti-affinity terms of their own."""
        return iter(self._opinionated.values())

    def opinionated_of(self, labels: Mapping[str, str]) -> Iterable[Group]:
        """Those of the opinionated that may mean a pod with these labels."""
        found = dict(self._about.get(None, {}))
        for label in labels.items():
            found |= self._about.get(label, {})
        return found.values()

    def selected(self, selector: Selector) -> Mapping[_Key, Group]:
        """Groups among which are all that ``selector`` matches; not to be changed."""
        filed = [self._labelled.get(label, {}) for label in selector.exact.items()]
        return min(filed, key=len) if filed else self._groups

    def matching(
        self, test: Callable[[Template], bool], memo: dict[int, bool], selector: Selector
    ) -> Iterator[Group]:
        """Groups whose template passes ``test``, which is asked once for each (``memo`` is by serial).

        ``selector`` matches all that pass.
        """
        for group in self.selected(selector).values():
            template = group.template
            verdict = memo.get(template.serial)
            if verdict is None:
                if len(memo) > 2 * len(self._groups) + 64:
                    memo.clear()
                verdict = memo[template.serial] = test(template)
            if verdict:
                yield group


def _unfile(index: dict[Any, dict[_Key, Group]], label: _Label | None, key: _Key) -> None:
    filed = index.get(label)
    if filed is not None:
        filed.pop(key, None)
        if not filed:
            del index[label]


def _asked_for(template: Template) -> set[_Label | None]:
    """For each affinity term of a template a label that a pod must have to be meant; None where there is none."""
    found: set[_Label | None] = set()
    for kind in ("podAffinity", "podAntiAffinity"):
        section = template.affinity.get(kind) or {}
        preferred = section.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        for term in (
            *(section.get("requiredDuringSchedulingIgnoredDuringExecution") or ()),
            *(weighted["podAffinityTerm"] for weighted in preferred),
        ):
            exact = label_selector_from(term.get("labelSelector")).exact
            found.add(min(exact.items(), default=None))
    return found


@dataclass(slots=True)
class ClusterFacts:
    """What plugins read besides nodes and pods."""

    #: Labels of namespaces.
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    #: namespace -> service name -> selector.
    services: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    #: (kind, namespace, name) -> selector of ReplicationControllers (a map), ReplicaSets and StatefulSets.
    workloads: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    #: Grows with every change, so that what was derived can be kept.
    epoch: int = 0

    def set_namespace(self, name: str, labels: dict[str, str]) -> None:
        if self.namespaces.get(name) != labels:
            self.namespaces[name] = labels
            self.epoch += 1

    def remove_namespace(self, name: str) -> None:
        if self.namespaces.pop(name, None) is not None:
            self.epoch += 1

    def set_service(self, namespace: str, name: str, selector: dict[str, str] | None) -> None:
        if not selector:
            self.remove_service(namespace, name)
            return
        known = self.services.setdefault(namespace, {})
        if known.get(name) != selector:
            known[name] = selector
            self.epoch += 1

    def remove_service(self, namespace: str, name: str) -> None:
        known = self.services.get(namespace)
        if known is not None and known.pop(name, None) is not None:
            if not known:
                del self.services[namespace]
            self.epoch += 1

    def set_workload(self, kind: str, namespace: str, name: str, selector: dict[str, Any] | None) -> None:
        """A controller's selector; None: it is gone."""
        key = (kind, namespace, name)
        if self.workloads.get(key) != selector:
            if selector is None:
                del self.workloads[key]
            else:
                self.workloads[key] = selector
            self.epoch += 1

    def default_selector(self, template: Template) -> dict[str, Any]:
        """What selects the peers of such pods, as a label selector; empty if nothing does (``DefaultSelector``)."""
        labels = self.service_selector(template.namespace, template.labels)
        kind, name = template.owner
        selector = self.workloads.get((kind, template.namespace, name), {}) if kind else {}
        expressions: list[dict[str, Any]] = []
        if kind == "ReplicationController":
            labels |= selector
        elif selector:
            wanted = selector.get("matchLabels") or {}
            expressions = [{"key": k, "operator": "In", "values": [v]} for k, v in wanted.items()]
            expressions += selector.get("matchExpressions") or []
        found: dict[str, Any] = {}
        if labels:
            found["matchLabels"] = labels
        if expressions:
            found["matchExpressions"] = expressions
        return found

    def service_selector(self, namespace: str, labels: dict[str, str]) -> dict[str, str]:
        """The selectors of all services that select such pods, merged (kube-scheduler ``DefaultSelector``)."""
        merged: dict[str, str] = {}
        for selector in self.services.get(namespace, {}).values():
            if selector.items() <= labels.items():
                merged |= selector
        return merged
