"""Resource quotas do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod, replication_controller, workload
from coxswain.api import meta
from coxswain.api.errors import Forbidden, Invalid, NotFound
from coxswain.api.names import (
    CONFIGMAPS,
    GVR,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SECRETS,
    SERVICES,
    Object,
)

QUOTAS = GVR("", "v1", "resourcequotas")
NAMED = "[sig-api-machinery] ResourceQuota should "
DONGLE = "requests.example.com/dongle"
HARD = {
    "pods": "5",
    "services": "10",
    "services.nodeports": "1",
    "services.loadbalancers": "1",
    "replicationcontrollers": "10",
    "resourcequotas": "1",
    "cpu": "1",
    "memory": "500Mi",
    "configmaps": "10",
    "secrets": "10",
    "persistentvolumeclaims": "10",
    "requests.storage": "10Gi",
    "ephemeral-storage": "50Gi",
    "count/replicasets.apps": "5",
    DONGLE: "3",
}


def quota(name: str = "quota", hard: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"hard": hard or HARD, **spec}}


def asking(**requests: str) -> dict[str, Any]:
    amounts = {name.replace("_", "-"): amount for name, amount in requests.items()}
    limits = {}
    if "dongle" in amounts:
        amounts["example.com/dongle"] = limits["example.com/dongle"] = amounts.pop("dongle")
    return {"container": {"resources": {"requests": amounts, "limits": limits}}}


async def until_used(it: Whole, name: str = "quota", **wanted: str) -> Object:
    """The quota's use, as soon as it is this."""
    expected = {key.replace("__", "/").replace("_", "-"): value for key, value in wanted.items()}
    used: Object = {}

    async def reached() -> Object | None:
        used.clear()
        used.update((await it.get(QUOTAS, name)).get("status", {}).get("used") or {})
        return used if expected.items() <= used.items() else None

    try:
        return await it.until(reached, 60)
    except AssertionError:
        raise AssertionError(f"wanted {expected}, used {used}") from None


