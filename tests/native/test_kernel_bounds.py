"""Arrays that do not belong together are an error of the caller, and never a look beyond their ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from coxswain._native import batch, filters, first, rows, sampling, scores
from coxswain._native.neighbours import Neighbours

NODES = 5


def longs(*shape: int) -> Any:
    return np.ones(shape, np.int64)


def ints(*values: int) -> Any:
    return np.array(values, np.int32)


def arguments() -> dict[str, Any]:
    """What ``batch.schedule`` and ``first.place`` take, and all of it right."""
    return {
        "allocatable": longs(4, NODES),
        "requested": np.zeros((4, NODES), np.int64),
        "nonzero": np.zeros((2, NODES), np.int64),
        "ids": ints(0, 3),
        "amounts": longs(2),
        "ask": longs(4),
        "rejected": np.zeros(NODES, np.uint8),
        "base": longs(NODES),
        "image": longs(NODES),
        "taints": longs(NODES),
        "affinity": longs(NODES),
        "weights": longs(4),
        "most": False,
        "order": np.arange(NODES, dtype=np.int32),
        "start": 0,
        "wanted": NODES,
        "state": np.array([1], np.uint64),
        "rows": np.zeros(NODES, np.int32),
        "chosen": np.zeros(2, np.int32),
        "totals": longs(NODES),
    }


def schedule(**given: Any) -> Any:
    del given["totals"]
    return batch.schedule(2, *given.values())


def place(**given: Any) -> Any:
    del given["base"], given["chosen"]
    return first.place(*given.values())


WRONG = {
    "requested": np.zeros((4, NODES + 1), np.int64),
    "nonzero": np.zeros((1, NODES), np.int64),
    "ids": ints(0, 4),
    "amounts": longs(1),
    "ask": longs(3),
    "rejected": np.zeros(NODES - 1, np.uint8),
    "base": longs(NODES - 1),
    "image": longs(NODES - 1),
    "taints": longs(NODES - 1),
    "affinity": longs(1),
    "weights": longs(3),
    "start": NODES,
    "rows": ints(0),
    "chosen": ints(0),
    "totals": longs(NODES - 1),
}
NOT_ASKED = {schedule: {"totals"}, place: {"base", "chosen"}}


def test_arrays_that_belong_together_are_decided_over() -> None:
    assert schedule(**arguments()) == (2, 0)
    assert place(**arguments())[0] in range(NODES)


@pytest.mark.parametrize("kernel", [schedule, place])
def test_a_decision_over_arrays_that_differ_is_refused(kernel: Callable[..., Any]) -> None:
    for name, value in WRONG.items():
        if name not in NOT_ASKED[kernel]:
            given = arguments() | {name: value}
            with pytest.raises(IndexError):
                kernel(**given)
            assert not given["requested"].any(), name
    for name, value in {"start": -1, "ids": ints(-1, 0), "requested": np.zeros((3, NODES), np.int64)}.items():
        with pytest.raises(IndexError):
            kernel(**(arguments() | {name: value}))


def test_a_batch_beside_counters_of_fewer_nodes_is_refused() -> None:
    def counters(nodes: int) -> Neighbours:
        row = np.zeros(nodes, np.int32)
        return Neighbours(
            [(0, row, row, longs(1), np.empty(0, np.uint8), 0, 0, 0, 0, False)], True, True, 1, 1
        )

    assert schedule(**arguments(), neighbours=counters(NODES))[0] == 0
    with pytest.raises(IndexError):
        schedule(**arguments(), neighbours=counters(NODES - 1))


@pytest.mark.parametrize(
    ("look", "hold", "counts", "by_node", "kind"),
    [
        (ints(0, 2), ints(0, 1), 2, False, 0),
        (ints(0, 1), ints(0, 2), 2, False, 4),
        (ints(0, 0), ints(0, 0), 1, True, 3),
        (ints(0, 0), ints(-1, 0), 0, False, 1),
        (ints(0, 0), ints(0, 0), 1, False, 5),
        (ints(0, 0), ints(0, 0), 1, False, -1),
    ],
)
def test_a_counter_of_domains_that_it_lacks_is_refused(
    look: Any, hold: Any, counts: int, by_node: bool, kind: int
) -> None:
    none = np.empty(0, np.uint8)
    with pytest.raises(ValueError, match=r"domain|fewer counts|kind"):
        Neighbours([(kind, look, hold, longs(counts), none, 1, 1, 0, 0, by_node)], True, True, 1, 1)


def test_samples_filters_and_scores_need_room_for_what_they_find() -> None:
    table, feasible, some = longs(4, NODES), np.zeros(NODES, np.uint8), ints(0, 1, 2)
    order = np.arange(NODES, dtype=np.int32)
    calls: list[Callable[[], Any]] = [
        lambda: sampling.sample(feasible, order, NODES, 1, some),
        lambda: sampling.sample(feasible, order, -1, 1, some),
        lambda: sampling.sample(feasible, order, 0, NODES, some),
        lambda: filters.fit(table, table, ints(0), longs(1), some, feasible[:2]),
        lambda: filters.fit(table, table, ints(4), longs(1), some, feasible),
        lambda: filters.fit(table, table, ints(0, 1), longs(1), some, feasible),
        lambda: filters.fit(table, longs(4, NODES - 1), ints(0), longs(1), some, feasible),
        lambda: filters.first_rejection(feasible, 1, some, feasible, feasible),
        lambda: filters.first_rejection(feasible[:3], 1, some, feasible, feasible[:2]),
        lambda: scores.allocation(table, table[:2], 1, 1, False, 1, 1, some, longs(2)),
        lambda: scores.balanced(table, table, 1, 1, some, longs(2)),
        lambda: rows.count(table, longs(2, NODES), ints(4), longs(1), longs(4), 0, 1),
        lambda: rows.count(table, longs(2, NODES), ints(0, 1), longs(1), longs(4), 0, 1),
        lambda: rows.count(table, longs(2, NODES - 1), ints(0), longs(1), longs(4), NODES - 1, 1),
        lambda: rows.count(table, longs(2, NODES), ints(0), longs(1), longs(4), NODES, 1),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(IndexError):
            call()
            pytest.fail(f"call {number} was answered")
