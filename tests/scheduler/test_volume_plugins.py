"""The volume plugins over all nodes at once against twins for one node, on random clusters; and their lifecycle."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coxswain.scheduler import pod as pods
from coxswain.scheduler.evaluate import evaluate
from coxswain.scheduler.framework import Event, Rejection
from coxswain.scheduler.lifecycle import CycleState
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.plugins.volume_binding import VolumeBinding
from coxswain.scheduler.plugins.volume_capacity import ScoringVolumeBinding
from coxswain.scheduler.plugins.volume_restrictions import VolumeRestrictions
from coxswain.scheduler.plugins.volume_zone import VolumeZone
from coxswain.scheduler.template import Templates
from coxswain.scheduler.volumes import CLAIMS, SELECTED_NODE, VOLUMES
from scheduler import volume_twins as twins
from scheduler.sched_objects import node as make_node
from scheduler.sched_objects import pod as make_pod

Object = dict[str, Any]
HOST = "kubernetes.io/hostname"


def claim(name: str, class_name: str = "wait", size: str = "5Gi", **more: Any) -> Object:
    spec = {
        "accessModes": more.get("modes", ["ReadWriteOnce"]),
        "resources": {"requests": {"storage": size}},
        "storageClassName": class_name,
        **more.get("spec", {}),
    }
    metadata = {"name": name, "namespace": "d", "uid": f"uid-{name}", "resourceVersion": "1"}
    metadata |= more.get("metadata", {})
    return {"metadata": metadata, "spec": spec, "status": {"phase": more.get("phase", "Pending")}}


def bound(name: str, volume: str, **more: Any) -> Object:
    done = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    return claim(name, spec={"volumeName": volume}, phase="Bound", metadata=done, **more)


def volume(name: str, class_name: str = "wait", size: str = "10Gi", **more: Any) -> Object:
    spec: Object = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "storageClassName": class_name,
        "csi": {"driver": "csi.example.com", "volumeHandle": f"handle-{name}"},
        **more.get("spec", {}),
    }
    if terms := more.get("terms"):
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": t} for t in terms]}}
    metadata = {"name": name, "labels": more.get("labels", {}), "resourceVersion": "1"}
    metadata |= more.get("metadata", {})
    return {"metadata": metadata, "spec": spec, "status": {"phase": more.get("phase", "Available")}}


def on(key: str, *values: str) -> list[Object]:
    return [{"key": key, "operator": "In", "values": list(values)}]


def storage_class(name: str, provisioner: str, mode: str = "WaitForFirstConsumer", **more: Any) -> Object:
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}


def using(name: str, *volumes: Object, node: str = "") -> Object:
    made = make_pod(name, spec={"volumes": [{"name": f"v{i}", **v} for i, v in enumerate(volumes)]})
    if node:
        made["spec"]["nodeName"] = node
    return made


def pvc(name: str) -> Object:
    return {"persistentVolumeClaim": {"claimName": name}}


def random_case(rng: random.Random) -> tuple[Object, twins.Cluster]:
    nodes = []
    for i in range(7):
        labels = {}
        if rng.random() < 0.8:
            labels[rng.choice((twins.ZONE, twins.ZONE, twins.OLD_ZONE))] = rng.choice("abc")
        if rng.random() < 0.4:
            labels[twins.REGION] = rng.choice("rs")
        nodes.append(make_node(f"n{i}", labels=labels))
    hosts = [f"n{i}" for i in range(7)]

    def terms() -> Any:
        kind = rng.randrange(4)
        if kind == 0:
            return None
        if kind == 1:
            return [on(HOST, *rng.sample(hosts, 2))]
        if kind == 2:
            return [on(twins.ZONE, rng.choice("abc"))]
        return [[{"key": twins.ZONE, "operator": rng.choice(("Exists", "DoesNotExist"))}], on(HOST, "n1")]

    labels = [
        {},
        {"disk": "ssd"},
        {twins.ZONE: "a__b"},
        {twins.OLD_ZONE: "a"},
        {twins.REGION: "r"},
        {twins.ZONE: "a__"},
    ]
    volumes = []
    for i in range(rng.randrange(9)):
        extra: Object = {}
        if rng.random() < 0.2:
            extra["claimRef"] = {"namespace": "d", "name": f"c{rng.randrange(9)}"}
        if rng.random() < 0.1:
            extra["volumeMode"] = "Block"
        volumes.append(
            volume(
                f"pv{i}",
                rng.choice(("wait", "local", "")),
                rng.choice(("1Gi", "6Gi", "10Gi")),
                terms=terms(),
                labels=rng.choice(labels),
                phase=rng.choice(("Available", "Available", "Available", "Released")),
                spec=extra,
                metadata={"deletionTimestamp": "x"} if rng.random() < 0.05 else {},
            )
        )
    claims = []
    for i in range(9):
        spec: Object = {}
        if rng.random() < 0.2:
            spec["selector"] = {"matchLabels": {"disk": "ssd"}}
        annotations: Object = {}
        phase = "Pending"
        class_name = rng.choice(("wait", "wait", "local", "capacity", "top", "now", "gone", ""))
        if rng.random() < 0.45:
            spec["volumeName"] = f"pv{rng.randrange(9)}"
            phase = rng.choice(("Bound", "Bound", "Bound", "Lost"))
            if rng.random() < 0.9:
                annotations["pv.kubernetes.io/bind-completed"] = "yes"
        elif rng.random() < 0.2:
            annotations[SELECTED_NODE] = rng.choice(hosts)
        metadata: Object = {"annotations": annotations}
        if rng.random() < 0.05:
            metadata["deletionTimestamp"] = "x"
        modes = [rng.choice(("ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"))]
        made = claim(
            f"c{i}", class_name, rng.choice(("1Gi", "5Gi", "8Gi")), modes=modes, spec=spec, phase=phase
        )
        made["metadata"] |= metadata
        claims.append(made)
    owner = [{"uid": rng.choice(("uid-new0", "other")), "controller": True}]
    claims.append(claim("new0-v0", metadata={"ownerReferences": owner}))

    def some_volume() -> Object:
        kind = rng.randrange(9)
        if kind == 0:
            return {"gcePersistentDisk": {"pdName": rng.choice("xy"), "readOnly": rng.random() < 0.5}}
        if kind == 1:
            return {"awsElasticBlockStore": {"volumeID": rng.choice("xy")}}
        if kind == 2:
            return {"iscsi": {"iqn": rng.choice("xy"), "readOnly": rng.random() < 0.5}}
        if kind == 3:
            monitors = rng.sample("123", 2)
            return {"rbd": {"monitors": monitors, "pool": "p", "image": "i", "readOnly": rng.random() < 0.5}}
        return pvc(f"c{rng.randrange(10)}")

    placed = [
        using(f"old{i}", *(some_volume() for _ in range(rng.randrange(3))), node=rng.choice(hosts))
        for i in range(8)
    ]
    pending = []
    for i in range(6):
        first = [{"ephemeral": {}}] if rng.random() < 0.15 else []
        pending.append(using(f"new{i}", *first, *(some_volume() for _ in range(rng.randrange(1, 4)))))
    drivers = ("csi.example.com", "ebs.csi.aws.com", "pd.csi.storage.gke.io")
    objects = {
        "persistentVolumes": volumes,
        "persistentVolumeClaims": claims,
        "storageClasses": [
            storage_class("wait", "csi.example.com"),
            storage_class("local", "kubernetes.io/no-provisioner"),
            storage_class("capacity", "csi.capacity.com"),
            storage_class("now", "csi.example.com", "Immediate"),
            storage_class(
                "top",
                "csi.example.com",
                allowedTopologies=[{"matchLabelExpressions": [{"key": twins.ZONE, "values": ["a", "b"]}]}],
            ),
        ],
        "csiNodes": [
            {
                "metadata": {"name": host},
                "spec": {
                    "drivers": [
                        {"name": d, "allocatable": {"count": rng.randrange(4)}}
                        if rng.random() < 0.8
                        else {"name": d}
                        for d in drivers
                    ]
                },
            }
            for host in hosts[:5]
        ],
        "csiDrivers": [{"metadata": {"name": "csi.capacity.com"}, "spec": {"storageCapacity": True}}],
        "csiStorageCapacities": [
            {
                "metadata": {"name": f"cap{i}", "namespace": "kube-system"},
                "storageClassName": rng.choice(("capacity", "wait")),
                "capacity": rng.choice(("2Gi", "6Gi", "20Gi")),
                **({"maximumVolumeSize": "4Gi"} if rng.random() < 0.3 else {}),
                **(
                    {"nodeTopology": {"matchLabels": {twins.ZONE: rng.choice("abc")}}}
                    if rng.random() < 0.9
                    else {}
                ),
            }
            for i in range(3)
        ],
        "volumeAttachments": [
            {
                "metadata": {"name": f"va{i}"},
                "spec": {
                    "attacher": "csi.example.com",
                    "nodeName": rng.choice(hosts),
                    "source": {"persistentVolumeName": f"pv{rng.randrange(9)}"},
                },
            }
            for i in range(3)
        ],
    }
    case = {"id": 1, "nodes": nodes, "pods": placed, "pending": pending, **objects}
    return case, twins.Cluster(nodes, placed, objects)


def table_of(case: Object) -> tuple[NodeTable, Templates]:
    table = NodeTable()
    templates = Templates(table)
    for key, objects in case.items():
        if key.lower() in table.volumes._objects:
            for obj in objects:
                table.volumes.set(key.lower(), obj)
    for obj in case["nodes"]:
        table.set_node(obj)
    for obj in case.get("pods", ()):
        parsed = pods.parse(obj, templates)
        table.add_pod(parsed, parsed.node_name)
    return table, templates


def prefilters(cluster: twins.Cluster, pod: Object) -> dict[str, Any]:
    return {
        "VolumeRestrictions": twins.restrictions_prefilter(cluster, pod),
        "NodeVolumeLimits": None,
        "VolumeBinding": twins.binding_prefilter(cluster, pod),
        "VolumeZone": twins.zone_prefilter(cluster, pod),
    }


FILTERS = {
    "VolumeRestrictions": (VolumeRestrictions, twins.restrictions),
    "NodeVolumeLimits": (NodeVolumeLimits, twins.limits),
    "VolumeBinding": (VolumeBinding, twins.binding),
    "VolumeZone": (VolumeZone, twins.zone),
}


@pytest.mark.parametrize("seed", range(60))
def test_each_plugin_says_of_every_node_what_it_would_say_of_one(seed: int) -> None:
    case, cluster = random_case(random.Random(seed))
    table, templates = table_of(case)
    rows = table.order
    for pod in case["pending"]:
        template = templates.of(pod)
        outright = prefilters(cluster, pod)
        for name, (kind, twin) in FILTERS.items():
            plugin: Any = kind()
            if not plugin.needed(template):
                continue
            narrowed = plugin.narrow(template, table) if hasattr(plugin, "narrow") else None
            assert narrowed == outright[name], (name, pod)
            if any(outright.values()):
                continue
            codes = plugin.filter(template, table, rows)
            assert codes.dtype == np.uint8
            for row, code in zip(rows.tolist(), codes.tolist(), strict=True):
                got = tuple(plugin.rejection(template, table, row, code)) if code else None
                node = next(n for n in case["nodes"] if n["metadata"]["name"] == table.node(row).name)
                assert got == twin(cluster, pod, node), (name, pod, node)


@pytest.mark.parametrize("seed", range(60, 70))
def test_a_snapshot_is_judged_by_the_first_plugin_that_objects(seed: int) -> None:
    case, cluster = random_case(random.Random(seed))
    for pod, result in zip(case["pending"], evaluate(case, default_profile()), strict=True):
        outright = next(((n, o) for n, o in prefilters(cluster, pod).items() if o), None)
        if outright is not None:
            assert result["preFilter"] == f"{outright[0]}: {outright[1][1][0]}"
            continue
        for node in case["nodes"]:
            first = next(
                ((name, found) for name, (_, twin) in FILTERS.items() if (found := twin(cluster, pod, node))),
                None,
            )
            got = result["filter"][node["metadata"]["name"]]
            if first is None:
                assert got == {"code": "Success"}
            else:
                assert (got["plugin"], (got["code"], got["reasons"])) == first


@pytest.mark.parametrize("seed", range(20))
def test_pods_that_come_and_go_leave_no_trace(seed: int) -> None:
    rng = random.Random(seed)
    case, _ = random_case(rng)
    table, templates = table_of(case)
    parsed = [pods.parse(pod, templates) for pod in case["pods"]]
    rng.shuffle(parsed)
    for pod in parsed:
        table.remove_pod(pod, pod.node_name)
    assert not table.volumes.claim_users
    assert not table.volumes.disks
    assert not table.volumes.users


def mutate(rng: random.Random, case: Object, table: NodeTable, templates: Templates) -> None:
    """One change, told to the table and done to the snapshot."""
    other, _ = random_case(rng)
    key = rng.choice(
        ("persistentVolumes", "persistentVolumeClaims", "csiNodes", "volumeAttachments", "pods", "nodes")
    )
    if not other[key]:
        return
    obj = rng.choice(other[key])
    name = obj["metadata"]["name"]
    gone = [each for each in case[key] if each["metadata"]["name"] == name]
    case[key] = [each for each in case[key] if each["metadata"]["name"] != name]
    stays = rng.random() < 0.7
    if stays:
        case[key].append(obj)
    if key == "pods":
        for pod in gone:
            old = pods.parse(pod, templates)
            table.remove_pod(old, old.node_name)
        if stays:
            new = pods.parse(obj, templates)
            table.add_pod(new, new.node_name)
    elif key == "nodes":
        if stays:
            table.set_node(obj)
        else:
            table.remove_node(name)
    elif stays:
        table.volumes.set(key.lower(), obj)
    else:
        table.volumes.remove(key.lower(), obj)


@pytest.mark.parametrize("seed", range(25))
def test_attached_volumes_are_counted_after_any_history_as_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    case, _ = random_case(rng)
    table, templates = table_of(case)
    plugin = NodeVolumeLimits()
    for _ in range(25):
        mutate(rng, case, table, templates)
        fresh, fresh_templates = table_of(case)
        for pod in case["pending"]:
            here, there = templates.of(pod), fresh_templates.of(pod)
            got = plugin.filter(here, table, table.order).tolist()
            want = plugin.filter(there, fresh, fresh.order).tolist()
            names = [table.node(row).name for row in table.order.tolist()]
            fresh_names = [fresh.node(row).name for row in fresh.order.tolist()]
            assert dict(zip(names, got, strict=True)) == dict(zip(fresh_names, want, strict=True))


def test_a_plugin_that_must_announce_its_migration_counts_where_it_did() -> None:
    announced = {"storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/portworx-volume"}
    driver = {"name": "pxd.portworx.com", "allocatable": {"count": 0}}
    case = {
        "nodes": [make_node("n0"), make_node("n1")],
        "csiNodes": [
            {"metadata": {"name": "n0", "annotations": announced}, "spec": {"drivers": [driver]}},
            {"metadata": {"name": "n1"}, "spec": {"drivers": [driver]}},
        ],
    }
    table, templates = table_of(case)
    template = templates.of(using("p", {"portworxVolume": {"volumeID": "x"}}))
    assert NodeVolumeLimits().filter(template, table, table.order).tolist() == [1, 0]


# -- Reserve and PreBind -------------------------------------------------------------------------------


class FakeInformers:
    """Hands the plugin's callbacks to the test."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def informer(self, resource: Any) -> Any:
        return SimpleNamespace(
            add_handler=lambda *callbacks: self.handlers.__setitem__(resource.resource, callbacks)
        )


