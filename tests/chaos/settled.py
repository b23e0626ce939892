"""What a cluster has to look like when faults have ceased: every object as its specification says."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.batch import finished, is_tracked
from chaos.observer import Observer, is_active, is_ready
from coxswain.api import meta
from coxswain.api.names import Object


def differences(seen: Observer) -> list[str]:
    """What is not as it should be, a line each."""
    found: list[str] = []
    for kind, check in _CHECKS.items():
        for obj in seen.all(kind):
            found += [f"{kind} {meta.key(obj)}: {why}" for why in check(seen, obj)]
    for kind, objects in sorted(seen.objects.items()):
        for key, obj in sorted(objects.items()):
            if meta.is_terminating(obj):
                found.append(f"{kind} {key} is still terminating; finalizers {meta.finalizers(obj)}")
            if meta.namespace(obj) and seen.get("Namespace", meta.namespace(obj)) is None and kind != "Event":
                found.append(f"{kind} {key} is in no namespace")
    return found


def _expect(obj: Object, **wanted: int) -> Iterator[str]:
    status = obj.get("status") or {}
    for name, number in wanted.items():
        if status.get(name, 0) != number:
            yield f"status.{name} is {status.get(name, 0)}, not {number}"
    if status.get("observedGeneration", 0) != meta.generation(obj):
        yield f"observed generation {status.get('observedGeneration')} of {meta.generation(obj)}"


def _set(seen: Observer, obj: Object) -> Iterator[str]:
    pods = [pod for pod in seen.pods_of(meta.uid(obj)) if is_active(pod)]
    ready = sum(map(is_ready, pods))
    wanted = obj["spec"].get("replicas", 1)
    if len(pods) != wanted:
        yield f"{len(pods)} pods, {wanted} wanted"
    elif ready != len(pods):
        yield f"{ready} of {len(pods)} pods are ready"
    yield from _expect(obj, replicas=len(pods), readyReplicas=ready, availableReplicas=ready)


def _deployment(seen: Observer, obj: Object) -> Iterator[str]:
    sets = seen.owned(meta.uid(obj), "ReplicaSet")
    wanted = obj["spec"].get("replicas", 1)
    image = obj["spec"]["template"]["spec"]["containers"][0]["image"]
    new = [one for one in sets if one["spec"]["template"]["spec"]["containers"][0]["image"] == image]
    if len(new) != 1:
        yield f"{len(new)} sets of its template"
        return
    for one in sets:
        size = one["spec"].get("replicas", 0)
        if size != (wanted if one is new[0] else 0):
            yield f"set {meta.name(one)} wants {size}"
    kept = [one for one in sets if one is not new[0]]
    if len(kept) > obj["spec"].get("revisionHistoryLimit", 10):
        yield f"{len(kept)} old sets are kept"
    yield from _expect(
        obj, replicas=wanted, updatedReplicas=wanted, readyReplicas=wanted, availableReplicas=wanted
    )


def _stateful_set(seen: Observer, obj: Object) -> Iterator[str]:
    spec = obj["spec"]
    wanted, start = spec.get("replicas", 1), (spec.get("ordinals") or {}).get("start", 0)
    pods = {int(meta.name(pod).rpartition("-")[2]): pod for pod in seen.pods_of(meta.uid(obj))}
    if sorted(pods) != list(range(start, start + wanted)):
        yield f"pods {sorted(pods)}, not {start} to {start + wanted - 1}"
    if unready := [ordinal for ordinal, pod in pods.items() if not is_ready(pod)]:
        yield f"pods {unready} are not ready"
    if (spec.get("updateStrategy") or {}).get("type") != "OnDelete":
        partition = ((spec["updateStrategy"]).get("rollingUpdate") or {}).get("partition", 0)
        image = spec["template"]["spec"]["containers"][0]["image"]
        for ordinal, pod in pods.items():
            if ordinal >= start + partition and pod["spec"]["containers"][0]["image"] != image:
                yield f"pod {ordinal} runs {pod['spec']['containers'][0]['image']}"
    yield from _expect(obj, replicas=wanted, readyReplicas=wanted, availableReplicas=wanted)
    for template in spec.get("volumeClaimTemplates") or ():
        for ordinal in pods:
            claim = f"{meta.namespace(obj)}/{template['metadata']['name']}-{meta.name(obj)}-{ordinal}"
            found = seen.get("PersistentVolumeClaim", claim)
            if found is None or (found.get("status") or {}).get("phase") != "Bound":
                yield f"claim {claim} is not bound"


def _daemon_set(seen: Observer, obj: Object) -> Iterator[str]:
    nodes = {meta.name(node) for node in seen.all("Node")}
    pods = seen.pods_of(meta.uid(obj))
    if sorted(pod["spec"].get("nodeName", "") for pod in pods) != sorted(nodes):
        yield f"pods on {sorted(pod['spec'].get('nodeName', '') for pod in pods)}"
    image = obj["spec"]["template"]["spec"]["containers"][0]["image"]
    for pod in pods:
        if not is_ready(pod) or pod["spec"]["containers"][0]["image"] != image:
            yield f"pod {meta.name(pod)} is not ready or not updated"
    count = len(nodes)
    yield from _expect(obj, desiredNumberScheduled=count, numberAvailable=count, updatedNumberScheduled=count)


def _job(seen: Observer, obj: Object) -> Iterator[str]:
    pods = seen.pods_of(meta.uid(obj))
    if not finished(obj) and obj["spec"].get("parallelism"):
        yield f"has not finished: {obj.get('status')}"
    if finished(obj) and any(is_active(pod) for pod in pods):
        yield "has finished, and pods are active"
    if finished(obj) and any(map(is_tracked, pods)):
        yield "has finished, and pods have finalizers"
    if finished(obj) and obj["spec"].get("ttlSecondsAfterFinished") is not None:
        # By the wall clock, which may have been set back.
        yield "has finished, and its time to live is not over"


def _budget(seen: Observer, obj: Object) -> Iterator[str]:
    labels = obj["spec"]["selector"]["matchLabels"]
    pods = [pod for pod in seen.all("Pod", meta.namespace(obj)) if labels.items() <= meta.labels(pod).items()]
    if (obj.get("status") or {}).get("disruptedPods"):
        # Given up after two minutes of the wall clock, which may have been set back.
        yield "evicted pods are still expected to go"
    if any(meta.controller_of(pod) is None for pod in pods):
        return
    yield from _expect(obj, currentHealthy=sum(map(is_ready, pods)))


def _quota(seen: Observer, obj: Object) -> Iterator[str]:
    pods = [pod for pod in seen.all("Pod", meta.namespace(obj)) if is_active(pod)]
    used = ((obj.get("status") or {}).get("used") or {}).get("pods")
    if used != str(len(pods)):
        yield f"{used} pods are counted, there are {len(pods)}"


def _pod(seen: Observer, obj: Object) -> Iterator[str]:
    node = obj["spec"].get("nodeName")
    if is_active(obj) and (not node or seen.get("Node", node) is None):
        yield f"has no node ({node})"
    disruption = meta.condition(obj, "DisruptionTarget") or {}
    if is_active(obj) and disruption.get("status") == "True":
        # Taken back after two minutes of the wall clock, which may have been set back.
        yield "is said to be about to be disrupted"


def _slice(seen: Observer, obj: Object) -> Iterator[str]:
    owner = meta.controller_of(obj)
    service = seen.by_uid(owner["uid"]) if owner is not None else None
    if service is None or service["kind"] != "Service" or obj["addressType"] != "IPv4":
        return
    labels = service["spec"]["selector"]
    pods = [pod for pod in seen.all("Pod", meta.namespace(obj)) if labels.items() <= meta.labels(pod).items()]
    # A node that was deleted and registers again keeps its pods, and gets another range: the addresses of its old
    # range are given to the pods of whoever has it now, in Kubernetes too.
    ready = sorted({pod["status"]["podIP"] for pod in pods if is_ready(pod)})
    listed = {
        one["addresses"][0]
        for part in seen.owned(owner["uid"] if owner else "", "EndpointSlice")
        for one in part.get("endpoints") or ()
        if (one.get("conditions") or {}).get("ready")
    }
    if sorted(listed) != ready:
        yield f"it and its siblings list {sorted(listed)}, ready are {ready}"


def _node(seen: Observer, obj: Object) -> Iterator[str]:
    if not meta.is_condition_true(obj, "Ready"):
        yield "is not ready"
    if obj["spec"].get("taints"):
        yield f"has taints {obj['spec']['taints']}"


_CHECKS = {
    "Node": _node,
    "Pod": _pod,
    "ReplicaSet": _set,
    "ReplicationController": _set,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "PodDisruptionBudget": _budget,
    "ResourceQuota": _quota,
    "EndpointSlice": _slice,
}
