"""Strategies for cluster states: nodes and pods with everything that decisions depend on, from small alphabets."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from scheduler.naive_plugins import HOST, REQUIRED, ZONE
from scheduler.sched_objects import node, pod
from scheduler.test_volume_plugins import bound, claim, on, storage_class, volume

Object = dict[str, Any]
GPU = "example.com/gpu"
NAMESPACES = [
    {"metadata": {"name": "d", "labels": {"team": "x"}}},
    {"metadata": {"name": "e", "labels": {}}},
]
APPS = ("a", "b", "c")
PRIORITIES = (0, 0, 0, 5, 9)


@st.composite
def nodes(draw: st.DrawFn, most: int = 6) -> list[Object]:
    return [draw(_node(f"n{i}")) for i in range(draw(st.integers(1, most)))]


@st.composite
def _node(draw: st.DrawFn, name: str) -> Object:
    labels: Object = {}
    if zone := draw(st.sampled_from(("a", "b", "c", ""))):
        labels[ZONE] = zone
    if disk := draw(st.sampled_from(("ssd", "hdd", ""))):
        labels["disk"] = disk
    effect = draw(st.sampled_from(("", "", "", "", "NoSchedule", "PreferNoSchedule", "NoExecute")))
    return node(
        name,
        cpu=draw(st.sampled_from(("1", "2", "4"))),
        memory=draw(st.sampled_from(("1Gi", "8Gi"))),
        pods=draw(st.sampled_from(("2", "5", "110"))),
        labels=labels,
        taints=[{"key": "k", "value": "v", "effect": effect}] if effect else None,
        unschedulable=draw(st.integers(0, 9)) == 9,
        images=draw(st.sampled_from(({}, {"repo/a:1": 10**9}))),
        extra=draw(st.sampled_from(({}, {}, {GPU: "2"}, {"ephemeral-storage": "4Gi"}))),
    )


@st.composite
def selectors(draw: st.DrawFn) -> Object:
    if draw(st.integers(0, 3)):
        return {"matchLabels": {"app": draw(st.sampled_from(APPS))}}
    operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
    values = {"values": ["x"]} if operator in ("In", "NotIn") else {}
    return {"matchExpressions": [{"key": "tier", "operator": operator, **values}]}


@st.composite
def terms(draw: st.DrawFn) -> Object:
    found = {"topologyKey": draw(st.sampled_from((HOST, ZONE))), "labelSelector": draw(selectors())}
    among = draw(st.sampled_from((None, None, {"namespaces": ["e"]}, {"namespaceSelector": {}})))
    return found | (among or {})


@st.composite
def constraints(draw: st.DrawFn) -> Object:
    made = {
        "maxSkew": draw(st.integers(1, 2)),
        "topologyKey": draw(st.sampled_from((HOST, ZONE))),
        "whenUnsatisfiable": draw(st.sampled_from(("DoNotSchedule", "DoNotSchedule", "ScheduleAnyway"))),
        "labelSelector": draw(selectors()),
    }
    if made["whenUnsatisfiable"] == "DoNotSchedule":
        made |= draw(st.sampled_from(({}, {}, {"minDomains": 2}, {"minDomains": 3})))
    made |= draw(st.sampled_from(({}, {}, {"nodeAffinityPolicy": "Ignore"}, {"nodeTaintsPolicy": "Honor"})))
    return made


@st.composite
def pods(draw: st.DrawFn, name: str, *, plain: bool = False) -> Object:
    """A pod with up to two of the constraints that there are; ``plain``: it asks for resources alone."""
    labels = {"app": draw(st.sampled_from(APPS))} | draw(st.sampled_from(({}, {"tier": "x"})))
    spec: Object = {"terminationGracePeriodSeconds": 0}
    affinity: Object = {}
    ports = None
    kinds = ("affinity", "anti", "spread", "nodes", "tolerant", "ports", "claim", "selector")
    for kind in () if plain else draw(st.lists(st.sampled_from(kinds), max_size=2, unique=True)):
        if kind == "affinity":
            affinity["podAffinity"] = {REQUIRED: draw(st.lists(terms(), min_size=1, max_size=2))}
        elif kind == "anti":
            affinity["podAntiAffinity"] = {REQUIRED: draw(st.lists(terms(), min_size=1, max_size=2))}
        elif kind == "spread":
            spec["topologySpreadConstraints"] = draw(st.lists(constraints(), min_size=1, max_size=2))
        elif kind == "nodes":
            operator = draw(st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")))
            values = {"values": ["a"]} if operator in ("In", "NotIn") else {}
            expression = {"key": ZONE, "operator": operator, **values}
            affinity["nodeAffinity"] = {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        elif kind == "tolerant":
            spec["tolerations"] = [
                draw(st.sampled_from(({"operator": "Exists"}, {"key": "k", "value": "v"})))
            ]
        elif kind == "ports":
            port = {"containerPort": 80, "hostPort": draw(st.sampled_from((80, 81)))}
            ports = [port | draw(st.sampled_from(({}, {"hostIP": "10.0.0.1"}, {"protocol": "UDP"})))]
        elif kind == "claim":
            source = {"claimName": f"c{draw(st.integers(0, 3))}"}
            spec["volumes"] = [{"name": "v", "persistentVolumeClaim": source}]
        else:
            spec["nodeSelector"] = {"disk": draw(st.sampled_from(("ssd", "hdd")))}
    if affinity:
        spec["affinity"] = affinity
    if draw(st.integers(0, 9)) == 9:
        spec["preemptionPolicy"] = "Never"
    return pod(
        name,
        namespace="d" if "volumes" in spec else draw(st.sampled_from(("d", "d", "e"))),
        cpu=draw(st.sampled_from(("100m", "500m", "1", "3"))),
        memory=draw(st.sampled_from(("100Mi", "900Mi"))),
        labels=labels,
        image=draw(st.sampled_from(("repo/a:1", "pause:3"))),
        priority=draw(st.sampled_from(PRIORITIES)),
        extra=draw(st.sampled_from(({}, {}, {}, {GPU: "1"}))),
        ports=ports,
        spec=spec,
    )


@st.composite
def storage(draw: st.DrawFn) -> dict[str, list[Object]]:
    """Claims c0 to c2 that are bound to volumes of a zone or a node, as the twins name the kinds; c3 is missing."""
    claims, volumes = [], []
    for i in range(3):
        where = draw(st.sampled_from((None, [on(ZONE, "a")], [on(ZONE, "b", "c")], [on(HOST, "n0", "n1")])))
        modes = [draw(st.sampled_from(("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod")))]
        volumes.append(volume(f"pv{i}", terms=where, phase="Bound"))
        claims.append(
            bound(f"c{i}", f"pv{i}", modes=modes) if draw(st.integers(0, 5)) else claim(f"c{i}", "now")
        )
    limits = {"allocatable": {"count": draw(st.integers(0, 2))}}
    driver = {"name": "csi.example.com", "nodeID": "n0", **limits}
    return {
        "persistentVolumes": volumes,
        "persistentVolumeClaims": claims,
        "storageClasses": [storage_class("now", "csi.example.com", "Immediate")],
        "csiNodes": [{"metadata": {"name": "n0"}, "spec": {"drivers": [driver]}}],
    }
