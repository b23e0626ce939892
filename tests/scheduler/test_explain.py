"""Explanations: why here, why not there, what would have to change."""

from __future__ import annotations

from typing import Any

from coxswain.scheduler.explain import explain, render
from coxswain.scheduler.plugins.registry import default_profile
from scheduler.sched_objects import node, pod


def told(nodes: list[dict[str, Any]], obj: dict[str, Any], *placed: dict[str, Any]) -> str:
    return render(explain({"nodes": nodes, "pods": list(placed)}, obj, default_profile()))


def on(name: str, obj: dict[str, Any]) -> dict[str, Any]:
    obj["spec"]["nodeName"] = name
    return obj


def test_a_pod_that_runs_is_judged_as_if_it_had_no_node() -> None:
    mine = on("n1", pod("p", cpu="3"))
    text = told([node("n0", cpu="1"), node("n1"), node("n2")], mine, mine)
    assert "pod d/p is on n1; 2 of 3 nodes would take it" in text
    assert "n1 is number" in text
    assert "1  NodeResourcesFit: Insufficient cpu (n0)" in text


def test_the_nearest_way_out_is_named() -> None:
    nodes = [
        node("full", cpu="2"),
        node("small", cpu="1"),
        node("tainted", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]),
        node("cordoned", unschedulable=True),
    ]
    text = told(nodes, pod("p", cpu="1500m"), on("full", pod("other", cpu="1")))
    assert "pod d/p has no node; 0 of 4 nodes would take it" in text
    assert "cpu: it asks for 1500m; most is free on full: 1000m, 500m too little" in text
    assert "tolerate taint gpu=yes:NoSchedule, or remove it from one of 1 node(s): tainted" in text
    assert "uncordon a node: cordoned" in text
    assert "the scheduler says: 0/4 nodes are available: 1 node(s) had untolerated taint(s)" in text


def test_a_gated_pod_is_told_its_gates_and_nothing_that_no_scheduler_said() -> None:
    spec = {"schedulingGates": [{"name": "example.com/a"}, {"name": "b"}]}
    text = told([node("n0", cpu="1")], pod("p", cpu="3", spec=spec))
    assert "it is held before the queue: waiting for scheduling gates (example.com/a, b)" in text
    assert text.endswith("the scheduler says: Scheduling is blocked due to non-empty scheduling gates")
    assert "it is held before the queue" in told([node("n0")], pod("p", spec=spec))


def test_what_a_volume_lacks_is_said_where_something_has_to_change() -> None:
    spec = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "nope"}}]}
    text = told([node("n0")], pod("p", spec=spec))
    assert (
        'must accept one of 1 node(s) (n0), which is refused: persistentvolumeclaim "nope" not found' in text
    )


def test_nodes_that_lack_the_label_of_a_domain_are_told_from_full_domains() -> None:
    selector = {"matchLabels": {"app": "x"}}
    constraint = {"maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}
    spec = {"topologySpreadConstraints": [{**constraint, "topologyKey": "rack"}]}
    text = told([node("n0"), node("n1")], pod("p", spec=spec))
    assert "a node needs a label for each domain (rack): 2 node(s) lack one" in text
    assert "maxSkew" not in text
    nodes = [node("n0", labels={"rack": "a"}), node("n1", labels={"rack": "b"}, unschedulable=True)]
    other = on("n0", pod("other", labels={"app": "x"}))
    text = told(nodes, pod("p", spec=spec, labels={"app": "x"}), other)
    assert "or raise maxSkew: 1 node(s) would be too uneven" in text


def test_what_the_condition_says_is_shown_where_it_is_something_else() -> None:
    waiting = pod("p")
    waiting["status"] = {
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "extender: no"}]
    }
    assert told([node("n0")], waiting).endswith("the pod's condition says: extender: no")
    assert "condition" not in told([node("n0")], on("n0", waiting), waiting)


def test_labels_that_nobody_has_and_nodes_that_are_all_too_small() -> None:
    spec = {"nodeSelector": {"disk": "ssd", "kubernetes.io/hostname": "n0"}}
    text = told([node("n0", labels={"disk": "hdd"})], pod("p", spec=spec))
    assert "label disk In ssd: 0 of 1 nodes (there is: hdd)" in text
    assert "label kubernetes.io/hostname In n0: 1 of 1 nodes" in text
    text = told([node("n0")], pod("p", cpu="9"))
    assert "the largest of these nodes has 4000m even when empty" in text


def test_what_stands_behind_the_first_refusal_is_told_too() -> None:
    spec = {"nodeSelector": {"disk": "ssd"}}
    nodes = [node("n0", labels={"disk": "hdd"}), node("n1", labels={"disk": "ssd"}, unschedulable=True)]
    text = told(nodes, pod("p", cpu="9", spec=spec))
    first, further = text.split("and beyond that:")
    assert "1  NodeUnschedulable" in first
    assert "1  NodeAffinity" in first
    assert "2  NodeResourcesFit: Insufficient cpu (n0, n1)" in further
    assert "label disk In ssd: 1 of 2 nodes" in further
    assert "the largest of these nodes has 4000m even when empty" in further


def test_victims_are_named() -> None:
    text = told([node("n0", cpu="1")], pod("p", cpu="1", priority=5), on("n0", pod("victim", cpu="1")))
    assert "preemption frees a node: n0, from d/victim (1 node(s) were candidates)" in text


def test_a_pod_that_names_its_nodes() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}
    text = told([node("n0"), node("n1", cpu="1")], pod("p", cpu="2", spec=spec))
    assert "NodeAffinity: not among the nodes it names (n0)" in text
    assert "NodeResourcesFit: Insufficient cpu (n1)" in text
