"""What one look at an autoscaler leads to. No IO: the scale and the metrics' answers come in, a plan comes out.

    scale of none, and some are the least  -> nothing: scaling is switched off (ScalingDisabled)
    more or fewer than there may be        -> to the limit at once, whatever the metrics say
    else                                   -> the highest wish of all metrics, limited (``limits``)

A metric that fails does not keep the others from scaling up; down goes only who knows all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.controllers.podautoscaler.limits import History, Range, limit_by_behavior, limit_plainly
from coxswain.controllers.podautoscaler.proposals import Answer, MetricFailed, wish
from coxswain.controllers.podautoscaler.replicas import Situation, Tolerance

ABLE, ACTIVE, LIMITED = "AbleToScale", "ScalingActive", "ScalingLimited"


@dataclass(slots=True)
class Report:
    """A status in the making, and the events on the way: (type, reason, message)."""

    status: Object
    now: str
    events: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def on(cls, autoscaler: Object, now: str) -> Report:
        """A report that begins with the status there is."""
        status = autoscaler.get("status") or {}
        conditions = [dict(entry) for entry in status.get("conditions") or ()]
        return cls({**status, "conditions": conditions}, now)

    def condition(self, kind: str, holds: bool, reason: str, message: str) -> None:
        """Set a condition."""
        entry = {"type": kind, "status": str(holds), "reason": reason, "message": message}
        meta.set_condition({"status": self.status}, entry, now=self.now)

    def warn(self, reason: str, message: str) -> None:
        """Tell of something that went wrong."""
        self.events.append(("Warning", reason, message))

    def replicas(self, current: int, desired: int, metrics: Sequence[Object] | None, scaled: bool) -> None:
        """Rewrite everything but the conditions."""
        self.status["currentReplicas"] = current
        self.status["desiredReplicas"] = desired
        self.status["currentMetrics"] = list(metrics) if metrics is not None else None
        if scaled:
            self.status["lastScaleTime"] = self.now

    def failed(self, current: int, metrics: Sequence[Object] | None) -> None:
        """Only the replicas there are (and what is known of the metrics) is news."""
        self.replicas(current, self.status.get("desiredReplicas") or 0, metrics, False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Set ``desired`` replicas if ``rescale`` because of ``reason``; ``metrics`` are for the status.

    ``error`` is what no replicas could be computed for: then nothing is set.
    """

    current: int
    desired: int
    rescale: bool = False
    reason: str = ""
    metrics: list[Object] | None = None
    error: str = ""


def limits_of(autoscaler: Object, scale: Object) -> Range:
    """The replicas that the scale asks for now, and how few and many there may be."""
    spec = autoscaler["spec"]
    least = spec.get("minReplicas")
    current = (scale.get("spec") or {}).get("replicas") or 0
    return Range(current, 1 if least is None else least, spec["maxReplicas"])


def at_the_limits(within: Range, report: Report) -> Plan | None:
    """What is to be done without a look at the metrics; None if it takes one."""
    if within.current == 0 and within.minimum != 0:
        why = "scaling is disabled since the replica count of the target is zero"
        report.condition(ACTIVE, False, "ScalingDisabled", why)
        return Plan(0, 0)
    if within.current > within.maximum:
        why = "Current number of replicas above Spec.MaxReplicas"
        return Plan(within.current, within.maximum, True, why)
    if within.current < within.minimum:
        why = "Current number of replicas below Spec.MinReplicas"
        return Plan(within.current, within.minimum, True, why)
    return None


def tolerance_of(autoscaler: Object, default: float) -> Tolerance:
    """The tolerances of ``spec.behavior``, else the default one."""
    behavior = autoscaler["spec"].get("behavior") or {}

    def one(direction: str) -> float:
        given = (behavior.get(direction) or {}).get("tolerance")
        return default if given is None else Quantity.parse(given).nano / 1e9

    return Tolerance(one("scaleDown"), one("scaleUp"))


def by_metrics(
    autoscaler: Object,
    answers: Sequence[Answer],
    at: Situation,
    history: History,
    window: float,
    report: Report,
) -> Plan:
    """The plan that follows from all metrics. ``window``: seconds of stabilization on the way down."""
    within = limits_of(autoscaler, {"spec": {"replicas": at.replicas}})
    wanted, metric, statuses, error = _highest_wish(autoscaler, answers, at, report)
    if wanted is None:
        return Plan(within.current, 0, metrics=statuses, error=error)
    reason = ""
    if wanted > within.current:
        reason = f"{metric} above target"
    elif wanted < within.current:
        reason = "All metrics below target"
    behavior = autoscaler["spec"].get("behavior")
    if behavior is None:
        limited = limit_plainly(wanted, within, history, window, at.now)
    else:
        limited = limit_by_behavior(wanted, within, history, behavior, window, at.now)
    report.condition(ABLE, True, *limited.able)
    report.condition(LIMITED, limited.limited, *limited.limit)
    return Plan(within.current, limited.replicas, limited.replicas != within.current, reason, statuses)


def _highest_wish(
    autoscaler: Object, answers: Sequence[Answer], at: Situation, report: Report
) -> tuple[int | None, str, list[Object], str]:
    """(replicas or None, the metric that asks for them, the metrics' statuses, the first error)."""
    specs = autoscaler["spec"].get("metrics") or []
    replicas, metric, statuses = 0, "", []
    failures: list[MetricFailed] = []
    for spec, answer in zip(specs, answers, strict=True):
        try:
            one = wish(spec, answer, at)
        except MetricFailed as failure:
            report.warn(failure.reason, failure.told)
            failures.append(failure)
            # Kubernetes keeps the place of a metric of which nothing is known.
            statuses.append({"type": ""})
            continue
        statuses.append(one.status)
        if replicas == 0 or one.replicas > replicas:
            replicas, metric = one.replicas, one.metric
    if failures and (len(failures) >= len(specs) or replicas < at.replicas):
        first = failures[0]
        why = f"the HPA was unable to compute the replica count: {first.told}"
        report.condition(ACTIVE, False, first.reason, why)
        error = f"invalid metrics ({len(failures)} invalid out of {len(specs)}), first error is: {first}"
        return None, "", statuses, error
    message = f"the HPA was able to successfully calculate a replica count from {metric}"
    report.condition(ACTIVE, True, "ValidMetricFound", message)
    return replicas, metric, statuses, ""


def same_status(old: Object | None, new: Object) -> bool:
    """Whether writing ``new`` would change nothing (absent, null and empty are one)."""

    def kept(status: Object | None) -> Object:
        return {key: value for key, value in (status or {}).items() if value not in (None, [], 0)}

    return kept(old) == kept(new)