async def start(it: Whole) -> Object:
    """A quota over everything, and what is used before anything is made."""
    await it.create(QUOTAS, quota())
    return dict(await until_used(it, resourcequotas="1"))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}create a ResourceQuota and ensure its status is promptly calculated. [Conformance]"
)
async def test_status_is_worked_out(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        await it.create(QUOTAS, quota())
        found = await it.until_status(QUOTAS, "quota", hard=HARD, seconds=60)
        assert found["status"]["used"].keys() == HARD.keys()
        assert found["status"]["used"]["configmaps"] == "1"
        assert found["status"]["used"]["cpu"] == "0"


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "made", "counted"),
    [
        (CONFIGMAPS, {"metadata": {"name": "one"}, "data": {"a": "b"}}, "configmaps"),
        (SECRETS, {"metadata": {"name": "one"}, "stringData": {"a": "b"}}, "secrets"),
        (REPLICATION_CONTROLLERS, replication_controller("one", 0), "replicationcontrollers"),
        (REPLICA_SETS, workload("ReplicaSet", "one", 0), "count/replicasets.apps"),
    ],
    ids=["config map", "secret", "controller", "replica set"],
)
@pytest.mark.conformance(
    f"{NAMED}create a ResourceQuota and capture the life of a configMap. [Conformance]",
    f"{NAMED}create a ResourceQuota and capture the life of a secret. [Conformance]",
    f"{NAMED}create a ResourceQuota and capture the life of a replication controller. [Conformance]",
    f"{NAMED}create a ResourceQuota and capture the life of a replica set. [Conformance]",
)
async def test_objects_are_counted_as_long_as_they_live(
    tmp_path: Path, resource: GVR, made: Object, counted: str
) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        before = await start(it)
        await it.create(resource, made)
        await until_used(it, **{counted: str(int(before[counted]) + 1)})
        for number in range(int(HARD[counted]) - int(before[counted]) - 1):
            await it.create(resource, {**made, "metadata": {**made["metadata"], "name": f"more-{number}"}})
        with pytest.raises(Forbidden, match=f"exceeded quota: quota, requested: {counted}=1"):
            await it.create(resource, {**made, "metadata": {**made["metadata"], "name": "too-many"}})
        await it.delete(resource, "one")
        await until_used(it, **{counted: str(int(HARD[counted]) - 1)})


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}create a ResourceQuota and capture the life of a service. [Conformance]")
async def test_services_are_counted_by_their_types(tmp_path: Path) -> None:
    def service(name: str, kind: str) -> Object:
        return {"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}}

    async with whole_cluster(tmp_path, nodes=0) as it:
        await start(it)
        await it.create(SERVICES, service("plain", "ClusterIP"))
        await it.create(SERVICES, service("port", "NodePort"))
        used = {"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"}
        await until_used(it, **used)
        with pytest.raises(Forbidden, match=r"requested: services\.nodeports=1"):
            await it.create(SERVICES, service("balanced", "LoadBalancer"))
        await until_used(it, **used)
        for name in ("plain", "port"):
            await it.delete(SERVICES, name)
        await until_used(it, **{"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"})


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}create a ResourceQuota and capture the life of a pod. [Conformance]")
async def test_what_pods_ask_for_is_counted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        await start(it)
        one = asking(cpu="500m", memory="252Mi", ephemeral_storage="30Gi", dongle="2")
        await it.create(PODS, pod("one", **one))
        used = {
            "pods": "1", "cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", DONGLE: "2",
        }  # fmt: skip
        await until_used(it, **used)
        with pytest.raises(Forbidden, match="requested: cpu=600m, used: cpu=500m, limited: cpu=1"):
            await it.create(PODS, pod("two", **asking(cpu="600m", memory="100Mi", ephemeral_storage="1Gi")))
        with pytest.raises(Forbidden, match=f"requested: {DONGLE}=2, used: {DONGLE}=2, limited: {DONGLE}=3"):
            wanted = asking(cpu="500m", memory="100Mi", ephemeral_storage="1Gi", dongle="2")
            await it.create(PODS, pod("three", **wanted))
        with pytest.raises(Forbidden, match="failed quota: quota: must specify cpu for: c; memory for: c"):
            await it.create(PODS, pod("four"))

        def grow(obj: Object) -> None:
            obj["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "100m"

        with pytest.raises(Invalid):
            await it.edit(PODS, "one", grow)
        await until_used(it, **used)
        await it.delete(PODS, "one", grace_period_seconds=0)
        await until_used(
            it, **{"pods": "0", "cpu": "0", "memory": "0", "ephemeral-storage": "0", DONGLE: "0"}
        )


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}be able to update and delete ResourceQuota. [Conformance]")
async def test_a_quota_is_updated_and_deleted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        await it.create(QUOTAS, quota(hard={"cpu": "1", "memory": "500Mi"}))
        found = await it.get(QUOTAS, "quota")
        assert found["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
        more = {"cpu": "2", "memory": "1Gi"}
        updated = await it.edit(QUOTAS, "quota", lambda obj: obj["spec"].update(hard=more))
        assert updated["spec"]["hard"] == more
        await it.until_status(QUOTAS, "quota", hard=more)
        await it.delete(QUOTAS, "quota")
        with pytest.raises(NotFound):
            await it.get(QUOTAS, "quota")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}manage the lifecycle of a ResourceQuota [Conformance]")
async def test_a_quota_is_listed_patched_and_deleted_as_a_collection(tmp_path: Path) -> None:
    chosen = {"label_selector": "batch=one"}
    async with whole_cluster(tmp_path, nodes=0) as it:
        made = quota(hard={"cpu": "1", "memory": "500Mi"})
        made["metadata"]["labels"] = {"batch": "one"}
        await it.create(QUOTAS, made)
        (listed,) = await it.list(QUOTAS, "", **chosen)
        assert listed["spec"]["hard"] == {"cpu": "1", "memory": "500Mi"}
        patch = {
            "metadata": {"labels": {"quota": "patched"}},
            "spec": {"hard": {"memory": "750Mi"}},
        }
        patched = await it.patch(QUOTAS, "quota", patch)
        assert patched["spec"]["hard"] == {"cpu": "1", "memory": "750Mi"}
        await it.delete_collection(QUOTAS, label_selector="quota=patched")
        assert not await it.list(QUOTAS, "", **chosen)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}apply changes to a resourcequota status [Conformance]")
