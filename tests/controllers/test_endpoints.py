"""Endpoints and endpoint slices: who is in them, how they are packed, and how little is written."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from coxswain.api import meta
from coxswain.api.errors import Conflict
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES, Object
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import InformerFactory
from coxswain.controllers.descriptor import ControllerContext
from coxswain.controllers.endpoints import controller as endpoints_controller
from coxswain.controllers.endpoints.decide import desired
from coxswain.controllers.endpoints.members import Members
from coxswain.controllers.endpointslice import controller as slice_controller
from coxswain.controllers.endpointslice.decide import MAX_ENDPOINTS, Changes, reconcile
from fakeapi import FakeApi


def service(**spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "d", "uid": "svc", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.9",
            "ipFamilies": ["IPv4"],
            "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}],
            **spec,
        },
    }


def pod(
    number: int, *, ready: bool = True, terminating: bool = False, port: int = 8080, phase: str = "Running"
) -> Object:
    metadata = {"name": f"p{number}", "namespace": "d", "uid": f"u{number:05d}", "labels": {"app": "web"}}
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ip = f"10.1.{number // 250}.{number % 250 + 1}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": "n",
            "containers": [
                {"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}
            ],
        },
        "status": {
            "phase": phase,
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


ZONES = {"n": "z1"}


def wanted(service: Object, pods: list[Object]) -> Object:
    """The Endpoints of a service and its pods."""
    by_key = {meta.key(one): one for one in pods}
    return desired(service, Members(service, pods), by_key.get, None)


def test_endpoints_hold_ready_and_unready_addresses_apart() -> None:
    result = wanted(
        service(),
        [pod(2), pod(1), pod(3, ready=False), pod(4, terminating=True), pod(5, phase="Failed")],
    )
    (subset,) = result["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.1.0.2", "10.1.0.3"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.1.0.4"]
    assert subset["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert subset["addresses"][0]["targetRef"] == {
        "kind": "Pod",
        "namespace": "d",
        "name": "p1",
        "uid": "u00001",
    }
    assert result["metadata"]["labels"] == {
        "team": "a",
        "endpoints.kubernetes.io/managed-by": "endpoint-controller",
    }


def test_endpoints_of_different_ports_are_different_subsets() -> None:
    result = wanted(service(), [pod(1, port=8080), pod(2, port=9090)])
    assert [subset["ports"][0]["port"] for subset in result["subsets"]] == [8080, 9090]


def test_endpoints_are_cut_at_a_thousand_and_say_so() -> None:
    result = wanted(service(), [pod(n, ready=n > 100) for n in range(1200)])
    (subset,) = result["subsets"]
    assert len(subset["addresses"]) == 1000
    assert "notReadyAddresses" not in subset
    assert meta.annotations(result) == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_what_is_too_much_is_cut_in_proportion() -> None:
    """As ``truncateEndpoints``: the unready ones while the ready ones fit, else the ready ones; by subset."""
    pods = [pod(n, ready=n % 2 == 0, port=8080 if n < 400 else 9090) for n in range(1600)]
    cut = wanted(service(), pods)
    sizes = [
        [len(one.get(name, ())) for name in ("addresses", "notReadyAddresses")] for one in cut["subsets"]
    ]
    assert sizes == [[200, 50], [600, 150]]
    few = wanted(service(), [one for one in pods if not meta.is_pod_ready(one)])
    assert [len(one["notReadyAddresses"]) for one in few["subsets"]] == [200, 600]
    assert not meta.annotations(few)


@pytest.mark.parametrize("seed", range(8))
def test_pods_that_come_and_go_leave_what_a_look_at_all_finds(seed: int) -> None:
    rng = random.Random(seed)
    one = service(publishNotReadyAddresses=seed % 2 == 0, clusterIP=rng.choice(["10.96.0.9", "None"]))
    present: dict[str, Object] = {}
    members = Members(one)
    for _ in range(12):
        for _ in range(rng.choice([1, 5, 700])):
            number = rng.randrange(1300)
            uid = f"u{number:05d}"
            present.pop(f"d/p{number}", None)
            new = None
            if rng.random() < 0.7:
                ready, going = rng.random() < 0.8, rng.random() < 0.2
                new = pod(number, ready=ready, terminating=going, port=rng.choice([8080, 8080, 9090]))
                present[f"d/p{number}"] = new
            members.put(uid, new)
        kept = desired(one, members, present.get, None)
        assert kept == desired(one, Members(one, present.values()), present.get, None)
        shown = [a["targetRef"]["uid"] for s in kept.get("subsets", ()) for a in s.get("addresses", ())]
        ready = {
            meta.uid(p)
            for p in present.values()
            if seed % 2 == 0 or (meta.is_pod_ready(p) and not meta.is_terminating(p))
        }
        assert set(shown) <= ready
        assert len(shown) == len(set(shown)) == min(len(ready), 1000)


def test_a_headless_service_whose_ports_no_pod_has_is_empty() -> None:
    named = service(clusterIP="None", ports=[{"port": 80, "targetPort": "other"}])
    assert "subsets" not in wanted(named, [pod(1)])
    assert "ports" not in wanted(service(clusterIP="None", ports=[]), [pod(1)])["subsets"][0]


def test_a_slice_says_what_each_endpoint_is() -> None:
    changes = reconcile(service(), [pod(1), pod(2, ready=False), pod(3, terminating=True)], [], ZONES)
    (new,) = changes.create
    assert [endpoint["conditions"] for endpoint in new["endpoints"]] == [
        {"ready": True, "serving": True, "terminating": False},
        {"ready": False, "serving": False, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
    ]
    assert {endpoint["zone"] for endpoint in new["endpoints"]} == {"z1"}
    assert new["ports"] == [{"name": "", "protocol": "TCP", "port": 8080}]
    assert new["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


def test_a_service_without_endpoints_keeps_one_empty_slice() -> None:
    (placeholder,) = reconcile(service(), [], [], ZONES).create
    assert (placeholder["endpoints"], placeholder["ports"]) == (None, None)
    assert reconcile(service(), [], [stored(placeholder, "s")], ZONES) == Changes()
    full = stored(reconcile(service(), [pod(1)], [], ZONES).create[0], "s")
    (emptied,) = reconcile(service(), [], [full], ZONES).update
    assert (emptied["metadata"]["name"], emptied["endpoints"]) == ("s", None)


def stored(new: Object, name: str) -> Object:
    return {**new, "metadata": {**new["metadata"], "name": name, "uid": name, "resourceVersion": "1"}}


def apply(slices: list[Object], changes: Changes) -> list[Object]:
    """The slices after the writes of ``changes``."""
    gone = {meta.name(old) for old in changes.delete}
    changed = {meta.name(new): new for new in changes.update}
    kept = [changed.get(meta.name(old), old) for old in slices if meta.name(old) not in gone]
    taken = {meta.name(old) for old in slices}
    fresh = (f"s{number}" for number in range(10_000) if f"s{number}" not in taken)
    return kept + [stored(new, next(fresh)) for new in changes.create]


def test_one_changed_pod_of_ten_thousand_is_one_write() -> None:
    pods = [pod(n) for n in range(10_000)]
    slices = apply([], reconcile(service(), pods, [], ZONES))
    assert len(slices) == 100
    pods[777] = pod(777, ready=False)
    changes = reconcile(service(), pods, slices, ZONES)
    assert (len(changes.create), len(changes.update), len(changes.delete)) == (0, 1, 0)


@pytest.mark.parametrize("seed", range(15))
def test_slices_always_say_exactly_what_is_and_are_never_too_full(seed: int) -> None:
    rng = random.Random(seed)
    slices: list[Object] = []
    present: dict[int, Object] = {}
    for _ in range(25):
        for _ in range(rng.choice([1, 5, 150])):
            number = rng.randrange(400)
            if rng.random() < 0.45:
                present.pop(number, None)
            else:
                present[number] = pod(number, ready=rng.random() < 0.8, port=rng.choice([8080, 8080, 9090]))
        slices = apply(slices, reconcile(service(), present.values(), slices, ZONES))
        seen = {
            endpoint["targetRef"]["uid"]: (each["ports"][0]["port"], endpoint["conditions"]["ready"])
            for each in slices
            for endpoint in each["endpoints"] or ()
        }
        wanted = {
            meta.uid(p): (p["spec"]["containers"][0]["ports"][0]["containerPort"], meta.is_pod_ready(p))
            for p in present.values()
        }
        assert seen == wanted
        assert sum(len(each["endpoints"] or ()) for each in slices) == len(wanted)
        assert all(len(each["endpoints"] or ()) <= MAX_ENDPOINTS for each in slices)
        assert reconcile(service(), present.values(), slices, ZONES) == Changes()


@asynccontextmanager
async def running() -> AsyncIterator[FakeApi]:
    api = FakeApi()
    api.add(NODES, {"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z1"}}})
    client = api.client()
    informers = InformerFactory(client)
    context = ControllerContext(client, informers, lambda component: pytest.fail("no events here"))
    async with Supervisor("test") as tasks:
        tasks.start("endpoints", endpoints_controller.run(context))
        tasks.start("slices", slice_controller.run(context))
        try:
            yield api
        finally:
            await informers.stop()


def ips(api: FakeApi) -> tuple[list[str], list[str]]:
    """(addresses in Endpoints, in slices)."""
    (endpoints,) = api.objects(ENDPOINTS, "d")
    first = [a["ip"] for subset in endpoints.get("subsets") or () for a in subset.get("addresses") or ()]
    second = [
        endpoint["addresses"][0]
        for each in api.objects(ENDPOINT_SLICES, "d")
        for endpoint in each["endpoints"] or ()
        if endpoint["conditions"]["ready"]
    ]
    return sorted(first), sorted(second)


@pytest.mark.virtual
async def test_both_follow_the_pods_and_then_rest() -> None:
    async with running() as api:
        api.add(SERVICES, service())
        for number in range(3):
            api.add(PODS, pod(number))
        await clock.sleep(5)
        assert ips(api) == (["10.1.0.1", "10.1.0.2", "10.1.0.3"],) * 2
        api.change(PODS, "p1", "d", lambda p: p["status"]["conditions"][0].update(status="False"))
        api.remove(PODS, "p2", "d")
        await clock.sleep(5)
        assert ips(api) == (["10.1.0.1"],) * 2
        before = len(api.writes())
        await clock.sleep(600)
        assert api.writes()[before:] == []


@pytest.mark.virtual
async def test_a_change_that_could_not_be_sorted_in_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Members.put
    failures: list[Exception] = []

    def failing(self: Members, uid: str, pod: Object | None) -> None:
        if failures:
            raise failures.pop()
        put(self, uid, pod)

    async with running() as api:
        api.add(SERVICES, service())
        for number in range(3):
            api.add(PODS, pod(number))
        await clock.sleep(5)
        monkeypatch.setattr(Members, "put", failing)
        failures.append(ValueError("broken"))
        api.change(PODS, "p2", "d", lambda p: p["status"]["conditions"][0].update(status="False"))
        await clock.sleep(5)
        assert not failures
        assert ips(api) == (["10.1.0.1", "10.1.0.2"],) * 2


@pytest.mark.virtual
async def test_a_burst_of_changes_is_written_once() -> None:
    async with running() as api:
        api.add(SERVICES, service())
        await clock.sleep(5)
        before = len(api.writes())
        for number in range(90):
            api.add(PODS, pod(number))
        await clock.sleep(5)
        assert len(api.writes()) - before == 2
        assert len(ips(api)[1]) == 90


@pytest.mark.virtual
@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("resource", [ENDPOINTS, ENDPOINT_SLICES])
async def test_conflicts_and_lost_answers_do_not_matter(verb: str, resource) -> None:
    async with running() as api:
        api.fail(verb, resource, Conflict("not now"), times=2)
        api.lose_answer(verb, resource, times=1)
        api.add(SERVICES, service())
        for number in range(5):
            api.add(PODS, pod(number))
            await clock.sleep(1)
        api.remove(PODS, "p3", "d")
        await clock.sleep(60)
        assert ips(api) == (["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.5"],) * 2
        assert len(api.objects(ENDPOINT_SLICES, "d")) == 1


@pytest.mark.virtual
async def test_the_endpoints_of_a_deleted_service_go_with_it() -> None:
    async with running() as api:
        api.add(SERVICES, service())
        await clock.sleep(5)
        api.remove(SERVICES, "web", "d")
        await clock.sleep(5)
        assert api.objects(ENDPOINTS, "d") == []
