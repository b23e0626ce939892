"""Field selectors in the names of each version, and what is read without being stored."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.core_support import PODS, Cluster, cluster, pod
from coxswain.api import errors
from coxswain.api.names import GVR

EVENTS = GVR("", "v1", "events")
EVENTS_V1 = GVR("events.k8s.io", "v1", "events")
STATEFUL_SETS = GVR("apps", "v1", "statefulsets")


async def names(c: Cluster, resource: GVR, selector: str) -> list[Any]:
    found = await c.do("list", resource, fieldSelector=selector)
    return [each["metadata"]["name"] for each in found["items"]]


async def test_events_are_selected_by_the_newer_names_too() -> None:
    async with cluster() as c:
        for name, component in (("a", "x.io/one"), ("b", "x.io/two")):
            event = {
                "metadata": {"name": name},
                "involvedObject": {"kind": "Pod", "namespace": "default", "name": f"p-{name}"},
                "reportingComponent": component,
            }
            await c.do("create", EVENTS, body=event)
        assert await names(c, EVENTS_V1, "reportingController=x.io/one") == ["a"]
        assert await names(c, EVENTS_V1, "regarding.name=p-b,metadata.name!=a") == ["b"]
        assert await names(c, EVENTS, "involvedObject.name=p-b") == ["b"]
        with pytest.raises(errors.BadRequest, match=r"field label not supported: involvedObject\.name"):
            await names(c, EVENTS_V1, "involvedObject.name=p-b")


async def test_pods_are_selected_by_older_names() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p", nodeName="n"))
        assert await names(c, PODS, "spec.host=n") == ["p"]
        assert await names(c, PODS, "spec.host=m") == []


async def test_other_kinds_know_name_and_namespace() -> None:
    async with cluster() as c:
        with pytest.raises(errors.BadRequest, match=r'"spec\.replicas" is not a known field selector: only'):
            await names(c, STATEFUL_SETS, "spec.replicas=1")


async def test_the_store_is_a_component_that_is_well() -> None:
    async with cluster() as c:
        components = GVR("", "v1", "componentstatuses")
        found = await c.do("list", components, namespace="")
        assert [each["metadata"]["name"] for each in found["items"]] == ["etcd-0"]
        one = await c.do("get", components, "etcd-0", namespace="")
        assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        with pytest.raises(errors.NotFound):
            await c.do("get", components, "scheduler", namespace="")
