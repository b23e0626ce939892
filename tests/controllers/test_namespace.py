"""A terminating namespace is emptied, pods first, and let go; what is left is told in its conditions."""

from __future__ import annotations

import asyncio

import pytest

from controllerbench import running
from coxswain.api import errors
from coxswain.api.meta import condition
from coxswain.api.names import CONFIGMAPS, CUSTOM_RESOURCE_DEFINITIONS, GVR, NAMESPACES, PODS, SECRETS
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.controllers import namespace
from coxswain.controllers.served import of_definition, version_order
from fakeapi import FakeApi

WIDGETS = GVR("example.com", "v1", "widgets")


def with_content(api: FakeApi) -> None:
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.add(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "d"}})
    api.add(SECRETS, {"metadata": {"name": "s", "namespace": "d"}})
    pod = {"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n"}}
    api.add(PODS, {**pod, "status": {"phase": "Running"}})
    api.add(CONFIGMAPS, {"metadata": {"name": "other", "namespace": "other"}})


def definition() -> dict[str, object]:
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1beta1", "served": True}, {"name": "v1", "served": True}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }


@pytest.mark.virtual
async def test_pods_go_first_then_everything_then_the_namespace() -> None:
    api = FakeApi()
    with_content(api)
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(5)
        assert "deletionTimestamp" in api.object(PODS, "p", "d")["metadata"]
        assert api.exists(CONFIGMAPS, "a", "d")
        held = api.object(NAMESPACES, "d")
        remaining = condition(held, "NamespaceContentRemaining")
        assert remaining is not None
        assert remaining["reason"] == "SomeResourcesRemain"
        assert remaining["message"] == "Some resources are remaining: pods. has 1 resource instances"
        await api.client().delete(PODS, "p", "d", grace_period_seconds=0)
        await clock.sleep(20)
        assert not api.exists(NAMESPACES, "d")
        assert not api.exists(CONFIGMAPS, "a", "d")
        assert not api.exists(SECRETS, "s", "d")
        assert api.exists(CONFIGMAPS, "other", "other")


