"""At most one candidate leads, and somebody soon does."""

from __future__ import annotations

import asyncio

import pytest

from coxswain.api import errors
from coxswain.api.names import LEASES
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.leaderelection import ElectionSettings, LeaderElector, LeadershipLost
from fakeapi import FakeApi


def elector(api: FakeApi, identity: str) -> LeaderElector:
    return LeaderElector(api.client(), "coxswain-test", identity)


async def for_ever() -> None:
    await asyncio.Event().wait()


@pytest.mark.virtual
async def test_the_first_leads_and_renews() -> None:
    api = FakeApi()
    one = elector(api, "one")
    task = asyncio.ensure_future(one.run(for_ever))
    await clock.sleep(30)
    assert one.is_leader
    spec = api.object(LEASES, "coxswain-test", "kube-system")["spec"]
    assert spec["holderIdentity"] == "one"
    assert spec["leaseTransitions"] == 0
    assert clock.now() - clock.parse_time(spec["renewTime"]) <= 2
    await cancel_and_wait(task)
    assert not one.is_leader
    assert api.object(LEASES, "coxswain-test", "kube-system")["spec"]["holderIdentity"] == ""


@pytest.mark.virtual
async def test_the_second_takes_over_after_the_lease_and_never_before() -> None:
    api = FakeApi()
    one, two = elector(api, "one"), elector(api, "two")
    first = asyncio.ensure_future(one.run(for_ever))
    await clock.sleep(1)
    second = asyncio.ensure_future(two.run(for_ever))
    await clock.sleep(60)
    assert (one.is_leader, two.is_leader) == (True, False)
    api.fail("update", LEASES, errors.ServiceUnavailable, times=6)  # the first cannot renew
    await clock.sleep(16)
    with pytest.raises(LeadershipLost):
        await first
    await clock.sleep(20)
    assert two.is_leader
    assert api.object(LEASES, "coxswain-test", "kube-system")["spec"]["leaseTransitions"] >= 1
    await cancel_and_wait(second)


@pytest.mark.virtual
async def test_a_released_lease_is_taken_at_once() -> None:
    api = FakeApi()
    one, two = elector(api, "one"), elector(api, "two")
    first = asyncio.ensure_future(one.run(for_ever))
    await clock.sleep(1)
    second = asyncio.ensure_future(two.run(for_ever))
    await clock.sleep(5)
    await cancel_and_wait(first)
    stopped = clock.monotonic()
    while not two.is_leader:
        await clock.sleep(0.1)
    assert clock.monotonic() - stopped < 5
    await cancel_and_wait(second)


@pytest.mark.virtual(seed=3)
async def test_never_two_leaders_while_the_server_fails_at_random() -> None:
    api = FakeApi()
    electors = [elector(api, name) for name in ("one", "two", "three")]
    working: set[str] = set()

    async def campaign(candidate: LeaderElector) -> None:
        async def lead() -> None:
            assert not working
            working.add(candidate.election.identity)
            try:
                await for_ever()
            finally:
                working.discard(candidate.election.identity)

        while True:
            try:
                await candidate.run(lead)
            except LeadershipLost:
                await clock.sleep(1)

    tasks = [asyncio.ensure_future(campaign(candidate)) for candidate in electors]
    led = 0
    for _ in range(300):
        await clock.sleep(2)
        led += bool(working)
        if clock.random().random() < 0.2:
            api.fail("*", LEASES, errors.InternalError, times=clock.random().randrange(1, 9))
        if clock.random().random() < 0.1:
            api.lose_answer("update", LEASES)
    assert led > 150
    for task in tasks:
        await cancel_and_wait(task)


@pytest.mark.virtual
async def test_work_that_ends_releases_the_lease_and_its_error_is_raised() -> None:
    api = FakeApi()

    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await elector(api, "one").run(broken)
    assert api.object(LEASES, "coxswain-test", "kube-system")["spec"]["holderIdentity"] == ""


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="renew deadline"):
        ElectionSettings(lease_seconds=10, renew_deadline=10)