class FakeClient:
    """Remembers patches and answers as the API would, with the next resource version."""

    def __init__(self, table: NodeTable) -> None:
        self.table = table
        self.patches: list[tuple[str, str, Object]] = []

    async def patch(self, resource: Any, name: str, patch: Object, namespace: str = "") -> Object:
        self.patches.append((resource.resource, name, patch))
        old = self.table.volumes._objects[resource.resource][namespace, name]
        metadata = old["metadata"] | patch["metadata"] | {"resourceVersion": "2"}
        return old | {"metadata": metadata, "spec": old["spec"] | patch.get("spec", {})}


def started(case: Object) -> tuple[VolumeBinding, Any, NodeTable, Templates]:
    table, templates = table_of(case)
    happened: list[Event] = []
    handle: Any = SimpleNamespace(
        client=FakeClient(table),
        informers=FakeInformers(),
        table=table,
        templates=templates,
        happened=lambda event, old=None, new=None: happened.append(event),
        events=happened,
    )
    plugin = VolumeBinding()
    plugin.start(handle)
    return plugin, handle, table, templates


LOCAL = {
    "nodes": [make_node("n0"), make_node("n1")],
    "storageClasses": [storage_class("wait", "kubernetes.io/no-provisioner")],
    "persistentVolumes": [volume("pv0", terms=[on(HOST, "n0")]), volume("pv1", terms=[on(HOST, "n1")])],
    "persistentVolumeClaims": [claim("c0"), claim("c1")],
}


