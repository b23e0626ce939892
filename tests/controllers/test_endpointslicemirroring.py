"""Endpoints that somebody wrote by hand appear as slices, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import ENDPOINT_SLICES, ENDPOINTS, EVENTS, SERVICES, Object
from coxswain.base import clock
from coxswain.controllers.endpointslicemirroring import controller, decide
from fakeapi import FakeApi


def add_service(api: FakeApi, **spec: Any) -> None:
    api.add(
        SERVICES, {"metadata": {"name": "db", "namespace": "d"}, "spec": {"clusterIP": "10.0.0.1", **spec}}
    )


def add_endpoints(api: FakeApi, ips: list[str], *, waiting: list[str] | None = None, **meta: Any) -> Object:
    subset: Object = {"ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]}
    subset["addresses"] = [{"ip": ip} for ip in ips]
    if waiting:
        subset["notReadyAddresses"] = [{"ip": ip} for ip in waiting]
    return api.add(ENDPOINTS, {"metadata": {"name": "db", "namespace": "d", **meta}, "subsets": [subset]})


def mirrored(api: FakeApi) -> list[tuple[str, str, bool]]:
    return sorted(
        (one["addressType"], endpoint["addresses"][0], endpoint["conditions"]["ready"])
        for one in api.objects(ENDPOINT_SLICES)
        for endpoint in one["endpoints"]
    )


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["none", "failure", "lost answer", "restart", "meddled", "deleted"])
async def test_slices_follow_the_endpoints_and_go_with_them(fault: str) -> None:
    api = FakeApi()
    add_service(api)
    if fault == "failure":
        for verb in ("create", "update", "delete"):
            api.fail(verb, ENDPOINT_SLICES, Conflict, times=2)
    elif fault == "lost answer":
        for verb in ("create", "update", "delete"):
            api.lose_answer(verb, ENDPOINT_SLICES)
    annotations = {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    add_endpoints(
        api, ["1.2.3.4", "fd00::1"], waiting=["1.2.3.5"], labels={"x": "y"}, annotations=annotations
    )
    if fault == "restart":
        async with running(api, controller.DESCRIPTOR):
            await clock.sleep(1)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
        assert mirrored(api) == [
            ("IPv4", "1.2.3.4", True),
            ("IPv4", "1.2.3.5", False),
            ("IPv6", "fd00::1", True),
        ]
        for one in api.objects(ENDPOINT_SLICES):
            assert one["metadata"]["annotations"] == {"a": "b"}
            assert one["metadata"]["labels"] == {
                "x": "y",
                "kubernetes.io/service-name": "db",
                "endpointslice.kubernetes.io/managed-by": decide.CONTROLLER,
            }
            assert one["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
            assert one["ports"] == [{"name": "sql", "protocol": "TCP", "port": 5432}]
        first = api.objects(ENDPOINT_SLICES)[0]["metadata"]["name"]
        if fault == "meddled":
            api.change(ENDPOINT_SLICES, first, "d", lambda one: one.update(endpoints=[]))
        elif fault == "deleted":
            api.remove(ENDPOINT_SLICES, first, "d")
        api.change(ENDPOINTS, "db", "d", lambda one: one["subsets"][0]["addresses"].pop(0))
        await clock.sleep(60)
        assert mirrored(api) == [("IPv4", "1.2.3.5", False), ("IPv6", "fd00::1", True)]
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes
        api.remove(ENDPOINTS, "db", "d")
        await clock.sleep(60)
        assert api.objects(ENDPOINT_SLICES) == []


@pytest.mark.virtual
@pytest.mark.parametrize("why", ["selector", "no service", "asked not to", "election"])
async def test_what_is_not_mirrored(why: str) -> None:
    api = FakeApi()
    if why != "no service":
        add_service(api, **({"selector": {"app": "db"}} if why == "selector" else {}))
    meta: Object = {"labels": {decide.SKIP: "true"}} if why == "asked not to" else {}
    if why == "election":
        meta = {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}}
    add_endpoints(api, ["1.2.3.4"], **meta)
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(60)
        assert api.writes() == []


@pytest.mark.virtual
async def test_mirroring_starts_and_ends_with_the_services_selector() -> None:
    api = FakeApi()
    add_service(api)
    add_endpoints(api, ["1.2.3.4"])
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(5)
        assert len(mirrored(api)) == 1
        api.change(SERVICES, "db", "d", lambda one: one["spec"].update(selector={"app": "db"}))
        await clock.sleep(5)
        assert mirrored(api) == []
        api.change(SERVICES, "db", "d", lambda one: one["spec"].pop("selector"))
        await clock.sleep(5)
        assert len(mirrored(api)) == 1


@pytest.mark.virtual
async def test_what_is_left_out_is_said_once() -> None:
    api = FakeApi()
    add_service(api)
    add_endpoints(api, ["nonsense", *(f"10.1.{n // 250}.{n % 250 + 1}" for n in range(1010))])
    async with running(api, controller.DESCRIPTOR):
        await clock.sleep(600)
    assert len(mirrored(api)) == 1000
    assert [len(one["endpoints"]) for one in api.objects(ENDPOINT_SLICES)] == [100] * 10
    assert sorted(event["message"] for event in api.objects(EVENTS)) == [
        "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 10 addresses were skipped",
        "Skipped 1 invalid IP addresses when mirroring to EndpointSlices",
    ]
