"""How many replicas a metric asks for (kube-controller-manager's replica calculator). No IO.

    ratio = use / target;  wanted = ceil(ratio * pods that count), unless the ratio is within the tolerance of 1

Pods that do not count plainly:
- being deleted or failed: not at all;
- pending, or (for cpu) not ready yet or only just: as using nothing, and only when that would scale up;
- without metrics: as using all they may on the way down, nothing on the way up.

Neither kind may turn the direction around: then everything stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.base import clock
from coxswain.controllers.podautoscaler.samples import MetricsError, PodSample, PodSamples

MAX_REPLICAS = 2**31 - 1
MAX_AMOUNT = 2**63 - 1

#: What a pod without metrics is taken to use on the way down; the ratio of completed samples.
_Full = Callable[[str], int]
_Again = Callable[[PodSamples], float]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a ratio may be from 1 before anything is scaled."""

    down: float
    up: float

    def holds(self, ratio: float) -> bool:
        """Whether ``ratio`` is close enough to 1."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True, slots=True)
class Readiness:
    """Seconds: how long cpu samples of a starting pod are doubted, and when a pod counts as never ready."""

    cpu_initialization: float
    initial_delay: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric asks for: replicas, its amount now, and (for utilization) the percentage."""

    replicas: int
    amount: int
    utilization: int | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """Pods by how they count; names except for ``ready``, a number."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


@dataclass(frozen=True, slots=True)
class Situation:
    """What every calculation starts from."""

    replicas: int
    status_replicas: int
    pods: Sequence[Object]
    tolerance: Tolerance
    readiness: Readiness
    now: float


def by_utilization(
    at: Situation, samples: PodSamples, resource: str, target: int, container: str = ""
) -> Proposal:
    """Replicas for ``target`` percent of what pods request. Raises ``MetricsError``."""
    groups, counted = _counted(at, samples, resource)
    requests = {meta.name(pod): _request(pod, resource, container) for pod in at.pods}
    ratio, utilization, amount = _utilization(counted, requests, target)

    def full(name: str) -> int:
        return requests[name] * max(100, target) // 100

    def again(samples: PodSamples) -> float:
        return _utilization(samples, requests, target)[0]

    replicas = _settle(at, groups, counted, ratio, full, again)
    return Proposal(replicas, amount, utilization)


def by_average(at: Situation, samples: PodSamples, target: int, resource: str = "") -> Proposal:
    """Replicas for an average of ``target`` thousandths a pod. Raises ``MetricsError``."""
    groups, counted = _counted(at, samples, resource)
    ratio, amount = _average(counted, target)
    replicas = _settle(at, groups, counted, ratio, lambda _: target, lambda s: _average(s, target)[0])
    return Proposal(replicas, amount)


def by_value(at: Situation, amount: int, target: int) -> Proposal:
    """Replicas for one amount that should be ``target``; from none, what it takes to begin."""
    ratio = _divide(amount, target)
    if at.replicas == 0:
        return Proposal(_ceil(ratio), amount)
    if at.tolerance.holds(ratio):
        return Proposal(at.replicas, amount)
    if not at.pods:
        raise MetricsError(
            "unable to calculate ready pods: no pods returned by selector while calculating replica count"
        )
    ready = sum(1 for pod in at.pods if meta.pod_phase(pod) == "Running" and meta.is_pod_ready(pod))
    return Proposal(_ceil(ratio * ready), amount)


def by_share(at: Situation, amount: int, target: int) -> Proposal:
    """Replicas for one amount of which each should have ``target``; the amount told is the share now."""
    replicas = at.status_replicas
    if not at.tolerance.holds(_divide(amount, target * replicas)):
        replicas = _ceil(_divide(amount, target))
    share = _divide(amount, at.status_replicas)
    return Proposal(replicas, MAX_AMOUNT if share >= MAX_AMOUNT else math.ceil(share))


def group(at: Situation, samples: PodSamples, resource: str) -> Groups:
    """Sort the pods by how they count."""
    unready, missing, ignored = set(), set(), set()
    ready = 0
    for pod in at.pods:
        name, phase = meta.name(pod), meta.pod_phase(pod)
        if meta.is_terminating(pod) or phase == "Failed":
            ignored.add(name)
        elif phase == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == "cpu" and _is_starting(pod, samples[name], at):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Object, sample: PodSample, at: Situation) -> bool:
    """Whether the cpu that a pod used says nothing of what it will use."""
    condition = meta.condition(pod, "Ready")
    started_at = (pod.get("status") or {}).get("startTime")
    if condition is None or not started_at:
        return True
    started = clock.parse_time(started_at)
    changed_at = condition.get("lastTransitionTime")
    changed = clock.parse_time(changed_at) if changed_at else 0.0
    not_ready = condition.get("status") == "False"
    if started + at.readiness.cpu_initialization > at.now:
        return not_ready or sample.at < changed + sample.window
    return not_ready and started + at.readiness.initial_delay > changed


def _counted(at: Situation, samples: PodSamples, resource: str) -> tuple[Groups, PodSamples]:
    if not at.pods:
        raise MetricsError("no pods returned by selector while calculating replica count")
    groups = group(at, samples, resource)
    left_out = groups.ignored | groups.unready
    counted = {name: sample for name, sample in samples.items() if name not in left_out}
    if not counted:
        raise MetricsError("did not receive metrics for targeted pods (pods might be unready)")
    return groups, counted


def _settle(
    at: Situation,
    groups: Groups,
    counted: PodSamples,
    ratio: float,
    full: _Full,
    again: _Again,
) -> int:
    """The replicas for ``ratio``; where pods do not count plainly, by a second calculation with them."""
    with_unready = bool(groups.unready) and ratio > 1.0
    if not with_unready and not groups.missing:
        return at.replicas if at.tolerance.holds(ratio) else _ceil(ratio * groups.ready)
    samples = dict(counted)
    if ratio < 1.0:
        samples |= {name: PodSample(full(name)) for name in groups.missing}
    elif ratio > 1.0:
        samples |= {name: PodSample(0) for name in groups.missing}
    if with_unready:
        samples |= {name: PodSample(0) for name in groups.unready}
    second = again(samples)
    turned = (ratio < 1.0 < second) or (second < 1.0 < ratio)
    if at.tolerance.holds(second) or turned:
        return at.replicas
    replicas = _ceil(second * len(samples))
    if (second < 1.0 and replicas > at.replicas) or (second > 1.0 and replicas < at.replicas):
        return at.replicas
    return replicas


def _utilization(samples: PodSamples, requests: dict[str, int], target: int) -> tuple[float, int, int]:
    """(ratio, percent, average amount) of the pods that are known."""
    known = [name for name in samples if name in requests]
    requested = sum(requests[name] for name in known)
    if not requested:
        raise MetricsError("no metrics returned matched known pods")
    used = sum(samples[name].value for name in known)
    percent = used * 100 // requested
    return percent / target, percent, used // len(known)


def _average(samples: PodSamples, target: int) -> tuple[float, int]:
    average = sum(sample.value for sample in samples.values()) // len(samples)
    return _divide(average, target), average


def _request(pod: Object, resource: str, container: str) -> int:
    """Thousandths of ``resource`` that a pod (or its ``container``) requests. Raises ``MetricsError``."""
    spec = pod.get("spec") or {}
    whole = (spec.get("resources") or {}).get("requests") or {}
    if whole and not container:
        return _pod_level_request(pod, whole, resource)
    total = 0
    sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for one in [*(spec.get("containers") or ()), *sidecars]:
        if container not in ("", one["name"]):
            continue
        requests = (one.get("resources") or {}).get("requests") or {}
        if resource not in requests:
            raise MetricsError(
                f"missing request for {resource} in container {one['name']} of Pod {meta.name(pod)}"
            )
        total += Quantity.parse(requests[resource]).milli()
        if container:
            return total
    if container:
        raise MetricsError(f"container {container} not found in Pod {meta.name(pod)}")
    return total


def _pod_level_request(pod: Object, whole: Object, resource: str) -> int:
    """The request of a pod that states some for all of its containers; what it does not, they add up to."""
    if resource in whole:
        return Quantity.parse(whole[resource]).milli()
    amounts = [
        Quantity.parse(one["resources"]["requests"][resource]).milli()
        for one in pod["spec"].get("containers") or ()
        if resource in ((one.get("resources") or {}).get("requests") or {})
    ]
    if not amounts:
        raise MetricsError(f"missing pod-level request for {resource} in Pod {meta.name(pod)}")
    return sum(amounts)


def _divide(amount: float, by: float) -> float:
    """As floating point has it in Go: something divided by nothing is without end."""
    if by:
        return amount / by
    return math.inf if amount else math.nan


def _ceil(wanted: float) -> int:
    if math.isnan(wanted):
        return 0
    return MAX_REPLICAS if wanted > MAX_REPLICAS else math.ceil(wanted)
