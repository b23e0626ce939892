"""What the scheduler writes: bindings, conditions, nominations, and what preemption does to its victims."""

from __future__ import annotations

from typing import Any

import orjson

from coxswain.api.names import PODS, Object
from coxswain.client.interface import NOTHING, STRATEGIC_MERGE_PATCH, Answer, Call
from coxswain.scheduler.pod import Pod


def binding(pod: Pod, node_name: str) -> Call:
    """The call that binds ``pod``."""
    namespace, _, name = pod.key.partition("/")
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
        "target": {"kind": "Node", "name": node_name},
    }
    return Call("create", PODS, namespace, name, "binding", body=orjson.dumps(body), accept=NOTHING)


def status_patch(pod: Pod, status: dict[str, Any]) -> Call:
    """A strategic merge of ``status`` into the pod's."""
    body = orjson.dumps({"status": status})
    return Call(
        "patch",
        PODS,
        pod.namespace,
        pod.name,
        "status",
        body=body,
        content_type=STRATEGIC_MERGE_PATCH,
        accept=NOTHING,
    )


def unscheduled(reason: str, message: str, since: str) -> dict[str, Any]:
    """PodScheduled=False."""
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }


def disruption_target(scheduler_name: str, since: str) -> dict[str, Any]:
    """The condition of a pod that has to make room."""
    return {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{scheduler_name}: preempting to accommodate a higher priority pod",
        "lastTransitionTime": since,
    }


def deletion(pod: Pod) -> Call:
    """Delete this very pod, with its own grace."""
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": pod.uid}}
    return Call("delete", PODS, pod.namespace, pod.name, body=orjson.dumps(body))


def reference(pod: Pod) -> Object:
    """The ObjectReference of a pod."""
    namespace, _, name = pod.key.partition("/")
    found: Object = {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod.uid, "apiVersion": "v1"}
    if pod.resource_version:
        found["resourceVersion"] = pod.resource_version
    return found


def message_of(answer: Answer) -> str:
    """What a Status says."""
    try:
        return str(orjson.loads(answer.body).get("message") or answer.code)
    except (ValueError, AttributeError):
        return str(answer.code)