def test_a_reserved_volume_is_not_found_by_the_next_pod() -> None:
    plugin, _, table, templates = started(LOCAL)
    first, second = (pods.parse(using(f"p{i}", pvc(f"c{i}")), templates) for i in range(2))
    assert plugin.takes_part(first)
    state = CycleState()
    assert plugin.reserve(state, first, "n0") is None
    assert plugin.filter(second.template, table, table.order).tolist() == [2, 0]
    refused = plugin.reserve(CycleState(), second, "n0")
    assert isinstance(refused, Rejection)
    plugin.unreserve(state, first, "n0")
    assert plugin.filter(second.template, table, table.order).tolist() == [0, 0]


async def test_binding_writes_the_volume_and_waits_for_the_controller() -> None:
    plugin, handle, _table, templates = started(LOCAL)
    pod = pods.parse(using("p0", pvc("c0")), templates)
    state = CycleState()
    assert plugin.reserve(state, pod, "n1") is None
    waiting = asyncio.ensure_future(plugin.pre_bind(state, pod, "n1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ((resource, name, patch),) = handle.client.patches
    assert (resource, name, patch["metadata"]["resourceVersion"]) == ("persistentvolumes", "pv1", "1")
    assert patch["spec"]["claimRef"]["uid"] == "uid-c0"
    assert patch["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert not waiting.done()
    _, updated, _ = handle.informers.handlers["persistentvolumeclaims"]
    done = bound("c0", "pv1")
    done["metadata"]["resourceVersion"] = "3"
    updated(LOCAL["persistentVolumeClaims"][0], done)
    assert await waiting is None
    assert handle.events == [Event.PVC]
    assert not plugin.takes_part(pod), "its claims are bound: the binding is all that is left"


async def test_binding_asks_for_a_volume_on_the_node_and_gives_up_when_the_provisioner_does() -> None:
    case = {**LOCAL, "storageClasses": [storage_class("wait", "csi.example.com")], "persistentVolumes": []}
    plugin, handle, table, templates = started(case)
    pod = pods.parse(using("p0", pvc("c0")), templates)
    state = CycleState()
    assert plugin.reserve(state, pod, "n1") is None
    other = pods.parse(using("p1", pvc("c0")), templates)
    assert plugin.filter(other.template, table, table.order).tolist() == [2, 0], "the claim has its node now"
    waiting = asyncio.ensure_future(plugin.pre_bind(state, pod, "n1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert handle.client.patches == [
        (
            "persistentvolumeclaims",
            "c0",
            {"metadata": {"resourceVersion": "1", "annotations": {SELECTED_NODE: "n1"}}},
        )
    ]
    _, updated, _ = handle.informers.handlers["persistentvolumeclaims"]
    failed = claim("c0", metadata={"resourceVersion": "9"})
    updated(None, failed)
    refused = await waiting
    assert refused is not None
    assert 'provisioning failed for PVC "c0"' in refused.reasons[0]


@pytest.mark.virtual
async def test_binding_gives_up_after_its_timeout() -> None:
    plugin, _, table, templates = started(LOCAL)
    pod = pods.parse(using("p0", pvc("c0")), templates)
    state = CycleState()
    assert plugin.reserve(state, pod, "n1") is None
    refused = await plugin.pre_bind(state, pod, "n1")
    assert refused is not None
    assert refused.reasons == ("binding volumes: context deadline exceeded",)
    plugin.unreserve(state, pod, "n1")
    assert table.volumes.volume("pv1") is LOCAL["persistentVolumes"][1]


def test_what_the_api_shows_replaces_what_was_assumed() -> None:
    _, _, table, _ = started(LOCAL)
    volumes = table.volumes
    volumes.assume(VOLUMES, {**LOCAL["persistentVolumes"][0], "spec": {"claimRef": {}}})
    volumes.set(VOLUMES, LOCAL["persistentVolumes"][0])
    assert "claimRef" in volumes.volume("pv0")["spec"], "the same version says nothing new"
    newer = volume("pv0", metadata={"resourceVersion": "2"})
    volumes.set(VOLUMES, newer)
    assert volumes.volume("pv0") is newer
    volumes.remove(CLAIMS, LOCAL["persistentVolumeClaims"][0])
    volumes.remove(CLAIMS, LOCAL["persistentVolumeClaims"][0])
    assert volumes.claim("d", "c0") is None


def test_a_class_that_does_not_exist_stops_the_attempt() -> None:
    selected = claim("c0", "gone", metadata={"annotations": {SELECTED_NODE: "n0"}})
    _, _, table, templates = started({**LOCAL, "persistentVolumeClaims": [selected]})
    plugin = VolumeBinding()
    template = templates.of(using("p0", pvc("c0")))
    assert plugin.narrow(template, table) is not None, "without its class a claim waits for nobody"


@pytest.mark.parametrize("seed", range(25))
def test_volumes_are_found_after_any_history_as_from_scratch(seed: int) -> None:
    rng = random.Random(seed)
    case, _ = random_case(rng)
    table, templates = table_of(case)
    plugin = VolumeBinding()
    for step in range(20):
        mutate(rng, case, table, templates)
        if step % 5 == 0 and case["persistentVolumes"]:
            kept = rng.choice(case["persistentVolumes"])
            table.volumes.assume(VOLUMES, {**kept, "spec": {**kept["spec"], "claimRef": {"name": "x"}}})
            table.volumes.revert(VOLUMES, kept)
        fresh, fresh_templates = table_of(case)
        for pod in case["pending"]:
            here, there = templates.of(pod), fresh_templates.of(pod)
            assert plugin.narrow(here, table) == plugin.narrow(there, fresh)
            got = plugin.filter(here, table, table.order).tolist()
            want = plugin.filter(there, fresh, fresh.order).tolist()
            names = [table.node(row).name for row in table.order.tolist()]
            fresh_names = [fresh.node(row).name for row in fresh.order.tolist()]
            assert dict(zip(names, got, strict=True)) == dict(zip(fresh_names, want, strict=True))


# -- scores --------------------------------------------------------------------------------------------


def scores_of(case: Object, pod: Object, shape: Any = ((0, 0), (100, 10))) -> list[int]:
    table, templates = table_of(case)
    template = templates.of(pod)
    plugin = ScoringVolumeBinding(600, shape)
    assert plugin.scoring(template)
    found: list[int] = plugin.score(template, table, table.order).tolist()
    return found


def test_fuller_volumes_score_higher_where_the_shape_rises() -> None:
    """c0 asks for 5 of 10 and of 20 Gi; each class weighs the same."""
    case = {
        **LOCAL,
        "storageClasses": [storage_class("wait", "x"), storage_class("other", "x")],
        "persistentVolumes": [
            volume("pv0", size="10Gi", terms=[on(HOST, "n0")]),
            volume("pv1", size="20Gi", terms=[on(HOST, "n1")]),
            volume("pv2", "other", size="5Gi", terms=[on(HOST, "n0")]),
        ],
        "persistentVolumeClaims": [claim("c0"), claim("c1", "other")],
    }
    assert scores_of(case, using("p", pvc("c0"))) == [50, 25]
    assert scores_of(case, using("p", pvc("c0")), ((0, 10), (100, 0))) == [50, 75]
    assert scores_of(case, using("p", pvc("c0"), pvc("c1"))) == [75, 25]


def test_claims_to_provision_share_what_the_driver_has_on_a_node() -> None:
    case = {
        "nodes": [make_node("n0"), make_node("n1")],
        "storageClasses": [storage_class("capacity", "csi.capacity.com")],
        "csiDrivers": [{"metadata": {"name": "csi.capacity.com"}, "spec": {"storageCapacity": True}}],
        "csiStorageCapacities": [
            {
                "metadata": {"name": name, "namespace": "kube-system"},
                "storageClassName": "capacity",
                "capacity": size,
                "nodeTopology": {"matchLabels": {HOST: name}},
            }
            for name, size in (("n0", "10Gi"), ("n1", "40Gi"))
        ],
        "persistentVolumeClaims": [claim("c0", "capacity"), claim("c1", "capacity", "3Gi")],
    }
    assert scores_of(case, using("p", pvc("c0"))) == [50, 12]
    assert scores_of(case, using("p", pvc("c0"), pvc("c1"))) == [80, 20]
