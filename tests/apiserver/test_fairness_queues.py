"""One priority level: seats, queues and turns, compared with a naive twin that keeps no sums."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.apiserver.fairness.queueset import QueueSet, Ticket
from coxswain.apiserver.fairness.sharding import deal, flow_hash

_SERVICE = 0.003


@dataclass
class _Request:
    number: int
    hand: tuple[int, ...]
    seats: int
    arrived_r: float = 0.0
    started: float | None = None
    queue: int | None = None

    @property
    def work(self) -> float:
        return self.seats * _SERVICE


@dataclass
class _Twin:
    """The same rules with everything recomputed from lists."""

    seats: int
    queues: int
    length: int
    r: float = 0.0
    last: float = 0.0
    robin: int = 0
    dealt: int = 0
    waiting: list[_Request] = field(default_factory=list)
    running: list[_Request] = field(default_factory=list)
    next_r: dict[int, float] = field(default_factory=dict)

    def sync(self, now: float) -> None:
        queued = [request for request in self.running if request.queue is not None]
        busy = {request.queue for request in (*self.waiting, *queued)}
        wanted = sum(request.seats for request in (*self.waiting, *queued))
        if busy:
            self.r += (now - self.last) * min(wanted, self.seats) / len(busy)
        self.last = now

    def of(self, queue: int | None) -> list[_Request]:
        return [request for request in self.waiting if request.queue == queue]

    def bound(self, queue: int | None) -> None:
        line = self.of(queue)
        if line and queue is not None:
            self.next_r[queue] = max(self.next_r[queue], line[0].arrived_r)

    def fits(self, request: _Request) -> bool:
        return not self.running or sum(one.seats for one in self.running) + request.seats <= self.seats

    def arrive(self, request: _Request, now: float) -> str:
        if not self.waiting and self.fits(request):
            request.started = now
            self.running.append(request)
            return "started"
        if not self.queues:
            return "rejected"
        self.sync(now)
        self.dealt += 1
        size = len(request.hand)
        order = [request.hand[(self.dealt + step) % size] for step in range(size)]
        queue = min(order, key=lambda index: round(sum(one.work for one in self.of(index)), 9))
        if len(self.of(queue)) >= self.length:
            return "rejected"
        if not self.of(queue) and not any(one.queue == queue for one in self.running):
            self.next_r[queue] = self.r
        request.queue, request.arrived_r = queue, self.r
        self.waiting.append(request)
        self.bound(queue)
        self.dispatch(now)
        return "started" if request.started is not None else "queued"

    def dispatch(self, now: float) -> list[int]:
        started = []
        while self.waiting:
            heads = {}
            for request in self.waiting:
                heads.setdefault(request.queue, request)
            first = min(
                heads.values(),
                key=lambda one: (
                    self.next_r[one.queue or 0] + one.work,
                    ((one.queue or 0) - self.robin - 1) % self.queues,
                ),
            )
            if not self.fits(first):
                break
            assert first.queue is not None
            self.waiting.remove(first)
            self.next_r[first.queue] += first.work
            self.robin = first.queue
            first.started = now
            self.running.append(first)
            self.bound(first.queue)
            started.append(first.number)
        return started

    def finish(self, request: _Request, now: float) -> list[int]:
        self.sync(now)
        if request.queue is not None and request.started is not None:
            self.next_r[request.queue] -= request.seats * (_SERVICE - (now - request.started))
            self.bound(request.queue)
        self.running.remove(request)
        return self.dispatch(now)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seats=st.integers(1, 4),
    queues=st.integers(0, 5),
    length=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from("aaaf"), st.integers(0, 5), st.integers(1, 3), st.integers(0, 8)),
        max_size=60,
    ),
)
def test_it_does_what_its_naive_twin_does(
    seats: int, queues: int, length: int, steps: list[tuple[str, int, int, int]]
) -> None:
    real, twin = QueueSet(seats=seats, queues=queues, length=length), _Twin(seats, queues, length)
    tickets: dict[int, Ticket] = {}
    requests: dict[int, _Request] = {}
    now = 0.0
    for number, (what, which, width, gap) in enumerate(steps):
        # Sixteenths are exact: equal sums are equal in both.
        now += gap / 16
        if what == "a":
            hand = deal(flow_hash("s", str(which)), queues, 2) if queues else ()
            tickets[number], requests[number] = (
                Ticket(str(number), hand, width),
                _Request(number, hand, width),
            )
            assert real.arrive(tickets[number], now) == twin.arrive(requests[number], now)
        elif twin.running:
            request = twin.running[which % len(twin.running)]
            started = [int(ticket.schema) for ticket in real.finish(tickets[request.number], now)]
            assert started == twin.finish(request, now)
        assert real.waiting == len(twin.waiting)
        assert real.in_use == sum(one.seats for one in twin.running)
        assert real.in_use <= real.seats or real.running == 1


def _ticket(name: str, hand: tuple[int, ...], seats: int = 1) -> Ticket:
    return Ticket(name, hand, seats)


def test_a_flood_takes_no_more_than_its_share() -> None:
    """Two flows with queues of their own: one has a hundred requests waiting, the other twenty behind them."""
    level = QueueSet(seats=2, queues=2, length=200)
    names = ["flood"] * 100 + ["modest"] * 20
    tickets = [_ticket(name, (0 if name == "flood" else 1,)) for name in names]
    running = [ticket for ticket in tickets if level.arrive(ticket, 0.0) == "started"]
    now, served = 0.0, {"flood": 0, "modest": 0}
    for _ in range(20):
        now += 0.01
        done, running = running, []
        for ticket in done:
            served[ticket.schema] += 1
            running += level.finish(ticket, now)
    assert 17 <= served["modest"] <= 20
    assert served["flood"] + served["modest"] == 40


def test_without_queues_what_finds_no_seat_is_rejected() -> None:
    level = QueueSet(seats=1)
    first = _ticket("a", ())
    assert level.arrive(first, 0.0) == "started"
    assert level.arrive(_ticket("b", ()), 0.0) == "rejected"
    assert level.finish(first, 1.0) == []
    assert level.arrive(_ticket("c", ()), 1.0) == "started"


def test_a_request_wider_than_the_level_runs_alone() -> None:
    level = QueueSet(seats=2, queues=1, length=5)
    wide, small = _ticket("wide", (0,), 9), _ticket("small", (0,))
    assert level.arrive(wide, 0.0) == "started"
    assert level.arrive(small, 0.0) == "queued"
    assert level.finish(wide, 1.0) == [small]


def test_a_level_without_seats_still_serves_one_at_a_time() -> None:
    level = QueueSet(seats=0, queues=1, length=5)
    first, second = _ticket("a", (0,)), _ticket("b", (0,))
    assert level.arrive(first, 0.0) == "started"
    assert level.arrive(second, 0.0) == "queued"
    assert level.finish(first, 1.0) == [second]


def test_who_waits_too_long_is_out_and_who_leaves_makes_room() -> None:
    level = QueueSet(seats=1, queues=1, length=2)
    running = _ticket("a", (0,))
    waiting = [_ticket("b", (0,)), _ticket("c", (0,))]
    level.arrive(running, 0.0)
    assert [level.arrive(ticket, float(now)) for now, ticket in enumerate(waiting)] == ["queued", "queued"]
    assert level.arrive(_ticket("d", (0,)), 2.0) == "rejected"
    assert level.expire(10.5, 10.0) == [waiting[0]]
    assert level.cancel(waiting[1], 10.6) == []
    assert (level.waiting, level.seats_waiting) == (0, 0)
    assert level.finish(running, 11.0) == []
    assert (level.running, level.in_use) == (0, 0)


def test_lingering_keeps_the_seats_after_the_answer() -> None:
    level = QueueSet(seats=1, queues=1, length=2)
    first, second = Ticket("a", (0,), 1, 0.5), _ticket("b", (0,))
    level.arrive(first, 0.0)
    level.arrive(second, 0.0)
    level.finish_lingering(first, 1.0)
    assert second.started is None
    assert level.release(first, 1.5) == [second]


def test_more_seats_start_who_waits_and_queues_shrink_when_idle() -> None:
    level = QueueSet(seats=1, queues=4, length=2)
    first, second = _ticket("a", (3,)), _ticket("b", (3,))
    level.arrive(first, 0.0)
    level.arrive(second, 0.0)
    assert level.configure(seats=2, queues=2, length=2, now=1.0) == [second]
    assert len(level.queues) == 4
    level.finish(first, 2.0)
    level.finish(second, 2.0)
    level.configure(seats=2, queues=2, length=2, now=3.0)
    assert len(level.queues) == 2
    assert level.arrive(_ticket("c", (3,)), 4.0) == "started"


@given(st.integers(0, 2**64 - 1), st.integers(1, 128), st.integers(1, 8))
def test_hands_are_different_cards_of_the_deck(hash_value: int, deck: int, hand: int) -> None:
    cards = deal(hash_value, deck, hand)
    assert len(set(cards)) == len(cards) == min(hand, deck)
    assert all(0 <= card < deck for card in cards)


def test_every_card_is_dealt_about_as_often() -> None:
    counts = [0] * 16
    for number in range(4000):
        for card in deal(flow_hash("schema", str(number)), 16, 4):
            counts[card] += 1
    assert all(850 < count < 1150 for count in counts)
