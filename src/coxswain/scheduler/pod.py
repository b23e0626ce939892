"""What the scheduler keeps of a pod: its identity, its place in the queue, and its template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coxswain.scheduler.template import Template, Templates


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

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]


def parse(obj: dict[str, Any], templates: Templates, *, placed: bool = True) -> Pod:
    """A pod from its API object. ``placed=False`` treats ``nodeName`` as a wish (evaluation of a snapshot)."""
    metadata, spec = obj["metadata"], obj["spec"]
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
    )
