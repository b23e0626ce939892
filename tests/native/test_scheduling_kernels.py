"""Each kernel of the scheduling core against a naive twin, over random inputs."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from coxswain._native import batch, filters, rows, sampling, scores

SEEDS = range(25)


def test_the_compiled_kernels_are_loaded() -> None:
    for module in (batch, filters, rows, sampling, scores):
        assert str(module.__file__).endswith(".so")


def test_the_compiled_surface_is_what_the_scheduler_uses() -> None:
    assert {n for n in dir(filters) if not n.startswith("_")} >= {"fit", "first_rejection"}
    assert {n for n in dir(scores) if not n.startswith("_")} >= {"allocation", "balanced", "normalize"}
    assert {n for n in dir(sampling) if not n.startswith("_")} >= {"sample", "choose"}


def go_divide(numerator: int, denominator: int) -> int:
    return math.trunc(numerator / denominator) if abs(numerator) < 2**50 else numerator // denominator


def naive_fit(allocatable, requested, ids, amounts, row):
    code = 0
    for i, amount in zip(ids, amounts, strict=True):
        if amount > allocatable[i][row] - requested[i][row]:
            code = max(code, 2 if i != 3 and amount > allocatable[i][row] else 1)
    return code


def naive_allocation(most, asked, used, capacity, weights):
    total = weight_sum = 0
    for ask, use, cap, weight in zip(asked, used, capacity, weights, strict=True):
        if cap == 0:
            continue
        want = ask + use
        if most:
            score = min(want, cap) * 100 // cap
        else:
            score = 0 if want > cap else (cap - want) * 100 // cap
        total += score * weight
        weight_sum += weight
    return total // weight_sum if weight_sum else 0


def naive_balance(used, capacity):
    fractions = [min(u / c, 1.0) for u, c in zip(used, capacity, strict=True) if c]
    deviation = abs((fractions[0] - fractions[1]) / 2) if len(fractions) == 2 else 0.0
    return int((1 - deviation) * 100)


def naive_balanced(asked, used, capacity):
    after = naive_balance([a + u for a, u in zip(asked, used, strict=True)], capacity)
    return 50 + go_divide(50 + after - naive_balance(used, capacity), 2)


def naive_normalize(values, reverse):
    top = max([0, *values])
    if top == 0:
        return [100] * len(values) if reverse else list(values)
    return [100 - 100 * v // top if reverse else 100 * v // top for v in values]


def random_table(rng: random.Random, nodes: int, resources: int = 6):
    allocatable = np.array(
        [[rng.choice((0, rng.randrange(1, 10**5))) for _ in range(nodes)] for _ in range(resources)], np.int64
    )
    used = np.array([[int(v * rng.random() * 1.2) for v in line] for line in allocatable], np.int64)
    return allocatable, used


@pytest.mark.parametrize("seed", SEEDS)
def test_fit(seed: int) -> None:
    rng = random.Random(seed)
    allocatable, requested = random_table(rng, 50)
    ids = sorted(rng.sample(range(6), rng.randrange(1, 6)))
    amounts = [rng.randrange(1, 10**5) if i != 3 else 1 for i in ids]
    rows = np.array(rng.sample(range(50), 30), np.int32)
    out = np.zeros(30, np.uint8)
    filters.fit(allocatable, requested, np.array(ids, np.int32), np.array(amounts, np.int64), rows, out)
    assert out.tolist() == [naive_fit(allocatable, requested, ids, amounts, row) for row in rows]


def test_first_rejection_keeps_the_smallest_plugin_whatever_the_order() -> None:
    by, code = np.zeros(3, np.uint8), np.zeros(3, np.uint8)
    rows = np.array([0, 1, 2], np.int32)
    filters.first_rejection(np.array([0, 2, 2], np.uint8), 5, rows, by, code)
    filters.first_rejection(np.array([0, 1, 0], np.uint8), 3, rows, by, code)
    filters.first_rejection(np.array([9, 9], np.uint8), 7, rows[1:], by, code)
    assert by.tolist() == [0, 3, 5]
    assert code.tolist() == [0, 1, 2]


@pytest.mark.parametrize("most", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_allocation(seed: int, most: bool) -> None:
    rng = random.Random(seed)
    allocatable, requested = random_table(rng, 50)
    nonzero = np.ascontiguousarray(requested[:2])
    asked = [rng.randrange(10**4), rng.randrange(10**4)]
    weights = [rng.randrange(1, 5), rng.randrange(1, 5)]
    rows = np.array(rng.sample(range(50), 30), np.int32)
    out = np.empty(30, np.int64)
    scores.allocation(allocatable, nonzero, *asked, most, *weights, rows, out)
    assert out.tolist() == [
        naive_allocation(most, asked, nonzero[:, r].tolist(), allocatable[:2, r].tolist(), weights)
        for r in rows
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_balanced(seed: int) -> None:
    rng = random.Random(seed)
    allocatable, requested = random_table(rng, 50)
    asked = [rng.randrange(10**4), rng.randrange(10**4)]
    rows = np.arange(50, dtype=np.int32)
    out = np.empty(50, np.int64)
    scores.balanced(allocatable, requested, *asked, rows, out)
    assert out.tolist() == [
        naive_balanced(asked, requested[:2, r].tolist(), allocatable[:2, r].tolist()) for r in rows
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_normalize(seed: int, reverse: bool) -> None:
    rng = random.Random(seed)
    values = [rng.choice((0, rng.randrange(1000))) for _ in range(rng.randrange(6))]
    array = np.array(values, np.int64)
    scores.normalize(array, reverse)
    assert array.tolist() == naive_normalize(values, reverse)


@pytest.mark.parametrize("seed", SEEDS)
def test_sample(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.randrange(1, 40)
    rejected = np.array([rng.random() < 0.5 for _ in range(n)], np.uint8)
    order = np.array(rng.sample(range(n), n), np.int32)
    start, wanted = rng.randrange(n), rng.randrange(1, n + 1)
    rows = np.empty(n, np.int32)
    found, seen = sampling.sample(rejected, order, start, wanted, rows)
    want, looked = [], 0
    for i in range(n):
        if len(want) == wanted:
            break
        row = int(order[(start + i) % n])
        looked += 1
        if not rejected[row]:
            want.append(row)
    assert (rows[:found].tolist(), seen) == (want, looked)


def test_choose_takes_each_of_the_best_as_often() -> None:
    state = np.array([12345], np.uint64)
    totals = np.array([5, 9, 1, 9, 9], np.int64)
    picks = Counter(sampling.choose(totals, state) for _ in range(6000))
    assert set(picks) == {1, 3, 4}
    assert all(1800 < times < 2200 for times in picks.values())
    assert sampling.choose(np.empty(0, np.int64), state) == -1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pod_that_comes_and_goes_counts_where_it_was(seed: int) -> None:
    rng = random.Random(seed)
    _, requested = random_table(rng, 20)
    nonzero = requested[:2].copy()
    before, before_nonzero = requested.copy(), nonzero.copy()
    ids = np.array(sorted(rng.sample(range(6), rng.randrange(1, 6))), np.int32)
    amounts = np.array([rng.randrange(1000) for _ in ids], np.int64)
    ask = np.array([rng.randrange(1000) for _ in range(4)], np.int64)
    row = rng.randrange(20)
    rows.count(requested, nonzero, ids, amounts, ask, row, 1)
    want, want_nonzero = before.copy(), before_nonzero.copy()
    want[ids, row] += amounts
    want_nonzero[:, row] += ask[2:]
    assert np.array_equal(requested, want)
    assert np.array_equal(nonzero, want_nonzero)
    rows.count(requested, nonzero, ids, amounts, ask, row, -1)
    assert np.array_equal(requested, before)
    assert np.array_equal(nonzero, before_nonzero)
    with pytest.raises(IndexError):
        rows.count(requested, nonzero, ids, amounts, ask, 20, 1)
