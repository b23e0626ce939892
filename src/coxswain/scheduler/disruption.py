"""Disruption budgets as preemption reads them: how many pods of a kind may be disrupted now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coxswain.api.selectors import Selector, label_selector_from
from coxswain.scheduler.pod import Pod


@dataclass(frozen=True, slots=True)
class Budget:
    """One PodDisruptionBudget."""

    namespace: str
    #: None selects nothing.
    selector: Selector | None
    allowed: int
    #: Names of pods whose disruption is already counted.
    disrupted: frozenset[str]

    def covers(self, pod: Pod) -> bool:
        return (
            self.selector is not None
            and pod.namespace == self.namespace
            and bool(pod.template.labels)
            and pod.name not in self.disrupted
            and self.selector.matches(pod.template.labels)
        )


class Budgets:
    """All budgets of the cluster."""

    def __init__(self) -> None:
        self._known: dict[str, Budget] = {}

    def set(self, obj: dict[str, Any]) -> None:
        """A PodDisruptionBudget came or changed."""
        metadata, status = obj["metadata"], obj.get("status") or {}
        raw = (obj.get("spec") or {}).get("selector")
        empty = not raw or not (raw.get("matchLabels") or raw.get("matchExpressions"))
        self._known[f"{metadata['namespace']}/{metadata['name']}"] = Budget(
            metadata["namespace"],
            None if empty else label_selector_from(raw),
            status.get("disruptionsAllowed") or 0,
            frozenset(status.get("disruptedPods") or ()),
        )

    def remove(self, obj: dict[str, Any]) -> None:
        self._known.pop(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}", None)

    def known(self) -> dict[str, Budget]:
        """All of them by namespace and name."""
        return dict(self._known)

    def split(self, pods: Iterable[Pod]) -> tuple[list[Pod], list[Pod]]:
        """(pods whose disruption violates a budget, the others), each in the order given.

        Every pod takes from all budgets that cover it, so the order decides who is the one too many.
        """
        violating: list[Pod] = []
        others: list[Pod] = []
        if not self._known:
            return violating, list(pods)
        left: dict[str, int] = {}
        for pod in pods:
            violates = False
            for key, budget in self._known.items():
                if budget.covers(pod):
                    left[key] = left.get(key, budget.allowed) - 1
                    violates |= left[key] < 0
            (violating if violates else others).append(pod)
        return violating, others
