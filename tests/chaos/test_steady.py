"""A cluster in which nothing changes is not written: one of everything, every controller, an hour."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from chaos import manifests, settled
from chaos.faults import Faults
from chaos.manifests import BUDGETS, QUOTAS
from chaos.observer import Observer
from chaos.world import World
from coxswain.api.names import (
    CLUSTER_ROLES,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINTS,
    JOBS,
    NAMESPACES,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    SERVICES,
    STATEFUL_SETS,
    Object,
)
from coxswain.base import clock

_HOUR = 3600.0


async def populate(world: World) -> None:
    """One of everything that a controller keeps."""
    user, rng = world.user, random.Random(5)
    await user.create(NAMESPACES, {"metadata": {"name": "a"}})
    await user.create(QUOTAS, {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "100"}}}, "a")
    for resource in (REPLICA_SETS, REPLICATION_CONTROLLERS, DEPLOYMENTS, DAEMON_SETS):
        obj = manifests.make(rng, resource, "x")
        await user.create(resource, obj, "a")
        await user.create(*manifests.service(resource.resource, obj["metadata"]["labels"]), "a")
    await user.create(BUDGETS, manifests.budget(rng, "x", {"app": "deployments-x"}), "a")
    stateful = manifests.make(rng, STATEFUL_SETS, "x")
    claim: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim["storageClassName"] = "local"
    stateful["spec"] |= {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}
    stateful["spec"]["persistentVolumeClaimRetentionPolicy"] = {
        "whenDeleted": "Delete",
        "whenScaled": "Delete",
    }
    await user.create(STATEFUL_SETS, stateful, "a")
    running = manifests.make(rng, JOBS, "x")
    running["spec"].pop("activeDeadlineSeconds", None)
    await user.create(JOBS, running, "a")
    yearly = manifests.make(rng, CRON_JOBS, "x")
    yearly["spec"]["schedule"] = "0 0 1 7 *"
    await user.create(CRON_JOBS, yearly, "a")
    await user.create(SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": [{"port": 1}]}}, "a")
    subset = {"ports": [{"port": 1}], "addresses": [{"ip": "10.9.9.9"}]}
    await user.create(ENDPOINTS, {"metadata": {"name": "db"}, "subsets": [subset]}, "a")
    selecting = {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}
    await user.create(CLUSTER_ROLES, {"metadata": {"name": "x"}, "aggregationRule": selecting, "rules": None})


@pytest.mark.virtual
async def test_an_hour_of_nothing_is_heartbeats_only(tmp_path: Path) -> None:
    faults = Faults(random.Random(0))
    seen = Observer(faults.blur)
    async with World(0, tmp_path, seen.told, faults=faults) as world:
        await populate(world)
        await clock.sleep(600)
        assert [each for each in settled.differences(seen) if "has not finished" not in each] == []
        seen.writes_since.clear()
        await clock.sleep(_HOUR)
        beats = [change for change in seen.writes_since if change.kind == "Node"]
        assert [str(change) for change in seen.writes_since if change not in beats] == []
        assert {change.actor for change in beats} == {"kubelet"}
        assert len(beats) <= len(world.nodes) * (_HOUR / 300 + 1)
