"""Jobs do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.pretended_runtime import Process
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import job
from coxswain.api import meta
from coxswain.api.names import JOBS, PODS, Object
from coxswain.base import clock

NAMED = "[sig-apps] Job "
INDEX = "batch.kubernetes.io/job-completion-index"


async def succeed(process: Process) -> int:
    await clock.sleep(1)
    return 0


async def fail(process: Process) -> int:
    await clock.sleep(1)
    return 42


async def fail_odd_indexes(process: Process) -> int:
    await clock.sleep(1)
    return 42 if int(process.env["JOB_COMPLETION_INDEX"]) % 2 else 0


async def only_index_0(process: Process) -> int:
    """Index 0 succeeds; the others run until they are stopped."""
    if process.env["JOB_COMPLETION_INDEX"] == "0":
        return await succeed(process)
    await process.stopping.wait()
    return 0


async def fail_at_first(process: Process) -> int:
    """Succeeds the second time that it is started in one pod."""
    await clock.sleep(1)
    return 0 if process.config.attempt else 1


PROGRAMS = {
    "succeed": succeed, "fail": fail, "fail odd": fail_odd_indexes, "only 0": only_index_0,
    "fail first": fail_at_first,
}  # fmt: skip


def indexed(name: str, image: str, completions: int, parallelism: int = 0, **spec: Any) -> Object:
    return job(
        name,
        image,
        completionMode="Indexed",
        completions=completions,
        parallelism=parallelism or completions,
        **spec,
    )


async def until_condition(it: Whole, name: str, kind: str, reason: str) -> Object:
    """The job as soon as this condition is true."""

    async def reached() -> Object | None:
        found = await it.get(JOBS, name)
        condition = meta.condition(found, kind)
        return found if condition and condition["status"] == "True" else None

    found = await it.until(reached, 1200)
    assert (meta.condition(found, kind) or {})["reason"] == reason
    return found


async def until_failed(it: Whole, name: str, reason: str) -> Object:
    return await until_condition(it, name, "Failed", reason)


async def until_complete(it: Whole, name: str, reason: str = "CompletionsReached") -> Object:
    return await until_condition(it, name, "Complete", reason)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]"
)
async def test_tasks_that_fail_are_started_again_in_their_pods(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(
            JOBS, job("j", "fail first", pod={"restartPolicy": "OnFailure"}, completions=4, parallelism=2)
        )
        found = await until_complete(it, "j")
        assert (found["status"]["succeeded"], found["status"].get("failed")) == (4, None)
        pods = await it.pods(of="j")
        assert [meta.pod_phase(each) for each in pods] == ["Succeeded"] * 4
        assert {each["status"]["containerStatuses"][0]["restartCount"] for each in pods} == {1}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should adopt matching orphans and release non-matching pods [Conformance]")
async def test_orphans_are_adopted_and_pods_that_no_longer_match_let_go(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(JOBS, job("j", "forever", completions=2, parallelism=2))
        first = meta.name((await it.until_pods(2, of="j"))[0])
        await it.edit(PODS, first, lambda obj: obj["metadata"].update(ownerReferences=None))

        async def owned(wanted: bool) -> bool:
            return (meta.controller_of(await it.get(PODS, first)) is not None) == wanted

        await it.until(lambda: owned(True))
        await it.edit(PODS, first, lambda obj: obj["metadata"].update(labels=None))
        await it.until(lambda: owned(False))
        await it.until_pods(2, of="j")
        assert not meta.finalizers(await it.get(PODS, first))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition [Conformance]"
)
async def test_evicted_pods_do_not_count_where_the_policy_ignores_disruption(tmp_path: Path) -> None:
    stays = True

    async def second_time(process: Process) -> int:
        if stays:
            await process.stopping.wait()
            return 143
        return 0

    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    async with whole_cluster(tmp_path, programs={"second": second_time}) as it:
        policy = {"rules": [rule]}
        await it.create(
            JOBS, job("j", "second", backoffLimit=0, completions=1, parallelism=1, podFailurePolicy=policy)
        )
        (victim,) = await it.until_pods(1, of="j")
        name = meta.name(victim)
        stays = False
        async with it.following(PODS) as seen:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
            await it.create(PODS, eviction, name=name, subresource="eviction")
            found = await until_complete(it, "j")
            failed = await seen.until(
                "MODIFIED", lambda p: meta.name(p) == name and meta.pod_phase(p) == "Failed"
            )
        assert meta.is_condition_true(failed, "DisruptionTarget")
        assert (found["status"].get("failed"), found["status"]["succeeded"]) == (None, 1)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should allow to use the pod failure policy on exit code to fail the job early [Conformance]"
)
async def test_an_exit_code_fails_the_job_where_the_policy_says_so(tmp_path: Path) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        policy = {"rules": [rule]}
        await it.create(
            JOBS, job("j", "fail", backoffLimit=3, completions=1, parallelism=1, podFailurePolicy=policy)
        )
        found = await until_failed(it, "j", "PodFailurePolicy")
        assert found["status"]["failed"] == 1
        (pod,) = await it.pods(of="j")
        condition = meta.condition(found, "Failed") or {}
        assert condition["message"] == (
            f"Container c for pod work/{meta.name(pod)} failed with exit code 42 matching FailJob rule at index 0"
        )
        assert meta.is_condition_true(found, "FailureTarget")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should apply changes to a job status [Conformance]")
async def test_status_is_patched_updated_and_read(tmp_path: Path) -> None:
    def kinds(obj: Object) -> set[str]:
        return {each["type"] for each in obj["status"].get("conditions") or ()}

    async with whole_cluster(tmp_path) as it:
        await it.create(JOBS, job("j", "forever", completions=2, parallelism=2))
        await it.until_status(JOBS, "j", active=2, ready=2)
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{"type": "CustomOne", "status": "True"}]},
        }
        patched = await it.patch(JOBS, "j", patch, subresource="status")
        assert kinds(patched) == {"CustomOne"}
        assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
        another = {"type": "CustomTwo", "status": "True"}
        await it.edit(
            JOBS, "j", lambda obj: obj["status"]["conditions"].append(another), subresource="status"
        )
        await clock.sleep(10)
        assert kinds(await it.get(JOBS, "j", subresource="status")) == {"CustomOne", "CustomTwo"}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should create pods for an Indexed job with completion indexes and specified hostname [Conformance]"
)
async def test_pods_of_an_indexed_job_know_their_index(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(JOBS, indexed("j", "succeed", 4, 2))
        found = await until_complete(it, "j")
        assert found["status"]["completedIndexes"] == "0-3"
        pods = await it.pods(of="j")
        assert sorted(meta.annotations(each)[INDEX] for each in pods) == list("0123")
        assert all(meta.labels(each)[INDEX] == meta.annotations(each)[INDEX] for each in pods)
        assert all(each["spec"]["hostname"] == f"j-{meta.annotations(each)[INDEX]}" for each in pods)
        assert sorted(it.process(meta.name(each)).sandbox.hostname for each in pods) == [
            "j-0", "j-1", "j-2", "j-3",
        ]  # fmt: skip


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should delete a job [Conformance]")
async def test_the_pods_of_a_deleted_job_go(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(JOBS, job("j", "forever", completions=4, parallelism=2))
        await it.until_pods(2, of="j")
        await it.delete(JOBS, "j", propagation="Foreground")
        await it.until_gone(JOBS, "j")
        assert not await it.pods(of="j")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should execute all indexes despite some failing when using backoffLimitPerIndex [Conformance]"
)
async def test_every_index_is_tried_where_the_limit_is_per_index(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(JOBS, indexed("j", "fail odd", 4, 2, backoffLimitPerIndex=1))
        status = (await until_failed(it, "j", "FailedIndexes"))["status"]
        assert (status["completedIndexes"], status["failedIndexes"]) == ("0,2", "1,3")
        assert (status["succeeded"], status["failed"]) == (2, 4)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should mark indexes as failed when the FailIndex action is matched in podFailurePolicy [Conformance]"
)
async def test_an_exit_code_fails_its_index_where_the_policy_says_so(tmp_path: Path) -> None:
    rule = {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(
            JOBS, indexed("j", "fail odd", 2, 2, backoffLimitPerIndex=1, podFailurePolicy={"rules": [rule]})
        )
        status = (await until_failed(it, "j", "FailedIndexes"))["status"]
        assert (status["completedIndexes"], status["failedIndexes"]) == ("0", "1")
        assert (status["succeeded"], status["failed"]) == (1, 1)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should terminate job execution when the number of failed indexes exceeds maxFailedIndexes [Conformance]"
)
async def test_too_many_failed_indexes_end_the_job(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(JOBS, indexed("j", "fail", 10, 1, backoffLimitPerIndex=0, maxFailedIndexes=4))
        status = (await until_failed(it, "j", "MaxFailedIndexesExceeded"))["status"]
        assert status["failedIndexes"] == "0-4"
        assert (status.get("succeeded"), status["failed"]) == (None, 5)
        assert len(await it.pods(of="j")) == 5


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should manage the lifecycle of a job [Conformance]")
async def test_a_job_is_watched_patched_resumed_and_deleted_as_a_collection(tmp_path: Path) -> None:
    chosen = {"label_selector": "batch=one"}
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it, it.following(JOBS) as seen:
        await it.create(JOBS, job("j", "succeed", suspend=True, completions=1, parallelism=1))
        await seen.until("ADDED")
        await it.until_status(JOBS, "j", active=0)
        await it.patch(JOBS, "j", {"metadata": {"labels": {"batch": "one"}}})
        await seen.until("MODIFIED", lambda obj: meta.labels(obj).get("batch") == "one")
        await clock.sleep(10)
        assert not await it.pods(of="j")

        def resume(obj: Object) -> None:
            obj["spec"]["suspend"] = False
            obj["metadata"]["annotations"] = {"updated": "yes"}

        await it.edit(JOBS, "j", resume)
        await seen.until("MODIFIED", lambda obj: meta.annotations(obj).get("updated") == "yes")
        assert len(await it.list(JOBS, "", **chosen)) == 1
        await until_complete(it, "j")
        query = {"labelSelector": "batch=one", "propagationPolicy": "Background"}
        await it.call("deletecollection", JOBS, query=query)
        await seen.until("DELETED")
        assert not await it.list(JOBS, "", **chosen)
        await it.until_pods(0, of="j")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}with successPolicy should succeeded when all indexes succeeded [Conformance]"
)
async def test_a_job_with_a_policy_succeeds_when_all_indexes_do(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        policy = {"rules": [{"succeededCount": 2}]}
        await it.create(JOBS, indexed("j", "succeed", 2, successPolicy=policy))
        found = await until_complete(it, "j", "SuccessPolicy")
        assert (meta.condition(found, "SuccessCriteriaMet") or {})["reason"] == "SuccessPolicy"
        assert (found["status"]["completedIndexes"], found["status"]["succeeded"]) == ("0,1", 2)


@pytest.mark.virtual
@pytest.mark.parametrize("rule", [{"succeededCount": 1}, {"succeededIndexes": "0"}], ids=["count", "indexes"])
@pytest.mark.conformance(
    f"{NAMED}with successPolicy succeededCount rule should succeeded even when some indexes remain pending [Conformance]",
    f"{NAMED}with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending [Conformance]",
)
async def test_a_job_with_a_policy_succeeds_while_indexes_still_run(tmp_path: Path, rule: Object) -> None:
    async with whole_cluster(tmp_path, programs=PROGRAMS) as it:
        await it.create(JOBS, indexed("j", "only 0", 5, 3, successPolicy={"rules": [rule]}))
        found = await until_complete(it, "j", "SuccessPolicy")
        met = meta.condition(found, "SuccessCriteriaMet") or {}
        assert (met["reason"], met["message"]) == ("SuccessPolicy", "Matched rules at index 0")
        assert (found["status"]["completedIndexes"], found["status"]["succeeded"]) == ("0", 1)
        assert not found["status"].get("active") and not found["status"].get("terminating")
