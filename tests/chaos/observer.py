"""Sees every write as it reaches the store, knows who made it, and holds it against the invariants.

It shares nothing with the controllers: it decodes the stored bytes itself and keeps its own picture, by kind
and key. Each invariant is a small class (see ``workloads``, ``batch``, ``cluster``): ``see`` is called for every
change, after the picture has it. What they find is collected, so that a history always ends.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.store.interface import Op

#: Written for ever in a cluster where nothing changes.
HEARTBEATS = frozenset({"Lease"})


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``old`` and ``new`` are the object before and after; ``at`` counts seconds since the start."""

    revision: int
    at: float
    actor: str
    kind: str
    key: str
    old: Object | None
    new: Object | None

    @property
    def obj(self) -> Object:
        found = self.new if self.new is not None else self.old
        assert found is not None
        return found

    @property
    def appeared(self) -> bool:
        return self.old is None

    @property
    def vanished(self) -> bool:
        return self.new is None

    @property
    def deletion_began(self) -> bool:
        """It is to go from now on, or went at once."""
        going = self.new is None or meta.is_terminating(self.new)
        return self.old is not None and going and not meta.is_terminating(self.old)

    def __str__(self) -> str:
        what = "create" if self.appeared else "delete" if self.vanished else "update"
        return (
            f"{self.at:9.3f} {self.revision:6d} {self.actor:34} {what} {self.kind} {self.key}{self._detail()}"
        )

    def _detail(self) -> str:
        if self.old is None or self.new is None:
            return f" {_brief(self.obj)}" if self.old is None else ""
        return " " + " ".join(_differences(self.old, self.new, ""))[:400]


def _brief(obj: Object) -> str:
    spec = obj.get("spec") or {}
    keys = ("replicas", "nodeName", "parallelism", "completions", "schedule", "partition")
    return " ".join(f"{key}={spec[key]}" for key in keys if key in spec)


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in ("managedFields", "lastHeartbeatTime"):
                yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        text = orjson.dumps(new).decode()
        yield f"{path}={text if len(text) < 120 else text[:117] + '...'}"


class Invariant:
    """Base of the invariants; ``world`` is the observer."""

    def __init__(self, world: Observer) -> None:
        self.world = world

    def see(self, change: Change) -> None:
        """Called for every change."""

    def fail(self, change: Change, why: str) -> None:
        """Note a violation."""
        self.world.fail(f"{type(self).__name__}: {change.key}: {why}")

    def looked(self, at: str) -> None:
        """Count that something was held against the rule, and not forgiven: see ``Observer.looks``."""
        self.world.looks[f"{type(self).__name__}: {at}"] += 1

    def settled(self) -> None:
        """Called once when faults have ceased and all should be as specified."""


