"""All plugins, and the default profile made of them: the one module that names them."""

from __future__ import annotations

from coxswain.scheduler.framework import Profile, Weighted
from coxswain.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from coxswain.scheduler.plugins.image_locality import ImageLocality
from coxswain.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from coxswain.scheduler.plugins.node_affinity import NodeAffinity
from coxswain.scheduler.plugins.node_name import NodeName
from coxswain.scheduler.plugins.node_ports import NodePorts
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.plugins.node_unschedulable import NodeUnschedulable
from coxswain.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from coxswain.scheduler.plugins.pod_topology_spread import PodTopologySpread
from coxswain.scheduler.plugins.scheduling_gates import SchedulingGates
from coxswain.scheduler.plugins.taint_toleration import TaintToleration
from coxswain.scheduler.plugins.volume_binding import VolumeBinding
from coxswain.scheduler.plugins.volume_restrictions import VolumeRestrictions
from coxswain.scheduler.plugins.volume_zone import VolumeZone
from coxswain.scheduler.preemption import PreemptionArgs


def default_profile(name: str = "default-scheduler", *, percentage_of_nodes_to_score: int = 0) -> Profile:
    """kube-scheduler's default plugins, in its order and with its weights."""
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    spread, near = PodTopologySpread(), InterPodAffinity()
    binding = VolumeBinding()
    storage = (VolumeRestrictions(), NodeVolumeLimits(), binding, VolumeZone())
    return Profile(
        name=name,
        filters=(NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit, *storage, spread, near),
        scores=(
            Weighted(taints, 3),
            Weighted(affinity, 2),
            Weighted(spread, 2),
            Weighted(near, 2),
            Weighted(fit, 1),
            Weighted(NodeResourcesBalancedAllocation(), 1),
            Weighted(ImageLocality(), 1),
        ),
        gates=(SchedulingGates(),),
        binding=(binding,),
        percentage_of_nodes_to_score=percentage_of_nodes_to_score,
        preemption=PreemptionArgs(),
    )
