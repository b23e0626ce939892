"""Disruption budgets do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_collection
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod, workload
from coxswain.api import meta
from coxswain.api.errors import TooManyRequests
from coxswain.api.names import GVR, PODS, REPLICA_SETS, Object

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
NAMED = "[sig-apps] DisruptionController "


def budget(name: str = "budget", app: str = "web", **spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }


async def evict(it: Whole, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "work"}}
    await it.create(PODS, body, name=name, subresource="eviction")


async def until_processed(it: Whole, **wanted: Any) -> Object:
    return await it.until_status(BUDGETS, "budget", **wanted)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should create a PodDisruptionBudget [Conformance]")
async def test_a_budget_is_made_read_updated_patched_and_deleted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(BUDGETS, budget(minAvailable="1%"))
        await until_processed(it, observedGeneration=1)
        await it.edit(BUDGETS, "budget", lambda obj: obj["spec"].update(minAvailable="2%"))
        found = await until_processed(it, observedGeneration=2)
        assert found["spec"]["minAvailable"] == "2%"
        await it.patch(BUDGETS, "budget", {"spec": {"minAvailable": "3%"}})
        found = await until_processed(it, observedGeneration=3)
        assert found["spec"]["minAvailable"] == "3%"
        await it.delete(BUDGETS, "budget")
        await it.until_gone(BUDGETS, "budget")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should observe PodDisruptionBudget status updated [Conformance]")
async def test_status_counts_the_healthy_pods(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(BUDGETS, budget(minAvailable=1))
        await until_processed(it, observedGeneration=1)
        for number in range(3):
            await it.create(PODS, pod(f"web-{number}", {"app": "web"}))
        found = await until_processed(
            it, disruptionsAllowed=2, currentHealthy=3, desiredHealthy=1, expectedPods=3
        )
        assert meta.condition(found, "DisruptionAllowed")["reason"] == "SufficientPods"  # type: ignore[index]


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should update/patch PodDisruptionBudget status [Conformance]")
async def test_status_is_written_by_update_and_patch(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(BUDGETS, budget(minAvailable=1))
        await it.create(PODS, pod("web-0", {"app": "web"}))
        await until_processed(it, currentHealthy=1)

        def note(obj: Object) -> None:
            obj["status"]["disruptedPods"] = {"web-9": "2030-01-01T00:00:00Z"}

        found = await it.edit(BUDGETS, "budget", note, subresource="status")
        assert found["status"]["disruptedPods"] == {"web-9": "2030-01-01T00:00:00Z"}
        patch = {"status": {"disruptedPods": {"web-9": None, "web-8": "2030-01-01T00:00:00Z"}}}
        found = await it.patch(BUDGETS, "budget", patch, subresource="status")
        assert found["status"]["disruptedPods"] == {"web-8": "2030-01-01T00:00:00Z"}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should block an eviction until the PDB is updated to allow it [Conformance]"
)
async def test_an_eviction_is_refused_until_the_budget_allows_it(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(REPLICA_SETS, workload("ReplicaSet", "web", 3))
        first = await it.until_pods(3, app="web")
        await it.create(BUDGETS, budget(minAvailable=3))
        await until_processed(it, currentHealthy=3, desiredHealthy=3, disruptionsAllowed=0)
        victim = meta.name(first[0])
        with pytest.raises(TooManyRequests) as refused:
            await evict(it, victim)
        assert str(refused.value) == "Cannot evict pod as it would violate the pod's disruption budget."
        cause = (refused.value.details or {})["causes"][0]
        assert cause["reason"] == "DisruptionBudget"
        assert "needs 3 healthy pods and has 3 currently" in cause["message"]
        await it.edit(BUDGETS, "budget", lambda obj: obj["spec"].update(minAvailable=2))
        await until_processed(it, disruptionsAllowed=1)
        await evict(it, victim)
        await it.until_gone(PODS, victim)
        await it.until_pods(3, app="web")
        await it.edit(BUDGETS, "budget", lambda obj: obj["spec"].update(minAvailable=3))
        await until_processed(it, currentHealthy=3, disruptionsAllowed=0)
        second = meta.name((await it.pods(app="web"))[0])
        with pytest.raises(TooManyRequests):
            await evict(it, second)
        await it.delete(BUDGETS, "budget")
        await it.until_gone(BUDGETS, "budget")
        await evict(it, second)
        await it.until_gone(PODS, second)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}Listing PodDisruptionBudgets for all namespaces should list and delete a collection of "
    "PodDisruptionBudgets [Conformance]"
)
async def test_budgets_are_listed_in_all_namespaces_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        elsewhere = budget("elsewhere", minAvailable=2)
        elsewhere["metadata"]["labels"] = {"batch": "some"}
        await it.create(BUDGETS, elsewhere, "default")
        everywhere = await it.list(BUDGETS, "", label_selector="batch=some")
        assert [meta.key(each) for each in everywhere] == ["default/elsewhere"]
        await it.delete(BUDGETS, "elsewhere", "default")
        await check_collection(it, BUDGETS, [budget(f"b{n}", minAvailable="1%") for n in range(4)], "some")
