"""The independent checker: was every binding right, judged by the API's history alone?

For each pod that gets a node, at the resource version at which it gets it:

    room        requests of all pods there, for every resource, are within what the node has; host ports differ
    shunned     the node is neither cordoned nor tainted against it, and is one that the pod asks for
    apart       required anti-affinity holds, its own and that of pods that were there before
    near        required affinity holds, or the pod is the first that its term means
    spread      DoNotSchedule holds
    gated       the pod is not gated, and its scheduler is ours
    whole       a gang gets nodes for as many pods as it needs, soon after it gets the first

Between the decision and the binding the cluster goes on, so whatever changed less than ``WINDOW`` seconds before
is taken in the pod's favour (and counted as such: ``races``). What only our own bindings can break - room, ports,
anti-affinity - has no such excuse as long as nodes and labels stay. ``unplaced`` says which waiting pods fit
somewhere: in a quiet cluster, none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from coxswain.api.names import NODES, Object
from soak import arithmetic as sums
from soak.history import Change

WINDOW = 2.0
GANG_WINDOW = 10.0
GANG, GANG_MINIMUM = "scheduling.k8s.io/pod-group", "scheduling.k8s.io/pod-group-min-member"
HOST = "kubernetes.io/hostname"
_BROUGHT = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


@dataclass(slots=True)
class Placed:
    """A pod on a node."""

    pod: Object
    bound: float
    asked: Counter[str]
    ports: set[sums.Port]
    #: When it began to end, or its labels changed, last.
    ending: float = float("inf")
    relabelled: float = float("-inf")


@dataclass(slots=True)
class Held:
    """A node and the pods there, by uid."""

    node: Object | None = None
    pods: dict[str, Placed] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    #: When it was last made, changed in what it has, in whom it shuns, or in its labels.
    made: float = float("-inf")
    resized: float = float("-inf")
    shunning: float = float("-inf")
    relabelled: float = float("-inf")
    gone: float = float("inf")


class Checker:
    """Feed it every change in order with ``take``; read ``wrong`` and ``counts``."""

    def __init__(self, scheduler_name: str = "default-scheduler") -> None:
        self.scheduler_name = scheduler_name
        self.nodes: dict[str, Held] = defaultdict(Held)
        self.waiting: dict[str, Object] = {}
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._where: dict[str, str] = {}
        self._labels: dict[str, dict[str, str]] = {}
        self._relabelled: dict[str, float] = {}
        #: (when, node, placed) of pods that left within the window.
        self._left: list[tuple[float, str, Placed]] = []
        #: When the nodes that there are, or their labels, last changed.
        self._domains_changed = float("-inf")
        self._gangs: dict[str, list[float]] = {}
        self._gang_needs: dict[str, int] = {}
        self._judged_gangs: set[str] = set()

    def take(self, change: Change) -> None:
        self.counts["changes"] += 1
        if change.resource == NODES:
            self._take_node(change)
        else:
            self._take_pod(change)
        self._check_gangs(change.heard)

    # -- nodes -----------------------------------------------------------------------------------

    def _take_node(self, change: Change) -> None:
        held, now, new = self.nodes[change.obj["metadata"]["name"]], change.heard, change.obj
        old = held.node
        if change.gone:
            held.node, held.gone = None, now
            self._domains_changed = now
            return
        held.node = new
        if old is None:
            held.made = held.resized = held.shunning = held.relabelled = now
            held.gone = float("inf")
            self._domains_changed = now
            return
        if sums.allocatable(old) != sums.allocatable(new):
            held.resized = now
        if any(old["spec"].get(part) != new["spec"].get(part) for part in ("taints", "unschedulable")):
            held.shunning = now
        if sums.labels(old) != sums.labels(new):
            held.relabelled = self._domains_changed = now

    # -- pods ------------------------------------------------------------------------------------

    def _take_pod(self, change: Change) -> None:
        pod, now = change.obj, change.heard
        uid = pod["metadata"]["uid"]
        if change.gone or sums.finished(pod):
            self.counts["pods preempted"] += sums.preempted(pod)
            self._drop(uid, now)
            return
        # A binding brings the pod its node's topology labels, which nothing here selects by.
        chosen = {key: value for key, value in sums.labels(pod).items() if key not in _BROUGHT}
        if self._labels.setdefault(uid, chosen) != chosen:
            self._labels[uid] = chosen
            self._relabelled[uid] = now
        name = sums.node_of(pod)
        if not name:
            self.waiting[uid] = pod
            return
        held = self.nodes[name]
        known = held.pods.get(uid)
        if known is None:
            self.waiting.pop(uid, None)
            if uid in self._where:
                self.wrong.append(f"{_name(pod)} moved from {self._where[uid]} to {name}")
            placed = Placed(pod, now, sums.requests(pod), sums.host_ports(pod))
            placed.relabelled = self._relabelled.get(uid, float("-inf"))
            self._judge(placed, name, held, now, change.revision)
            self._where[uid] = name
            held.pods[uid] = placed
            held.used += placed.asked
            self._note_gang(pod, now)
            return
        if sums.ending(pod) and not sums.ending(known.pod):
            known.ending = now
        known.relabelled = self._relabelled.get(uid, float("-inf"))
        asked = sums.requests(pod)
        if asked != known.asked:
            self.counts["pods resized"] += 1
            held.used.subtract(known.asked)
            held.used += asked
            if any(asked[name] > known.asked[name] for name in asked):
                held.resized = now
            known.asked = asked
        known.pod = pod

    def _drop(self, uid: str, now: float) -> None:
        self.waiting.pop(uid, None)
        self._labels.pop(uid, None)
        self._relabelled.pop(uid, None)
        name = self._where.pop(uid, None)
        if name is None:
            return
        self.counts["pods gone"] += 1
        held = self.nodes[name]
        placed = held.pods.pop(uid)
        held.used.subtract(placed.asked)
        self._left = [entry for entry in self._left if entry[0] > now - WINDOW]
        self._left.append((now, name, placed))

    # -- was it right? ---------------------------------------------------------------------------

    def _judge(self, placed: Placed, name: str, held: Held, now: float, revision: int) -> None:
        self.counts["bindings"] += 1
        since = now - WINDOW
        pod = placed.pod
        found = [*self._wrong_pod(pod), *self._wrong_node(placed, held, since)]
        if held.node is not None:
            found += self._wrong_room(placed, held, since)
            found += self._wrong_apart(placed, name, held, since)
            found += self._wrong_near(placed, name, held, since)
            found += self._wrong_spread(placed, name, held, since)
        for why in found:
            self.wrong.append(f"revision {revision}: {_name(pod)} on {name}: {why}")

    def _race(self, what: str) -> list[str]:
        self.counts[f"races: {what}"] += 1
        return []

    def _wrong_pod(self, pod: Object) -> list[str]:
        found = []
        if pod["spec"].get("schedulingGates"):
            found.append("it is gated")
        if pod["spec"].get("schedulerName") != self.scheduler_name:
            found.append(f"it is {pod['spec'].get('schedulerName')}'s")
        return found

    def _wrong_node(self, placed: Placed, held: Held, since: float) -> list[str]:
        if held.node is None:
            return self._race("node gone") if since < held.gone < float("inf") else ["there is no such node"]
        found = []
        if why := sums.shunned(placed.pod, held.node):
            found += self._race("node shuns") if held.shunning > since else [f"the node {why}"]
        self.counts["judged: node selection"] += bool(placed.pod["spec"].get("nodeSelector"))
        if not sums.wants_node(placed.pod, held.node):
            found += self._race("labels") if held.relabelled > since else ["the node is not what it asks for"]
        return found

    def _wrong_room(self, placed: Placed, held: Held, since: float) -> list[str]:
        assert held.node is not None
        has = sums.allocatable(held.node)
        found = []
        for resource, wanted in placed.asked.items():
            total = held.used[resource] + wanted
            if wanted and total > has.get(resource, 0):
                if held.resized > since:
                    return self._race("node resized")
                found.append(f"{resource}: {total} of {has.get(resource, 0)}")
        self.counts["judged: ports"] += bool(placed.ports)
        clashing = [other for other in held.pods.values() if sums.ports_clash(placed.ports, other.ports)]
        return found + [f"a host port is {_name(other.pod)}'s" for other in clashing]

    def _neighbours(self, key: str, node: Object) -> Iterable[Placed]:
        """Pods in the node's domain of ``key``."""
        value = sums.labels(node).get(key)
        for held in self.nodes.values():
            if value is not None and held.node is not None and sums.labels(held.node).get(key) == value:
                yield from held.pods.values()

    def _wrong_apart(self, placed: Placed, name: str, held: Held, since: float) -> list[str]:
        assert held.node is not None
        pod = placed.pod
        found = []
        mine = sums.terms(pod, "podAntiAffinity")
        self.counts["judged: anti-affinity"] += bool(mine)
        clashes = [
            (other, "wants it away")
            for term in mine
            for other in self._neighbours(term["topologyKey"], held.node)
            if sums.means(term, pod, other.pod)
        ]
        clashes += [
            (other, "is wanted away by it")
            for holder in self.nodes.values()
            for other in holder.pods.values()
            for term in sums.terms(other.pod, "podAntiAffinity")
            if sums.means(term, other.pod, pod) and self._together(term["topologyKey"], holder, held)
        ]
        for other, why in clashes:
            changed = max(other.relabelled, placed.relabelled, self._relabelled_near(held, other))
            found += self._race("anti-affinity") if changed > since else [f"{why}: {_name(other.pod)}"]
        return found

    def _relabelled_near(self, held: Held, other: Placed) -> float:
        return max(held.relabelled, self.nodes[sums.node_of(other.pod)].relabelled)

    @staticmethod
    def _together(key: str, one: Held, other: Held) -> bool:
        if one.node is None or other.node is None:
            return False
        value = sums.labels(one.node).get(key)
        return value is not None and sums.labels(other.node).get(key) == value

    def _wrong_near(self, placed: Placed, name: str, held: Held, since: float) -> list[str]:
        assert held.node is not None
        pod = placed.pod
        for term in sums.terms(pod, "podAffinity"):
            self.counts["judged: affinity"] += 1
            if any(
                sums.means(term, pod, other.pod) for other in self._neighbours(term["topologyKey"], held.node)
            ):
                continue
            left = any(sums.means(term, pod, other.pod) for when, _, other in self._left if when > since)
            if left or self._domains_changed > since or self._any_relabelled(since):
                return self._race("affinity")
            others = [
                other
                for holder in self.nodes.values()
                if holder.node is not None and term["topologyKey"] in sums.labels(holder.node)
                for other in holder.pods.values()
                if sums.means(term, pod, other.pod)
            ]
            if any(other.bound < since for other in others) or not sums.means(term, pod, pod):
                return [f"nobody it wants is near ({len(others)} elsewhere)"]
        return []

    def _any_relabelled(self, since: float) -> bool:
        return any(when > since for when in self._relabelled.values())

    def _wrong_spread(self, placed: Placed, name: str, held: Held, since: float) -> list[str]:
        assert held.node is not None
        pod = placed.pod
        constraints = sums.spreads(pod)
        if not constraints:
            return []
        if self._domains_changed > since or self._any_relabelled(since):
            return self._race("spreading")
        keys = {one["topologyKey"] for one in constraints}
        self.counts["judged: spreading"] += 1
        if missing := keys - sums.labels(held.node).keys():
            return [f"the node lacks {missing}"]
        for one in constraints:
            mine = sums.labels(held.node)[one["topologyKey"]]
            least, most = self._matching(one, pod, keys, since)
            itself = int(sums.selects(one["labelSelector"], pod))
            skew = least.get(mine, 0) + itself - min(most.values(), default=0)
            if skew > one["maxSkew"]:
                return [f"skew over {one['topologyKey']} is {skew}, not {one['maxSkew']}"]
        return []

    def _matching(
        self, constraint: Object, pod: Object, keys: set[str], since: float
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Pods by domain that counted all the while, and that may have counted at some time."""
        least: dict[str, int] = {}
        most: dict[str, int] = {}
        key = constraint["topologyKey"]

        def counts(other: Placed) -> bool:
            same = other.pod["metadata"]["namespace"] == pod["metadata"]["namespace"]
            return same and sums.selects(constraint["labelSelector"], other.pod)

        for holder in self.nodes.values():
            if holder.node is None or not keys <= sums.labels(holder.node).keys():
                continue
            if not sums.wants_node(pod, holder.node):
                continue
            value = sums.labels(holder.node)[key]
            least.setdefault(value, 0)
            most.setdefault(value, 0)
            for other in holder.pods.values():
                if counts(other):
                    least[value] += other.bound < since and not sums.ending(other.pod)
                    most[value] += other.ending >= since
        for when, name, other in self._left:
            node = self.nodes[name].node
            if when > since and node is not None and sums.labels(node).get(key) in most and counts(other):
                most[sums.labels(node)[key]] += other.ending >= since
        return least, most

    # -- gangs -----------------------------------------------------------------------------------

    def _note_gang(self, pod: Object, now: float) -> None:
        name = sums.labels(pod).get(GANG)
        if name is not None:
            needs = int(pod["metadata"]["annotations"][GANG_MINIMUM])
            self._gang_needs[name] = needs
            self._gangs.setdefault(name, []).append(now)

    def _check_gangs(self, now: float) -> None:
        for name, bound in list(self._gangs.items()):
            if bound[0] < now - GANG_WINDOW:
                del self._gangs[name]
                if name in self._judged_gangs:
                    continue
                self._judged_gangs.add(name)  # judged once; members beyond the minimum may come any time
                self.counts["judged: gangs"] += 1
                if len(bound) < self._gang_needs[name]:
                    self.wrong.append(f"gang {name}: {len(bound)} of {self._gang_needs[name]} got a node")

    # -- who waits -------------------------------------------------------------------------------

    def overcommitted(self) -> list[str]:
        """Nodes that hold more than they have, whosever fault it is."""
        found = []
        for name, held in self.nodes.items():
            has = sums.allocatable(held.node) if held.node is not None else {}
            for resource, used in held.used.items():
                if held.node is not None and used > has.get(resource, 0):
                    found.append(f"{name}: {resource}: {used} of {has.get(resource, 0)}")
        return found

    def unplaced(self) -> list[str]:
        """Waiting pods that fit on a node as things are, leaving nominated pods their room."""
        found = []
        for pod in self.waiting.values():
            if self._wrong_pod(pod) or sums.ending(pod) or GANG in sums.labels(pod):
                continue
            if pod["spec"].get("volumes"):
                continue
            self.counts["judged: waiting"] += 1
            for name, held in self.nodes.items():
                if held.node is not None and self._fits(pod, name, held):
                    found.append(f"{_name(pod)} fits on {name}")
                    break
        return found + self._unplaced_gangs()

    def _unplaced_gangs(self) -> list[str]:
        """Gangs without a node for which there is room. (Their pods are alike, and ask for room alone.)"""
        waiting: dict[str, list[Object]] = {}
        for pod in self.waiting.values():
            if not sums.ending(pod) and GANG in sums.labels(pod):
                waiting.setdefault(sums.labels(pod)[GANG], []).append(pod)
        found = []
        for name, pods in waiting.items():
            alike = all(sums.requests(pod) == sums.requests(pods[0]) for pod in pods)
            if len(pods) < int(pods[0]["metadata"]["annotations"][GANG_MINIMUM]) or not alike:
                continue
            self.counts["judged: waiting gangs"] += 1
            room = 0
            for node_name, held in self.nodes.items():
                here = 0
                while (
                    held.node is not None
                    and here < len(pods)
                    and min(self._fits(pod, node_name, held, here + 1) for pod in pods)
                ):
                    here += 1
                room += here
            if room >= len(pods):
                found.append(f"gang {name}: there is room for all {len(pods)}")
        return found

    def _fits(self, pod: Object, name: str, held: Held, times: int = 1) -> bool:
        always = float("inf")
        placed = Placed(pod, always, sums.requests(pod), sums.host_ports(pod))
        for _ in range(times - 1):
            placed.asked += sums.requests(pod)
        for other in self.waiting.values():
            expected = (other.get("status") or {}).get("nominatedNodeName") == name
            if expected and other is not pod and sums.priority(other) >= sums.priority(pod):
                placed.asked += sums.requests(other)
        before = Counter(self.counts)
        wrong = (
            self._wrong_node(placed, held, always)
            or self._wrong_room(placed, held, always)
            or self._wrong_apart(placed, name, held, always)
            or self._wrong_near(placed, name, held, always)
            or self._wrong_spread(placed, name, held, always)
        )
        self.counts = before
        return not wrong


def _name(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
