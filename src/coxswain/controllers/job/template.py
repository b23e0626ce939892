"""The pods of a Job: finalizer, and for indexed ones the index in annotation, label, host name and environment."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.job.policies import judge
from coxswain.controllers.job.view import (
    FAILURES,
    FINALIZER,
    IGNORED_FAILURES,
    INDEX,
    failure_counts,
    is_per_index,
)
from coxswain.controllers.pods import pod_from_template

#: Generated names are at most 63 characters, five of them random.
_LONGEST_PREFIX = 58
_VARIABLE = "JOB_COMPLETION_INDEX"


def pod_for(job: Object, index: int | None = None, failed: Object | None = None) -> Object:
    """A pod to be created, for completion ``index``; ``failed`` is the one that it replaces."""
    template = job["spec"]["template"]
    if index is None:
        pod = pod_from_template(template, job)
    else:
        tail = f"-{index}-"
        pod = pod_from_template(template, job, prefix=meta.name(job)[: _LONGEST_PREFIX - len(tail)] + tail)
        _give_index(pod, job, index)
        if is_per_index(job):
            pod["metadata"]["annotations"] |= _failures_after(job, failed)
    kept = [each for each in pod["metadata"].get("finalizers") or () if each != FINALIZER]
    pod["metadata"]["finalizers"] = [*kept, FINALIZER]
    return pod


def _give_index(pod: Object, job: Object, index: int) -> None:
    metadata, spec = pod["metadata"], dict(pod["spec"])
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    spec["hostname"] = f"{meta.name(job)}-{index}"
    for name in ("initContainers", "containers"):
        if spec.get(name):
            spec[name] = [_with_variable(container) for container in spec[name]]
    pod["spec"] = spec


def _with_variable(container: Object) -> Object:
    env = container.get("env") or []
    if any(each["name"] == _VARIABLE for each in env):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": _VARIABLE, "valueFrom": source}]}


def _failures_after(job: Object, failed: Object | None) -> dict[str, str]:
    if failed is None:
        return {FAILURES: "0"}
    counted, ignored = failure_counts(failed)
    if judge(job, failed).counts:
        counted += 1
    else:
        ignored += 1
    return {FAILURES: str(counted)} | ({IGNORED_FAILURES: str(ignored)} if ignored else {})
