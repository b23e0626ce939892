"""Rounds of creating and deleting everything: no table of a control plane is larger afterwards.

What is remembered of what has gone is bounded (``control_plane.BOUNDS``; ARCHITECTURE.md says by what): with those
bounds made small, three counts after six rounds each must not grow. Virtual time, so that events expire between.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from coxswain.base import clock
from leaks.control_plane import control_plane, make_bounds_small
from leaks.rounds import Rounds
from leaks.tables import census, growing

ROUNDS = 6
#: Tables that must be among those counted: they hold what comes and goes, under names that may change.
TABLES = {
    "coxswain.store.index.RevisionIndex": ("live", "history", "_order", "_unordered", "_superseded"),
    "coxswain.store.memory.MemoryStore": ("_log",),
    "coxswain.store.hub.WatchHub": ("_watches",),
    "coxswain.apiserver.watchcache.ResourceCache": ("items", "_keys", "_ring", "_index", "_watchers"),
    "coxswain.apiserver.storage.Storage": ("caches", "_orphans", "_pending", "_waiters"),
    "coxswain.apiserver.expiry.Expiry": ("_notes",),
    "coxswain.apiserver.registry.Registry": ("_entries", "_prefixes"),
    "coxswain.apiserver.bell.Bell": ("_waiting",),
    "coxswain.apiserver.authz.rbac.Rbac": ("_rules", "_index"),
    "coxswain.apiserver.replicas.ReplicaMemo": ("_replicas",),
    "coxswain.client.informer.Informer": ("_objects", "_indexes", "_handlers"),
    "coxswain.client.informer.Index": ("keys",),
    "coxswain.client.events._Recent": ("_values",),
    "coxswain.scheduler.nodetable.NodeTable": ("nodes", "row_of", "taint_sets", "columns", "images", "ports"),
    "coxswain.scheduler.nodetable.LabelColumn": ("values",),
    "coxswain.scheduler.placed.PlacedPods": ("_groups",),
    "coxswain.scheduler.cache.Cache": ("_placed", "_assumed", "_alike"),
    "coxswain.scheduler.template.Templates": ("_known",),
    "coxswain.scheduler.cycle.Cycle": ("_verdicts",),
    "coxswain.controllers.garbagecollector.graph.Graph": ("nodes",),
    "coxswain.kubelet.hollow.HollowNodes": ("_handled", "_given", "_doubted"),
}


@pytest.mark.virtual
@pytest.mark.usefixtures("no_log")
async def test_no_table_grows_with_what_has_come_and_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bounds_small(monkeypatch)
    counted = []
    async with control_plane(tmp_path, hollow_nodes=2) as client_of:
        rounds = Rounds(client_of)
        for number in range(3 * ROUNDS):
            await rounds.one(number)
            if number % ROUNDS == ROUNDS - 1:
                # Long enough for events to expire; and each time as long after the last compaction.
                await clock.sleep(3900 + 300 - clock.monotonic() % 300)
                counted.append(census())
    assert not rounds.unexpected
    missing = [f"{kind}.{name}" for kind, names in TABLES.items() for name in names]
    assert [name for name in missing if name not in counted[0]] == []
    assert growing(*counted, ROUNDS) == {}


def test_a_table_that_keeps_what_has_gone_is_found() -> None:
    from coxswain.apiserver.bell import Bell

    bell, counted = Bell(), []
    for _ in range(3):
        counted.append(census())
        bell._waiting.extend([lambda: None] * 5)
    assert list(growing(*counted, 5)) == ["coxswain.apiserver.bell.Bell._waiting"]
    assert growing(*counted, 12) == {}
