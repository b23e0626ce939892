"""Seeded histories of a whole cluster in which everything fails, held against invariants at every write.

    COXSWAIN_CHAOS_SEED=123 pytest tests/chaos -k one_seed      that history again; printed in full if it fails
    pytest -m heavy tests/chaos -n 2                            500 of them (COXSWAIN_CHAOS_SEEDS for other numbers;
                                                                with --junitxml, how often each rule was judged)

A history: 15 to 60 operations of users and of fate (see ``history``) while calls, watches and components fail
(``faults``, ``world``); then faults cease, everything has to become as specified (``settled``), and a quiet
cluster may write nothing but heartbeats.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos import settled
from chaos.batch import CronJobRuns, JobCounting, JobPods
from chaos.cluster import Budgets, Garbage, Namespaces, NeverChanges, OneController, Quotas
from chaos.faults import Faults
from chaos.history import History
from chaos.observer import Observer
from chaos.stateful import Claims, Recreated, StatefulUpdates
from chaos.workloads import DaemonPods, Disturbances, NoPodTooMany, Rollouts, StatefulIdentity, StatefulOrder
from chaos.world import World
from coxswain.base import clock, loop

_BLOCK = 10
_ASKED = "COXSWAIN_CHAOS_SEED" in os.environ
#: Some of those that found something when they were first run.
_FEW = (1, 5, 10)
#: Seconds for a cluster to become as specified, and for which it is then watched for writes.
_SETTLE, _QUIET = 1800.0, 900.0
#: Just before the clocks change in Paris (2026-03-29, 01:00 UTC) and in New York (2026-11-01, 06:00 UTC).
_EPOCHS = (1_767_225_600.0, 1_774_745_400.0, 1_793_511_000.0)


def observe(faults: Faults) -> Observer:
    seen = Observer(faults.blur)
    disturbances, unsure = Disturbances(seen), faults.unsure
    seen.invariants += [
        disturbances,
        NeverChanges(seen),
        OneController(seen),
        NoPodTooMany(seen, unsure),
        Rollouts(seen, disturbances),
        StatefulIdentity(seen),
        StatefulOrder(seen, disturbances),
        StatefulUpdates(seen, disturbances),
        Claims(seen),
        Recreated(seen),
        DaemonPods(seen, disturbances, unsure),
        JobCounting(seen),
        JobPods(seen, unsure),
        CronJobRuns(seen),
        Garbage(seen),
        Namespaces(seen),
        Budgets(seen, faults.working),
        Quotas(seen),
    ]
    return seen


async def live(seed: int, directory: Path) -> Observer:
    """The history of ``seed``; what the observer saw."""
    faults = Faults.of(random.Random(f"faults {seed}"))
    seen = observe(faults)
    async with World(seed, directory, seen.told, faults=faults) as world:
        history = History(seed, world, seen)
        await history.run(history.rng.randrange(15, 60))
        await become_settled(seen)
        await history.end()
    return seen


async def become_settled(seen: Observer) -> None:
    """Wait until all is as specified, then see that a quiet cluster is not written."""
    waited = 0.0
    while waited < _SETTLE and not seen.violations and settled.differences(seen):
        await clock.sleep(15)
        waited += 15
    for difference in settled.differences(seen):
        seen.fail(f"never settled: {difference}")
    await clock.sleep(60)
    for invariant in seen.invariants:
        invariant.settled()
    if seen.violations:
        return
    seen.note("quiet")
    seen.writes_since.clear()
    await clock.sleep(_QUIET)
    for change in seen.writes_since:
        if not (change.kind == "Node" and change.actor == "kubelet") and change.kind != "Event":
            seen.fail(f"a quiet cluster was written: {change}")


def observed(seed: int, directory: Path) -> Observer:
    """One seed; violations are in what the observer saw."""
    epoch = _EPOCHS[seed % len(_EPOCHS)]
    return loop.run(live(seed, directory), seed=seed, epoch=epoch)


def told(seed: int, seen: Observer, lines: int) -> str:
    """What was violated, and the end of the history."""
    return "\n".join([f"seed {seed}:", *seen.violations[:10], "", seen.history(lines)])


def run(seed: int, directory: Path) -> Observer:
    """One seed; raises with its history if something was violated."""
    seen = observed(seed, directory)
    if seen.violations:
        pytest.fail(told(seed, seen, 0 if _ASKED else 60), pytrace=False)
    return seen


def _seeds() -> range:
    first, _, last = os.environ.get("COXSWAIN_CHAOS_SEEDS", "0-499").partition("-")
    return range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("seed", [int(os.environ["COXSWAIN_CHAOS_SEED"])] if _ASKED else _FEW)
def test_one_seed(seed: int, tmp_path: Path) -> None:
    assert run(seed, tmp_path).steps > 100


def test_a_seed_is_a_history(tmp_path: Path) -> None:
    first, second = (run(7, tmp_path / name).history() for name in ("first", "second"))
    assert first == second


@pytest.mark.heavy
@pytest.mark.parametrize("start", _seeds()[::_BLOCK])
def test_five_hundred_seeds(
    start: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All seeds of a block are run; those that fail are named, each with what it violated."""
    found: dict[int, str] = {}
    looks: Counter[str] = Counter()
    for seed in range(start, min(start + _BLOCK, _seeds().stop)):
        try:
            seen = observed(seed, tmp_path / str(seed))
        except Exception as error:  # the history could not be lived through: that is a finding too
            found[seed] = f"seed {seed}: {error!r}"
        else:
            looks += seen.looks
            if seen.violations:
                found[seed] = told(seed, seen, 60)
    for what, times in sorted(looks.items()):
        record_property(what, times)
    if found:
        pytest.fail(f"seeds {sorted(found)} failed\n\n" + "\n\n".join(found.values()), pytrace=False)
