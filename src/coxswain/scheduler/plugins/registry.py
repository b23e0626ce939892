"""All plugins: how each is made from its arguments. The one module that names them.

``make(name, section, managed)`` gives a plugin; names that are not ours are looked for among the entry points
``coxswain.scheduler.plugins`` of installed packages, whose objects are called with the arguments as a dictionary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final

from coxswain.base.errors import ConfigurationError
from coxswain.scheduler.configuration import PluginRef, Section
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.gang import GangScheduling
from coxswain.scheduler.plugins.allocation import DEFAULT_RESOURCES, ResourceWeight
from coxswain.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from coxswain.scheduler.plugins.image_locality import ImageLocality
from coxswain.scheduler.plugins.inter_pod_affinity import HARD_POD_AFFINITY_WEIGHT, InterPodAffinity
from coxswain.scheduler.plugins.node_affinity import NodeAffinity
from coxswain.scheduler.plugins.node_name import NodeName
from coxswain.scheduler.plugins.node_ports import NodePorts
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.plugins.node_unschedulable import NodeUnschedulable
from coxswain.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from coxswain.scheduler.plugins.pod_topology_spread import PodTopologySpread
from coxswain.scheduler.plugins.scheduling_gates import SchedulingGates
from coxswain.scheduler.plugins.taint_toleration import TaintToleration
from coxswain.scheduler.plugins.volume_binding import BIND_TIMEOUT, VolumeBinding
from coxswain.scheduler.plugins.volume_capacity import ScoringVolumeBinding
from coxswain.scheduler.plugins.volume_restrictions import VolumeRestrictions
from coxswain.scheduler.plugins.volume_zone import VolumeZone
from coxswain.scheduler.preemption import PreemptionArgs

log = logging.getLogger(__name__)

ENTRY_POINTS: Final = "coxswain.scheduler.plugins"
_STRATEGIES: Final = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")

#: kube-scheduler's default plugins at multiPoint, in its order and with its weights.
DEFAULT_PLUGINS: Final = (
    PluginRef("SchedulingGates"),
    PluginRef("PrioritySort"),
    PluginRef("NodeUnschedulable"),
    PluginRef("NodeName"),
    PluginRef("TaintToleration", 3),
    PluginRef("NodeAffinity", 2),
    PluginRef("NodePorts"),
    PluginRef("NodeResourcesFit", 1),
    PluginRef("VolumeRestrictions"),
    PluginRef("NodeVolumeLimits"),
    PluginRef("VolumeBinding"),
    PluginRef("VolumeZone"),
    PluginRef("PodTopologySpread", 2),
    PluginRef("InterPodAffinity", 2),
    PluginRef("DefaultPreemption"),
    PluginRef("NodeResourcesBalancedAllocation", 1),
    PluginRef("ImageLocality", 1),
    PluginRef("GangScheduling"),
    PluginRef("DefaultBinder"),
)


class PrioritySort:
    """Higher priority first, then who entered the queue earlier: the queue's own order."""

    NAME: ClassVar[str] = "PrioritySort"


class DefaultBinder:
    """Binds through the API, in batches; the component does it."""

    NAME: ClassVar[str] = "DefaultBinder"


class DefaultPreemption:
    """See ``preemption.py``."""

    NAME: ClassVar[str] = "DefaultPreemption"

    def __init__(self, args: PreemptionArgs) -> None:
        self.args = args


def make(name: str, section: Section, managed: Collection[str] = ()) -> Any:
    """A plugin; what is wrong with its arguments is told to the section's reader. Raises ``ConfigurationError``.

    ``managed``: extended resources that an extender looks after and the scheduler ignores.
    """
    factory = _FACTORIES.get(name)
    if factory is None:
        return _from_entry_point(name, section.rest())
    for header in ("apiVersion", "kind"):
        section.text(header)
    plugin = _fit(section, managed) if name == "NodeResourcesFit" else factory(section)
    section.done()
    return plugin


