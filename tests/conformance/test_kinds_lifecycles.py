"""Pods, services, events, nodes and configuration live and die as conformance asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.api_operations import check_status_operations
from conformance.api_server import api_server
from conformance.endpoint_checks import check_collection
from conformance.whole_cluster import WORK, Whole, whole_cluster
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.errors import Forbidden, Invalid
from coxswain.api.names import (
    CONFIGMAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    EVENTS_V1,
    GVR,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICES,
    Object,
)
from coxswain.base import clock
from coxswain.client.interface import STRATEGIC_MERGE_PATCH

RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")
ATTACHMENTS = GVR("storage.k8s.io", "v1", "volumeattachments")
NETWORK = "[sig-network] "
NODE = "[sig-node] "


def service(name: str = "svc", **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": {"svc": name}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}], **spec},
    }


# -- configuration


@pytest.mark.virtual
@pytest.mark.parametrize("resource", [CONFIGMAPS, SECRETS], ids=["config map", "secret"])
@pytest.mark.conformance(
    f"{NODE}ConfigMap should fail to create ConfigMap with empty key [Conformance]",
    f"{NODE}Secrets should fail to create secret due to empty secret key [Conformance]",
    "[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]",
    "[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]",
)
async def test_keys_are_not_empty_and_what_is_immutable_stays(resource: GVR) -> None:
    def of(name: str, **data: str) -> Object:
        return {"metadata": {"name": name}, "data": data or {"": "dmFsdWU="}}

    async with api_server() as it:
        with pytest.raises(Invalid, match="a valid config key must consist"):
            await it.create(resource, of("empty-key"))
        await it.create(resource, of("one", a="dmFsdWU="))
        await it.edit(resource, "one", lambda obj: obj["data"].update(b="dmFsdWU="))
        await it.edit(resource, "one", lambda obj: obj.update(immutable=True))
        with pytest.raises(Invalid, match="immutable"):
            await it.edit(resource, "one", lambda obj: obj.update(immutable=False))
        with pytest.raises(Invalid, match="immutable"):
            await it.edit(resource, "one", lambda obj: obj["data"].update(c="dmFsdWU="))
        await it.edit(resource, "one", lambda obj: obj["metadata"].update(labels={"still": "may"}))
        await it.delete(resource, "one")
        await it.until_gone(resource, "one")


# -- events


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]",
    "[sig-instrumentation] Events should delete a collection of events [Conformance]",
)
async def test_events_are_made_changed_and_deleted() -> None:
    def of(name: str) -> Object:
        about = {"namespace": WORK, "kind": "Pod", "name": "p"}
        return {"metadata": {"name": name}, "involvedObject": about, "message": "a test", "reason": "Test"}

    async with api_server() as it:
        await it.create(EVENTS, of("one"))
        await it.patch(EVENTS, "one", {"message": "patched"}, kind=STRATEGIC_MERGE_PATCH)
        found = await it.edit(
            EVENTS,
            "one",
            lambda obj: obj.update(series={"count": 100, "lastObservedTime": "2026-01-01T00:00:00.000001Z"}),
        )
        assert (found["message"], found["series"]["count"]) == ("patched", 100)
        assert [meta.name(each) for each in await it.list(EVENTS, "")] == ["one"]
        await it.delete(EVENTS, "one")
        await it.until_gone(EVENTS, "one")
        await check_collection(it, EVENTS, [of(f"e{number}") for number in range(4)], "some")


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed [Conformance]",
    "[sig-instrumentation] Events API should delete a collection of events [Conformance]",
)
async def test_events_of_the_newer_version_are_made_changed_and_deleted() -> None:
    def of(name: str) -> Object:
        return {
            "metadata": {"name": name},
            "regarding": {"namespace": WORK, "kind": "Pod", "name": "p"},
            "eventTime": "2026-01-01T00:00:00.000001Z",
            "note": f"note of {name}",
            "reportingController": "test-controller",
            "reportingInstance": "test-node",
            "action": "Do",
            "reason": "Test",
            "type": "Normal",
        }

    async with api_server() as it:
        made = await it.create(EVENTS_V1, of("one"))
        assert made["note"] == "note of one"
        series = {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000002Z"}
        patched = await it.patch(EVENTS_V1, "one", {"series": series}, kind=STRATEGIC_MERGE_PATCH)
        assert patched["series"] == series
        series = {"count": 100, "lastObservedTime": "2026-01-01T00:02:00.000003Z"}
        updated = await it.edit(EVENTS_V1, "one", lambda obj: obj.update(series=series))
        assert updated["series"] == series
        older = await it.get(EVENTS, "one")
        assert (older["message"], older["series"]["count"]) == ("note of one", 100)
        chosen = {"field_selector": "reportingController=test-controller"}
        assert len(await it.list(EVENTS_V1, "", **chosen)) == 1
        await it.delete(EVENTS_V1, "one")
        assert not await it.list(EVENTS_V1, **chosen)
        await check_collection(it, EVENTS_V1, [of(f"e{number}") for number in range(4)], "some")


# -- pods


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pods should delete a collection of pods [Conformance]",
    f"{NODE}Pods should patch a pod status [Conformance]",
)
async def test_pods_are_deleted_as_a_collection_and_their_status_patched(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await check_collection(it, PODS, [pod(f"p{number}") for number in range(4)], "some")
        await it.until_pods(1)
        patch = {"status": {"message": "Patched by a test", "reason": "E2E"}}
        patched = await it.patch(PODS, "p3", patch, subresource="status")
        assert (patched["status"]["message"], patched["status"]["reason"]) == ("Patched by a test", "E2E")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NODE}Pods should run through the lifecycle of Pods and PodStatus [Conformance]")
async def test_a_pod_is_watched_patched_given_a_status_and_deleted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it, it.following(PODS, label_selector="app=p") as seen:
        await it.create(PODS, pod("p"))
        await seen.until("ADDED")
        await seen.until("MODIFIED", lambda obj: meta.pod_phase(obj) == "Running")
        change = {
            "metadata": {"labels": {"test-pod": "patched"}},
            "spec": {"containers": [{"name": "c", "image": "web:2"}]},
        }
        await it.patch(PODS, "p", change, kind=STRATEGIC_MERGE_PATCH)
        await seen.until("MODIFIED", lambda obj: meta.labels(obj).get("test-pod") == "patched")

        async def renewed() -> bool:
            return it.process("p").config.image == "web:2"

        await it.until(renewed)

        def unready(obj: Object) -> None:
            for condition in obj["status"]["conditions"]:
                condition["status"] = "False"

        found = await it.edit(PODS, "p", unready, subresource="status")
        assert {each["status"] for each in found["status"]["conditions"]} == {"False"}
        await seen.until("MODIFIED", lambda obj: not meta.is_pod_ready(obj))
        status = await it.get(PODS, "p", subresource="status")
        assert meta.uid(status) == meta.uid(found)
        await it.delete(PODS, "p", grace_period_seconds=1)
        await seen.until("DELETED")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete [Conformance]"
)
async def test_a_pods_generation_is_the_servers_and_grows_when_it_is_deleted(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it, it.following(PODS) as seen:
        made = pod("p", terminationGracePeriodSeconds=30)
        made["metadata"]["generation"] = 100
        made["metadata"]["finalizers"] = ["example.com/held"]
        assert (await it.create(PODS, made))["metadata"]["generation"] == 1
        await it.until_pods(1)

        async def observed(generation: int) -> bool:
            status = (await it.get(PODS, "p"))["status"]
            return status.get("observedGeneration") == generation

        await it.until(lambda: observed(1))
        await it.delete(PODS, "p")
        assert (await it.get(PODS, "p"))["metadata"]["generation"] == 2
        await it.until(lambda: observed(2))
        await it.patch(PODS, "p", {"metadata": {"finalizers": None}})
        await seen.until("DELETED")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]",
    f"{NODE}RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance] [Conformance]",
    f"{NODE}RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]",
    f"{NODE}RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]",
)
async def test_pods_ask_for_runtime_classes_that_exist(tmp_path: Path) -> None:
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    async with whole_cluster(tmp_path) as it:
        with pytest.raises(Forbidden, match='RuntimeClass "plain" not found'):
            await it.create(PODS, pod("p", runtimeClassName="plain"))
        await it.create(RUNTIME_CLASSES, {"metadata": {"name": "plain"}, "handler": "runc"})
        await it.create(
            RUNTIME_CLASSES, {"metadata": {"name": "heavy"}, "handler": "runc", "overhead": overhead}
        )
        plain = await it.create(PODS, pod("p", runtimeClassName="plain"))
        assert "overhead" not in plain["spec"]
        heavy = await it.create(PODS, pod("q", runtimeClassName="heavy"))
        assert heavy["spec"]["overhead"] == overhead["podFixed"]
        await it.until_pods(2)
        await it.delete(RUNTIME_CLASSES, "plain")
        with pytest.raises(Forbidden, match='RuntimeClass "plain" not found'):
            await it.create(PODS, pod("late", runtimeClassName="plain"))


# -- nodes


@pytest.mark.virtual
@pytest.mark.conformance(f"{NODE}Node Lifecycle should run through the lifecycle of a node [Conformance]")
async def test_a_node_is_made_patched_given_a_status_and_deleted() -> None:
    chosen = {"label_selector": "batch=one"}
    async with api_server() as it:
        made = {"metadata": {"name": "fake", "labels": {"batch": "one"}}}
        await it.create(NODES, made)
        assert len(await it.list(NODES, **chosen)) == 1
        await it.patch(
            NODES, "fake", {"metadata": {"labels": {"fake": "patched"}}}, kind=STRATEGIC_MERGE_PATCH
        )
        found = await it.edit(NODES, "fake", lambda obj: obj["metadata"]["labels"].update(fake="updated"))
        assert meta.labels(found)["fake"] == "updated"
        condition = {"type": "Ready", "status": "True", "reason": "E2E", "message": "Set from a test"}
        patched, updated = await check_status_operations(
            it,
            NODES,
            "fake",
            {"status": {"phase": "Running", "conditions": [{**condition, "type": "Patched"}]}},
            lambda obj: obj["status"]["conditions"].append(condition),
        )
        assert [each["type"] for each in patched["status"]["conditions"]] == ["Patched"]
        assert [each["type"] for each in updated["status"]["conditions"]] == ["Patched", "Ready"]
        await it.delete_collection(NODES, **chosen)
        assert not await it.list(NODES, **chosen)


# -- services and their endpoints


async def addresses(it: Whole, name: str = "svc") -> list[str]:
    """The ready addresses of a service, if its Endpoints and its slices tell the same."""
    old: set[str] = set()
    if await it.exists(ENDPOINTS, name):
        for subset in (await it.get(ENDPOINTS, name)).get("subsets") or ():
            old |= {each["ip"] for each in subset.get("addresses") or ()}
    new: set[str] = set()
    for each in await it.list(ENDPOINT_SLICES, label_selector=f"kubernetes.io/service-name={name}"):
        for endpoint in each["endpoints"] or ():
            if (endpoint.get("conditions") or {}).get("ready"):
                new |= set(endpoint["addresses"])
    return sorted(old) if old == new else ["they differ"]


async def until_addresses(it: Whole, *wanted: str) -> None:
    async def reached() -> bool:
        return await addresses(it) == sorted(wanted)

    await it.until(reached, 60)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NETWORK}EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service [Conformance]",
    f"{NETWORK}EndpointsController should create Endpoints for Pods matching a Service [Conformance]",
    f"{NETWORK}EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods [Conformance]",
    f"{NETWORK}EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods [Conformance]",
)
async def test_endpoints_and_slices_follow_the_pods_of_a_service(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(SERVICES, service())
        await it.until(lambda: it.exists(ENDPOINTS, "svc"))
        await it.until(lambda: it.list(ENDPOINT_SLICES))
        assert await addresses(it) == []
        for name in ("a", "b"):
            await it.create(PODS, pod(name, {"app": "web"}))
        ips = {meta.name(each): each["status"]["podIP"] for each in await it.until_pods(2)}
        await until_addresses(it, *ips.values())
        (each,) = await it.list(ENDPOINT_SLICES)
        assert meta.is_controlled_by(each, await it.get(SERVICES, "svc"))
        targets = {e["targetRef"]["name"]: e["addresses"] for e in each["endpoints"]}
        assert targets == {name: [ip] for name, ip in ips.items()}
        await it.delete(PODS, "a")
        await until_addresses(it, ips["b"])
        await it.delete(SERVICES, "svc")
        await it.until_gone(ENDPOINTS, "svc")

        async def none() -> bool:
            return not await it.list(ENDPOINT_SLICES)

        await it.until(none)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NETWORK}EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete [Conformance]",
    f"{NETWORK}Endpoints should test the lifecycle of an Endpoint [Conformance]",
)
async def test_custom_endpoints_are_mirrored_as_long_as_they_live(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it, it.following(ENDPOINTS) as seen:
        made = service()
        made["spec"].pop("selector")
        await it.create(SERVICES, made)
        subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "http", "port": 80}]}
        await it.create(
            ENDPOINTS, {"metadata": {"name": "svc", "labels": {"static": "true"}}, "subsets": [subset]}
        )
        await seen.until("ADDED")

        async def mirrored(*wanted: str) -> bool:
            found = await it.list(ENDPOINT_SLICES)
            return [a for each in found for e in each["endpoints"] for a in e["addresses"]] == list(wanted)

        await it.until(lambda: mirrored("10.1.2.3"))
        (each,) = await it.list(ENDPOINT_SLICES)
        assert (
            meta.labels(each)["endpointslice.kubernetes.io/managed-by"]
            == "endpointslicemirroring-controller.k8s.io"
        )
        subset["addresses"] = [{"ip": "10.2.3.4"}]
        await it.edit(ENDPOINTS, "svc", lambda obj: obj.update(subsets=[subset]))
        await it.until(lambda: mirrored("10.2.3.4"))
        subset["addresses"] = [{"ip": "10.9.9.9"}]
        await it.patch(ENDPOINTS, "svc", {"subsets": [subset]})
        await seen.until("MODIFIED")
        assert len(await it.list(ENDPOINTS, "", label_selector="static=true")) == 1
        await it.delete_collection(ENDPOINTS, label_selector="static=true")
        await seen.until("DELETED")
        await it.until(mirrored)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NETWORK}Services should be able to change the type from ExternalName to ClusterIP [Conformance]",
    f"{NETWORK}Services should be able to change the type from ExternalName to NodePort [Conformance]",
    f"{NETWORK}Services should be able to change the type from ClusterIP to ExternalName [Conformance]",
    f"{NETWORK}Services should be able to change the type from NodePort to ExternalName [Conformance]",
    note="addresses and ports are given and taken; nothing is sent through them",
)
@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
async def test_a_service_changes_its_type_and_gives_back_what_it_had(kind: str) -> None:
    async with api_server() as it:
        external = {
            "metadata": {"name": "svc"},
            "spec": {"type": "ExternalName", "externalName": "foo.example.com"},
        }
        assert "clusterIP" not in (await it.create(SERVICES, external))["spec"]

        def inside(obj: Object) -> None:
            obj["spec"] = {"type": kind, "ports": [{"port": 80, "name": "http", "targetPort": 9376}]}

        found = (await it.edit(SERVICES, "svc", inside))["spec"]
        assert found["clusterIP"].startswith("10.96.") and "externalName" not in found
        assert bool(found["ports"][0].get("nodePort")) == (kind == "NodePort")

        def outside(obj: Object) -> None:
            obj["spec"].update(type="ExternalName", externalName="foo.example.com")
            for key in ("clusterIP", "clusterIPs"):
                obj["spec"].pop(key)
            for port in obj["spec"]["ports"]:
                port.pop("nodePort", None)

        changed = (await it.edit(SERVICES, "svc", outside))["spec"]
        assert changed["externalName"] == "foo.example.com" and not changed.get("clusterIP")
        again = service("other", clusterIP=found["clusterIP"])
        assert (await it.create(SERVICES, again))["spec"]["clusterIP"] == found["clusterIP"]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NETWORK}Services should complete a service status lifecycle [Conformance]",
    f"{NETWORK}Services should find a service from listing all namespaces [Conformance]",
    f"{NETWORK}Services should delete a collection of services [Conformance]",
)
async def test_services_are_given_a_status_found_and_deleted_as_a_collection() -> None:
    async with api_server() as it, it.following(SERVICES) as seen:
        await it.create(SERVICES, service(type="LoadBalancer"))
        everywhere = [meta.key(each) for each in await it.list(SERVICES, "")]
        assert f"{WORK}/svc" in everywhere
        ingress = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
        condition = {
            "type": "StatusUpdate",
            "status": "True",
            "reason": "E2E",
            "message": "Set from a test",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        patched, updated = await check_status_operations(
            it, SERVICES, "svc", {"status": ingress}, lambda obj: obj["status"].update(conditions=[condition])
        )
        assert patched["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"
        assert updated["status"]["conditions"] == [condition]
        await it.patch(
            SERVICES, "svc", {"metadata": {"labels": {"patched": "yes"}}}, kind=STRATEGIC_MERGE_PATCH
        )
        await seen.until("MODIFIED", lambda obj: meta.labels(obj).get("patched") == "yes")
        await it.delete(SERVICES, "svc")
        await seen.until("DELETED")
        await check_collection(it, SERVICES, [service(f"s{number}") for number in range(4)], "some")


# -- volumes


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]",
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]",
)
async def test_a_volume_and_its_claim_are_bound_changed_and_deleted(tmp_path: Path) -> None:
    volume: Object = {
        "metadata": {"name": "pv", "labels": {"pv": "one"}},
        "spec": {
            "capacity": {"storage": "4Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "none",
            "csi": {"driver": "inline-driver", "volumeHandle": "e2e"},
        },
    }
    claim: Object = {
        "metadata": {"name": "pvc"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "4Mi"}},
            "storageClassName": "none",
            "selector": {"matchLabels": {"pv": "one"}},
        },
    }
    async with whole_cluster(tmp_path, nodes=0) as it:
        await it.create(PERSISTENT_VOLUMES, volume)
        await it.create(PERSISTENT_VOLUME_CLAIMS, claim)
        await it.until_status(PERSISTENT_VOLUME_CLAIMS, "pvc", phase="Bound")
        await it.until_status(PERSISTENT_VOLUMES, "pv", phase="Bound")
        for resource, name in ((PERSISTENT_VOLUMES, "pv"), (PERSISTENT_VOLUME_CLAIMS, "pvc")):
            await it.patch(resource, name, {"metadata": {"labels": {"patched": "yes"}}})
            found = await it.edit(resource, name, lambda obj: obj["metadata"]["labels"].update(updated="yes"))
            assert meta.labels(found)["patched"] == meta.labels(found)["updated"] == "yes"
        conditions = {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E"}]}
        await check_status_operations(
            it,
            PERSISTENT_VOLUME_CLAIMS,
            "pvc",
            {"status": conditions},
            lambda obj: obj["status"]["conditions"].append({"type": "StatusUpdate", "status": "True"}),
        )
        found = await it.get(PERSISTENT_VOLUME_CLAIMS, "pvc")
        assert [each["type"] for each in found["status"]["conditions"]] == ["StatusPatched", "StatusUpdate"]
        await check_status_operations(
            it,
            PERSISTENT_VOLUMES,
            "pv",
            {"status": {"message": "StatusPatched", "reason": "E2E"}},
            lambda obj: obj["status"].update(message="StatusUpdate"),
        )
        await it.delete_collection(PERSISTENT_VOLUME_CLAIMS, label_selector="patched=yes")
        await it.until_gone(PERSISTENT_VOLUME_CLAIMS, "pvc")
        await it.until_status(PERSISTENT_VOLUMES, "pv", phase="Released")
        await it.delete_collection(PERSISTENT_VOLUMES, label_selector="pv=one")
        await it.until_gone(PERSISTENT_VOLUMES, "pv")
        await clock.sleep(1)


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
)
async def test_the_status_of_an_attachment_is_written() -> None:
    spec = {"attacher": "e2e", "nodeName": "node", "source": {"persistentVolumeName": "pv"}}
    async with api_server() as it:
        await it.create(ATTACHMENTS, {"metadata": {"name": "va"}, "spec": spec})
        patched, updated = await check_status_operations(
            it,
            ATTACHMENTS,
            "va",
            {"status": {"attached": True}},
            lambda obj: obj["status"].update(attached=False),
        )
        assert (patched["status"]["attached"], updated["status"]["attached"]) == (True, False)
