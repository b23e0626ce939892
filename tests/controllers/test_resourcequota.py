"""Quotas: what counts and how much, scopes, when it is counted again, and no write when nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import (
    CONFIGMAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    GVR,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
    Object,
)
from coxswain.api.quota.names import source_of
from coxswain.base import clock
from coxswain.controllers.resourcequota import objects
from coxswain.controllers.resourcequota.charges import DOUBT
from coxswain.controllers.resourcequota.controller import DESCRIPTOR, RESOURCE_QUOTAS
from coxswain.controllers.resourcequota.decide import RESYNC, new_status, usage
from fakeapi import FakeApi

MISSING = object()


def quota(hard: dict[str, str], **spec: Any) -> Object:
    return {"metadata": {"name": "q", "namespace": "d"}, "spec": {"hard": hard, **spec}}


def container(
    name: str = "c", requests: Object | None = None, limits: Object | None = None, **more: Any
) -> Object:
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def pod(*containers: Object, name: str = "p", phase: str = "Running", **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "d"}
    return {
        "metadata": metadata,
        "spec": {"containers": list(containers), **spec},
        "status": {"phase": phase},
    }


def used_by(of: Object, source: str, *counted: Object, now: float = 0.0) -> dict[str, str]:
    transform = objects.transform_of(source)
    used, _ = usage(of, {source: [transform(each) for each in counted]}, now)
    return {name: str(amount) for name, amount in used.items()}


@pytest.mark.parametrize(
    ("limit", "source"),
    [
        ("pods", "pods"),
        ("cpu", "pods"),
        ("limits.ephemeral-storage", "pods"),
        ("requests.hugepages-2Mi", "pods"),
        ("requests.example.com/gpu", "pods"),
        ("requests.storage", "persistentvolumeclaims"),
        ("gold.storageclass.storage.k8s.io/requests.storage", "persistentvolumeclaims"),
        ("services.nodeports", "services"),
        ("secrets", "secrets"),
        ("count/deployments.apps", "deployments.apps"),
        ("count/pods", "pods"),
        ("count/events", None),
        ("example.com/gpu", None),
    ],
)
def test_every_limit_knows_what_it_counts(limit: str, source: str | None) -> None:
    assert source_of(limit) == source


def test_pods_are_summed_exactly() -> None:
    hard = dict.fromkeys(("pods", "cpu", "requests.cpu", "requests.memory", "limits.memory"), "1")
    one = pod(
        container("a", {"cpu": "100m", "memory": "512Mi"}), container("b", {"cpu": "0.2"}, {"memory": "1Gi"})
    )
    assert used_by(quota(hard), "pods", one, one, one) == {
        "pods": "3",
        "cpu": "900m",
        "requests.cpu": "900m",
        "requests.memory": "1536Mi",
        "limits.memory": "3Gi",
    }


def test_starting_a_pod_may_need_more_than_running_it() -> None:
    hard = {"requests.cpu": "9", "requests.memory": "9", "limits.cpu": "9"}
    starting = [
        container("side", {"cpu": "1"}, restartPolicy="Always"),
        container("init", {"cpu": "3", "memory": "1Mi"}),
    ]
    overhead = {"cpu": "250m", "memory": "1Mi"}
    one = pod(container("c", {"cpu": "2", "memory": "3Mi"}), initContainers=starting, overhead=overhead)
    assert used_by(quota(hard), "pods", one) == {
        "requests.cpu": "4250m",
        "requests.memory": "4Mi",
        "limits.cpu": "0",
    }


def test_devices_huge_pages_and_pod_level_requests_are_charged() -> None:
    hard = dict.fromkeys(
        ("requests.example.com/gpu", "hugepages-2Mi", "requests.hugepages-2Mi", "requests.cpu"), "1"
    )
    wants = {"example.com/gpu": "2", "hugepages-2Mi": "4Mi", "cpu": "1"}
    one = pod(container("c", wants), resources={"requests": {"cpu": "5"}})
    assert used_by(quota(hard), "pods", one) == {
        "requests.example.com/gpu": "2",
        "hugepages-2Mi": "4Mi",
        "requests.hugepages-2Mi": "4Mi",
        "requests.cpu": "5",
    }


def test_a_container_that_shrinks_is_charged_what_the_node_still_grants() -> None:
    one = pod(container("c", {"cpu": "1"}))
    one["status"]["containerStatuses"] = [{"name": "c", "allocatedResources": {"cpu": "2"}}]
    assert used_by(quota({"requests.cpu": "9"}), "pods", one) == {"requests.cpu": "2"}


def test_finished_pods_are_objects_but_use_nothing() -> None:
    hard = {"pods": "9", "count/pods": "9", "requests.cpu": "9"}
    ended = [pod(container("c", {"cpu": "1"}), name=phase, phase=phase) for phase in ("Succeeded", "Failed")]
    alive = pod(container("c", {"cpu": "1"}), name="alive")
    assert used_by(quota(hard), "pods", alive, *ended) == {
        "pods": "1",
        "count/pods": "3",
        "requests.cpu": "1",
    }


def test_a_pod_that_should_be_gone_is_charged_no_longer() -> None:
    one = pod(container())
    one["metadata"] |= {"deletionTimestamp": "1970-01-01T00:01:40Z", "deletionGracePeriodSeconds": 30}
    kept = objects.pod(one)
    of = quota({"pods": "9"})
    for now, amount, again in ((120.0, 1, 11.0), (131.0, 0, RESYNC)):
        used, later = usage(of, {"pods": [kept]}, now)
        assert (used["pods"].value(), later) == (amount, again)


@pytest.mark.parametrize(
    ("scope", "number"),
    [
        ("Terminating", 1),
        ("NotTerminating", 3),
        ("BestEffort", 2),
        ("NotBestEffort", 2),
        ("PriorityClass", 1),
        ("CrossNamespacePodAffinity", 1),
    ],
)
def test_scopes_choose_pods(scope: str, number: int) -> None:
    term = {"topologyKey": "zone", "namespaceSelector": {}}
    affinity = {
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}
    }
    several = [
        pod(container(), activeDeadlineSeconds=5),
        pod(container("c", {"cpu": "1"}), priorityClassName="high"),
        pod(container("c", {"cpu": "1"})),
        pod(container(), affinity=affinity),
    ]
    assert used_by(quota({"pods": "9"}, scopes=[scope]), "pods", *several) == {"pods": str(number)}
    selector = {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}
    assert used_by(quota({"pods": "9"}, scopeSelector=selector), "pods", *several) == {"pods": str(number)}


@pytest.mark.parametrize(
    ("operator", "values", "number"),
    [
        ("In", ["high", "low"], 2),
        ("In", ["low"], 1),
        ("NotIn", ["low"], 2),
        ("Exists", [], 2),
        ("DoesNotExist", [], 1),
    ],
)
def test_priority_classes_are_selected(operator: str, values: list[str], number: int) -> None:
    expression = {"scopeName": "PriorityClass", "operator": operator, "values": values}
    several = [pod(priorityClassName="high"), pod(priorityClassName="low"), pod()]
    of = quota({"pods": "9"}, scopeSelector={"matchExpressions": [expression]})
    assert used_by(of, "pods", *several) == {"pods": str(number)}


def test_a_quota_with_scopes_counts_no_plain_objects() -> None:
    of = quota({"count/configmaps": "9"}, scopes=["BestEffort"])
    assert used_by(of, "configmaps", {"metadata": {"name": "a"}}) == {"count/configmaps": "0"}


def test_services_are_charged_for_ports_and_load_balancers() -> None:
    def service(kind: str, *node_ports: int, **spec: Any) -> Object:
        return {
            "metadata": {"name": "s"},
            "spec": {"type": kind, "ports": [{"nodePort": n} for n in node_ports], **spec},
        }

    hard = dict.fromkeys(("services", "services.nodeports", "services.loadbalancers", "count/services"), "9")
    several = [
        service("ClusterIP", 0),
        service("NodePort", 0, 0),
        service("LoadBalancer", 0, 0),
        service("LoadBalancer", 0, 30001, allocateLoadBalancerNodePorts=False),
    ]
    assert used_by(quota(hard), "services", *several) == {
        "services": "4",
        "services.nodeports": "5",
        "services.loadbalancers": "2",
        "count/services": "4",
    }


def test_claims_are_charged_by_class_in_whole_bytes() -> None:
    gold = "gold.storageclass.storage.k8s.io/"
    names = ("persistentvolumeclaims", "requests.storage")
    hard = dict.fromkeys((*names, *(gold + name for name in names)), "9")

    def claim(size: str, **spec: Any) -> Object:
        return {"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": size}}, **spec}}

    grown = {**claim("1Gi"), "status": {"allocatedResources": {"storage": "3Gi"}}}
    several = [claim("1Gi", storageClassName="gold"), grown, claim("1500m", storageClassName="gold")]
    assert used_by(quota(hard), "persistentvolumeclaims", *several) == {
        "persistentvolumeclaims": "3",
        "requests.storage": str(4 * 2**30 + 2),
        gold + "persistentvolumeclaims": "2",
        gold + "requests.storage": str(2**30 + 2),
    }


def test_equal_amounts_are_no_news_however_written() -> None:
    of = quota({"requests.memory": "1024Mi"})
    used, _ = usage(of, {"pods": []}, 0)
    status = new_status(of, used)
    assert status == {"hard": {"requests.memory": "1Gi"}, "used": {"requests.memory": "0"}}
    assert (
        new_status(
            {**of, "status": {"hard": {"requests.memory": "1Gi"}, "used": {"requests.memory": "0m"}}}, used
        )
        is None
    )


def test_an_unmeasured_limit_keeps_what_others_wrote() -> None:
    of = quota({"example.com/widgets": "5"})
    of["status"] = {"hard": {"example.com/widgets": "4"}, "used": {"example.com/widgets": "2", "gone": "1"}}
    assert new_status(of, {}) == {"hard": {"example.com/widgets": "5"}, "used": {"example.com/widgets": "2"}}


# -- the controller ------------------------------------------------------------------------------------------


def add(api: FakeApi, resource: GVR, name: str, namespace: str = "d", **more: Any) -> None:
    api.add(resource, {"metadata": {"name": name, "namespace": namespace}, **more})


def used(api: FakeApi) -> object:
    return (api.object(RESOURCE_QUOTAS, "q", "d").get("status") or {}).get("used", MISSING)


@pytest.mark.virtual
async def test_counts_follow_objects_as_they_come_and_go() -> None:
    api = FakeApi()
    add(api, CONFIGMAPS, "a")
    add(api, CONFIGMAPS, "elsewhere", "other")
    api.add(RESOURCE_QUOTAS, quota({"pods": "2", "count/configmaps": "10", "count/deployments.apps": "3"}))
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert used(api) == {"count/configmaps": "1", "count/deployments.apps": "0", "pods": "0"}
        add(api, CONFIGMAPS, "b")
        add(api, DEPLOYMENTS, "web")
        for name in ("x", "y", "z"):
            api.add(PODS, pod(container(), name=name))
        await clock.sleep(2)
        assert used(api) == {"count/configmaps": "2", "count/deployments.apps": "1", "pods": "3"}
        api.change(PODS, "x", "d", lambda one: one["status"].update(phase="Succeeded"))
        api.remove(PODS, "y", "d")
        api.remove(CONFIGMAPS, "a", "d")
        await clock.sleep(1)
        assert used(api) == {"count/configmaps": "1", "count/deployments.apps": "1", "pods": "1"}


@pytest.mark.virtual
async def test_what_is_being_created_stays_charged() -> None:
    api = FakeApi()
    api.add(RESOURCE_QUOTAS, quota({"services": "50"}))
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        for number in range(1, 21):
            # Admission charges each before it exists; never is less charged than was.
            api.change(
                RESOURCE_QUOTAS, "q", "d", lambda q, n=number: q["status"]["used"].update(services=str(n))
            )
            await clock.sleep(0.4)
            assert used(api) == {"services": str(number)}
            add(api, SERVICES, f"s{number}", spec={"type": "ClusterIP"})
        for number in range(1, 4):
            api.remove(SERVICES, f"s{number}", "d")
        await clock.sleep(0.5)
        assert used(api) == {"services": "17"}


@pytest.mark.virtual
async def test_only_what_a_quota_names_is_watched_and_only_as_long() -> None:
    api = FakeApi()
    api.add(RESOURCE_QUOTAS, quota({"count/secrets": "1"}))

    def watched() -> set[str]:
        return {watcher.call.resource.resource for watcher in api._watchers} - {"customresourcedefinitions"}

    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert watched() == {"resourcequotas", "secrets"}
        api.change(RESOURCE_QUOTAS, "q", "d", lambda q: q["spec"].update(hard={"services": "1"}))
        await clock.sleep(1)
        assert watched() == {"resourcequotas", "services"}
        assert used(api) == {"services": "0"}
        api.remove(RESOURCE_QUOTAS, "q", "d")
        await clock.sleep(1)
        assert watched() == {"resourcequotas"}


@pytest.mark.virtual
async def test_a_steady_quota_is_not_written() -> None:
    api = FakeApi()
    api.add(
        RESOURCE_QUOTAS, quota({"pods": "2", "requests.memory": "1024Mi", "count/unserved.example.com": "1"})
    )
    api.add(PODS, pod(container("c", {"memory": "1Gi"})))
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        before = api.writes()
        assert len(before) == 1
        api.change(PODS, "p", "d", lambda one: one["metadata"].update(labels={"a": "b"}))
        await clock.sleep(3600)
        assert api.writes() == before


@pytest.mark.virtual
async def test_a_conflict_and_a_lost_answer_leave_the_right_count() -> None:
    api = FakeApi()
    api.add(RESOURCE_QUOTAS, quota({"count/secrets": "5", "persistentvolumeclaims": "2"}))
    api.fail("update", RESOURCE_QUOTAS, Conflict)
    api.lose_answer("update", RESOURCE_QUOTAS)
    async with running(api, DESCRIPTOR):
        add(api, SECRETS, "s")
        await clock.sleep(5)
        assert used(api) == {"count/secrets": "1", "persistentvolumeclaims": "0"}
        api.lose_answer("update", RESOURCE_QUOTAS)
        api.drop_watches()
        add(api, PERSISTENT_VOLUME_CLAIMS, "c")
        await clock.sleep(60)
        assert used(api) == {"count/secrets": "1", "persistentvolumeclaims": "1"}


@pytest.mark.virtual
async def test_a_status_that_somebody_spoilt_is_put_right() -> None:
    api = FakeApi()
    api.add(RESOURCE_QUOTAS, quota({"services": "5"}))
    add(api, SERVICES, "s", spec={"type": "ClusterIP"})
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        api.change(RESOURCE_QUOTAS, "q", "d", lambda q: q["status"]["used"].update(services="77"))
        await clock.sleep(2)
        assert used(api) == {"services": "77"}  # for all that can be known, 76 are on their way
        await clock.sleep(DOUBT)
        assert used(api) == {"services": "1"}


@pytest.mark.virtual
async def test_a_pod_stuck_on_a_lost_node_is_forgiven_in_time() -> None:
    api = FakeApi()
    api.add(RESOURCE_QUOTAS, quota({"pods": "1"}))
    one = pod(container())
    one["metadata"] |= {
        "deletionTimestamp": clock.format_time(clock.now() + 30),
        "deletionGracePeriodSeconds": 30,
    }
    api.add(PODS, one)
    async with running(api, DESCRIPTOR):
        await clock.sleep(50)
        assert used(api) == {"pods": "1"}
        await clock.sleep(15)
        assert used(api) == {"pods": "0"}


@pytest.mark.virtual
async def test_custom_resources_are_counted_from_the_moment_they_are_served() -> None:
    api = FakeApi()
    widgets = GVR("example.com", "v1", "widgets")
    api.add(RESOURCE_QUOTAS, quota({"count/widgets.example.com": "5"}))
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert used(api) == {"count/widgets.example.com": "0"}
        add(api, widgets, "w")
        spec = {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True}],
        }
        condition = {"type": "Established", "status": "True"}
        api.add(
            CUSTOM_RESOURCE_DEFINITIONS,
            {
                "metadata": {"name": "widgets.example.com"},
                "spec": spec,
                "status": {"conditions": [condition]},
            },
        )
        await clock.sleep(1)
        assert used(api) == {"count/widgets.example.com": "1"}
        api.remove(CUSTOM_RESOURCE_DEFINITIONS, "widgets.example.com")
        await clock.sleep(1)
        assert used(api) == {"count/widgets.example.com": "0"}
        assert not [watcher for watcher in api._watchers if watcher.call.resource == widgets]
