"""The manager runs what was asked for, and one controller's crash is its own affair."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coxswain.api import errors
from coxswain.api.names import LEASES, NAMESPACES, SECRETS, SERVICE_ACCOUNTS
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.leaderelection import LeadershipLost
from coxswain.controllers import manager, registry
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.manager import Manager
from fakeapi import FakeApi


def test_selections_follow_kubernetes() -> None:
    named_only = {"bootstrap-signer-controller", "token-cleaner-controller"}
    assert set(registry.names()) - set(registry.select("*")) == named_only
    assert registry.select("namespace-controller, serviceaccount") == (
        "serviceaccount-controller",
        "namespace-controller",
    )
    without = registry.select("*,-namespace-controller")
    assert set(registry.names()) - set(without) - named_only == {"namespace-controller"}
    assert set(registry.select("*,token-cleaner")) - set(registry.select("*")) == {"token-cleaner-controller"}
    assert registry.select("-namespace") == ()


@pytest.mark.parametrize("selection", ["nonsense", "*,-nonsense", "namespace,-namespace"])
def test_a_selection_that_cannot_be_meant_is_refused(selection: str) -> None:
    with pytest.raises(ConfigurationError, match=r"known controllers|both"):
        registry.select(selection)


def test_every_registered_controller_exists_under_its_name() -> None:
    for name in registry.names():
        assert registry.descriptor(name).name == name


@pytest.mark.virtual
async def test_a_crash_is_supervised_and_the_others_go_on() -> None:
    runs: list[str] = []

    async def crashing(context: ControllerContext) -> None:
        runs.append("crash")
        if len(runs) < 4:
            raise ValueError("broken")
        await asyncio.Event().wait()

    async def steady(context: ControllerContext) -> None:
        assert context.recorder("x") is context.recorder("x")
        await asyncio.Event().wait()

    def lookup(name: str) -> Descriptor:
        return Descriptor(name, crashing if name.startswith("namespace") else steady)

    boss = Manager(FakeApi().client(), "namespace,serviceaccount", lookup=lookup)
    task = asyncio.ensure_future(boss.run())
    await clock.sleep(0.01)
    assert not boss.healthy()
    assert boss.health["serviceaccount-controller"].running
    await clock.sleep(10)
    assert boss.healthy()
    assert boss.health["namespace-controller"].crashes == 3
    assert boss.health["namespace-controller"].last_error == "broken"
    await cancel_and_wait(task)
    assert not boss.healthy()


@pytest.mark.virtual
async def test_all_controllers_run_together_and_end_together() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    options: dict[str, dict[str, Any]] = {"root-ca-certificate-publisher-controller": {"root_ca": "PEM"}}
    before = len(asyncio.all_tasks())
    boss = Manager(api.client(), options=options)
    task = asyncio.ensure_future(boss.run())
    await clock.sleep(30)
    assert boss.healthy(), boss.health
    assert api.exists(SERVICE_ACCOUNTS, "default", "d")
    await api.client().delete(NAMESPACES, "d")
    await clock.sleep(30)
    assert not api.exists(NAMESPACES, "d")
    await cancel_and_wait(task)
    assert len(asyncio.all_tasks()) == before
    assert api.watcher_count == 0


@pytest.mark.virtual
async def test_readiness_waits_for_the_garbage_collectors_own_informers() -> None:
    api = FakeApi()
    api.fail("list", SECRETS, errors.ServiceUnavailable, times=4)
    boss = Manager(api.client(), "garbage-collector")
    assert boss.unsynced() == "informers have not synced"
    task = asyncio.ensure_future(boss.run())
    await clock.sleep(1)
    assert boss.informers.synced
    assert boss.unsynced() == "garbage-collector-controller: its informers have not synced"
    await clock.sleep(29)
    assert boss.unsynced() is None
    await cancel_and_wait(task)


@pytest.mark.virtual
async def test_what_cannot_be_listed_keeps_readiness_back_for_half_a_minute_only() -> None:
    api = FakeApi()
    api.fail("list", SECRETS, errors.ServiceUnavailable, times=1000)
    boss = Manager(api.client(), "garbage-collector")
    task = asyncio.ensure_future(boss.run())
    await clock.sleep(29)
    assert boss.unsynced() is not None
    await clock.sleep(2)
    assert boss.unsynced() is None
    await cancel_and_wait(task)


@pytest.mark.virtual
async def test_only_the_leader_runs_and_a_lost_lease_ends_it() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    first = asyncio.ensure_future(manager.run(api.client(), "serviceaccount", identity="one"))
    await clock.sleep(5)
    second = asyncio.ensure_future(manager.run(api.client(), "serviceaccount", identity="two"))
    await clock.sleep(5)
    assert api.exists(SERVICE_ACCOUNTS, "default", "d")
    assert api.object(LEASES, manager.LEASE, "kube-system")["spec"]["holderIdentity"] == "one"
    api.fail("update", LEASES, errors.ServiceUnavailable, times=6)
    with pytest.raises(LeadershipLost):
        await first
    await clock.sleep(30)
    assert api.object(LEASES, manager.LEASE, "kube-system")["spec"]["holderIdentity"] == "two"
    await cancel_and_wait(second)
