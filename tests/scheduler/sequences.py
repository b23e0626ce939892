"""Random histories of everything that the node table keeps, beside a model that keeps nothing but the objects.

``Sequence(seed)`` takes random steps with ``step``; after each, ``check`` makes a table afresh from the model and
compares contents, and for some pods every verdict, every score and the batch kernel's arrays. A history is a
function of its seed, so a number is all that it takes to see a failure again:

    COXSWAIN_SEQUENCE=17 pytest tests/scheduler/test_sequences.py -k by_number
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from coxswain.scheduler import pod as pods
from coxswain.scheduler import volumes as kinds
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.comparer import stale_tallies
from coxswain.scheduler.content import content, differences
from coxswain.scheduler.cycle import Cycle, Placement
from coxswain.scheduler.framework import Profile, Scope
from coxswain.scheduler.group import Refusal, schedule_group
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.nominated import added, removed
from coxswain.scheduler.plugins.registry import default_profile
from coxswain.scheduler.template import Templates
from coxswain.scheduler.verdict import Verdict
from scheduler.naive_plugins import HOST, PREFERRED, REQUIRED, ZONE
from scheduler.sched_objects import node, pod
from scheduler.test_plugins_against_twins import random_affinity, random_constraint
from scheduler.test_volume_plugins import bound, claim, on, storage_class, volume

Object = dict[str, Any]
GPU = "example.com/gpu"
DRIVER = "csi.example.com"


class Sequence:
    """See the module's text."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        # Wide clusters make the arrays grow, small ones make rows change hands.
        self._width = self.rng.choice((4, 8, 8, 90))
        self.table = NodeTable()
        self.templates = Templates(self.table, limit=self.rng.choice((3, 1000)))
        self.cache = Cache(self.table)
        percentage = self.rng.choice((0, 100))
        self.profile: Profile = default_profile(percentage_of_nodes_to_score=percentage)
        self.cycle = Cycle(self.table, seed=seed)
        # The model: objects as the API has them, and which pods are assumed where.
        self.nodes: dict[str, Object] = {}
        self.placed: dict[str, Object] = {}
        self.assumed: dict[str, tuple[Object, str]] = {}
        self.objects: dict[str, dict[tuple[str, str], Object]] = {kind: {} for kind in kinds.KINDS}
        self.supposed: dict[str, dict[tuple[str, str], Object]] = {kinds.CLAIMS: {}, kinds.VOLUMES: {}}
        self.facts: dict[tuple[str, str, str], Any] = {}
        self.decisions = 0
        self._number = 0
        self._probes = [self._pod("probe") for _ in range(3)] + [self._special("probe") for _ in range(4)]
        self._actions: list[tuple[int, Callable[[], None]]] = [
            (22, self._set_node),
            (5, self._remove_node),
            (20, self._schedule),
            (3, self._schedule_gang),
            (12, self._confirm),
            (4, self._forget),
            (7, self._appear),
            (9, self._update_pod),
            (10, self._remove_pod),
            (3, self._nominate),
            (2, self._suppose_pods),
            (12, self._storage),
            (4, self._suppose_volume),
            (5, self._fact),
        ]
        for _ in range(self.rng.randrange(1, min(self._width, 12))):
            self._set_node()

    def step(self) -> str:
        """One random change; its name."""
        weights, actions = zip(*self._actions, strict=True)
        (action,) = self.rng.choices(actions, weights)
        action()
        return action.__name__.strip("_")

    # -- what to make ----------------------------------------------------------------------------

    def _node(self, name: str) -> Object:
        rng = self.rng
        labels: Object = {}
        if rng.random() < 0.7:
            labels[ZONE] = rng.choice("abc")
        if rng.random() < 0.4:
            labels |= rng.choice(({"disk": "ssd"}, {"disk": "hdd"}, {"gen": "2"}, {"gen": "4"}))
        taints = [
            {"key": "k", "value": "v", "effect": effect}
            for effect in ("NoSchedule", "PreferNoSchedule", "NoExecute")
            if rng.random() < 0.12
        ]
        sizes = {"repo/a:1": 10**9, "repo/b:1": 10**8, "pause:3": 10**6}
        return node(
            name,
            cpu=str(rng.randrange(1, 9)),
            memory=rng.choice(("2Gi", "32Gi")),
            pods=rng.choice(("3", "20", "110")),
            labels=labels,
            taints=taints,
            unschedulable=rng.random() < 0.1,
            images={image: size for image, size in sizes.items() if rng.random() < 0.3},
            extra=rng.choice(
                ({}, {}, {GPU: "2"}, {"ephemeral-storage": "10Gi"}, {f"example.com/{name}": "1"})
            ),
        )

    def _pod(self, name: str) -> Object:
        """A pod that asks for resources, ports, nodes."""
        rng = self.rng
        spec: Object = {}
        if rng.random() < 0.2:
            spec["tolerations"] = [rng.choice(({"operator": "Exists"}, {"key": "k", "value": "v"}))]
        if rng.random() < 0.15:
            spec["nodeSelector"] = {"disk": rng.choice(("ssd", "hdd"))}
        ports = None
        if rng.random() < 0.2:
            port = {"containerPort": 80, "hostPort": rng.choice((80, 81))}
            ports = [port | rng.choice(({}, {"hostIP": "10.0.0.1"}, {"protocol": "UDP"}))]
        return pod(
            name,
            namespace=rng.choice("de"),
            cpu=rng.choice(("", "100m", "500m", "1")),
            memory=rng.choice(("100Mi", "1Gi")),
            labels={"app": rng.choice("ab")},
            image=rng.choice(("repo/a:1", "repo/b:1", "pause:3")),
            priority=rng.choice((0, 0, 5, 100)),
            extra=rng.choice(({}, {}, {}, {GPU: "1"})),
            ports=ports,
            spec=spec,
        )

    def _special(self, name: str) -> Object:
        """A pod that minds others, or that has volumes."""
        rng = self.rng
        made = self._pod(name)
        kind = rng.randrange(4)
        if kind == 0:
            made["spec"]["affinity"] = random_affinity(rng)
        elif kind == 1:
            made["spec"]["topologySpreadConstraints"] = [random_constraint(rng)]
        elif kind == 2:
            made["metadata"]["namespace"] = "d"
            source = {"persistentVolumeClaim": {"claimName": f"c{rng.randrange(6)}"}}
            if rng.random() < 0.3:
                source = {"gcePersistentDisk": {"pdName": rng.choice("xy"), "readOnly": rng.random() < 0.5}}
            made["spec"]["volumes"] = [{"name": "v", **source}]
        else:
            preference = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
            weighted = [{"weight": 5, "preference": preference}]
            made["spec"]["affinity"] = {"nodeAffinity": {PREFERRED: weighted}}
            if rng.random() < 0.3:
                field = {
                    "key": "metadata.name",
                    "operator": "In",
                    "values": [f"n{rng.randrange(self._width)}"],
                }
                terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
                made["spec"]["affinity"]["nodeAffinity"][REQUIRED] = terms
        return made

    def _new_pod(self) -> Object:
        self._number += 1
        make = self._special if self.rng.random() < 0.5 else self._pod
        return make(f"p{self._number}")

    def _some(self, among: dict[str, Any]) -> str | None:
        return self.rng.choice(sorted(among)) if among else None

    def _parse(self, obj: Object) -> pods.Pod:
        return pods.parse(copy.deepcopy(obj), self.templates)

    # -- nodes -----------------------------------------------------------------------------------

    def _set_node(self) -> None:
        name = f"n{self.rng.randrange(self._width)}"
        obj = self._node(name)
        if name in self.nodes and self.rng.random() < 0.5:
            # One thing changes, as it mostly does.
            part = self.rng.choice(("metadata", "spec", "status"))
            obj = {**self.nodes[name], part: obj[part]}
        self.nodes[name] = obj
        self.table.set_node(copy.deepcopy(obj))

    def _remove_node(self) -> None:
        name = self._some(self.nodes) if self.rng.random() < 0.8 else "unknown"
        if name is not None:
            self.nodes.pop(name, None)
            self.table.remove_node(name)

    # -- pods ------------------------------------------------------------------------------------

    def _assume(self, outcomes: list[Any], made: dict[str, Object]) -> None:
        self.decisions += len(outcomes)
        for outcome in outcomes:
            if isinstance(outcome, Placement):
                self.cache.note_assumed(outcome.pod, outcome.node_name)
                self.assumed[outcome.pod.key] = (made[outcome.pod.key], outcome.node_name)

    def _alike(self, count: int) -> dict[str, Object]:
        first = self._new_pod()
        made = {}
        for _ in range(count):
            self._number += 1
            one = copy.deepcopy(first)
            one["metadata"] |= {"name": f"p{self._number}", "uid": f"uid-p{self._number}"}
            made[f"{one['metadata']['namespace']}/{one['metadata']['name']}"] = one
        return made

    def _schedule(self) -> None:
        made = self._alike(self.rng.choice((1, 1, 2, 5, 30)))
        batch = [self._parse(one) for one in made.values()]
        self._assume(self.cycle.schedule(batch, self.profile), made)

    def _schedule_gang(self) -> None:
        made = self._alike(self.rng.randrange(2, 6))
        missing = self.rng.randrange(1, len(made) + 3)
        batch = [self._parse(one) for one in made.values()]
        decided = schedule_group(self.cycle, batch, self.profile, missing)
        if not isinstance(decided, Refusal):
            self._assume(decided, made)

    def _confirm(self) -> None:
        key = self._some(self.assumed)
        if key is None:
            return
        obj, name = self.assumed.pop(key)
        self._place(obj, name if self.rng.random() < 0.9 else f"n{self.rng.randrange(self._width)}")

    def _place(self, obj: Object, name: str) -> None:
        obj = copy.deepcopy(obj)
        obj["spec"]["nodeName"] = name
        if self.rng.random() < 0.3:
            obj["metadata"]["labels"][ZONE] = self.rng.choice("abc")
        key = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        self.placed[key] = obj
        self.cache.place(self._parse(obj))

    def _forget(self) -> None:
        key = self._some(self.assumed)
        if key is not None:
            obj, _ = self.assumed.pop(key)
            assert self.cache.forget(self._parse(obj))

    def _appear(self) -> None:
        """Somebody else placed a pod, or a restart finds it."""
        self._place(self._new_pod(), f"n{self.rng.randrange(self._width)}")

    def _update_pod(self) -> None:
        key = self._some(self.placed)
        if key is None:
            return
        rng = self.rng
        obj = copy.deepcopy(self.placed[key])
        kind = rng.randrange(5)
        if kind == 0:
            obj["metadata"]["labels"] = {"app": rng.choice("abc")}
        elif kind == 1:
            obj["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:00Z"
        elif kind == 2:
            obj["status"]["startTime"] = f"2026-11-21T00:00:0{rng.randrange(10)}Z"
        elif kind == 3:
            asks = {"requests": {"cpu": rng.choice(("50m", "700m")), "memory": "50Mi"}}
            obj["spec"]["containers"][0]["resources"] = asks
        else:
            obj["metadata"]["uid"] += "'"  # deleted and made again, unseen
        self.placed[key] = obj
        self.cache.place(self._parse(obj))

    def _remove_pod(self) -> None:
        key = self._some(self.placed if self.rng.random() < 0.8 else self.assumed)
        if key is not None:
            self.placed.pop(key, None)
            self.assumed.pop(key, None)
            assert self.cache.remove(key)

    def _nominate(self) -> None:
        name = self.rng.choice(["", *(f"n{i}" for i in range(4))])
        self.cycle.nominator.set(self._parse(self._new_pod()), name)
        for uid in self.rng.sample(sorted(self.cycle.nominator.uids()), len(self.cycle.nominator) // 3):
            self.cycle.nominator.remove(uid)

    def _suppose_pods(self) -> None:
        """What preemption and nominations do: the table for a while with other pods, and as it was again."""
        name = self._some(self.nodes)
        if name is None:
            return
        here = self.table.node(self.table.row_of[name])
        victims = list(here.pods.values())[:2]
        probe = self._parse(self.rng.choice(self._probes))
        verdict = self.cycle.verdict(probe.template, self.profile)
        row = np.array([here.row], np.int32)
        with removed(self.table, victims, name), added(self.table, [self._parse(self._new_pod())], name):
            verdict.judge_rows(row)

    # -- storage and facts -----------------------------------------------------------------------

    def _storage(self) -> None:
        rng = self.rng
        i = rng.randrange(6)
        host = f"n{rng.randrange(min(self._width, 8))}"
        kind = rng.choice((kinds.CLAIMS, kinds.CLAIMS, kinds.VOLUMES, kinds.VOLUMES, *kinds.KINDS[2:]))
        obj: Object
        if kind == kinds.CLAIMS:
            obj = rng.choice(
                (bound(f"c{i}", f"pv{rng.randrange(6)}"), claim(f"c{i}", rng.choice(("wait", "now"))))
            )
        elif kind == kinds.VOLUMES:
            terms = rng.choice((None, [on(HOST, host)], [on(ZONE, rng.choice("abc"))]))
            kept = (
                {"claimRef": {"namespace": "d", "name": f"c{rng.randrange(6)}"}} if rng.random() < 0.4 else {}
            )
            size = rng.choice(("1Gi", "10Gi"))
            obj = volume(f"pv{i}", rng.choice(("wait", "now")), size, terms=terms, spec=kept)
        elif kind == kinds.CLASSES:
            mode = rng.choice(("WaitForFirstConsumer", "Immediate"))
            obj = storage_class(
                rng.choice(("wait", "now")), rng.choice((DRIVER, "kubernetes.io/no-provisioner")), mode
            )
        elif kind == kinds.CSI_NODES:
            limits = rng.choice(({}, {"allocatable": {"count": rng.randrange(3)}}))
            obj = {
                "metadata": {"name": host},
                "spec": {"drivers": [{"name": DRIVER, "nodeID": host, **limits}]},
            }
        elif kind == kinds.CSI_DRIVERS:
            obj = {"metadata": {"name": DRIVER}, "spec": {"storageCapacity": rng.random() < 0.5}}
        elif kind == kinds.CAPACITIES:
            topology = {"matchLabels": {ZONE: rng.choice("abc")}}
            obj = {
                "metadata": {"name": f"s{i}", "namespace": "d"},
                "storageClassName": "wait",
                "capacity": rng.choice(("1Gi", "100Gi")),
                "nodeTopology": topology,
            }
        else:
            source = {"persistentVolumeName": f"pv{rng.randrange(6)}"}
            obj = {
                "metadata": {"name": f"a{i}"},
                "spec": {"attacher": DRIVER, "nodeName": host, "source": source},
            }
        self._number += 1
        obj["metadata"]["resourceVersion"] = str(self._number)
        key = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if rng.random() < 0.25:
            gone = self.objects[kind].pop(key, None)
            self.supposed.get(kind, {}).pop(key if gone is not None else ("", ""), None)
            self.table.volumes.remove(kind, obj)
            return
        self.objects[kind][key] = obj
        self.supposed.get(kind, {}).pop(key, None)
        self.table.volumes.set(kind, obj)

    def _suppose_volume(self) -> None:
        kind = self.rng.choice((kinds.CLAIMS, kinds.VOLUMES))
        known = self.objects[kind]
        if not known:
            return
        key = self.rng.choice(sorted(known))
        if key in self.supposed[kind]:
            self.table.volumes.revert(kind, self.supposed[kind].pop(key))
            return
        obj = copy.deepcopy(known[key])
        if kind == kinds.CLAIMS:
            obj["metadata"].setdefault("annotations", {})[kinds.SELECTED_NODE] = "n1"
        else:
            obj["spec"]["claimRef"] = {"namespace": "d", "name": "c1"}
        self.supposed[kind][key] = obj
        self.table.volumes.assume(kind, obj)

    def _fact(self) -> None:
        rng = self.rng
        kind = rng.choice(("namespace", "service", "workload"))
        name = rng.choice("de") if kind == "namespace" else f"{kind}{rng.randrange(2)}"
        value: Any = rng.choice((None, {"team": "x"}, {"app": "a"}))
        if kind == "workload" and value:
            value = {"matchLabels": value}
        self.facts[kind, "d", name] = value
        _apply(self.table, (kind, "d", name), value)

    # -- the same afresh -------------------------------------------------------------------------

    def afresh(self) -> tuple[NodeTable, Templates]:
        """A table of what the model has, in another order."""
        table = NodeTable()
        templates = Templates(table)
        shuffle = random.Random(len(self.nodes))
        for what, value in self.facts.items():
            _apply(table, what, value)
        for kind, objects in self.objects.items():
            for obj in objects.values():
                table.volumes.set(kind, obj)
        for kind, supposed in self.supposed.items():
            for obj in supposed.values():
                table.volumes.assume(kind, obj)
        for obj in shuffle.sample(list(self.nodes.values()), len(self.nodes)):
            table.set_node(copy.deepcopy(obj))
        here = [(obj, obj["spec"]["nodeName"]) for obj in self.placed.values()]
        for obj, name in shuffle.sample(here, len(here)) + list(self.assumed.values()):
            table.add_pod(pods.parse(copy.deepcopy(obj), templates), name)
        return table, templates

    def check(self) -> list[str]:
        """Where the kept state differs from that made afresh."""
        fresh, templates = self.afresh()
        found = differences(content(self.table, fresh.columns), content(fresh, self.table.columns), "table")
        for number, obj in enumerate(self._probes):
            mine = self.cycle.verdict(self._parse(obj).template, self.profile)
            mine.uses = 2  # scores are cached
            mine.neighbours()  # and so are counters
            theirs = Verdict(pods.parse(copy.deepcopy(obj), templates).template, self.profile, fresh)
            found += differences(_judged(mine, kept=True), _judged(theirs, kept=False), f"probe {number}")
        for verdict in list(self.cycle.kept_verdicts())[-10:]:
            found += stale_tallies(verdict, Verdict(verdict.template, verdict.profile, verdict.table))
        return found


def _apply(table: NodeTable, what: tuple[str, str, str], value: Any) -> None:
    kind, namespace, name = what
    if kind == "service":
        table.facts.set_service(namespace, name, value)
    elif kind == "workload":
        table.facts.set_workload("ReplicaSet", namespace, name, value)
    elif value is None:
        table.facts.remove_namespace(name)
    else:
        table.facts.set_namespace(name, value)


def _judged(verdict: Verdict, *, kept: bool) -> Object:
    """All that a verdict says, by node."""
    table = verdict.table
    order = np.sort(table.order)
    if not len(order):
        return {}
    names = [table.node(row).name for row in order.tolist()]
    by, code = verdict.judge()
    told: Object = {
        "narrowed": repr(_sorted(verdict.narrow())),
        "rejected by": dict(zip(names, by[order].tolist(), strict=True)),
        "code": dict(zip(names, code[order].tolist(), strict=True)),
    }
    feasible = order[by[order] == 0]
    if len(feasible):
        totals = verdict.totals(feasible)
        told["total"] = {table.node(row).name: int(t) for row, t in zip(feasible, totals, strict=True)}
    for weighted in verdict.scores:
        if weighted.plugin.SCOPE is not Scope.CLUSTER:
            raw = (
                verdict.raw(weighted.plugin)[order]
                if kept
                else weighted.plugin.score(verdict.template, table, order)
            )
            told[f"score of {weighted.plugin.NAME}"] = dict(zip(names, raw.tolist(), strict=True))
    plan = verdict.plan()
    for array in ("base", "image", "taints", "affinity"):
        values = getattr(plan, array)
        values = values[order].tolist() if len(values) else [0] * len(order)
        told[f"plan's {array}"] = dict(zip(names, values, strict=True))
    return told


def _sorted(narrowing: Any) -> Any:
    if narrowing is None or not isinstance(narrowing.result, frozenset):
        return narrowing
    return narrowing.plugin, sorted(narrowing.result)
