"""What a Job's policies make of its pods: pod failure policy and success policy, in Kubernetes' words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.job.indexes import Indexes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the failure policy says about one failed pod.

    ``counts``: towards the back-off limits. ``action`` is the matching rule's; ``message`` says why the
    whole Job fails, for FailJob.
    """

    counts: bool = True
    action: str = ""
    message: str = ""


_NO_RULE = Verdict()


def judge(job: Object, pod: Object) -> Verdict:
    """The verdict of the first rule of ``spec.podFailurePolicy`` that matches the failed ``pod``."""
    policy = job["spec"].get("podFailurePolicy")
    if not policy:
        return _NO_RULE
    for number, rule in enumerate(policy.get("rules") or ()):
        found = _match(rule, pod)
        if found is None:
            continue
        action = rule["action"]
        message = f"{found} matching {action} rule at index {number}" if action == "FailJob" else ""
        if action in ("Ignore", "Count", "FailIndex", "FailJob"):
            return Verdict(action != "Ignore", action, message)
    return _NO_RULE


def _match(rule: Object, pod: Object) -> str | None:
    """What of ``pod`` the rule matches, as a clause; None when nothing."""
    where = f"{meta.namespace(pod)}/{meta.name(pod)}"
    if rule.get("onExitCodes") is not None:
        container = _matching_container(rule["onExitCodes"], pod)
        if container is None:
            return None
        code = container["state"]["terminated"]["exitCode"]
        return f"Container {container['name']} for pod {where} failed with exit code {code}"
    patterns = {(each["type"], each.get("status", "True")) for each in rule.get("onPodConditions") or ()}
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if (condition["type"], condition["status"]) in patterns:
            return f"Pod {where} has condition {condition['type']}"
    return None


def _matching_container(requirement: Object, pod: Object) -> Object | None:
    status, only = pod.get("status") or {}, requirement.get("containerName")
    values = set(requirement.get("values") or ())
    for container in _containers(status):
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or (only is not None and container["name"] != only):
            continue
        code = ended.get("exitCode", 0)
        if code and (code in values) == (requirement["operator"] == "In"):
            return container
    return None


def _containers(status: Object) -> Iterable[Object]:
    yield from status.get("containerStatuses") or ()
    yield from status.get("initContainerStatuses") or ()


def success_rule(job: Object, succeeded: Indexes) -> str | None:
    """The message of the first rule of ``spec.successPolicy`` that ``succeeded`` indexes meet."""
    policy = job["spec"].get("successPolicy")
    if not policy or not len(succeeded):
        return None
    for number, rule in enumerate(policy.get("rules") or ()):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            wanted = Indexes.parse(rule["succeededIndexes"], job["spec"]["completions"])
            have = wanted.common(succeeded)
            met = len(wanted) > 0 and (have == len(wanted) or (count is not None and have >= count))
        else:
            met = count is not None and len(succeeded) >= count
        if met:
            return f"Matched rules at index {number}"
    return None
