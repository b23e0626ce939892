"""Any life of a cluster: the whole scheduler in virtual time, pods and nodes of every kind that come, change and go.

Half a minute after the last change - longer than any back-off, much shorter than the flush that would hide a
wake-up that was lost - whoever fits somewhere has a node, nobody waits for the room of pods of lower priority,
gangs are whole, no node is over-committed, no gated pod runs, and the comparer has nothing to say.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coxswain.api.names import (
    GVR,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
)
from coxswain.base import clock, loop
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.comparer import compare
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM
from coxswain.scheduler.watching import BUDGETS
from fakeapi import FakeApi
from scheduler import random_states as states
from scheduler.naive_cluster import NaiveCluster, key_of
from scheduler.naive_plugins import REQUIRED
from scheduler.sched_objects import pod
from soak import arithmetic as sums

Object = dict[str, Any]
#: Where the storage twins' kinds are in the API.
STORAGE = {
    "persistentVolumes": PERSISTENT_VOLUMES,
    "persistentVolumeClaims": PERSISTENT_VOLUME_CLAIMS,
    "storageClasses": GVR("storage.k8s.io", "v1", "storageclasses"),
    "csiNodes": GVR("storage.k8s.io", "v1", "csinodes"),
}
QUIET = 30.0


class Life:
    """The cluster of one example."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.api = FakeApi()
        self.storage = self.draw(states.storage())
        for space in states.NAMESPACES:
            self.api.add(NAMESPACES, copy.deepcopy(space))
        for kind, objects in self.storage.items():
            for obj in objects:
                made = copy.deepcopy(obj)
                made["metadata"].pop("resourceVersion", None)
                self.api.add(STORAGE[kind], made)
        self.names = 0
        for obj in self.draw(states.nodes(4)):
            self.api.add(NODES, obj)

    # -- what happens ----------------------------------------------------------------------------

    def act(self) -> None:
        actions = (
            (self.add_pod,) * 6
            + (self.add_gang, self.add_gated, self.lift_gate, self.remove_pod)
            + (
                self.remove_pod,
                self.change_node,
                self.change_node,
                self.add_budget,
                self.relabel,
                self.finish,
            )
        )
        self.draw(st.sampled_from(actions))()

    def name(self) -> str:
        self.names += 1
        return f"p{self.names}"

    def add_pod(self) -> None:
        self.api.add(PODS, self.draw(states.pods(self.name())))

    def add_gang(self) -> None:
        name, size = self.name(), self.draw(st.integers(2, 3))
        policy = self.draw(st.sampled_from(({}, {"preemptionPolicy": "Never"})))
        for i in range(size):
            spec = {"terminationGracePeriodSeconds": 0} | policy
            member = pod(f"{name}-{i}", cpu="1", labels={GROUP_LABEL: name}, priority=20, spec=spec)
            member["metadata"]["annotations"] = {GROUP_MINIMUM: str(size)}
            self.api.add(PODS, member)

    def add_gated(self) -> None:
        made = self.draw(states.pods(self.name()))
        made["spec"]["schedulingGates"] = [{"name": "g"}]
        self.api.add(PODS, made)

    def _some(self, found: list[Object]) -> Object | None:
        return self.draw(st.sampled_from(found)) if found else None

    def _singles(self) -> list[Object]:
        return [one for one in self.api.objects(PODS) if GROUP_LABEL not in one["metadata"]["labels"]]

    def lift_gate(self) -> None:
        gated = self._some([one for one in self._singles() if one["spec"].get("schedulingGates")])
        if gated is not None:
            self._change(gated, lambda obj: obj["spec"].pop("schedulingGates"))

    def remove_pod(self) -> None:
        gone = self._some(self._singles())
        if gone is not None:
            self.api.remove(PODS, gone["metadata"]["name"], gone["metadata"]["namespace"])

    def finish(self) -> None:
        done = self._some([one for one in self._singles() if one["spec"].get("nodeName")])
        if done is not None:
            self._change(done, lambda obj: obj["status"].update(phase="Succeeded"))

    def relabel(self) -> None:
        some = self._some(self._singles())
        app = self.draw(st.sampled_from(states.APPS))
        if some is not None:
            self._change(some, lambda obj: obj["metadata"]["labels"].update(app=app))

    def _change(self, obj: Object, edit: Any) -> None:
        self.api.change(PODS, obj["metadata"]["name"], obj["metadata"]["namespace"], edit)

    def change_node(self) -> None:
        nodes = self.draw(states.nodes(4))
        new = self.draw(st.sampled_from(nodes))
        name = new["metadata"]["name"]
        if name not in {one["metadata"]["name"] for one in self.api.objects(NODES)}:
            self.api.add(NODES, new)
            return

        def edit(obj: Object) -> None:
            obj["metadata"]["labels"] = new["metadata"]["labels"]
            obj["spec"] = new["spec"]
            # It may grow, not shrink: what pods were given stays theirs.
            more = {"cpu": "4", "memory": "8Gi", "pods": "110", states.GPU: "2"}
            obj["status"] = {**obj["status"], "allocatable": {**obj["status"]["allocatable"], **more}}

        self.api.change(NODES, name, "", edit)

    def add_budget(self) -> None:
        app = self.draw(st.sampled_from(states.APPS))
        status = {"disruptionsAllowed": self.draw(st.integers(0, 1))}
        budget = {"metadata": {"name": self.name(), "namespace": "d"}, "status": status}
        self.api.add(BUDGETS, budget | {"spec": {"selector": {"matchLabels": {"app": app}}}})

    # -- what must be ----------------------------------------------------------------------------

    def check(self) -> None:
        pods = [one for one in self.api.objects(PODS) if one["status"].get("phase") != "Succeeded"]
        placed = [one for one in pods if one["spec"].get("nodeName")]
        cluster = NaiveCluster(self.api.objects(NODES), placed, states.NAMESPACES, self.storage)
        assert cluster.overcommitted() == []
        assert not [key_of(one) for one in placed if one["spec"].get("schedulingGates")]
        gangs: dict[str, list[Object]] = {}
        for one in pods:
            if GROUP_LABEL in one["metadata"]["labels"]:
                gangs.setdefault(one["metadata"]["labels"][GROUP_LABEL], []).append(one)
        for name, members in gangs.items():
            count = sum("nodeName" in one["spec"] for one in members)
            assert count in (0, len(members)), f"{count} of {len(members)} of gang {name} have a node"
            if not count:
                self.check_gang_waits_for_reason(cluster, members)
        for one in pods:
            for condition in one["status"].get("conditions", ()):
                assert "available: ." not in condition["message"], f"{key_of(one)} is told no reason"
            if not one["spec"].get("nodeName") and one in self._singles():
                self.check_waits_for_reason(cluster, one)

    def check_gang_waits_for_reason(self, cluster: NaiveCluster, members: list[Object]) -> None:
        """They do not all fit, even if pods of lower priority leave."""
        trial = cluster.without([])
        for member in members:
            name = min(trial.feasible(member), default="")
            if not name:
                name = trial.helped_by_preemption(member)
                trial = trial.without(
                    one for one in trial.on(name) if sums.priority(one) < sums.priority(member)
                )
            if not name:
                return
            trial.place(member, name)
        pytest.fail(f"gang of {key_of(members[0])} fits and waits")

    def check_waits_for_reason(self, cluster: NaiveCluster, one: Object) -> None:
        if one["spec"].get("schedulingGates"):
            return
        good = cluster.feasible(one)
        assert not good, f"{key_of(one)} fits on {good} and waits"
        near = (one["spec"].get("affinity") or {}).get("podAffinity", {}).get(REQUIRED)
        if not near and "topologySpreadConstraints" not in one["spec"]:
            helped = cluster.helped_by_preemption(one)
            assert not helped, f"{key_of(one)} waits for pods of lower priority on {helped}"


async def live(data: st.DataObject) -> None:
    life = Life(data)
    scheduler = Scheduler(life.api.client(), SchedulerConfig())
    task = asyncio.ensure_future(scheduler.run())
    await clock.sleep(1)
    for _ in range(data.draw(st.integers(3, 25))):
        life.act()
        await clock.sleep(data.draw(st.sampled_from((0.0, 0.0, 0.001, 0.7, 5.0))))
    await clock.sleep(QUIET)
    life.check()
    assert (await compare(scheduler)).differences == []
    assert not task.done(), "the scheduler ended"
    await cancel_and_wait(task)


_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
_NO_SHRINKING = [Phase.explicit, Phase.generate]


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=_SLOW, phases=_NO_SHRINKING)
@given(st.data())
def test_any_life_ends_well(data: st.DataObject) -> None:
    loop.run(live(data), seed=0)


@pytest.mark.heavy
@settings(max_examples=2000, deadline=None, suppress_health_check=_SLOW, print_blob=True)
@given(st.data())
def test_thousands_of_lives_end_well(data: st.DataObject) -> None:
    loop.run(live(data), seed=0)
