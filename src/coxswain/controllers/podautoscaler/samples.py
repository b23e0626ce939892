"""What metrics say, as plain numbers, and how the answers of the metrics APIs are read.

    metrics.k8s.io            use of cpu and memory by containers      -> PodSample by pod
    custom.metrics.k8s.io     a number for each pod, or for one object -> PodSample by pod, or an amount
    external.metrics.k8s.io   numbers from anywhere                    -> amounts

All amounts are thousandths, as ``Quantity.milli`` gives them. Nothing here has IO.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.base import clock
from coxswain.base.errors import CoxswainError

#: Seconds over which a sample was taken, where a custom metric does not say.
DEFAULT_WINDOW = 60.0


_PART = re.compile(r"([0-9.]+)(h|ms|m|s|us|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class MetricsError(CoxswainError):
    """A metric could not be had or not be used; ``str(error)`` is Kubernetes' message."""


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod's amount (in thousandths), taken over the ``window`` seconds that ended at ``at``."""

    value: int
    at: float = 0.0
    window: float = DEFAULT_WINDOW


PodSamples = dict[str, PodSample]


def resource_samples(items: Iterable[Object], resource: str, container: str = "") -> PodSamples:
    """PodMetrics -> the use of ``resource`` by pods, or by one ``container`` of each. Raises ``MetricsError``.

    A pod of which a container's use is not known is left out: it counts as one without metrics.
    """
    found = {}
    for item in items:
        used = _one_container(item, resource, container) if container else _all_containers(item, resource)
        if used is not None:
            found[item["metadata"]["name"]] = PodSample(
                used, clock.parse_time(item["timestamp"]), _seconds(item["window"])
            )
    return found


def _all_containers(item: Object, resource: str) -> int | None:
    total = 0
    for one in item.get("containers") or ():
        if resource not in (one.get("usage") or {}):
            return None
        total += Quantity.parse(one["usage"][resource]).milli()
    return total if item.get("containers") else None


def _one_container(item: Object, resource: str, container: str) -> int | None:
    for one in item.get("containers") or ():
        if one.get("name") == container:
            usage = one.get("usage") or {}
            return Quantity.parse(usage[resource]).milli() if resource in usage else None
    meta = item["metadata"]
    raise MetricsError(
        f"container {container} not present in metrics for pod {meta.get('namespace', '')}/{meta['name']}"
    )


def custom_samples(items: Iterable[Object]) -> PodSamples:
    """MetricValues of pods -> samples by the pods' names."""
    found = {}
    for item in items:
        window = item.get("windowSeconds")
        found[item["describedObject"]["name"]] = PodSample(
            Quantity.parse(item["value"]).milli(),
            clock.parse_time(item["timestamp"]),
            DEFAULT_WINDOW if window is None else float(window),
        )
    return found


def amounts(items: Iterable[Object]) -> list[int]:
    """The values of MetricValues or ExternalMetricValues."""
    return [Quantity.parse(item["value"]).milli() for item in items]


def _seconds(duration: str) -> float:
    """Seconds of a Go duration: ``1m0.5s``."""
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(duration))


def go_selector(selector: Any) -> str:
    """A label selector as Go's ``%+v`` writes it in messages."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    terms = "".join(
        f"LabelSelectorRequirement{{Key:{term['key']},Operator:{term['operator']},"
        f"Values:[{' '.join(term.get('values') or ())}],}},"
        for term in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{terms}}},}}"
    )
