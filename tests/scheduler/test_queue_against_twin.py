"""The scheduling queue against a naive one: a list that is searched anew at every step."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coxswain.scheduler import pod as pods
from coxswain.scheduler.framework import Event
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.queue import QueuedPod, SchedulingQueue
from coxswain.scheduler.template import Template, Templates
from scheduler.sched_objects import pod

_TEMPLATES = Templates(NodeTable())
_NOTHING = Event(0)
_EVENTS = [Event.NODE_ADD, Event.POD_DELETE, Event.NODE_LABEL]
_PLUGINS = [(), ("Fit",), ("Fit", "Near")]


@dataclass
class Twin:
    """One pod in the naive queue."""

    key: str
    priority: int
    entered: float
    order: int
    place: str
    attempts: int = 0
    wakes_on: Event = _NOTHING
    plugins: tuple[str, ...] = ()
    erred: bool = False
    missed: Event = _NOTHING

    def backoff_ends(self) -> float:
        return self.entered + min(2.0 ** max(self.attempts - 1, 0), 10.0)


class TwinMachine(RuleBasedStateMachine):
    """Both queues get the same calls; places, sizes and the order of leaving agree."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SchedulingQueue(pop_from_backoff=True)
        self.twins: dict[str, Twin] = {}
        self.popped: dict[str, QueuedPod] = {}
        self.now = 0.0
        self.count = 0

    def _put(self, twin: Twin, place: str) -> None:
        self.count += 1
        twin.order, twin.place = self.count, place

    def _wake(self, twin: Twin) -> None:
        self._put(twin, "backoff" if twin.backoff_ends() > self.now else "active")

    @rule(i=st.integers(0, 7), priority=st.integers(0, 2), gated=st.booleans())
    def add(self, i: int, priority: int, gated: bool) -> None:
        key = f"d/p{i}"
        if key in self.twins:
            return
        made = pods.parse(pod(f"p{i}", priority=priority), _TEMPLATES)
        self.queue.add(made, self.now, gate="Gates" if gated else "")
        self.twins[key] = Twin(key, priority, self.now, 0, "")
        self._put(self.twins[key], "gated" if gated else "active")

    @rule(i=st.integers(0, 7))
    def open_gate(self, i: int) -> None:
        twin = self.twins.get(f"d/p{i}")
        queued = self.queue.get(f"d/p{i}")
        if twin is not None and queued is not None and twin.place == "gated":
            self.queue.update(queued.pod, self.now)
            twin.entered = self.now
            self._put(twin, "active")

    @rule(i=st.integers(0, 7))
    def delete(self, i: int) -> None:
        self.queue.delete(f"d/p{i}")
        self.twins.pop(f"d/p{i}", None)
        self.popped.pop(f"d/p{i}", None)

    @rule()
    def pop(self) -> None:
        active = [twin for twin in self.twins.values() if twin.place == "active"]
        early = [twin for twin in self.twins.values() if twin.place == "backoff"]
        expected: list[str] = []
        if active:
            best = min(active, key=lambda twin: (-twin.priority, twin.entered, twin.order))
            expected = [best.key]
        found = self.queue.pop(1)
        if not active and early:
            patient = [twin for twin in early if not twin.erred]
            assert [one.pod.key in {twin.key for twin in patient} for one in found] == [True] * bool(patient)
            expected = [one.pod.key for one in found]
        assert [one.pod.key for one in found] == expected
        for one in found:
            twin = self.twins[one.pod.key]
            twin.place, twin.missed = "popped", _NOTHING
            twin.attempts += 1
            self.popped[one.pod.key] = one

    @rule(event=st.sampled_from(_EVENTS), plugins=st.sampled_from(_PLUGINS))
    def reject(self, event: Event, plugins: tuple[str, ...]) -> None:
        for key, queued in self.popped.items():
            self.queue.reject(queued, event, self.now, plugins)
            twin = self.twins[key]
            twin.entered, twin.wakes_on, twin.plugins, twin.erred = self.now, event, plugins, False
            self._put(twin, "backoff" if twin.missed & event else "unschedulable")
        self.popped.clear()

    @rule()
    def retry(self) -> None:
        for key, queued in self.popped.items():
            self.queue.retry(queued, self.now)
            self.twins[key].entered, self.twins[key].erred = self.now, True
            self._put(self.twins[key], "backoff")
        self.popped.clear()

    @rule(event=st.sampled_from(_EVENTS), helpful=st.sampled_from(["Fit", "Near", "nobody"]))
    def happen(self, event: Event, helpful: str) -> None:
        def helps(template: Template, plugins: tuple[str, ...]) -> bool:
            return helpful in plugins

        self.queue.move(event, self.now, helps)
        for twin in self.twins.values():
            if twin.place == "popped":
                twin.missed |= event
        waiting = [twin for twin in self.twins.values() if twin.place == "unschedulable"]
        for twin in sorted(waiting, key=lambda twin: twin.order):
            if twin.wakes_on & event and (not twin.plugins or helpful in twin.plugins):
                self._wake(twin)

    @rule(i=st.integers(0, 7))
    def activate(self, i: int) -> None:
        self.queue.activate(f"d/p{i}", self.now)
        twin = self.twins.get(f"d/p{i}")
        if twin is not None and twin.place in ("backoff", "unschedulable"):
            self._put(twin, "active")

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 20.0, 301.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.queue.tick(self.now)
        due = [t for t in self.twins.values() if t.place == "backoff" and t.backoff_ends() <= self.now]
        for twin in sorted(due, key=lambda twin: (twin.backoff_ends(), twin.order)):
            self._put(twin, "active")
        for twin in list(self.twins.values()):
            if twin.place == "unschedulable" and twin.entered + 300 <= self.now:
                self._wake(twin)

    @invariant()
    def places_agree(self) -> None:
        assert {key: queued.place for key, queued in self.queue._known.items()} == {
            key: twin.place for key, twin in self.twins.items()
        }


TestQueueAgainstTwin = TwinMachine.TestCase
TestQueueAgainstTwin.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
