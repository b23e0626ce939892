"""Templates seen for the first time, decided in one pass of a kernel that keeps nothing for them.

Where every pod differs, building arrays for each template and throwing them away would cost more than the
decision. What follows from nodes alone (taints, node affinity, images) is kept for each *shape*: the part of a
template that it depends on, in which templates that differ in requests or labels agree. The second pod of a
template goes the ordinary way; so does whatever the kernel does not know. The result is the same either way.
Pods that name their node (a DaemonSet's) share the shape of what else they say, and only that node is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from coxswain._native import first
from coxswain.scheduler.framework import ClusterPlugin, Codes, Profile, Scope, offers
from coxswain.scheduler.nodetable import NodeTable, Rows
from coxswain.scheduler.plan import BATCHED_SCORES, Plan
from coxswain.scheduler.plugins.node_affinity import NodeAffinity
from coxswain.scheduler.plugins.node_name import NodeName
from coxswain.scheduler.plugins.node_ports import NodePorts
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.plugins.node_unschedulable import NodeUnschedulable
from coxswain.scheduler.plugins.taint_toleration import TaintToleration
from coxswain.scheduler.selection import required_terms
from coxswain.scheduler.template import Template
from coxswain.scheduler.verdict import Verdict, as_rows

#: Filters that follow from nodes alone, and those that the kernel or the test below stands for.
_KNOWN_FILTERS: Final[frozenset[type]] = frozenset(
    {NodeUnschedulable, NodeName, TaintToleration, NodeAffinity, NodePorts, NodeResourcesFit}
)
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
#: Shapes kept for each profile.
_MOST_SHAPES: Final = 32


class _Shape:
    """What templates of one shape share: codes and scores that follow from the nodes alone."""

    def __init__(self, template: Template, profile: Profile, table: NodeTable) -> None:
        self.verdict = Verdict(template, profile, table)
        self._at = (-1, -1, -1)
        self.plan = Plan(self.verdict)
        self.rejected: Codes = np.empty(0, np.uint8)
        self.narrowed = False

    def refresh(self, table: NodeTable) -> None:
        at = (table.node_log.end, table.image_epoch, table.capacity)
        if at != self._at:
            self.narrowed = self.verdict.narrow() is not None
            self.plan.refresh_static()
            self.rejected = self.verdict.static_codes()
            self._at = at


class _Named(NamedTuple):
    """Required node affinity that names nodes, as a DaemonSet's pods have it: the names, and what else it says."""

    names: frozenset[str]
    affinity: dict[str, Any]


