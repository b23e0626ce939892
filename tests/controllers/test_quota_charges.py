"""What a quota controller holds for objects that it does not see: sans-IO, and against any delay of its watches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controllerbench import running
from coxswain.api.names import PODS, Object
from coxswain.api.quantity import Quantity
from coxswain.base import clock
from coxswain.controllers.resourcequota.charges import DOUBT, Charges, kept, used_of
from coxswain.controllers.resourcequota.controller import DESCRIPTOR, RESOURCE_QUOTAS
from fakeapi import FakeApi


def quota(revision: int, **used: int) -> Object:
    amounts = {name: str(amount) for name, amount in used.items()}
    return {"metadata": {"resourceVersion": str(revision)}, "status": {"used": amounts}}


def usage(**amounts: int) -> dict[str, Quantity]:
    return {name: Quantity.of(amount) for name, amount in amounts.items()}


def charges(revision: int = 1, **used: int) -> Charges:
    """Of a quota that we wrote ourselves at ``revision``."""
    made = Charges()
    made.seen(quota(revision), 0.0)
    made.writing()
    made.wrote(quota(revision, **used))
    return made


def test_what_was_charged_is_held_until_its_object_comes() -> None:
    of = charges(5, pods=3, secrets=1)
    of.seen(quota(6, pods=5, secrets=1), 10.0)
    assert of.held(10.0) == usage(pods=2)
    of.arrived(7, usage(pods=1))
    assert of.held(10.0) == usage(pods=1)
    of.arrived(4, usage(pods=1))  # it is older than the charge, and was not charged
    of.arrived(8, usage(secrets=1))
    assert of.held(10.0) == usage(pods=1)
    assert of.next_doubt(11.0) == DOUBT - 1


@example(11.418259)
@given(st.floats(0.0, 1e6))
def test_whoever_waits_until_the_next_doubt_finds_it(now: float) -> None:
    """Or a count asks for another one in no time, for ever."""
    of = charges(5, pods=3)
    of.seen(quota(6, pods=4), now)
    for _ in range(3):
        now += of.next_doubt(now) or 0.0
    assert (of.next_doubt(now), of.settle({}, now)) == (None, {"pods"})


def test_an_object_that_comes_before_its_charge_is_remembered() -> None:
    of = charges(5, pods=3)
    of.arrived(7, usage(pods=1))
    of.seen(quota(6, pods=4), 10.0)
    assert of.held(10.0) == {}
    of.arrived(9, usage(pods=1))
    of.seen(quota(10, pods=5), 10.0)  # later than that object: of another one
    assert of.held(10.0) == usage(pods=1)


def test_objects_that_nobody_charges_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where admission goes without quotas: then every change of the quota is our own."""
    of = charges(5, pods=3)
    for revision in range(6, 30, 2):
        of.arrived(revision, usage(pods=1))
        of.arrived(revision + 3, usage(pods=1))  # after the write that follows
        of.writing()
        of.wrote(quota(revision + 1, pods=revision))
        of.seen(quota(revision + 1, pods=revision), 10.0)
        assert [arrival for arrival, _ in of._early] == [revision + 3]
    monkeypatch.setattr("coxswain.controllers.resourcequota.charges._MOST_EARLY", 3)
    for revision in range(40, 50):
        of.arrived(revision, usage(pods=1))
    assert [arrival for arrival, _ in of._early] == [47, 48, 49]


def test_our_own_write_is_no_charge_whichever_comes_first() -> None:
    of = charges(5, pods=3)
    of.writing()
    of.seen(quota(6, pods=9), 10.0)
    of.seen(quota(7, pods=10), 10.0)
    of.wrote(quota(6, pods=9))
    assert of.held(10.0) == usage(pods=1)
    of.seen(quota(6, pods=9), 11.0)
    assert of.held(11.0) == usage(pods=1)


def test_a_charge_without_an_object_is_void_once_the_server_was_asked_and_the_cache_has_caught_up() -> None:
    of = charges(5, pods=3)
    of.seen(quota(6, pods=4), 10.0)
    assert of.settle({"pods": 99}, 10 + DOUBT - 0.1) == set()
    assert of.settle({"pods": 99}, 10 + DOUBT) == {"pods"}
    of.listed("pods", 120, 10 + DOUBT)
    assert of.settle({"pods": 119}, 20.0) == {"pods"}
    assert of.settle({"pods": 120}, 20.0) == set()
    assert of.next_doubt(20.0) is None


def test_what_was_charged_before_we_came_is_held_for_a_while() -> None:
    of = Charges()
    of.seen(quota(6, pods=4), 10.0)
    assert of.held(10.0) == usage(pods=4)
    assert of.settle({"pods": 6}, 10 + DOUBT) == set()


