"""Random clusters in virtual time: nobody is over-committed, gangs are whole, who fits is placed, priority counts."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from coxswain.api.names import NODES, PODS
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod

CPU = {"1": 1000, "2": 2000, "3": 3000, "500m": 500}


def random_pod(rng: random.Random, i: int) -> dict[str, Any]:
    labels: dict[str, str] = {"app": rng.choice("abc")}
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 0}
    if rng.random() < 0.2:
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    if rng.random() < 0.2:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": labels},
            }
        ]
    if rng.random() < 0.1:
        spec["preemptionPolicy"] = "Never"
    return pod(
        f"p{i}", cpu=rng.choice(list(CPU)), labels=labels, priority=rng.choice((0, 0, 5, 9)), spec=spec
    )


def gang(rng: random.Random, name: str) -> list[dict[str, Any]]:
    size = rng.randrange(2, 5)
    made = []
    for i in range(size):
        one = pod(
            f"{name}{i}", cpu="1", labels={GROUP_LABEL: name}, spec={"preemptionPolicy": "Never"}, priority=20
        )
        one["metadata"]["annotations"] = {GROUP_MINIMUM: str(size)}
        made.append(one)
    return made


def check(api: FakeApi, gangs: dict[str, int]) -> None:
    used: dict[str, int] = {}
    placed: dict[str, int] = {}
    for one in api.objects(PODS):
        name = one["spec"].get("nodeName")
        if name:
            (container,) = one["spec"]["containers"]
            used[name] = used.get(name, 0) + CPU[container["resources"]["requests"]["cpu"]]
            if group := one["metadata"]["labels"].get(GROUP_LABEL):
                placed[group] = placed.get(group, 0) + 1
    room = {n["metadata"]["name"]: 1000 * int(n["status"]["allocatable"]["cpu"]) for n in api.objects(NODES)}
    for name, amount in used.items():
        assert amount <= room[name], f"{name} holds {amount} of {room[name]}"
    for group, count in placed.items():
        assert count == gangs[group], f"{count} of {gangs[group]} pods of gang {group} have a node"


@pytest.mark.virtual
@pytest.mark.parametrize("seed", range(12))
async def test_random_clusters_keep_every_promise(seed: int) -> None:
    rng = random.Random(seed)
    api = FakeApi()
    for i in range(6):
        api.add(NODES, node(f"n{i}", cpu=str(rng.randrange(1, 6)), labels={"zone": f"z{i % 3}"}))
    scheduler = Scheduler(api.client(), SchedulerConfig())
    task = asyncio.ensure_future(scheduler.run())
    gangs: dict[str, int] = {}
    for i in range(40):
        if rng.random() < 0.15:
            members = gang(rng, f"g{i}-")
            gangs[f"g{i}-"] = len(members)
            for one in members:
                api.add(PODS, one)
        else:
            api.add(PODS, random_pod(rng, i))
        await clock.sleep(rng.choice((0.0, 0.01, 0.5, 3.0)))
        if rng.random() < 0.2:
            victims = [one for one in api.objects(PODS) if not one["metadata"]["labels"].get(GROUP_LABEL)]
            if victims:
                api.remove(PODS, rng.choice(victims)["metadata"]["name"], "d")
        check(api, {**gangs})
    await clock.sleep(700)
    check(api, gangs)
    assert not task.done(), "the scheduler ended"
    waiting = [one for one in api.objects(PODS) if not one["spec"].get("nodeName")]
    for one in waiting:
        if one["metadata"]["labels"].get(GROUP_LABEL):
            continue
        queued = scheduler.queue.get(f"d/{one['metadata']['name']}")
        assert queued is not None, "a pod was lost"
        verdict = scheduler.cycle.verdict(queued.pod.template, scheduler.profiles["default-scheduler"])
        free = scheduler.cycle.feasible(verdict, queued.pod, limit=False)
        assert not len(free), f"{queued.pod.key} fits on {len(free)} nodes and waits"
    fresh = {one["metadata"]["name"] for one in api.objects(PODS) if one["spec"].get("nodeName")}
    assert {found.name for one in scheduler.table for found in one.pods.values()} == fresh
    await cancel_and_wait(task)
