"""One metric of ``spec.metrics``: what it asks for, what the status says of it, and the words of a failure.

No IO: what the metrics API answered comes in, a ``Wish`` comes out or a ``MetricFailed`` is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.base.errors import CoxswainError
from coxswain.controllers.podautoscaler.replicas import (
    Proposal,
    Situation,
    by_average,
    by_share,
    by_utilization,
    by_value,
)
from coxswain.controllers.podautoscaler.samples import MetricsError, PodSamples, go_selector

#: What a metrics API answered: samples by pod, an amount in thousandths, or why there is none.
Answer = PodSamples | int | MetricsError

#: The field of a metric's source by its type.
SOURCES = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """The replicas that a metric asks for, how it is called in messages, and its MetricStatus."""

    replicas: int
    metric: str
    status: Object


class MetricFailed(CoxswainError):
    """A metric that says nothing: the event's and condition's ``reason`` and ``told``, and the whole error."""

    def __init__(self, reason: str, told: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.told = told


def wish(spec: Object, answer: Answer, at: Situation) -> Wish:
    """What the metric ``spec`` asks for. Raises ``MetricFailed``."""
    kind = spec.get("type")
    if kind in ("Resource", "ContainerResource"):
        return _resource(kind, spec[SOURCES[kind]], answer, at)
    if kind == "Pods":
        return _pods(spec["pods"], answer, at)
    if kind == "Object":
        return _object(spec["object"], answer, at)
    if kind == "External":
        return _external(spec["external"], answer, at)
    why = f'unknown metric source type "{kind}"'
    raise MetricFailed("InvalidMetricSourceType", why, why)


def _resource(kind: str, source: Object, answer: Answer, at: Situation) -> Wish:
    name, container, target = source["name"], source.get("container", ""), source.get("target") or {}
    reason = "FailedGetResourceMetric" if kind == "Resource" else "FailedGetContainerResourceMetric"
    whole = f"failed to get {name} resource metric value"
    if kind == "ContainerResource":
        whole = f"failed to get {container} container metric value"
    average = "averageValue" in target
    words, metric = (
        f"failed to get {name} utilization: ",
        f"{name} resource utilization (percentage of request)",
    )
    if average:
        words, metric = f"failed to get {name} usage: ", f"{name} resource"
    try:
        samples = _samples(answer)
        if average:
            proposal = by_average(at, samples, _milli(target["averageValue"]), name)
        elif target.get("averageUtilization") is not None:
            proposal = by_utilization(at, samples, name, target["averageUtilization"], container)
        else:
            words = ""
            raise MetricsError(
                "invalid resource metric source: neither an average utilization target nor an average value "
                "(usage) target was set"
            )
    except MetricsError as error:
        told = f"{words}{error}"
        raise MetricFailed(reason, told, f"{whole}: {told}") from None
    status = {"name": name, "current": _current(proposal, "averageValue")}
    if kind == "ContainerResource":
        status["container"] = container
    return Wish(proposal.replicas, metric, {"type": kind, SOURCES[kind]: status})


def _pods(source: Object, answer: Answer, at: Situation) -> Wish:
    metric = source["metric"]
    try:
        proposal = by_average(at, _samples(answer), _milli(source["target"]["averageValue"]))
    except MetricsError as error:
        whole = f"failed to get pods metric value: {error}"
        raise MetricFailed("FailedGetPodsMetric", str(error), whole) from None
    status = {"metric": metric, "current": _current(proposal, "averageValue")}
    return Wish(proposal.replicas, f"pods metric {metric['name']}", {"type": "Pods", "pods": status})


def _object(source: Object, answer: Answer, at: Situation) -> Wish:
    metric, described, target = source["metric"], source["describedObject"], source.get("target") or {}
    words = ""
    try:
        if target.get("type") == "Value" and "value" in target:
            proposal, field = by_value(at, _amount(answer), _milli(target["value"])), "value"
            name = f"{described['kind']} metric {metric['name']}"
        elif target.get("type") == "AverageValue" and "averageValue" in target:
            words = f"failed to get {metric['name']} object metric: "
            proposal, field = by_share(at, _amount(answer), _milli(target["averageValue"])), "averageValue"
            name = f"external metric {metric['name']}({go_selector(metric.get('selector'))})"
        else:
            raise MetricsError(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
    except MetricsError as error:
        whole = f"failed to get object metric value: {words}{error}"
        raise MetricFailed("FailedGetObjectMetric", str(error), whole) from None
    status = {"describedObject": described, "metric": metric, "current": _current(proposal, field)}
    return Wish(proposal.replicas, name, {"type": "Object", "object": status})


def _external(source: Object, answer: Answer, at: Situation) -> Wish:
    metric, target = source["metric"], source.get("target") or {}
    words = ""
    try:
        if "averageValue" in target:
            words = f"failed to get {metric['name']} external metric: "
            proposal, field = by_share(at, _amount(answer), _milli(target["averageValue"])), "averageValue"
        elif "value" in target:
            words = f"failed to get external metric {metric['name']}: "
            proposal, field = by_value(at, _amount(answer), _milli(target["value"])), "value"
        else:
            raise MetricsError(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
    except MetricsError as error:
        whole = f"failed to get {metric['name']} external metric value: {words}{error}"
        raise MetricFailed("FailedGetExternalMetric", str(error), whole) from None
    name = f"external metric {metric['name']}({go_selector(metric.get('selector'))})"
    status = {"metric": metric, "current": _current(proposal, field)}
    return Wish(proposal.replicas, name, {"type": "External", "external": status})


def _samples(answer: Answer) -> PodSamples:
    if isinstance(answer, MetricsError):
        raise answer
    assert isinstance(answer, dict)
    return answer


def _amount(answer: Answer) -> int:
    if isinstance(answer, MetricsError):
        raise answer
    assert isinstance(answer, int)
    return answer


def _current(proposal: Proposal, field: str) -> Object:
    current: dict[str, Any] = {field: str(Quantity(proposal.amount * 1_000_000))}
    if proposal.utilization is not None:
        current["averageUtilization"] = proposal.utilization
    return current


def _milli(text: str) -> int:
    return Quantity.parse(text).milli()
