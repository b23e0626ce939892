"""``/debug/api_priority_and_fairness/dump_*``: the state of every level, queue and waiting request as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coxswain.apiserver.fairness.controller import Fairness

PREFIX = "/debug/api_priority_and_fairness/"
PATHS = tuple(PREFIX + name for name in ("dump_priority_levels", "dump_queues", "dump_requests"))


def answer(fairness: Fairness, path: str) -> str | None:
    """The text for a path, or None when it is not one of ours."""
    if path == PATHS[0]:
        return _table(_LEVELS, _levels(fairness))
    if path == PATHS[1]:
        return _table(_QUEUES, _queues(fairness))
    return _table(_REQUESTS, _requests(fairness)) if path == PATHS[2] else None


_LEVELS = (
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
)
_QUEUES = (
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
)
_REQUESTS = (
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
)


def _levels(fairness: Fairness) -> Iterator[tuple[object, ...]]:
    fairness.settle_counts()
    for name, level in sorted(fairness.levels.items()):
        queues, refused = level.queues, level.rejected
        reasons = {
            reason: sum(count for (_, why), count in refused.items() if why == reason)
            for reason in ("time-out", "cancelled")
        }
        yield (
            name,
            sum(bool(queue.waiting or queue.running) for queue in queues.queues),
            str(not (queues.waiting or queues.running)).lower(),
            "false",
            queues.waiting,
            queues.running,
            sum(level.dispatched.values()),
            sum(refused.values()),
            reasons["time-out"],
            reasons["cancelled"],
        )


def _queues(fairness: Fairness) -> Iterator[tuple[object, ...]]:
    for name, level in sorted(fairness.levels.items()):
        for queue in level.queues.queues:
            seats = sum(ticket.seats for ticket in queue.waiting)
            next_r = f"{queue.next_r:.9f}ss"
            work = f"{queue.load / 1e6:.9f}ss"
            yield (
                name,
                queue.index,
                len(queue.waiting),
                queue.running,
                queue.seats,
                next_r,
                seats,
                seats,
                work,
            )


def _requests(fairness: Fairness) -> Iterator[tuple[object, ...]]:
    for name, level in sorted(fairness.levels.items()):
        for queue in level.queues.queues:
            for place, ticket in enumerate(queue.waiting):
                times = (f"{ticket.arrived:.6f}", ticket.seats, ticket.seats, f"{ticket.linger}s")
                yield (name, ticket.schema, queue.index, place, *times)


def _table(names: Iterable[str], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [", ".join(names), *(", ".join(str(cell) for cell in row) for row in rows)]
    return ",\n".join(lines) + ",\n"
