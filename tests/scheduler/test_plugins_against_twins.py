"""Plugins against their naive twins, on random clusters; and the evaluation of snapshots."""

from __future__ import annotations

import io
import random
from typing import Any

import orjson
import pytest

from coxswain.cli import evaluating
from scheduler.naive_plugins import HOST, PREFERRED, REQUIRED, ZONE, verdict
from scheduler.sched_objects import node, pod

Object = dict[str, Any]


def random_selector(rng: random.Random) -> Object:
    if rng.random() < 0.6:
        return {"matchLabels": {"app": rng.choice("ab")}}
    operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    values = {"values": ["x"]} if operator in ("In", "NotIn") else {}
    return rng.choice(({}, {"matchExpressions": [{"key": "tier", "operator": operator, **values}]}))


def random_term(rng: random.Random) -> Object:
    term: Object = {"topologyKey": rng.choice((HOST, ZONE)), "labelSelector": random_selector(rng)}
    if rng.random() < 0.3:
        term["namespaces"] = [rng.choice(("d", "e"))]
    if rng.random() < 0.3:
        term["namespaceSelector"] = rng.choice(({}, {"matchLabels": {"team": "x"}}))
    return term


def random_affinity(rng: random.Random) -> Object:
    affinity: Object = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        part: Object = {}
        if rng.random() < 0.2:
            part[REQUIRED] = [random_term(rng) for _ in range(rng.randrange(1, 3))]
        if rng.random() < 0.3:
            part[PREFERRED] = [{"weight": rng.randrange(1, 100), "podAffinityTerm": random_term(rng)}]
        if part:
            affinity[kind] = part
    if rng.random() < 0.3:
        operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        values = {"values": ["3"]} if operator not in ("Exists", "DoesNotExist") else {}
        expression = {"key": "gen", "operator": operator, **values}
        affinity["nodeAffinity"] = {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return affinity


def random_constraint(rng: random.Random) -> Object:
    constraint: Object = {
        "maxSkew": rng.randrange(1, 3),
        "topologyKey": rng.choice((HOST, ZONE)),
        "whenUnsatisfiable": rng.choice(("DoNotSchedule", "ScheduleAnyway")),
        "labelSelector": random_selector(rng),
    }
    if constraint["whenUnsatisfiable"] == "DoNotSchedule" and rng.random() < 0.3:
        constraint["minDomains"] = rng.randrange(1, 5)
    for policy in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if rng.random() < 0.4:
            constraint[policy] = rng.choice(("Honor", "Ignore"))
    return constraint


def labelled_pod(rng: random.Random, name: str, **spec: Any) -> Object:
    labels = {"app": rng.choice("ab")} | rng.choice(({}, {"tier": "x"}))
    if rng.random() < 0.5 and (affinity := random_affinity(rng)):
        spec["affinity"] = affinity
    if rng.random() < 0.4:
        spec["topologySpreadConstraints"] = [random_constraint(rng) for _ in range(rng.randrange(1, 3))]
    if rng.random() < 0.4:
        spec["tolerations"] = [rng.choice(({"operator": "Exists"}, {"key": "k", "value": "v"}))]
    return pod(name, namespace=rng.choice("de"), labels=labels, spec=spec)


def random_case(rng: random.Random) -> Object:
    nodes = []
    for i in range(rng.randrange(1, 9)):
        labels = rng.choice(({}, {ZONE: "a"}, {ZONE: "b"}, {ZONE: "c"})) | rng.choice(
            ({}, {"gen": "2"}, {"gen": "4"})
        )
        taints = rng.choice((None, None, [{"key": "k", "value": "v", "effect": "NoSchedule"}]))
        nodes.append(node(f"n{i}", labels=labels, taints=taints, pods=rng.choice(("3", "110"))))
    placed = [
        labelled_pod(rng, f"p{i}", nodeName=f"n{rng.randrange(len(nodes))}") for i in range(rng.randrange(12))
    ]
    return {
        "id": "random",
        "nodes": nodes,
        "pods": placed,
        "namespaces": [
            {"metadata": {"name": "d", "labels": {"team": "x"}}},
            {"metadata": {"name": "e", "labels": {}}},
        ],
        "services": [{"metadata": {"name": "s", "namespace": "d"}, "spec": {"selector": {"app": "a"}}}],
        "pending": [labelled_pod(rng, f"w{i}") for i in range(4)],
    }


def answers(*cases: Object) -> list[Object]:
    out = io.BytesIO()
    assert evaluating.evaluate(io.BytesIO(b"\n".join(map(orjson.dumps, cases))), out) == 0
    return [orjson.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("seed", range(80))
def test_verdicts_and_scores_of_random_clusters(seed: int) -> None:
    rng = random.Random(seed)
    cases = [random_case(rng) for _ in range(5)]
    for case, answer in zip(cases, answers(*cases), strict=True):
        for waiting, result in zip(case["pending"], answer["results"], strict=True):
            rejected, scores = verdict(case, waiting)
            assert {name: f.get("plugin") for name, f in result["filter"].items()} == rejected
            for name, of_node in scores.items():
                mine = result["scores"][name]
                assert {plugin: mine.get(plugin, 0) for plugin in of_node} == of_node
                assert result["total"][name] == sum(mine.values())


def test_a_named_node_excludes_the_others_before_filters() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    one = pod("w", spec={"affinity": {"nodeAffinity": {REQUIRED: terms}}})
    (answer,) = answers({"id": 1, "nodes": [node("n0"), node("n1")], "pods": [], "pending": [one]})
    (result,) = answer["results"]
    assert result["filter"] == {"n0": {"code": "PreFilterExcluded"}, "n1": {"code": "Success"}}
    conflicting = {"nodeSelectorTerms": [{"matchFields": [field, {**field, "values": ["n0"]}]}]}
    two = pod("w", spec={"affinity": {"nodeAffinity": {REQUIRED: conflicting}}})
    (answer,) = answers({"id": 1, "nodes": [node("n0"), node("n1")], "pods": [], "pending": [two]})
    assert answer["results"][0]["preFilter"] == "NodeAffinity: pod affinity terms conflict"


def test_host_ports_conflict_by_address_and_protocol() -> None:
    def with_port(name: str, ip: str, protocol: str = "TCP", **spec: Any) -> Object:
        port = {"containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol}
        return pod(name, ports=[port], spec=spec)

    placed = [
        with_port("a", "10.0.0.1", nodeName="n0"),
        with_port("b", "0.0.0.0", nodeName="n1"),
        with_port("c", "10.0.0.1", "UDP", nodeName="n2"),
    ]
    nodes = [node(f"n{i}") for i in range(3)]
    pending = [with_port("x", "10.0.0.1"), with_port("y", "10.0.0.2"), with_port("z", "0.0.0.0")]
    (answer,) = answers({"id": 1, "nodes": nodes, "pods": placed, "pending": pending})
    feasible = [{n for n, f in r["filter"].items() if f["code"] == "Success"} for r in answer["results"]]
    assert feasible == [{"n2"}, {"n0", "n2"}, {"n2"}]


def test_what_a_pod_asks_for_counts_init_containers_sidecars_and_overhead() -> None:
    def container(cpu: str, **more: Any) -> Object:
        return {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}, **more}

    spec = {
        "containers": [container("1"), container("500m")],
        "initContainers": [container("300m", restartPolicy="Always"), container("1500m")],
        "overhead": {"cpu": "100m"},
    }
    fits = [node("n0", cpu="1900m"), node("n1", cpu="1899m")]  # max(1.5 + 0.3, 0.3 + 1.5) + 0.1
    (answer,) = answers({"id": 1, "nodes": fits, "pods": [], "pending": [pod("w", spec=spec)]})
    assert answer["results"][0]["filter"] == {
        "n0": {"code": "Success"},
        "n1": {
            "plugin": "NodeResourcesFit",
            "code": "UnschedulableAndUnresolvable",
            "reasons": ["Insufficient cpu"],
        },
    }


def test_a_line_that_is_no_snapshot_is_answered_and_the_rest_go_on() -> None:
    out = io.BytesIO()
    good = orjson.dumps({"id": "good", "nodes": [], "pods": [], "pending": []})
    assert evaluating.evaluate(io.BytesIO(b'{"id":"bad"}\n[]\nnot json\n' + good), out) == 1
    lines = [orjson.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("id") for line in lines] == ["bad", None, None, "good"]
    assert all("error" in line for line in lines[:3])
