"""ResourceQuota: what is refused, what is charged, and that nobody ever gets more than there is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from apiserver.core_support import CONFIGMAPS, PODS, Cluster, cluster, configmap, pod
from coxswain.api import errors
from coxswain.api.names import GVR, PERSISTENT_VOLUME_CLAIMS, SECRETS, SERVICES, Object
from coxswain.apiserver.admission.quota.evaluate import QUOTAS
from coxswain.apiserver.verbs import writing

LEASES = GVR("coordination.k8s.io", "v1", "leases")


async def limit(running: Cluster, hard: Object, name: str = "q", **spec: Any) -> None:
    """A quota that the controller has counted."""
    body = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
    made = await running.do("create", QUOTAS, body=body)
    made["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0")}
    await running.do("update", QUOTAS, name, made, subresource="status")


async def used(running: Cluster, name: str = "q") -> Object:
    quota = await running.do("get", QUOTAS, name)
    found: Object = quota["status"]["used"]
    return found


def asking(name: str, **amounts: str) -> Object:
    wanted = pod(name)
    wanted["spec"]["containers"][0]["resources"] = {"requests": amounts}
    return wanted


async def test_pods_are_charged_and_refused() -> None:
    async with cluster() as running:
        await limit(running, {"pods": "5", "requests.cpu": "1", "count/configmaps": "1"})
        with pytest.raises(errors.Forbidden) as refused:
            await running.do("create", PODS, body=pod("p"))
        assert refused.value.message == (
            'pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c'
        )
        await running.do("create", PODS, body=asking("a", cpu="600m"))
        assert await used(running) == {"pods": "1", "requests.cpu": "600m", "count/configmaps": "0"}
        with pytest.raises(errors.Forbidden) as refused:
            await running.do("create", PODS, body=asking("b", cpu="600m"))
        assert refused.value.message == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, '
            "limited: requests.cpu=1"
        )
        await running.do("create", PODS, body=asking("b", cpu="400m"))
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        with pytest.raises(errors.Forbidden, match=r"exceeded quota: q, requested: count/configmaps=1"):
            await running.do("create", CONFIGMAPS, body=configmap("b"))
        assert await used(running) == {"pods": "2", "requests.cpu": "1", "count/configmaps": "1"}


async def test_pod_level_resources_speak_for_all_containers() -> None:
    async with cluster() as running:
        await limit(running, {"cpu": "2"})
        wanted = pod("a", resources={"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}})
        await running.do("create", PODS, body=wanted)
        assert await used(running) == {"cpu": "1500m"}


async def test_nobody_gets_more_than_there_is() -> None:
    async with cluster() as running:
        await limit(running, {"count/configmaps": "10", "configmaps": "12"})
        answers = await asyncio.gather(
            *(running.call("create", CONFIGMAPS, body=configmap(f"c{n}")) for n in range(40))
        )
        codes = [answer.code for answer in answers]
        assert codes.count(201) == 10 and codes.count(403) == 30
        assert await used(running) == {"count/configmaps": "10", "configmaps": "10"}


async def test_others_write_the_same_quota_meanwhile() -> None:
    async with cluster() as running:
        await limit(running, {"count/configmaps": "25"})
        entry = running.core.registry.get(QUOTAS)
        assert entry is not None

        async def somebody_else() -> None:
            for number in range(10):
                quota = await running.do("get", QUOTAS, "q")
                quota["metadata"]["annotations"] = {"n": str(number)}
                revision = int(quota["metadata"].pop("resourceVersion"))
                try:
                    await writing.commit(running.core, entry, quota, revision)
                except Exception:
                    continue

        async def create(number: int) -> int:
            return (await running.call("create", CONFIGMAPS, body=configmap(f"c{number}"))).code

        results = await asyncio.gather(somebody_else(), *(create(n) for n in range(40)))
        codes = [code for code in results if code is not None]
        assert codes.count(201) == 25 and codes.count(403) == 15
        assert await used(running) == {"count/configmaps": "25"}


async def test_what_will_be_refused_or_is_a_dry_run_is_not_charged() -> None:
    async with cluster() as running:
        await running.do("create", CONFIGMAPS, body=configmap("there"))
        await limit(running, {"count/configmaps": "10"})
        await running.do("create", CONFIGMAPS, body=configmap("dry"), dryRun="All")
        with pytest.raises(errors.AlreadyExists):
            await running.do("create", CONFIGMAPS, body=configmap("there"))
        assert await used(running) == {"count/configmaps": "0"}


async def test_a_quota_that_was_not_counted_yet() -> None:
    async with cluster() as running:
        body = {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "0"}}}
        made = await running.do("create", QUOTAS, body=body)
        # Kubernetes goes by the limits that the controller has taken note of.
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        made["status"] = {"hard": {"count/configmaps": "5"}}
        await running.do("update", QUOTAS, "q", made, subresource="status")
        with pytest.raises(
            errors.Forbidden, match=r"status unknown for quota: q, resources: count/configmaps$"
        ):
            await running.do("create", CONFIGMAPS, body=configmap("b"))


async def test_scopes() -> None:
    async with cluster() as running:
        await limit(running, {"pods": "1"}, name="best", scopes=["BestEffort"])
        chosen = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
        await limit(running, {"pods": "1"}, name="high", scopeSelector=chosen)
        high = {"metadata": {"name": "high"}, "value": 7}
        await running.do("create", GVR("scheduling.k8s.io", "v1", "priorityclasses"), body=high, namespace="")
        await running.do("create", PODS, body=asking("a", cpu="1"))
        await running.do("create", PODS, body=pod("b"))
        with pytest.raises(errors.Forbidden, match="exceeded quota: best"):
            await running.do("create", PODS, body=pod("c"))
        first = asking("d", cpu="1")
        first["spec"]["priorityClassName"] = "high"
        await running.do("create", PODS, body=first)
        second = asking("e", cpu="1")
        second["spec"]["priorityClassName"] = "high"
        with pytest.raises(errors.Forbidden, match="exceeded quota: high"):
            await running.do("create", PODS, body=second)


async def test_services_are_charged_for_changes_too() -> None:
    async with cluster() as running:
        await limit(running, {"services": "2", "services.nodeports": "2", "services.loadbalancers": "0"})
        ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
        service = {"metadata": {"name": "s"}, "spec": {"ports": ports}}
        made = await running.do("create", SERVICES, body=service)
        assert (await used(running))["services.nodeports"] == "0"
        made["spec"]["type"] = "NodePort"
        made = await running.do("update", SERVICES, "s", made)
        assert await used(running) == {
            "services": "1",
            "services.nodeports": "2",
            "services.loadbalancers": "0",
        }
        made["metadata"]["labels"] = {"a": "b"}
        made = await running.do("update", SERVICES, "s", made)
        assert (await used(running))["services.nodeports"] == "2"
        made["spec"]["type"] = "LoadBalancer"
        with pytest.raises(errors.Forbidden, match=r"requested: services\.loadbalancers=1"):
            await running.do("update", SERVICES, "s", made)


async def test_claims_by_class() -> None:
    async with cluster() as running:
        gold = "gold.storageclass.storage.k8s.io/"
        hard = {
            "requests.storage": "10Gi",
            f"{gold}requests.storage": "3Gi",
            f"{gold}persistentvolumeclaims": "2",
        }
        await limit(running, hard)

        def claim(name: str, size: str, storage_class: str) -> Object:
            spec = {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}},
                "storageClassName": storage_class,
            }
            return {"metadata": {"name": name}, "spec": spec}

        await running.do("create", PERSISTENT_VOLUME_CLAIMS, body=claim("a", "2Gi", "gold"))
        await running.do("create", PERSISTENT_VOLUME_CLAIMS, body=claim("b", "4Gi", "tin"))
        assert (await used(running))["requests.storage"] == "6Gi"
        with pytest.raises(
            errors.Forbidden, match=r"gold\.storageclass\.storage\.k8s\.io/requests\.storage=2Gi"
        ):
            await running.do("create", PERSISTENT_VOLUME_CLAIMS, body=claim("c", "2Gi", "gold"))


async def test_extended_resources_and_plain_names() -> None:
    async with cluster() as running:
        await limit(
            running,
            {"requests.example.com/gpu": "2", "secrets": "1", "count/leases.coordination.k8s.io": "1"},
        )
        wanted = pod("a")
        wanted["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "2"}}
        await running.do("create", PODS, body=wanted)
        await running.do("create", SECRETS, body={"metadata": {"name": "a"}})
        await running.do("create", LEASES, body={"metadata": {"name": "a"}})
        assert set((await used(running)).values()) == {"2", "1"}
        for resource in (SECRETS, LEASES):
            with pytest.raises(errors.Forbidden, match="exceeded quota"):
                await running.do("create", resource, body={"metadata": {"name": "b"}})


async def test_every_quota_counts() -> None:
    async with cluster() as running:
        await limit(running, {"count/configmaps": "3"}, name="a")
        await limit(running, {"configmaps": "2"}, name="b")
        await asyncio.gather(*(running.call("create", CONFIGMAPS, body=configmap(f"c{n}")) for n in range(5)))
        assert await used(running, "a") == {"count/configmaps": "2"}
        assert await used(running, "b") == {"configmaps": "2"}


LIMITED = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - resource: pods
      matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]
    - resource: configmaps
      matchContains: [count/configmaps]
"""


async def test_what_is_limited_by_default_needs_a_quota(tmp_path: Path) -> None:
    path = tmp_path / "admission.yaml"
    path.write_text(LIMITED)
    async with cluster(config_file=path) as running:
        high = {"metadata": {"name": "high"}, "value": 7}
        await running.do("create", GVR("scheduling.k8s.io", "v1", "priorityclasses"), body=high, namespace="")
        await running.do("create", PODS, body=pod("low"))
        with pytest.raises(errors.Forbidden) as refused:
            await running.do("create", PODS, body=pod("a", priorityClassName="high"))
        assert refused.value.message == (
            'pods "a" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [high]}]'
        )
        with pytest.raises(errors.Forbidden, match="insufficient quota to consume: count/configmaps"):
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        chosen = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
        await limit(running, {"pods": "1"}, name="high", scopeSelector=chosen)
        await limit(running, {"count/configmaps": "1"})
        await running.do("create", PODS, body=pod("a", priorityClassName="high"))
        await running.do("create", CONFIGMAPS, body=configmap("a"))