def default_profile(name: str = "default-scheduler", *, percentage_of_nodes_to_score: int = 0) -> Profile:
    """kube-scheduler's default plugins, in its order and with its weights."""
    from coxswain.scheduler.configuration import ProfileConfig
    from coxswain.scheduler.profiles import build

    return build(ProfileConfig(name, percentage_of_nodes_to_score=percentage_of_nodes_to_score))


def _from_entry_point(name: str, args: dict[str, Any]) -> Any:
    from importlib.metadata import entry_points

    for found in entry_points(group=ENTRY_POINTS, name=name):
        try:
            return found.load()(args)
        except ConfigurationError:
            raise
        except Exception as error:
            log.debug("plugin %s cannot be made", name, exc_info=True)
            why = f"{type(error).__name__}: {error}"
            raise ConfigurationError(
                f"plugin {name!r} cannot be made by {found.value} (--log-level=debug says where): {why}"
            ) from error
    raise ConfigurationError(
        f"plugin {name!r} does not exist: it is none of ours, nor an entry point of {ENTRY_POINTS}"
    )


def _resources(section: Section, largest_weight: int) -> tuple[ResourceWeight, ...]:
    found = []
    for entry in section.children("resources"):
        resource = ResourceWeight(entry.text("name"), entry.number("weight", 1) or 1)
        entry.done()
        if not 1 <= resource.weight <= largest_weight:
            entry.reader.invalid(
                entry.at("weight"),
                resource.weight,
                f"resource weight not in valid range [1-{largest_weight}]",
            )
        found.append(resource)
    return tuple(found) or DEFAULT_RESOURCES


def _fit(section: Section, managed: Collection[str]) -> NodeResourcesFit:
    ignored = {*section.take("ignoredResources", list, []), *managed}
    groups = set(section.take("ignoredResourceGroups", list, []))
    for i, group in enumerate(groups):
        if "/" in group:
            section.reader.invalid(
                f"{section.at('ignoredResourceGroups')}[{i}]", group, "resource group name can't contain '/'"
            )
    strategy = section.child("scoringStrategy")
    kind = strategy.text("type", "LeastAllocated")
    if kind not in _STRATEGIES:
        section.reader.errors.append(
            f'{strategy.at("type")}: Unsupported value: "{kind}": supported values: '
            + ", ".join(f'"{one}"' for one in _STRATEGIES)
        )
        kind = "LeastAllocated"
    resources = _resources(strategy, 100)
    shape = _shape(strategy.child("requestedToCapacityRatio"), required=kind == "RequestedToCapacityRatio")
    strategy.done()

    def is_ignored(name: str) -> bool:
        return "/" in name and (name in ignored or name.partition("/")[0] in groups)

    return NodeResourcesFit(kind, resources, shape, is_ignored if ignored or groups else None)  # type: ignore[arg-type]


def _shape(section: Section, *, required: bool) -> tuple[tuple[int, int], ...]:
    points: list[tuple[int, int]] = []
    for entry in section.children("shape"):
        point = (entry.number("utilization", 0), entry.number("score", 0))
        entry.done()
        for name, value, top in (("utilization", point[0], 100), ("score", point[1], 10)):
            if not 0 <= value <= top:
                section.reader.invalid(entry.at(name), value, f"not in valid range [0-{top}]")
        if points and point[0] <= points[-1][0]:
            section.reader.invalid(
                entry.at("utilization"), point[0], "utilization values must be sorted in increasing order"
            )
        points.append(point)
    section.done()
    if required and not points:
        section.reader.errors.append(
            f"{section.at('shape')}: Required value: at least one point must be specified"
        )
    return tuple(points) or ((0, 0), (100, 10))


def _balanced(section: Section) -> NodeResourcesBalancedAllocation:
    return NodeResourcesBalancedAllocation(_resources(section, 1))


def _node_affinity(section: Section) -> NodeAffinity:
    return NodeAffinity(section.child("addedAffinity").rest() or None)


