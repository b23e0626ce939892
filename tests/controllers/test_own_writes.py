"""Controllers do not act on a cache that does not show yet what they wrote themselves."""

from __future__ import annotations

import orjson
import pytest

from controllerbench import running
from controllers.workloads import World, a_deployment, template, world
from coxswain.api import meta
from coxswain.api.errors import InternalError, Timeout
from coxswain.api.names import DEPLOYMENTS, PODS, REPLICA_SETS, STATEFUL_SETS, Object
from coxswain.base.tasks import Supervisor
from coxswain.client.informer import Informer
from coxswain.client.interface import WatchEvent
from coxswain.controllers.ownwrites import OwnDeletions, OwnDependents
from coxswain.controllers.statefulset.controller import DESCRIPTOR
from fakeapi import FakeApi


def pod(name: str) -> Object:
    return {"metadata": {"name": name, "namespace": "d"}, "spec": {"nodeName": "n"}}


@pytest.mark.virtual
async def test_a_deleted_object_that_the_cache_shows_whole_is_waited_for() -> None:
    api = FakeApi()
    whole, other = api.add(PODS, pod("a")), api.add(PODS, pod("b"))
    deletions = OwnDeletions(api.client(), PODS)
    assert await deletions.caught_up("d/x", [whole])
    deletions.deleted("d/x", meta.uid(whole))
    assert not await deletions.caught_up("d/x", [whole, other])
    assert await deletions.caught_up("d/y", [whole])
    going = {**whole, "metadata": {**whole["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert await deletions.caught_up("d/x", [going, other])
    assert await deletions.caught_up("d/x", [whole])  # what was seen is not remembered
    assert api.calls == []


@pytest.mark.virtual
async def test_after_a_deletion_that_failed_the_server_is_asked() -> None:
    api = FakeApi()
    one = api.add(PODS, pod("a"))
    deletions = OwnDeletions(api.client(), PODS)
    deletions.unsure("d/x", meta.uid(one))
    assert await deletions.caught_up("d/x", [one])  # it was not done
    deletions.unsure("d/x", meta.uid(one))
    api.fail("get", PODS, InternalError)
    with pytest.raises(InternalError):
        await deletions.caught_up("d/x", [one])
    api.remove(PODS, "a", "d")
    api.add(PODS, pod("a"))
    assert not await deletions.caught_up("d/x", [one])  # another of that name
    api.remove(PODS, "a", "d")
    assert not await deletions.caught_up("d/x", [one])
    assert await deletions.caught_up("d/x", [])


@pytest.mark.virtual
async def test_what_was_written_below_a_key_has_to_be_in_the_cache() -> None:
    api = FakeApi()
    cache = Informer(api.client(), PODS)
    cache.replace([], str(api.revision))
    own = OwnDependents(api.client(), cache)
    assert await own.caught_up("d/x")
    made = await api.client().create(PODS, pod("a"))
    own.wrote("d/x", made)
    assert (await own.caught_up("d/x"), await own.caught_up("d/y")) == (False, True)
    cache.apply([WatchEvent("ADDED", orjson.dumps(made))])
    assert await own.caught_up("d/x")
    api.lose_answer("create", PODS)
    with pytest.raises(Timeout):
        await api.client().create(PODS, pod("b"))
    own.unsure("d/x", pod("b"))
    own.unsure("d/x", pod("never made"))
    assert not await own.caught_up("d/x")
    cache.replace([], str(api.revision))
    assert await own.caught_up("d/x")


def size(it: World) -> int:
    return sum(one["spec"]["replicas"] for one in it.sets())


def set_image(it: World, image: str) -> None:
    it.edit(lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image=image))


@pytest.mark.virtual
@pytest.mark.parametrize("lost", [False, True])
async def test_templates_that_follow_each_other_faster_than_the_cache_keep_to_the_surge(lost: bool) -> None:
    async with world() as it:
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}}
        it.api.add(DEPLOYMENTS, a_deployment(3, strategy=rolling))
        await it.settle()
        it.api.hold(REPLICA_SETS)
        if lost:
            it.api.lose_answer("create", REPLICA_SETS)
        set_image(it, "web:2")
        await it.settle(1)
        set_image(it, "web:3")
        await it.settle(5)
        assert size(it) == 5
        it.api.let_go(REPLICA_SETS)
        await it.settle()
        assert (size(it), it.images()) == (3, ["web:3"] * 3)


@pytest.mark.virtual
@pytest.mark.parametrize("lost", [False, True])
async def test_a_pod_that_was_just_deleted_does_not_count_as_ready_for_the_next(lost: bool) -> None:
    it = World()
    owner: Object = {"metadata": {"name": "db", "namespace": "d", "generation": 1}}
    owner["spec"] = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
    }

    async with running(it.api, DESCRIPTOR), Supervisor("kubelet") as tasks:
        tasks.start("kubelet", it.kubelet())
        it.api.add(STATEFUL_SETS, owner)
        await it.settle()
        it.api.hold(PODS)
        if lost:
            it.api.lose_answer("delete", PODS)
        it.api.change(STATEFUL_SETS, "db", "d", lambda one: one["spec"].update(replicas=1))
        await it.settle(5)
        it.api.change(STATEFUL_SETS, "db", "d", lambda one: one["spec"].update(replicas=3))
        await it.settle(5)
        assert [meta.name(one) for one in it.pods()] == ["db-0"]
        it.api.let_go(PODS)
        await it.settle()
        assert [meta.name(one) for one in it.ready()] == ["db-0", "db-1", "db-2"]
