"""The scheduling queue as a state machine, without a clock."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from coxswain.scheduler import pod as pods
from coxswain.scheduler.framework import Event
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.queue import SchedulingQueue
from coxswain.scheduler.template import Templates
from scheduler.sched_objects import pod

TEMPLATES = Templates(NodeTable())


def waiting(name: str, *, priority: int = 0, cpu: str = "1") -> pods.Pod:
    return pods.parse(pod(name, priority=priority, cpu=cpu), TEMPLATES)


def names(popped: list) -> list[str]:
    return [queued.pod.name for queued in popped]


def test_priority_first_then_time() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("old"), 1)
    queue.add(waiting("new"), 2)
    queue.add(waiting("vip", priority=10), 3)
    assert names(queue.pop(1)) + names(queue.pop(1)) + names(queue.pop(1)) == ["vip", "old", "new"]
    assert queue.pop(1) == []


def test_a_run_of_identical_pods_leaves_together() -> None:
    queue = SchedulingQueue()
    for i, cpu in enumerate(("1", "1", "2", "1")):
        queue.add(waiting(f"p{i}", cpu=cpu), i)
    assert names(queue.pop(10)) == ["p0", "p1"]
    assert names(queue.pop(10)) == ["p2"]
    assert names(queue.pop(10)) == ["p3"]


def test_back_off_doubles_up_to_its_limit() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("p"), 0)
    now, pauses = 0.0, []
    for _ in range(6):
        (queued,) = queue.pop(1)
        queue.retry(queued, now)
        due = queue.next_due()
        assert due is not None
        pauses.append(due - now)
        queue.tick(due - 0.001)
        assert queue.pop(1) == []
        now = due
        queue.tick(now)
    assert pauses == [1, 2, 4, 8, 10, 10]


def test_only_events_that_may_help_wake_a_pod() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("p"), 0)
    (queued,) = queue.pop(1)
    queue.reject(queued, Event.NODE_LABEL, 0)
    assert queue.move(Event.POD_DELETE, 5) == 0
    assert queue.move(Event.NODE_LABEL | Event.POD_ADD, 5) == 1
    assert names(queue.pop(1)) == ["p"]


def test_an_event_during_back_off_waits_for_its_end() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("p"), 0)
    (queued,) = queue.pop(1)
    queue.reject(queued, Event.NODE_ADD, 0)
    queue.move(Event.NODE_ADD, 0.2)
    assert queue.size("backoff") == 1
    queue.tick(0.9)
    assert queue.pop(1) == []
    queue.tick(1.0)
    assert names(queue.pop(1)) == ["p"]


def test_nothing_waits_for_ever() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("p"), 0)
    (queued,) = queue.pop(1)
    queue.reject(queued, Event.NODE_ADD, 0)
    assert queue.next_due() == 300
    queue.tick(300)
    assert names(queue.pop(1)) == ["p"]


def test_an_update_of_what_scheduling_reads_wakes_a_pod() -> None:
    queue = SchedulingQueue()
    queue.add(waiting("p", cpu="9"), 0)
    (queued,) = queue.pop(1)
    queue.reject(queued, Event.NODE_ADD, 0)
    queue.update(waiting("p", cpu="9"), 5)
    assert queue.size("unschedulable") == 1
    queue.update(waiting("p", cpu="1"), 5)
    assert names(queue.pop(1)) == ["p"]


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of operations: sizes add up, each pod is in one place, and none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = SchedulingQueue()
        self.now = 0.0
        self.popped: dict[str, object] = {}
        self.alive: set[str] = set()

    @rule(i=st.integers(0, 9), priority=st.integers(0, 2), gated=st.booleans())
    def add(self, i: int, priority: int, gated: bool) -> None:
        self.alive.add(f"d/p{i}")
        self.queue.add(waiting(f"p{i}", priority=priority), self.now, gated=gated)

    @rule(i=st.integers(0, 9))
    def delete(self, i: int) -> None:
        self.alive.discard(f"d/p{i}")
        self.popped.pop(f"d/p{i}", None)
        self.queue.delete(f"d/p{i}")

    @rule(limit=st.integers(1, 4))
    def pop(self, limit: int) -> None:
        for queued in self.queue.pop(limit):
            assert queued.pod.key not in self.popped
            self.popped[queued.pod.key] = queued

    @rule(wakes_on=st.sampled_from(list(Event)), retry=st.booleans())
    def fail(self, wakes_on: Event, retry: bool) -> None:
        for queued in self.popped.values():
            if retry:
                self.queue.retry(queued, self.now)  # type: ignore[arg-type]
            else:
                self.queue.reject(queued, wakes_on, self.now)  # type: ignore[arg-type]
        self.popped.clear()

    @rule(event=st.sampled_from(list(Event)))
    def move(self, event: Event) -> None:
        self.queue.move(event, self.now)

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.queue.tick(self.now)
        due = self.queue.next_due()
        assert due is None or due > self.now

    @invariant()
    def every_pod_is_in_one_place(self) -> None:
        places = ("active", "backoff", "unschedulable", "gated", "popped")
        assert len(self.queue) == len(self.alive)
        assert sum(self.queue.size(p) for p in places) == len(self.alive)  # type: ignore[arg-type]
        assert self.queue.size("popped") == len(self.popped)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