@pytest.mark.virtual
@pytest.mark.parametrize("another", [False, True])
async def test_pods_that_only_their_jobs_keep_hold_up_nothing_but_the_namespace(another: bool) -> None:
    api = FakeApi()
    with_content(api)
    finalizers = ["batch.kubernetes.io/job-tracking", *(["example.com/of-mine"] if another else [])]
    held = {"metadata": {"name": "ended", "namespace": "d", "finalizers": finalizers}}
    api.add(PODS, {**held, "spec": {}, "status": {"phase": "Failed"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(5)
        assert api.exists(CONFIGMAPS, "a", "d")
        await api.client().delete(PODS, "p", "d", grace_period_seconds=0)
        await clock.sleep(20)
        assert api.exists(CONFIGMAPS, "a", "d") == another
        assert api.exists(PODS, "ended", "d") and api.exists(NAMESPACES, "d")
        api.remove(PODS, "ended", "d")
        await clock.sleep(20)
        assert not api.exists(NAMESPACES, "d")


@pytest.mark.virtual
async def test_content_with_finalizers_is_counted_and_waited_for() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.add(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "d", "finalizers": ["example.com/x"]}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(60)
        told = condition(api.object(NAMESPACES, "d"), "NamespaceFinalizersRemaining")
        assert told is not None
        assert told["message"] == (
            "Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances"
        )
        writes = len(api.writes())
        await clock.sleep(300)
        assert len(api.writes()) == writes
        await api.client().patch(CONFIGMAPS, "a", {"metadata": {"finalizers": None}}, "d")
        await clock.sleep(30)
        assert not api.exists(NAMESPACES, "d")


@pytest.mark.virtual
async def test_custom_resources_are_content_too() -> None:
    api = FakeApi()
    api.add(CUSTOM_RESOURCE_DEFINITIONS, definition())
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.add(WIDGETS, {"metadata": {"name": "w", "namespace": "d"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(10)
        assert not api.exists(WIDGETS, "w", "d")
        assert not api.exists(NAMESPACES, "d")


@pytest.mark.virtual
async def test_an_empty_namespace_goes_with_one_write() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(1)
        assert not api.exists(NAMESPACES, "d")
        assert api.writes() == [
            ("delete", "namespaces", "/d"),
            ("update", "namespaces/finalize", "/d"),
        ]


@pytest.mark.virtual
async def test_active_namespaces_and_those_with_other_finalizers_are_left_alone() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.add(NAMESPACES, {"metadata": {"name": "e"}, "spec": {"finalizers": ["example.com/x"]}})
    api.add(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "e"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "e")
        await clock.sleep(60)
        assert api.exists(CONFIGMAPS, "a", "e")
        assert len(api.writes()) == 1


@pytest.mark.virtual
async def test_it_ends_well_however_the_server_fails() -> None:
    api = FakeApi()
    with_content(api)
    async with running(api, namespace.DESCRIPTOR):

        async def kubelet() -> None:
            while api.exists(PODS, "p", "d"):
                await clock.sleep(3)
                if "deletionTimestamp" in api.object(PODS, "p", "d")["metadata"]:
                    api.remove(PODS, "p", "d")

        node = asyncio.ensure_future(kubelet())
        await api.client().delete(NAMESPACES, "d")
        api.fail("deletecollection", None, errors.InternalError, times=3)
        api.fail("list", SECRETS, errors.ServiceUnavailable, times=2)
        api.fail("update", NAMESPACES, errors.Conflict, times=2)
        api.lose_answer("update", NAMESPACES)
        await clock.sleep(2)
        told = condition(api.object(NAMESPACES, "d"), "NamespaceDeletionContentFailure")
        assert told is None or told["reason"] in ("ContentDeletionFailed", "ContentDeleted")
        await clock.sleep(120)
        assert not api.exists(NAMESPACES, "d")
        await cancel_and_wait(node)


def test_versions_are_preferred_as_discovery_does() -> None:
    versions = ["v1alpha1", "foo", "v2", "v1beta2", "v10", "v1", "v1beta1", "bar"]
    assert sorted(versions, key=version_order) == [
        "v10",
        "v2",
        "v1",
        "v1beta2",
        "v1beta1",
        "v1alpha1",
        "bar",
        "foo",
    ]


def test_a_definition_that_is_not_established_serves_nothing() -> None:
    served = of_definition(definition())
    assert served is not None
    assert (served.gvr, served.kind, served.namespaced) == (WIDGETS, "Widget", True)
    assert of_definition({**definition(), "status": {}}) is None


@pytest.mark.virtual
async def test_the_end_of_the_last_pod_is_not_waited_for_longer_than_it_takes() -> None:
    api = FakeApi()
    with_content(api)
    other = {"metadata": {"name": "q", "namespace": "d"}, "spec": {"nodeName": "n"}}
    api.add(PODS, {**other, "status": {"phase": "Running"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(61)
        api.remove(PODS, "p", "d")
        await clock.sleep(0.1)
        assert api.exists(NAMESPACES, "d"), "a pod is left"
        api.remove(PODS, "q", "d")
        await clock.sleep(0.1)
        assert not api.exists(NAMESPACES, "d")


@pytest.mark.virtual
async def test_requests_do_not_grow_with_the_objects() -> None:
    counts = []
    for size in (10, 400):
        api = FakeApi()
        api.add(NAMESPACES, {"metadata": {"name": "d"}})
        for number in range(size):
            for resource in (CONFIGMAPS, SECRETS):
                api.add(resource, {"metadata": {"name": f"x{number}", "namespace": "d"}})
        async with running(api, namespace.DESCRIPTOR):
            before = len(api.calls)
            await api.client().delete(NAMESPACES, "d")
            await clock.sleep(20)
            assert not api.exists(NAMESPACES, "d")
            counts.append(len(api.calls) - before)
    assert counts[0] == counts[1]


@pytest.mark.virtual
async def test_one_object_is_listed_before_a_collection_is_deleted_not_all() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    for number in range(50):
        api.add(CONFIGMAPS, {"metadata": {"name": f"c{number}", "namespace": "d"}})
    async with running(api, namespace.DESCRIPTOR):
        await api.client().delete(NAMESPACES, "d")
        await clock.sleep(5)
    assert not api.exists(NAMESPACES, "d")
    assert not api.objects(CONFIGMAPS)
    asked = [
        (call.verb, call.query.get("limit"))
        for call in api.calls
        if call.resource == CONFIGMAPS and call.namespace == "d"
    ]
    assert asked == [("list", "1"), ("deletecollection", None), ("list", None)]