def _pod_affinity(section: Section) -> InterPodAffinity:
    weight = section.number("hardPodAffinityWeight", HARD_POD_AFFINITY_WEIGHT)
    if not 0 <= weight <= 100:
        section.reader.invalid(section.at("hardPodAffinityWeight"), weight, "not in valid range [0-100]")
    return InterPodAffinity(
        weight, ignore_preferred_of_others=section.flag("ignorePreferredTermsOfExistingPods")
    )


def _spread(section: Section) -> PodTopologySpread:
    entries = section.children("defaultConstraints")
    kind = section.text("defaultingType", "System")
    if kind not in ("System", "List"):
        section.reader.invalid(section.at("defaultingType"), kind, "System or List is expected")
    if kind == "System" and entries:
        section.reader.invalid(
            section.at("defaultingType"), kind, "when .defaultConstraints are not empty, must be List"
        )
    constraints = []
    for entry in entries:
        constraint = {
            "maxSkew": entry.number("maxSkew", 0),
            "topologyKey": entry.text("topologyKey"),
            "whenUnsatisfiable": entry.text("whenUnsatisfiable"),
        }
        if entry.has("labelSelector"):
            section.reader.errors.append(
                f"{entry.at('labelSelector')}: Forbidden: constraint must not define a selector, as they "
                "deduced for each pod"
            )
            entry.child("labelSelector").rest()
        entry.done()
        if constraint["maxSkew"] <= 0:
            section.reader.invalid(entry.at("maxSkew"), constraint["maxSkew"], "not in valid range (0, inf)")
        if not constraint["topologyKey"]:
            section.reader.errors.append(f"{entry.at('topologyKey')}: Required value: can not be empty")
        if constraint["whenUnsatisfiable"] not in ("DoNotSchedule", "ScheduleAnyway"):
            section.reader.invalid(
                entry.at("whenUnsatisfiable"),
                constraint["whenUnsatisfiable"],
                "DoNotSchedule or ScheduleAnyway is expected",
            )
        constraints.append(constraint)
    return PodTopologySpread(constraints if kind == "List" else None)


def _volume_binding(section: Section) -> VolumeBinding:
    timeout = section.number("bindTimeoutSeconds", int(BIND_TIMEOUT))
    if timeout < 0:
        section.reader.invalid(
            section.at("bindTimeoutSeconds"),
            timeout,
            "invalid BindTimeoutSeconds, should not be a negative value",
        )
    if section.has("shape"):
        return ScoringVolumeBinding(timeout, _shape(section, required=False))
    return VolumeBinding(timeout)


def _preemption(section: Section) -> DefaultPreemption:
    percentage = section.number("minCandidateNodesPercentage", 10)
    absolute = section.number("minCandidateNodesAbsolute", 100)
    if not 0 <= percentage <= 100:
        section.reader.invalid(
            section.at("minCandidateNodesPercentage"), percentage, "not in valid range [0, 100]"
        )
    if absolute < 0:
        section.reader.invalid(
            section.at("minCandidateNodesAbsolute"), absolute, "not in valid range [0, inf)"
        )
    if not percentage and not absolute:
        section.reader.invalid(
            section.at("minCandidateNodesPercentage"),
            percentage,
            "cannot be zero at the same time as minCandidateNodesAbsolute",
        )
    return DefaultPreemption(PreemptionArgs(percentage, absolute))


def _plain(kind: Callable[[], Any]) -> Callable[[Section], Any]:
    return lambda section: kind()


_FACTORIES: Final[dict[str, Callable[[Section], Any]]] = {
    **{
        kind.NAME: _plain(kind)
        for kind in (
            SchedulingGates, PrioritySort, NodeUnschedulable, NodeName, TaintToleration, NodePorts,
            VolumeRestrictions, NodeVolumeLimits, VolumeZone, ImageLocality, GangScheduling, DefaultBinder,
        )
    },
    "NodeAffinity": _node_affinity,
    "NodeResourcesFit": lambda section: _fit(section, ()),
    "VolumeBinding": _volume_binding,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pod_affinity,
    "DefaultPreemption": _preemption,
    "NodeResourcesBalancedAllocation": _balanced,
}  # fmt: skip
