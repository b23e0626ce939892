"""Controllers count what they do under kube-controller-manager's names."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

import pytest

from controllerbench import running
from coxswain.api.names import JOBS, NAMESPACES, NODES, PODS, SERVICES, Object
from coxswain.base import clock, metrics
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.workqueue import WorkQueue
from coxswain.controllers import podgc, rootca
from coxswain.controllers.endpointslice import controller as slices
from coxswain.controllers.job import controller as job
from coxswain.controllers.manager import Manager
from coxswain.controllers.nodelifecycle import controller as nodelifecycle
from coxswain.controllers.nodelifecycle import eviction
from fakeapi import FakeApi


def sample(name: str, /, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def growth(name: str, /, **labels: str) -> Callable[[], float]:
    before = sample(name, **labels)
    return lambda: sample(name, **labels) - before


def pod(number: int, node: str = "n") -> Object:
    ip = f"10.0.0.{number}"
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": []},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def node(name: str, *, ready: str = "True", taint: bool = False) -> Object:
    taints = [{"key": "gone", "effect": "NoExecute"}] if taint else []
    labels = {"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.mark.virtual
async def test_a_queue_tells_of_work_under_way() -> None:
    queue: WorkQueue[str] = WorkQueue("sleepy")
    for item in "ab":
        queue.add(item)
    assert sample("workqueue_depth", name="sleepy") == 2
    await queue.get()
    await clock.sleep(2)
    await queue.get()
    await clock.sleep(3)
    assert sample("workqueue_depth", name="sleepy") == 0
    assert sample("workqueue_unfinished_work_seconds", name="sleepy") == pytest.approx(8)
    assert sample("workqueue_longest_running_processor_seconds", name="sleepy") == pytest.approx(5)
    del queue
    gc.collect()
    assert sample("workqueue_unfinished_work_seconds", name="sleepy") == 0


@pytest.mark.virtual
async def test_the_manager_tells_who_runs() -> None:
    labels = {"name": "serviceaccount-controller", "manager": "kube-controller-manager"}
    manager = Manager(FakeApi().client(), "serviceaccount")
    task = asyncio.ensure_future(manager.run())
    await clock.sleep(1)
    assert sample("running_managed_controllers", **labels) == 1
    await cancel_and_wait(task)
    assert sample("running_managed_controllers", **labels) == 0


@pytest.mark.virtual
async def test_writes_of_slices_are_counted_by_operation() -> None:
    api = FakeApi()
    api.add(NODES, node("n"))
    spec = {"selector": {"app": "web"}, "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]}
    api.add(SERVICES, {"metadata": {"name": "web", "namespace": "d"}, "spec": spec})
    for number in range(3):
        api.add(PODS, pod(number))
    created = growth("endpoint_slice_controller_changes_total", operation="create")
    updated = growth("endpoint_slice_controller_changes_total", operation="update")
    synced = growth("endpoint_slice_controller_syncs_total", result="success")
    async with running(api, slices.DESCRIPTOR):
        await clock.sleep(5)
        api.remove(PODS, "p0", "d")
        await clock.sleep(5)
        assert (created(), updated()) == (1, 1)
        assert synced() >= 2
        assert sample("endpoint_slice_controller_num_endpoint_slices") == 1
        assert sample("endpoint_slice_controller_endpoints_desired") == 2


@pytest.mark.virtual
async def test_zones_and_evictions_are_counted() -> None:
    api = FakeApi()
    for number in range(4):
        api.add(NODES, node(f"n{number}", taint=number == 3))
    api.add(PODS, pod(1, "n3"))
    deleted = growth("taint_eviction_controller_pod_deletions_total")
    looks = growth("node_collector_update_all_nodes_health_duration_seconds_count")
    async with running(api, nodelifecycle.DESCRIPTOR, eviction.DESCRIPTOR):
        await clock.sleep(20)
        assert sample("node_collector_zone_size", zone="r:z") == 4
        assert sample("node_collector_zone_health", zone="r:z") == 100
        api.change(NODES, "n0", "", lambda one: one["status"]["conditions"][0].update(status="False"))
        await clock.sleep(20)
        assert sample("node_collector_zone_health", zone="r:z") == 75
        assert sample("node_collector_unhealthy_nodes_in_zone", zone="r:z") == 1
    assert deleted() == 1
    assert looks() >= 4


@pytest.mark.virtual
async def test_jobs_and_their_pods_are_counted() -> None:
    api = FakeApi()
    spec = {"completions": 2, "parallelism": 2, "backoffLimit": 0, "selector": {"matchLabels": {"job": "j"}}}
    template = {"metadata": {"labels": {"job": "j"}}, "spec": {"restartPolicy": "Never", "containers": []}}
    api.add(JOBS, {"metadata": {"name": "j", "namespace": "d"}, "spec": {**spec, "template": template}})
    prefix, mode = "job_controller_", {"completion_mode": "NonIndexed"}
    created = growth(f"{prefix}job_pods_creation_total", reason="new", status="succeeded")
    done = growth(f"{prefix}job_pods_finished_total", result="succeeded", **mode)
    reason = "CompletionsReached"
    finished = growth(f"{prefix}jobs_finished_total", result="succeeded", reason=reason, **mode)
    syncs = growth(f"{prefix}job_syncs_total", result="success", action="pods_created", **mode)
    async with running(api, job.DESCRIPTOR):
        await clock.sleep(2)
        for each in api.objects(PODS, "d"):
            name = each["metadata"]["name"]
            api.change(PODS, name, "d", lambda pod: pod.update(status={"phase": "Succeeded"}))
        await clock.sleep(5)
    assert (created(), done(), finished()) == (2, 2, 1)
    assert syncs() == 1


@pytest.mark.virtual
async def test_forced_deletions_and_published_authorities_are_counted() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.add(PODS, pod(1, "vanished"))
    forced = growth("pod_gc_collector_force_delete_pods_total", namespace="d", reason="orphaned")
    published = growth("root_ca_cert_publisher_sync_total", code="200")
    async with running(api, podgc.DESCRIPTOR):
        await clock.sleep(90)
    async with running(api, rootca.DESCRIPTOR, root_ca="PEM"):
        await clock.sleep(1)
    assert forced() == 1
    assert published() >= 1