async def test_status_is_written_and_then_put_right_by_the_controller(tmp_path: Path) -> None:
    wrong = {"cpu": "500m", "memory": "250Mi"}
    right = {"cpu": "1", "memory": "500Mi"}
    async with whole_cluster(tmp_path, nodes=0) as it, it.following(QUOTAS) as seen:
        await it.create(QUOTAS, quota(hard=right))
        await it.until_status(QUOTAS, "quota", hard=right)

        def change(obj: Object) -> None:
            obj["status"]["hard"] = wrong
            obj["spec"]["hard"] = wrong

        updated = await it.edit(QUOTAS, "quota", change, subresource="status")
        assert (updated["status"]["hard"], updated["spec"]["hard"]) == (wrong, right)
        await seen.until("MODIFIED", lambda obj: (obj.get("status") or {}).get("hard") == wrong)
        await it.until_status(QUOTAS, "quota", hard=right)
        patched = await it.patch(QUOTAS, "quota", {"status": {"hard": wrong}}, subresource="status")
        assert patched["status"]["hard"] == wrong
        found = await it.get(QUOTAS, "quota", subresource="status")
        assert found["kind"] == "ResourceQuota" and meta.uid(found) == meta.uid(updated)
        await it.until_status(QUOTAS, "quota", hard=right)
        await it.delete(QUOTAS, "quota")
        await seen.until("DELETED")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}verify ResourceQuota with best effort scope. [Conformance]")
async def test_the_scope_best_effort_counts_pods_without_requests(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it:
        for name, scope in (("best", "BestEffort"), ("other", "NotBestEffort")):
            await it.create(QUOTAS, quota(name, {"pods": "5"}, scopes=[scope]))
            await until_used(it, name, pods="0")
        await _check_scopes(
            it, ("best", pod("plain")), ("other", pod("asks", **asking(cpu="500m", memory="200Mi")))
        )


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}verify ResourceQuota with terminating scopes. [Conformance]")
async def test_the_scope_terminating_counts_pods_with_a_deadline(tmp_path: Path) -> None:
    hard = {
        "pods": "5",
        "requests.cpu": "1",
        "requests.memory": "500Mi",
        "limits.cpu": "2",
        "limits.memory": "1Gi",
    }
    amounts: dict[str, Any] = {
        "container": {
            "resources": {
                "requests": {"cpu": "500m", "memory": "200Mi"},
                "limits": {"cpu": "1", "memory": "400Mi"},
            }
        }
    }
    async with whole_cluster(tmp_path, nodes=0) as it:
        for name, scope in (("terminating", "Terminating"), ("other", "NotTerminating")):
            await it.create(QUOTAS, quota(name, hard, scopes=[scope]))
            await until_used(it, name, pods="0")
        long = pod("long", **amounts)
        short = pod("short", activeDeadlineSeconds=3600, **amounts)
        await _check_scopes(it, ("other", long), ("terminating", short))
        await it.create(PODS, long)
        sums = {
            "requests.cpu": "500m",
            "requests.memory": "200Mi",
            "limits.cpu": "1",
            "limits.memory": "400Mi",
        }
        await until_used(it, "other", **sums)


async def _check_scopes(it: Whole, *cases: tuple[str, Object]) -> None:
    """Each quota counts its pod, and only that, until it is gone."""
    names = [name for name, _ in cases]
    for mine, made in cases:
        await it.create(PODS, made)
        await until_used(it, mine, pods="1")
        for other in names:
            await until_used(it, other, pods="1" if other == mine else "0")
        await it.delete(PODS, meta.name(made), grace_period_seconds=0)
        await until_used(it, mine, pods="0")
