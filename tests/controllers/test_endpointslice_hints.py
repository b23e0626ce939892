"""Hints by zone and node, and reconciling only what changed: always what a look at everything would give."""

from __future__ import annotations

import copy
import random
from functools import partial
from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import ENDPOINT_SLICES, EVENTS, NODES, PODS, SERVICES, Object
from coxswain.base import clock
from coxswain.controllers.endpointslice import controller, decide, hints
from coxswain.controllers.endpointslice.packing import Changes
from coxswain.controllers.endpointslice.shelves import shelved
from fakeapi import FakeApi


def service(*, annotations: Object | None = None, **spec: Any) -> Object:
    ports = [{"port": 80, "targetPort": "http", "protocol": "TCP"}]
    full = {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": ports}
    metadata = {"name": "web", "namespace": "d", "uid": "svc", "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**full, **spec}}


def pod(number: int, *, node: str = "n0", ready: bool = True, port: int = 8080) -> Object:
    declared = {"name": "http", "containerPort": port, "protocol": "TCP"}
    ips = [{"ip": f"10.1.{number // 250}.{number % 250 + 1}"}, {"ip": f"fd00::{number + 1:x}"}]
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "uid": f"u{number}", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [declared]}]},
        "status": {
            "phase": "Running",
            "podIP": ips[0]["ip"],
            "podIPs": ips,
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


def node(name: str, zone: str, cpu: str = "4", **labels: str) -> Object:
    return {
        "metadata": {"name": name, "labels": {hints.ZONE: zone, **labels}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
ZONES = {"n0": "a", "n1": "b", "n2": "c"}


def stored(new: Object, name: str) -> Object:
    return {**new, "metadata": {**new["metadata"], "name": name, "uid": name, "resourceVersion": "1"}}


def after(slices: list[Object], changes: Changes) -> list[Object]:
    gone = {meta.name(old) for old in changes.delete}
    changed = {meta.name(new): new for new in changes.update}
    kept = [changed.get(meta.name(old), old) for old in slices if meta.name(old) not in gone]
    taken = {meta.name(old) for old in slices}
    fresh = (f"s{number}" for number in range(10_000) if f"s{number}" not in taken)
    return kept + [stored(new, next(fresh)) for new in changes.create]


def content(slices: list[Object]) -> dict[tuple[str, str], Object]:
    return {
        (one["addressType"], decide.identity(each)): each for one in slices for each in one["endpoints"] or ()
    }


def holding(slices: list[Object], uid: str) -> list[Object]:
    return [s for s in slices if any(decide.identity(e) == uid for e in s["endpoints"] or ())]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("families", [["IPv4"], ["IPv4", "IPv6"]])
def test_looking_at_what_changed_gives_what_looking_at_everything_gives(
    seed: int, families: list[str]
) -> None:
    rng = random.Random(seed)
    one = service(ipFamilies=families, trafficDistribution=rng.choice([None, "PreferSameNode"]))
    around = decide.Surroundings(ZONES)
    present: dict[str, Object] = {}
    slices: list[Object] = []
    for _ in range(20):
        changed: dict[str, Object | None] = {}
        for _ in range(rng.choice([1, 4, 160])):
            number = rng.randrange(350)
            new = None if rng.random() < 0.4 else pod(number, ready=rng.random() < 0.8, node=f"n{number % 3}")
            changed[f"u{number}"] = new
            present.pop(f"u{number}", None)
            if new is not None:
                present[f"u{number}"] = new

        shelves = shelved(slices)
        changes = decide.apply(one, changed, partial(holding, slices), partial(shelves.only, ""), around)
        if changes is None:
            changes = decide.plan(one, present.values(), slices, around).changes
        slices = after(slices, changes)
        assert content(slices) == content(after([], decide.plan(one, present.values(), [], around).changes))
        assert all(len(s["endpoints"] or ()) <= 100 for s in slices)
        assert decide.plan(one, present.values(), slices, around).changes == Changes()


def test_one_changed_pod_touches_one_slice_of_a_hundred() -> None:
    pods = [pod(number) for number in range(10_000)]
    around = decide.Surroundings(ZONES)
    slices = after([], decide.plan(service(), pods, [], around).changes)
    assert len(slices) == 100
    shelf_of = partial(shelved(slices).only, "")
    changes = decide.apply(
        service(), {"u777": pod(777, ready=False)}, lambda _: [slices[7]], shelf_of, around
    )
    assert changes is not None
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "b"}]}),
        ("PreferSameZone", {"forZones": [{"name": "b"}]}),
        ("PreferSameNode", {"forZones": [{"name": "b"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_traffic_distribution(wanted: str | None, expected: Object | None) -> None:
    spec = {"trafficDistribution": wanted} if wanted else {}
    pods = [pod(1, node="n1"), pod(2, node="n1", ready=False)]
    (made,) = decide.reconcile(service(**spec), pods, [], ZONES).create
    assert [endpoint.get("hints") for endpoint in made["endpoints"]] == [expected, None]
    plain = decide.reconcile(service(), pods, [stored(made, "s")], ZONES)
    assert len(plain.update) == (1 if wanted else 0)


def test_unknown_nodes_are_left_out_unless_the_service_publishes_everything() -> None:
    lost = pod(1, node="gone")
    assert decide.reconcile(service(), [lost], [], ZONES).create[0]["endpoints"] is None
    (made,) = decide.reconcile(service(publishNotReadyAddresses=True), [lost], [], ZONES).create
    assert made["endpoints"][0]["conditions"]["ready"]


def zones_hinted(slices: list[Object]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in slices:
        for endpoint in one["endpoints"]:
            for zone in (endpoint.get("hints") or {}).get("forZones") or ():
                counts[zone["name"]] = counts.get(zone["name"], 0) + 1
    return counts


@pytest.mark.parametrize(
    ("in_zones", "cpus", "expected"),
    [
        ((6, 6, 6), (1, 1, 1), {"a": 6, "b": 6, "c": 6}),
        ((10, 5, 3), (1, 1, 1), {"a": 6, "b": 6, "c": 6}),
        ((6, 6, 6), (2, 1, 1), {"a": 9, "b": 4, "c": 5}),
        ((1, 1, 0), (1, 1, 1), "Insufficient number of endpoints (2 endpoints, 3 zones)"),
        (
            (2, 2, 0),
            (8, 1, 1),
            OVERLOADED + " (4 endpoints, 3 zones)",
        ),
    ],
)
def test_hints_in_proportion_to_cpus(
    in_zones: tuple[int, ...], cpus: tuple[int, ...], expected: dict[str, int] | str
) -> None:
    auto = service(annotations={"service.kubernetes.io/topology-mode": "Auto"})
    nodes = [node(f"n{i}", zone, str(cpu)) for i, (zone, cpu) in enumerate(zip("abc", cpus, strict=True))]
    around = decide.Surroundings(ZONES, lambda: hints.cpu_shares(nodes))
    places = [number for number, count in enumerate(in_zones) for _ in range(count)]
    pods = [pod(number, node=f"n{place}") for number, place in enumerate(places)]
    outcome = decide.plan(auto, pods, [], around)
    slices = after([], outcome.changes)
    if isinstance(expected, str):
        assert outcome.hints == {"IPv4": expected}
        assert zones_hinted(slices) == {}
        return
    assert outcome.hints == {"IPv4": ""}
    assert zones_hinted(slices) == expected
    assert decide.plan(auto, pods, slices, around).changes == Changes()
    without = decide.plan(service(), pods, slices, around).changes
    assert zones_hinted(after(slices, without)) == {}


def test_a_node_that_does_not_say_its_zone_ends_hints_and_control_planes_do_not_count() -> None:
    nodes = [node("n0", "a"), node("n1", "b")]
    assert hints.cpu_shares(nodes) == {"a": 0.5, "b": 0.5}
    control = node("m", "", **{"node-role.kubernetes.io/control-plane": ""})
    assert hints.cpu_shares([*nodes, control]) == {"a": 0.5, "b": 0.5}
    assert hints.cpu_shares([*nodes, node("n2", "")]) is None
    assert hints.cpu_shares(nodes[:1]) is None


@pytest.mark.virtual
async def test_the_controller_follows_pods_nodes_and_annotations_and_then_rests() -> None:
    api = FakeApi()
    for number, zone in enumerate("ab"):
        api.add(NODES, node(f"n{number}", zone))
    api.add(SERVICES, service(annotations={"service.kubernetes.io/topology-mode": "Auto"}))
    for number in range(8):
        api.add(PODS, pod(number, node=f"n{number % 2}"))
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert zones_hinted(api.objects(ENDPOINT_SLICES)) == {"a": 4, "b": 4}
        assert [event["reason"] for event in api.objects(EVENTS)] == ["TopologyAwareHintsEnabled"]
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes
        api.change(NODES, "n1", "", lambda n: n["metadata"]["labels"].update({hints.ZONE: "a"}))
        await clock.sleep(5)
        assert zones_hinted(api.objects(ENDPOINT_SLICES)) == {}
        (one,) = api.objects(ENDPOINT_SLICES)
        assert {endpoint["zone"] for endpoint in one["endpoints"]} == {"a"}
        api.remove(NODES, "n1")
        await clock.sleep(5)
        (one,) = api.objects(ENDPOINT_SLICES)
        assert len(one["endpoints"]) == 4


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["conflict", "lost answer", "deleted", "meddled", "there twice"])
async def test_a_fault_or_a_foreign_hand_is_mended_by_a_look_at_everything(fault: str) -> None:
    api = FakeApi()
    api.add(NODES, node("n0", "a"))
    api.add(SERVICES, service())
    for number in range(150):
        api.add(PODS, pod(number))
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        first = api.objects(ENDPOINT_SLICES)[0]["metadata"]["name"]
        if fault == "conflict":
            api.fail("update", ENDPOINT_SLICES, Conflict, times=2)
        elif fault == "lost answer":
            api.lose_answer("update", ENDPOINT_SLICES)
        elif fault == "deleted":
            api.remove(ENDPOINT_SLICES, first, "d")
        elif fault == "there twice":
            again = copy.deepcopy(api.objects(ENDPOINT_SLICES)[0])
            again["metadata"] |= {"name": "again", "uid": "again"}
            del again["metadata"]["resourceVersion"]
            api.add(ENDPOINT_SLICES, again)
        else:
            api.change(ENDPOINT_SLICES, first, "d", lambda one: one.update(endpoints=one["endpoints"][:5]))
        api.remove(PODS, "p3", "d")
        api.add(PODS, pod(500))
        await clock.sleep(60)
        found = content(api.objects(ENDPOINT_SLICES))
        assert len(found) == 150
        assert sum(len(one["endpoints"]) for one in api.objects(ENDPOINT_SLICES)) == 150
        assert ("IPv4", "u500") in found
        assert ("IPv4", "u3") not in found
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes
