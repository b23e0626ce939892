"""KubeSchedulerConfiguration: the same file as kube-scheduler's, its plugins' arguments, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coxswain.base.errors import ConfigurationError
from coxswain.scheduler import pod as pods
from coxswain.scheduler.configuration import API_VERSION, KIND, duration, load, parse
from coxswain.scheduler.framework import Profile
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.plugins.node_resources_fit import NodeResourcesFit
from coxswain.scheduler.profiles import build_all
from coxswain.scheduler.template import Templates
from coxswain.scheduler.verdict import Verdict
from scheduler.sched_objects import node, pod


def profiles(**fields: Any) -> dict[str, Profile]:
    return build_all(parse({"apiVersion": API_VERSION, "kind": KIND, **fields}))


def profile(plugins: dict[str, Any] | None = None, **args: dict[str, Any]) -> Profile:
    config = [{"name": name, "args": value} for name, value in args.items()]
    return profiles(profiles=[{"plugins": plugins or {}, "pluginConfig": config}])["default-scheduler"]


def refusal(**fields: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        profiles(**fields)
    return str(caught.value)


def names(found: Profile) -> list[str]:
    return [plugin.NAME for plugin in found.filters]


def test_the_defaults_are_kube_schedulers() -> None:
    found = profiles()["default-scheduler"]
    assert names(found) == [
        "NodeUnschedulable", "NodeName", "TaintToleration", "NodeAffinity", "NodePorts", "NodeResourcesFit",
        "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread",
        "InterPodAffinity",
    ]  # fmt: skip
    assert {w.plugin.NAME: w.weight for w in found.scores} == {
        "TaintToleration": 3, "NodeAffinity": 2, "NodeResourcesFit": 1, "PodTopologySpread": 2,
        "InterPodAffinity": 2, "NodeResourcesBalancedAllocation": 1, "ImageLocality": 1,
    }  # fmt: skip
    assert [plugin.NAME for plugin in found.gates] == ["SchedulingGates", "GangScheduling"]
    assert found.preemption.candidates(5000) == 500
    assert found.queue_sort is None


def test_a_file_with_profiles_leader_election_and_extenders(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
parallelism: 8
percentageOfNodesToScore: 50
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf, qps: 50, burst: 100}
leaderElection: {leaderElect: false, leaseDuration: 1m30s, resourceName: mine}
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  percentageOfNodesToScore: 100
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
      enabled: [{name: ImageLocality, weight: 7}]
    filter: {disabled: [{name: NodePorts}]}
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}, {name: memory, weight: 1}]}
extenders:
- urlPrefix: http://127.0.0.1:1/x
  filterVerb: filter
  httpTimeout: 250ms
  managedResources: [{name: example.com/gpu, ignoredByScheduler: true}]
"""
    )
    found = load(path)
    assert (found.leader_election.elect, found.leader_election.lease_seconds) == (False, 90.0)
    assert (found.pod_initial_backoff_seconds, found.pod_max_backoff_seconds) == (2, 20)
    assert found.kubeconfig == "/etc/kubernetes/scheduler.conf"
    assert (found.extenders[0].timeout, found.extenders[0].managed) == (0.25, (("example.com/gpu", True),))
    built = build_all(found)
    assert {name: p.percentage_of_nodes_to_score for name, p in built.items()} == {
        "default-scheduler": 50,
        "packed": 100,
    }
    packed = built["packed"]
    assert "NodePorts" not in names(packed)
    assert {w.plugin.NAME: w.weight for w in packed.scores}["ImageLocality"] == 7
    assert "NodeResourcesBalancedAllocation" not in [w.plugin.NAME for w in packed.scores]
    fit = packed.filter_named("NodeResourcesFit")
    assert isinstance(fit, NodeResourcesFit)
    assert fit.strategy == "MostAllocated"


def test_multi_point_disables_replaces_and_appends() -> None:
    found = profile({"multiPoint": {"disabled": [{"name": "*"}], "enabled": [
        {"name": "NodeName"}, {"name": "PrioritySort"}, {"name": "DefaultBinder"}, {"name": "NodeAffinity", "weight": 9},
    ]}})  # fmt: skip
    assert names(found) == ["NodeName", "NodeAffinity"]
    assert [(w.plugin.NAME, w.weight) for w in found.scores] == [("NodeAffinity", 9)]
    assert found.preemption is None
    found = profile({"filter": {"enabled": [{"name": "InterPodAffinity"}]}})
    assert names(found)[0] == "InterPodAffinity"
    assert len(names(found)) == 12


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"foo": 1}, 'strict decoding error: unknown field "foo"'),
        ({"profiles": [{"plugins": {"filter": {"enabled": [{"nam": "x"}]}}}]},
         'unknown field "profiles[0].plugins.filter.enabled[0].nam"'),
        ({"percentageOfNodesToScore": 101}, "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
        ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        ({"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 1},
         "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds"),
        ({"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]},
         'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
        ({"profiles": [{}, {"schedulerName": "a"}]}, "profiles[0].schedulerName: Required value"),
        (
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeName"}, {"name": "Nope"}]}}}]},
            "profiles[0].plugins.score.enabled[1].name: plugin 'Nope' does not exist",
        ),
        ({"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeName"}]}}}]},
         "profiles[0].plugins.score: plugin 'NodeName' does not extend score plugin"),
        ({"profiles": [{"pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "X"}}}]}]},
         'profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: "X"'),
        ({"profiles": [{"pluginConfig": [{"name": "InterPodAffinity", "args": {"hardPodAffinityWeight": 101}}]}]},
         "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0-100]"),
        ({"leaderElection": {"leaseDuration": "5s"}}, "LeaseDuration must be greater than RenewDeadline"),
        ({"leaderElection": {"leaseDuration": "soon"}}, "leaderElection.leaseDuration"),
        ({"extenders": [{"urlPrefix": "x", "prioritizeVerb": "p"}]}, "extenders[0].weight"),
        ({"extenders": [{"urlPrefix": "x", "bindVerb": "b"}] * 2}, "only one extender can implement bind"),
        ({"extenders": [{"urlPrefix": "x", "managedResources": [{"name": "cpu"}]}]},
         "is an invalid extended resource name"),
        ({"profiles": "x"}, "profiles: list is expected, not str"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_path(fields: dict[str, Any], said: str) -> None:
    assert said in refusal(**fields)


def test_other_kinds_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="KubeSchedulerConfiguration"):
        parse({"apiVersion": "v1", "kind": "Pod"})
    with pytest.raises(ConfigurationError, match="No such file"):
        load(tmp_path / "none")
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(ConfigurationError, match="not YAML"):
        load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15s", 15.0), ("1m30s", 90.0), ("250ms", 0.25), ("1.5h", 5400.0), ("x", None), ("5", None)],
)
def test_durations_are_gos(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


class Cluster:
    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.table = NodeTable()
        self.templates = Templates(self.table)
        for one in nodes:
            self.table.set_node(one)

    def scores(self, obj: dict[str, Any], found: Profile, plugin: str) -> list[int]:
        verdict = Verdict(self.templates.of(obj), found, self.table)
        weighted = next(w for w in verdict.scores if plugin == w.plugin.NAME)
        return verdict.weighted(weighted, self.table.order, cached=False).tolist()

    def reasons(self, obj: dict[str, Any], found: Profile) -> list[tuple[str, ...]]:
        verdict = Verdict(self.templates.of(obj), found, self.table)
        by, code = verdict.judge()
        return [
            verdict.rejection(row, int(by[row]), int(code[row]))[1].reasons if by[row] else ()
            for row in self.table.order.tolist()
        ]

    def place(self, obj: dict[str, Any], on: str) -> None:
        self.table.add_pod(pods.parse(obj, self.templates), on)


def test_requested_to_capacity_ratio_follows_its_shape() -> None:
    shape = [
        {"utilization": 0, "score": 0},
        {"utilization": 50, "score": 10},
        {"utilization": 100, "score": 2},
    ]
    found = profile(NodeResourcesFit={"scoringStrategy": {
        "type": "RequestedToCapacityRatio", "resources": [{"name": "example.com/gpu", "weight": 2}, {"name": "cpu"}],
        "requestedToCapacityRatio": {"shape": shape}}})  # fmt: skip
    cluster = Cluster(node("n0", cpu="4", extra={"example.com/gpu": "4"}), node("n1", cpu="4"))
    # gpu 25 % -> 50, weight 2; cpu 75 % -> 60, weight 1. Without gpus: cpu alone.
    obj = pod("p", cpu="3", extra={"example.com/gpu": "1"})
    assert cluster.scores(obj, found, "NodeResourcesFit") == [round((50 * 2 + 60) / 3), 60]


def test_weights_of_resources_count() -> None:
    found = profile(NodeResourcesFit={"scoringStrategy": {"resources": [
        {"name": "cpu", "weight": 3}, {"name": "memory", "weight": 1}]}})  # fmt: skip
    cluster = Cluster(node("n0", cpu="4", memory="8Gi"))
    assert cluster.scores(pod("p", cpu="1", memory="4Gi"), found, "NodeResourcesFit") == [(75 * 3 + 50) // 4]


def test_the_general_arithmetic_agrees_with_the_kernels() -> None:
    rng = np.random.default_rng(5)
    nodes = [node(f"n{i}", cpu=str(rng.integers(0, 5)), memory=f"{rng.integers(0, 9)}Gi") for i in range(40)]
    cluster = Cluster(*nodes)
    for i in range(80):
        cluster.place(pod(f"p{i}", cpu=f"{rng.integers(0, 900)}m"), f"n{rng.integers(40)}")
    from coxswain.scheduler.plugins.allocation import balance, least, most, uses, weighted_mean
    from coxswain.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation

    template = cluster.templates.of(pod("w", cpu="700m", memory="1Gi"))
    rows = cluster.table.order
    for strategy, scorer in (("LeastAllocated", least), ("MostAllocated", most)):
        fit = NodeResourcesFit(strategy)  # type: ignore[arg-type]
        found = uses(template, cluster.table, rows, fit.resources, nonzero=True)
        assert (
            weighted_mean(found, scorer, len(rows)).tolist()
            == fit.score(template, cluster.table, rows).tolist()
        )
    found = uses(template, cluster.table, rows, NodeResourcesFit().resources, nonzero=False)
    after = balance([(use.used, use.capacity) for use in found], len(rows))
    before = balance([(use.before, use.capacity) for use in found], len(rows))
    gained = 50 + np.trunc((50 + after - before) / 2).astype(np.int64)
    assert gained.tolist() == NodeResourcesBalancedAllocation().score(template, cluster.table, rows).tolist()


def test_added_affinity_is_enforced_on_every_pod() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["mine"]}]}
    found = profile(NodeAffinity={"addedAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "preference": term}]}})  # fmt: skip
    cluster = Cluster(node("n0", labels={"pool": "mine"}), node("n1"))
    assert cluster.reasons(pod("p"), found) == [
        (),
        ("node(s) didn't match scheduler-enforced node affinity",),
    ]
    assert cluster.scores(pod("p"), found, "NodeAffinity") == [200, 0]


def test_default_constraints_spread_what_controllers_select() -> None:
    found = profile(PodTopologySpread={"defaultingType": "List", "defaultConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]})  # fmt: skip
    cluster = Cluster(*(node(f"n{i}", labels={"zone": f"z{i}"}) for i in range(2)))
    owned = pod("p", labels={"app": "a"})
    owned["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "rs", "controller": True}]
    cluster.place(owned, "n0")
    assert cluster.reasons(owned, found) == [(), ()]
    cluster.table.facts.set_workload("ReplicaSet", "d", "rs", {"matchLabels": {"app": "a"}})
    assert cluster.reasons(owned, found) == [("node(s) didn't match pod topology spread constraints",), ()]
    assert cluster.reasons(pod("free", labels={"app": "a"}), found) == [(), ()]


def test_resources_of_extenders_and_ignored_groups_do_not_count() -> None:
    extender = {"urlPrefix": "x", "managedResources": [{"name": "a.com/x", "ignoredByScheduler": True}]}
    args = {"name": "NodeResourcesFit", "args": {"ignoredResourceGroups": ["b.com"]}}
    found = profiles(extenders=[extender], profiles=[{"pluginConfig": [args]}])["default-scheduler"]
    cluster = Cluster(node("n0"))
    assert cluster.reasons(pod("p", extra={"a.com/x": "1", "b.com/y": "2"}), found) == [()]
    assert cluster.reasons(pod("p", extra={"c.com/z": "1"}), found) == [("Insufficient c.com/z",)]