def _named(spec: dict[str, Any]) -> _Named | None:
    terms = required_terms(spec)
    if not terms:
        return None
    names: frozenset[str] | None = None
    others = []
    for term in terms:
        fields = term.get("matchFields") or ()
        if not fields or any(one["key"] != "metadata.name" or one["operator"] != "In" for one in fields):
            return None
        these = frozenset.intersection(*(frozenset(one.get("values") or ()) for one in fields))
        if names is not None and names != these:
            return None
        names = these
        others.append(term.get("matchExpressions"))
    if not names:
        return None
    rest = {key: value for key, value in spec["affinity"]["nodeAffinity"].items() if key != _REQUIRED}
    if all(others):
        rest[_REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": one} for one in others]}
    return _Named(names, rest)


def _with_node_affinity(template: Template, affinity: dict[str, Any]) -> Template:
    """The template with this ``nodeAffinity`` instead of its own."""
    return Template(
        template.namespace,
        template.labels,
        {**template.spec, "affinity": {**template.affinity, "nodeAffinity": affinity}},
        template.ids,
        template.amounts,
        template.ask,
        template.host_ports,
        template.images,
        template.owner,
    )


class FirstPods:
    """The shapes of one profile."""

    def __init__(self, profile: Profile, table: NodeTable) -> None:
        self.profile = profile
        self._table = table
        self._shapes: dict[bytes, _Shape] = {}
        self._dropped: list[Verdict] = []
        filters = [plugin for plugin in profile.filters if plugin.SCOPE is not Scope.CLUSTER]
        scores = [each.plugin for each in profile.scores if each.plugin.SCOPE is not Scope.CLUSTER]
        #: Whether the kernel knows all that the profile asks of ordinary pods.
        self.able = (
            all(type(plugin) in _KNOWN_FILTERS for plugin in filters)
            and all(type(plugin) in BATCHED_SCORES for plugin in scores)
            and all(getattr(plugin, "batchable", True) for plugin in (*filters, *scores))
            and any(isinstance(plugin, NodeResourcesFit) for plugin in filters)
            and not profile.extenders
        )
        #: Plugin -> the questions by which it says whether it minds a template at all.
        self._cluster: dict[Any, list[Callable[[Template], bool]]] = {}
        for plugin in profile.filters:
            if plugin.SCOPE is Scope.CLUSTER:
                self._cluster.setdefault(plugin, []).append(plugin.needed)
        for each in profile.scores:
            if each.plugin.SCOPE is Scope.CLUSTER:
                self._cluster.setdefault(each.plugin, []).append(each.plugin.scoring)
        self._totals: NDArray[np.int64] = np.empty(0, np.int64)

    def verdicts(self) -> Iterable[Verdict]:
        """One for each shape (those dropped once more): who is asked about its pods, and how many there were."""
        dropped, self._dropped = self._dropped, []
        return [*dropped, *(shape.verdict for shape in self._shapes.values())]

    def place(
        self, template: Template, start: int, wanted: int, chance: NDArray[np.uint64], rows: Rows
    ) -> tuple[int, int]:
        """(row, where the next search starts): the pod is counted in the arrays of that row.

        -1 if the pod is not for this kernel, or fits nowhere; then nothing has changed.
        """
        named = self._named(template)
        shape = self._shape(template, named)
        if shape is None:
            return -1, start
        table = self._table
        shape.refresh(table)
        if shape.narrowed:
            return -1, start
        order, begin = table.order, start
        if named is not None:
            order, begin, wanted = (
                as_rows(sorted(table.row_of[name] for name in named.names if name in table.row_of)),
                0,
                len(named.names),
            )
            if not len(order) or wanted > len(rows):
                return -1, start
        if len(self._totals) < wanted:
            self._totals = np.empty(wanted, np.int64)
        plan = shape.plan
        found: tuple[int, int] = first.place(
            table.allocatable,
            table.requested,
            table.nonzero,
            template.ids,
            template.amounts,
            template.ask,
            shape.rejected,
            plan.image,
            plan.taints,
            plan.affinity,
            plan.weights,
            plan.most,
            order,
            begin,
            wanted,
            chance,
            rows,
            self._totals,
        )
        if found[0] >= 0:
            shape.verdict.evaluated += 1
            template.parsed["placed by FirstPods"] = True
        return found if named is None else (found[0], start)

    def _named(self, template: Template) -> _Named | None:
        """The nodes that the template names, if that is how its required node affinity goes."""
        return _named(template.spec) if self.profile.filter_named(NodeAffinity.NAME) is not None else None

    def _shape(self, template: Template, named: _Named | None) -> _Shape | None:
        """The shape of a template that the kernel can decide; None marks all others, and every second pod."""
        parsed = template.parsed
        if self.profile.name in parsed.setdefault("FirstPods", set()):
            return None
        parsed["FirstPods"].add(self.profile.name)
        spec = template.spec
        if template.host_ports or "topologySpreadConstraints" in spec or self._minds_others(template):
            return None
        key = orjson.dumps(
            (
                spec.get("nodeName"),
                spec.get("nodeSelector"),
                (spec.get("affinity") or {}).get("nodeAffinity") if named is None else named.affinity,
                spec.get("tolerations"),
                template.images,
                bool(template.ask[0] or template.ask[1]),
            )
        )
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _MOST_SHAPES:
                self._dropped.append(self._shapes.pop(next(iter(self._shapes))).verdict)
            if named is not None:
                template = _with_node_affinity(template, named.affinity)
            shape = self._shapes[key] = _Shape(template, self.profile, self._table)
        return shape

    def _minds_others(self, template: Template) -> bool:
        """Whether pods on other nodes, or anything else in the cluster, matter now."""
        for plugin, questions in self._cluster.items():
            if any(asked(template) for asked in questions) and (
                not offers(plugin, ClusterPlugin) or plugin.relevant(template, self._table)  # type: ignore[type-abstract]
            ):
                return True
        return False
