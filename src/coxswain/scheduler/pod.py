"""What the scheduler keeps of a pod: its identity, its place in the queue, and its template."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from coxswain.base import clock
from coxswain.scheduler.template import Template, Templates

#: A pod group without a PodGroup object: the label names it, the annotation says how many must run.
GROUP_LABEL = "scheduling.k8s.io/pod-group"
GROUP_MINIMUM = "scheduling.k8s.io/pod-group-min-member"
_FINISHED = ("Succeeded", "Failed")


@dataclass(slots=True)
class Pod:
    """A pod as the scheduler sees it. ``key`` is ``namespace/name``; times are seconds since the epoch."""

    key: str
    uid: str
    template: Template
    priority: int = 0
    node_name: str = ""
    scheduler_name: str = "default-scheduler"
    gated: bool = False
    may_preempt: bool = True
    deleting: bool = False
    resource_version: str = ""
    #: When the pod started, in seconds; infinity while it has not (it would start now at the earliest).
    start: float = math.inf
    #: The node that preemption makes room on for it, as the API says.
    nominated: str = ""
    #: It ends because the scheduler preempted it.
    preempted: bool = False
    #: Its pod group's name, and how many must run for any to run (0: the PodGroup object says).
    group: str = ""
    group_minimum: int = 0
    #: Named by label: there may be no PodGroup to wait for.
    group_by_label: bool = False
    #: It has ended, well or badly: it takes no room any more.
    finished: bool = False

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]


def parse(obj: dict[str, Any], templates: Templates, *, placed: bool = True) -> Pod:
    """A pod from its API object. ``placed=False`` treats ``nodeName`` as a wish (evaluation of a snapshot)."""
    metadata, spec = obj["metadata"], obj["spec"]
    status = obj.get("status") or {}
    started = status.get("startTime")
    group, minimum = _group(metadata, spec)
    node_name = spec.get("nodeName") or ""
    if node_name and placed:
        template = templates.of({"metadata": metadata, "spec": {**spec, "nodeName": ""}})
    else:
        template = templates.of(obj)
    return Pod(
        key=f"{metadata.get('namespace', '')}/{metadata['name']}",
        uid=metadata.get("uid") or f"{metadata.get('namespace', '')}/{metadata['name']}",
        template=template,
        priority=spec.get("priority") or 0,
        node_name=node_name if placed else "",
        scheduler_name=spec.get("schedulerName") or "default-scheduler",
        gated=bool(spec.get("schedulingGates")),
        may_preempt=spec.get("preemptionPolicy") != "Never",
        deleting="deletionTimestamp" in metadata,
        resource_version=metadata.get("resourceVersion") or "",
        start=clock.parse_time(started) if started else math.inf,
        nominated=status.get("nominatedNodeName") or "",
        preempted="deletionTimestamp" in metadata and _is_preempted(status),
        group=group,
        group_minimum=minimum,
        group_by_label=bool(group) and "schedulingGroup" not in spec,
        finished=status.get("phase") in _FINISHED,
    )


def _is_preempted(status: dict[str, Any]) -> bool:
    return any(
        condition.get("type") == "DisruptionTarget" and condition.get("reason") == "PreemptionByScheduler"
        for condition in status.get("conditions") or ()
    )


def _group(metadata: dict[str, Any], spec: dict[str, Any]) -> tuple[str, int]:
    """The pod group: ``spec.schedulingGroup`` (its PodGroup says how many), or a label and an annotation."""
    if scheduling := spec.get("schedulingGroup"):
        return scheduling.get("podGroupName") or "", 0
    labels = metadata.get("labels")
    if not labels or GROUP_LABEL not in labels:
        return "", 0
    text = (metadata.get("annotations") or {}).get(GROUP_MINIMUM) or ""
    return labels[GROUP_LABEL], int(text) if text.isascii() and text.isdigit() else 0