def test_a_count_takes_back_nothing_that_is_held_and_adds_nothing() -> None:
    used, held = usage(pods=7, cpu=2), usage(pods=2)
    assert kept(usage(pods=4, cpu=1), used, held) == usage(pods=6, cpu=1)
    assert kept(usage(pods=6, cpu=2), used, held) == usage(pods=7, cpu=2)
    assert kept(usage(pods=9, cpu=2), used, held) == usage(pods=9, cpu=2)


HARD = 2


class Cluster:
    """Admission, the store and one controller; events wait in ``quotas`` and ``objects`` until they are delivered."""

    def __init__(self) -> None:
        self.revision, self.now = 1, 0.0
        self.used, self.at = 0, 1
        self.pending: list[float] = []
        self.stored: dict[int, int] = {}
        self.quotas: list[Object] = []
        self.objects: list[tuple[int, int, bool]] = []
        self.charges = charges(1, pods=0)
        self.cached = quota(1, pods=0)
        self.cache: set[int] = set()
        self.reached = 1

    def _write(self, used: int) -> Object:
        self.revision += 1
        self.used, self.at = used, self.revision
        self.quotas.append(quota(self.revision, pods=used))
        return self.quotas[-1]

    def charge(self) -> None:
        if self.used < HARD:
            self._write(self.used + 1)
            self.pending.append(self.now)

    def create(self) -> None:
        if self.pending:
            self.pending.pop(0)
            self.revision += 1
            self.stored[self.revision] = 1
            self.objects.append((self.revision, self.revision, True))

    def refuse(self) -> None:
        if self.pending:
            self.pending.pop()

    def delete(self) -> None:
        if self.stored:
            name = min(self.stored)
            del self.stored[name]
            self.revision += 1
            self.objects.append((self.revision, name, False))

    def show_quota(self) -> None:
        if self.quotas:
            self.cached = self.quotas.pop(0)
            self.charges.seen(self.cached, self.now)

    def show_object(self) -> None:
        if self.objects:
            self.reached, name, there = self.objects.pop(0)
            if there:
                self.cache.add(name)
                self.charges.arrived(self.reached, usage(pods=1))
            else:
                self.cache.discard(name)

    def bookmark(self) -> None:
        while self.objects:
            self.show_object()
        self.reached = self.revision

    def wait(self) -> None:
        # Whoever would wait for so long has stored its object, or was refused.
        later = self.now + DOUBT / 6
        if any(later - since > DOUBT / 2 for since in self.pending):
            self.create()
        else:
            self.now = later

    def count(self) -> None:
        counted: Any = self.cache
        if self.charges.settle({"pods": self.reached}, self.now):
            self.charges.listed("pods", self.revision, self.now)
            counted = self.stored
        used = kept(usage(pods=len(counted)), used_of(self.cached), self.charges.held(self.now))
        if used == used_of(self.cached):
            return
        self.charges.writing()
        fresh = int(self.cached["metadata"]["resourceVersion"]) == self.at
        self.charges.wrote(self._write(used["pods"].value()) if fresh else None)


_ALWAYS = ("charge", "create", "show_quota", "wait", "count")
_PERHAPS = ("refuse", "delete", "show_object", "bookmark")


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(_PERHAPS), unique=True).flatmap(
        lambda some: st.lists(st.sampled_from([*_ALWAYS, *some]), min_size=30, max_size=100)
    )
)
def test_a_quota_holds_however_late_the_watches_are(steps: list[str]) -> None:
    it = Cluster()
    for step in steps:
        getattr(it, step)()
        assert len(it.stored) + len(it.pending) <= HARD, step
    while it.pending:
        it.create()
    for _ in range(24):
        it.wait()
        it.bookmark()
        while it.quotas:
            it.show_quota()
        it.count()
    assert it.used == len(it.stored)


@pytest.mark.virtual
async def test_a_late_watch_gives_nothing_back_and_a_refused_object_does() -> None:
    api = FakeApi()
    spec = {"hard": {"pods": "9"}}
    api.add(RESOURCE_QUOTAS, {"metadata": {"name": "q", "namespace": "d"}, "spec": spec})

    def pod(name: str) -> None:
        meta = {"name": name, "namespace": "d"}
        api.add(PODS, {"metadata": meta, "spec": {"containers": []}, "status": {"phase": "Running"}})

    def used() -> object:
        return api.object(RESOURCE_QUOTAS, "q", "d")["status"]["used"]

    def charge(amount: str) -> None:
        api.change(RESOURCE_QUOTAS, "q", "d", lambda q: q["status"]["used"].update(pods=amount))

    pod("first")
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        charge("3")
        for watcher in api._watchers:
            if watcher.call.resource == PODS:
                api._watchers.discard(watcher)  # it hears nothing any more
                break
        pod("second")
        for _ in range(40):
            await clock.sleep(1)
            assert used() in ({"pods": "3"}, {"pods": "2"})
        assert used() == {"pods": "2"}  # the server was asked: one was refused
        lists = [call for call in api.calls if call.verb == "list" and call.resource == PODS]
        assert len(lists) <= 3