class Observer:
    """See the module's text. ``blur`` says how many seconds old a controller's knowledge may be."""

    def __init__(self, blur: Callable[[], float]) -> None:
        self.blur = blur
        self.objects: dict[str, dict[str, Object]] = defaultdict(dict)
        self.uids: dict[str, tuple[str, str]] = {}
        self.by_owner: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
        self.invariants: list[Invariant] = []
        self.violations: list[str] = []
        self.log: list[str | Change] = []
        #: How often each rule could be judged: a history in which none could proves nothing.
        self.looks: Counter[str] = Counter()
        self.steps = 0
        self.writes_since: list[Change] = []
        self._paths: dict[str, tuple[str, str]] = {}

    # -- the picture

    def all(self, kind: str, namespace: str = "") -> Iterable[Object]:
        """Objects of a kind in key order."""
        return [
            obj
            for key, obj in sorted(self.objects[kind].items())
            if not namespace or key.startswith(f"{namespace}/")
        ]

    def get(self, kind: str, key: str) -> Object | None:
        return self.objects[kind].get(key)

    def by_uid(self, uid: str) -> Object | None:
        """The live object of this uid."""
        kind, key = self.uids.get(uid, ("", ""))
        return self.objects[kind].get(key)

    def owned(self, uid: str, kind: str) -> list[Object]:
        """Live objects of ``kind`` whose controller is ``uid``."""
        found = []
        for owned in self.by_owner.get(uid, {}).values():
            obj = self.objects[owned[0]].get(owned[1]) if owned[0] == kind else None
            if obj is not None:
                found.append(obj)
        return found

    def pods_of(self, uid: str) -> list[Object]:
        return self.owned(uid, "Pod")

    # -- what happens

    def note(self, text: str) -> None:
        """A line of the history: what users do, and which faults strike."""
        self.log.append(f"{clock.monotonic():9.3f} -------- {text}")

    def fail(self, text: str) -> None:
        self.violations.append(f"{clock.monotonic():.3f} {text}")
        self.log.append(f"{clock.monotonic():9.3f} !!!!!!!! {text}")

    def told(self, revision: int, actor: str, op: Op) -> None:
        """The store has written ``op``."""
        new: Object | None = None
        old: Object | None = None
        place = self._paths.get(op.key)
        if place is not None:
            old = self.objects[place[0]].get(place[1])
        if op.value is not None:
            new = orjson.loads(op.value)
            assert new is not None
            new["metadata"]["resourceVersion"] = str(revision)
            place = self._paths[op.key] = (new["kind"], meta.key(new))
        if place is None or (old is None and new is None):
            return
        change = Change(revision, clock.monotonic(), actor, *place, old, new)
        self._keep(change)
        self.steps += 1
        if change.kind not in HEARTBEATS:
            self.log.append(change)
            self.writes_since.append(change)
        for invariant in self.invariants:
            invariant.see(change)

    def _keep(self, change: Change) -> None:
        place = (change.kind, change.key)
        if change.old is not None:
            self.uids.pop(meta.uid(change.old), None)
            reference = meta.controller_of(change.old)
            if reference is not None:
                self.by_owner[reference["uid"]].pop(meta.uid(change.old), None)
        if change.new is None:
            self.objects[change.kind].pop(change.key, None)
            return
        self.objects[change.kind][change.key] = change.new
        self.uids[meta.uid(change.new)] = place
        reference = meta.controller_of(change.new)
        if reference is not None:
            self.by_owner[reference["uid"]][meta.uid(change.new)] = place

    def history(self, lines: int = 0) -> str:
        """The last ``lines`` lines of what happened (0: all)."""
        return "\n".join(str(line) for line in self.log[-lines:])


@dataclass(slots=True)
class Known:
    """Values that were true at some time; ``since(t)`` has all that were true at ``t`` or later."""

    values: list[tuple[float, Any]]

    def since(self, start: float) -> list[Any]:
        found = [value for at, value in self.values if at >= start]
        earlier = [value for at, value in self.values if at < start]
        return earlier[-1:] + found


class Ledger:
    """``Known`` values by key."""

    def __init__(self) -> None:
        self._of: dict[str, Known] = {}

    def put(self, key: str, value: Any) -> None:
        """``value`` is true from now on."""
        known = self._of.setdefault(key, Known([]))
        if not known.values or known.values[-1][1] != value:
            known.values.append((clock.monotonic(), value))

    def within(self, key: str, seconds: float) -> list[Any]:
        """What was true of ``key`` at some time within the last ``seconds``."""
        known = self._of.get(key)
        return known.since(clock.monotonic() - seconds) if known is not None else []


def is_active(pod: Object) -> bool:
    """Neither ended nor going."""
    return not meta.is_terminating(pod) and not has_ended(pod)


def has_ended(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_ready(pod: Object) -> bool:
    """Active and Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return is_active(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def is_available(pod: Object, min_ready: int) -> bool:
    """Active, and Ready for so long that nobody can doubt that it is available."""
    if not is_ready(pod):
        return False
    (since,) = (c["lastTransitionTime"] for c in pod["status"]["conditions"] if c["type"] == "Ready")
    return not min_ready or clock.now() - clock.parse_time(since) > min_ready + 1


def share(value: Any, total: int, *, up: bool) -> int:
    """An int-or-percent of ``total``."""
    if isinstance(value, str):
        hundredths = int(value.rstrip("%")) * total
        return -(-hundredths // 100) if up else hundredths // 100
    return int(value)
