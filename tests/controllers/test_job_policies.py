"""Pod failure policy, success policy and limits per index: what counts, what ends a Job, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.names import JOBS, PODS, Object
from coxswain.base import clock
from coxswain.controllers.job.controller import DESCRIPTOR
from coxswain.controllers.job.indexes import Indexes
from coxswain.controllers.job.policies import judge, success_rule
from fakeapi import FakeApi

INDEX = "batch.kubernetes.io/job-completion-index"


def a_job(**spec: Any) -> Object:
    labels = {"job": "j"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
    full = {
        "parallelism": 3,
        "completions": 3,
        "backoffLimit": 6,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "d"},
        "spec": {**full, **spec},
    }


def failed(code: int = 1, *, container: str = "c", condition: str = "", init: bool = False) -> Object:
    ended = {"terminated": {"exitCode": code, "finishedAt": "2026-01-01T00:00:00Z"}}
    statuses = [{"name": container, "state": ended}]
    status: Object = {"phase": "Failed", ("initContainerStatuses" if init else "containerStatuses"): statuses}
    if condition:
        status["conditions"] = [{"type": condition, "status": "True"}]
    return {"metadata": {"name": "p", "namespace": "d"}, "status": status}


def on_codes(action: str, operator: str, *values: int, container: str | None = None) -> Object:
    codes = {"operator": operator, "values": list(values)}
    return {"action": action, "onExitCodes": codes | ({"containerName": container} if container else {})}


def on_condition(action: str, kind: str, status: str = "True") -> Object:
    return {"action": action, "onPodConditions": [{"type": kind, "status": status}]}


@pytest.mark.parametrize(
    ("rules", "pod", "counts", "action", "message"),
    [
        ([], failed(), True, "", ""),
        ([on_codes("Ignore", "In", 1)], failed(), False, "Ignore", ""),
        ([on_codes("Ignore", "In", 2)], failed(), True, "", ""),
        ([on_codes("Count", "NotIn", 2)], failed(), True, "Count", ""),
        ([on_codes("Ignore", "NotIn", 1)], failed(0), True, "", ""),
        ([on_codes("FailIndex", "In", 1, container="other")], failed(), True, "", ""),
        ([on_codes("FailIndex", "In", 1, container="c")], failed(), True, "FailIndex", ""),
        (
            [on_condition("Ignore", "DisruptionTarget")],
            failed(condition="DisruptionTarget"),
            False,
            "Ignore",
            "",
        ),
        (
            [on_condition("Ignore", "DisruptionTarget", "False")],
            failed(condition="DisruptionTarget"),
            True,
            "",
            "",
        ),
        (
            [on_codes("Ignore", "In", 9), on_codes("FailJob", "In", 42)],
            failed(42, init=True),
            True,
            "FailJob",
            "Container c for pod d/p failed with exit code 42 matching FailJob rule at index 1",
        ),
        (
            [on_condition("FailJob", "ConfigIssue")],
            failed(condition="ConfigIssue"),
            True,
            "FailJob",
            "Pod d/p has condition ConfigIssue matching FailJob rule at index 0",
        ),
    ],
)
def test_the_first_rule_that_matches_decides(
    rules: list[Object], pod: Object, counts: bool, action: str, message: str
) -> None:
    verdict = judge(a_job(podFailurePolicy={"rules": rules}), pod)
    assert (verdict.counts, verdict.action, verdict.message) == (counts, action, message)


@pytest.mark.parametrize(
    ("rules", "succeeded", "met"),
    [
        ([{"succeededIndexes": "0-2"}], "0-2", 0),
        ([{"succeededIndexes": "0-2"}], "0-1,3", None),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], "0,2,5", 0),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], "2,5-7", None),
        ([{"succeededCount": 3}], "4,6,8", 0),
        ([{"succeededIndexes": "9"}, {"succeededCount": 1}], "4", 1),
        ([{"succeededCount": 1}], "", None),
    ],
)
def test_success_rules(rules: list[Object], succeeded: str, met: int | None) -> None:
    job = a_job(completions=10, completionMode="Indexed", successPolicy={"rules": rules})
    said = success_rule(job, Indexes.parse(succeeded, 10) if succeeded else Indexes())
    assert said == (None if met is None else f"Matched rules at index {met}")


def end(api: FakeApi, index: int, phase: str, code: int = 1) -> None:
    """The pod of an index ends."""
    for pod in api.objects(PODS, "d"):
        if meta.annotations(pod).get(INDEX) == str(index) and meta.is_pod_active(pod):
            ended = {
                "terminated": {
                    "exitCode": 0 if phase == "Succeeded" else code,
                    "finishedAt": clock.timestamp(),
                }
            }
            status = {"phase": phase, "containerStatuses": [{"name": "c", "state": ended}]}
            api.change(PODS, meta.name(pod), "d", lambda obj, new=status: obj["status"].update(new))


def status(api: FakeApi) -> Object:
    found: Object = api.object(JOBS, "j", "d")["status"]
    return found


def conditions(api: FakeApi) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status(api).get("conditions", ())}


async def rests(api: FakeApi) -> None:
    await clock.sleep(60)
    writes = len(api.writes())
    await clock.sleep(3600)
    assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_a_fatal_exit_code_fails_the_job_at_once_and_ends_its_other_pods() -> None:
    api = FakeApi()
    policy = {"rules": [on_codes("FailJob", "In", 42)]}
    api.add(JOBS, a_job(completionMode="Indexed", podFailurePolicy=policy))
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        end(api, 1, "Failed", 42)
        await clock.sleep(60)
        assert conditions(api)["Failed"] == "PodFailurePolicy"
        assert not [pod for pod in api.objects(PODS, "d") if meta.is_pod_active(pod)]
        await rests(api)


@pytest.mark.virtual
async def test_ignored_failures_do_not_use_up_the_limit() -> None:
    api = FakeApi()
    policy = {"rules": [on_codes("Ignore", "In", 9)]}
    api.add(JOBS, a_job(completionMode="Indexed", backoffLimit=0, podFailurePolicy=policy))
    async with running(api, DESCRIPTOR):
        for _ in range(3):
            await clock.sleep(700)
            end(api, 0, "Failed", 9)
        await clock.sleep(700)
        assert "Failed" not in conditions(api)
        for index in range(3):
            end(api, index, "Succeeded")
        await clock.sleep(60)
        assert "Complete" in conditions(api)
        await rests(api)


@pytest.mark.virtual
async def test_an_index_that_fails_too_often_leaves_the_others_to_finish() -> None:
    api = FakeApi()
    api.add(
        JOBS,
        a_job(completionMode="Indexed", backoffLimitPerIndex=1, maxFailedIndexes=2, backoffLimit=2**31 - 1),
    )
    async with running(api, DESCRIPTOR):
        for _ in range(2):
            await clock.sleep(700)
            end(api, 1, "Failed")
        await clock.sleep(700)
        assert status(api)["failedIndexes"] == "1"
        assert "Failed" not in conditions(api)
        for index in (0, 2):
            end(api, index, "Succeeded")
        await clock.sleep(60)
        assert conditions(api)["Failed"] == "FailedIndexes"
        assert status(api)["completedIndexes"] == "0,2"
        await rests(api)


@pytest.mark.virtual
async def test_more_failed_indexes_than_allowed_end_the_job() -> None:
    api = FakeApi()
    spec = {"backoffLimitPerIndex": 0, "maxFailedIndexes": 1, "backoffLimit": 2**31 - 1}
    api.add(JOBS, a_job(completionMode="Indexed", **spec))
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        end(api, 0, "Failed")
        end(api, 1, "Failed")
        await clock.sleep(60)
        assert conditions(api)["Failed"] == "MaxFailedIndexesExceeded"
        await rests(api)


@pytest.mark.virtual
async def test_an_index_that_a_rule_fails_is_not_tried_again() -> None:
    api = FakeApi()
    spec = {"backoffLimitPerIndex": 5, "backoffLimit": 2**31 - 1}
    policy = {"rules": [on_codes("FailIndex", "In", 3)]}
    api.add(JOBS, a_job(completionMode="Indexed", podFailurePolicy=policy, **spec))
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        end(api, 2, "Failed", 3)
        await clock.sleep(700)
        assert status(api)["failedIndexes"] == "2"
        active = {meta.annotations(p)[INDEX] for p in api.objects(PODS, "d") if meta.is_pod_active(p)}
        assert active == {"0", "1"}


@pytest.mark.virtual
async def test_a_success_rule_completes_the_job_and_ends_what_still_runs() -> None:
    api = FakeApi()
    policy = {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}
    api.add(JOBS, a_job(completionMode="Indexed", successPolicy=policy))
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        end(api, 2, "Succeeded")
        await clock.sleep(5)
        assert "Complete" not in conditions(api)
        end(api, 1, "Succeeded")
        await clock.sleep(60)
        assert conditions(api)["SuccessCriteriaMet"] == "SuccessPolicy"
        assert conditions(api)["Complete"] == "SuccessPolicy"
        assert not [pod for pod in api.objects(PODS, "d") if meta.is_pod_active(pod)]
        await rests(api)
