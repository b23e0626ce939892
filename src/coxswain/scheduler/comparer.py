"""Whether the scheduler's memory agrees with the API: kube-scheduler's cache comparer, to the last array.

    informers == API         every object that is listed is known with its resource version, and no other is
    places    == informers   each pod is placed, assumed, waits in the queue, or is none of our business
    table     == made afresh the node table's content equals that of a new table filled from the API's objects

The API is listed and parsed while scheduling goes on; then everything is compared in one go, so nothing moves
meanwhile: scheduling stands still for some 20 us a pod. Objects that are on their way (the list shows another version than the informer has) are looked at
again a little later: who still has the same old version then has missed a change. For the table they count as
the informer has them. Pods that were assumed count where the cache says; nothing else is taken on trust.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from coxswain.api.errors import ApiError
from coxswain.api.names import NODES, PODS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.informer import key_of
from coxswain.scheduler import pod as pods
from coxswain.scheduler import volumes
from coxswain.scheduler.content import content, differences, for_table, template_key
from coxswain.scheduler.disruption import Budget, Budgets
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.queue import PLACES
from coxswain.scheduler.template import Template, Templates
from coxswain.scheduler.verdict import Verdict
from coxswain.scheduler.watching import WORKLOADS, trim_node

if TYPE_CHECKING:
    from coxswain.scheduler.component import Scheduler

log = logging.getLogger(__name__)
#: How often what is on its way is looked at again, and seconds between.
_TRIES, _PAUSE = 6, 1.0
#: Objects parsed before others get their turn; verdicts that are compared with fresh ones.
_SLICE, _VERDICTS = 200, 64
_PAGE: Final = 5_000

#: (resource, key) -> resource version.
_Versions = dict[tuple[str, str], str]


@dataclass(slots=True)
class Comparison:
    """What a comparison found; ``differences`` is empty when all is well."""

    differences: list[str] = field(default_factory=list)
    nodes: int = 0
    pods: int = 0
    assumed: int = 0
    #: Verdicts that were compared with fresh ones.
    verdicts: int = 0
    #: Objects still on their way when the comparison was made.
    on_their_way: int = 0
    #: Seconds that the scheduler stood still for it.
    seconds: float = 0.0
    #: How large the scheduler's structures are.
    sizes: dict[str, int] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """For a log or an answer."""
        return asdict(self)


@dataclass(slots=True)
class _Listed:
    """What the API has, and its nodes and pods parsed for a table of their own."""

    versions: _Versions
    table: NodeTable
    nodes: dict[str, Object]
    pods: dict[str, Pod]


async def compare(scheduler: Scheduler) -> Comparison:
    """Compare with the API now. Raises ``ApiError`` if it cannot be listed."""
    missed: _Versions | None = None
    for _ in range(_TRIES):
        if missed is not None:
            await clock.sleep(_PAUSE)
        listed = await _list(scheduler)
        informed = _informed(scheduler)
        everything = listed.versions.keys() | informed.keys()
        moving = {
            key: informed.get(key, "") for key in everything if listed.versions.get(key) != informed.get(key)
        }
        if missed is None:
            missed = moving
        else:
            missed = {key: version for key, version in moving.items() if missed.get(key) == version}
        if not missed:
            break
    # From here on nothing else runs.
    started = clock.monotonic()
    found = Comparison(nodes=len(scheduler.table), pods=len(scheduler.cache), assumed=scheduler.cache.assumed)
    found.on_their_way = len(moving)
    for (resource, key), version in sorted((missed or {}).items()):
        has = listed.versions.get((resource, key), "no such object")
        found.differences.append(f"{resource} {key}: version {version or 'none'} is known, the API has {has}")
    found.differences += _compare_places(scheduler)
    found.differences += _compare_facts(scheduler)
    found.differences += _compare_tables(scheduler, listed)
    verdicts = list(scheduler.cycle.kept_verdicts())[-_VERDICTS:]
    found.verdicts = len(verdicts)
    for verdict in verdicts:
        found.differences += _compare_verdict(verdict)
    found.seconds = clock.monotonic() - started
    found.sizes = sizes(scheduler)
    return found


class Comparing:
    """Comparisons on request, one at a time; what they find is logged."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._task: asyncio.Task[None] | None = None

    def request(self) -> None:
        """Compare, unless that is being done."""
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._report())

    async def close(self) -> None:
        if self._task is not None:
            await cancel_and_wait(self._task)

    async def _report(self) -> None:
        if not self._scheduler.synced:
            log.warning("the cache is not compared: the informers have not synced")
            return
        try:
            found = await compare(self._scheduler)
        except ApiError as error:
            log.warning("the cache is not compared: %s", error)
            return
        except Exception:
            log.exception("comparing the cache failed")
            return
        fields = {"comparison": found.told()}
        if found.differences:
            log.warning("the cache differs from the API: %s", found.differences[0], extra={"fields": fields})
        else:
            log.info("the cache agrees with the API", extra={"fields": fields})


async def _list(scheduler: Scheduler) -> _Listed:
    """Everything that informers follow, as the API has it now."""
    table = NodeTable()
    templates = Templates(table, limit=1 << 30)
    listed = _Listed({}, table, {}, {})
    for resource in (*(informer.resource for informer in scheduler.informers.all()), PODS):
        token = ""
        while True:
            page = await scheduler.client.list(resource, limit=_PAGE, continue_=token)
            for number, raw in enumerate(page.items):
                obj = orjson.loads(raw)
                key = key_of(obj)
                listed.versions[resource.group_resource, key] = obj["metadata"]["resourceVersion"]
                if resource == NODES:
                    listed.nodes[key] = trim_node(obj)
                elif resource == PODS:
                    listed.pods[key] = pods.parse(obj, templates)
                if number % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
            token = page.continue_
            if not token:
                break
    return listed


def _informed(scheduler: Scheduler) -> _Versions:
    versions = {
        (informer.resource.group_resource, key_of(obj)): _version(obj)
        for informer in scheduler.informers.all()
        for obj in informer.list()
    }
    return versions | {("pods", pod.key): pod.resource_version for pod in scheduler.watching.pods.list()}


# -- places ------------------------------------------------------------------------------------------


def _compare_places(scheduler: Scheduler) -> list[str]:
    """Each pod is in the one place where it belongs."""
    cache, queue = scheduler.cache, scheduler.queue
    assumed = {pod.key: node_name for pod, node_name in cache.all_assumed()}
    placed, waiting, unbound = {}, {}, set()
    for pod in scheduler.watching.pods.list():
        if pod.finished:
            continue
        if pod.node_name:
            placed[pod.key] = pod.node_name
            continue
        unbound.add(pod.key)
        if pod.scheduler_name in scheduler.profiles and not pod.deleting and pod.key not in assumed:
            waiting[pod.key] = _queued(pod)
    known = {pod.key: node_name for pod, node_name in cache.all_placed()}
    lost = {key: name for key, name in assumed.items() if key not in unbound}
    in_queue = {
        queued.pod.key: _queued(queued.pod) for queued in queue.all() if queued.pod.key not in assumed
    }
    uids = {queued.pod.uid for queued in queue.all()} | {pod.uid for pod, _ in cache.all_assumed()}
    nominated = {uid: True for uid in scheduler.cycle.nominator.uids() if uid not in uids}
    return [
        *differences(known, placed, "placed"),
        *differences(lost, {}, "assumed, but the API has placed or forgotten it"),
        *differences(in_queue, waiting, "queue"),
        *differences(nominated, {}, "nominated, but it does not wait"),
    ]


def _queued(pod: Pod) -> dict[str, Any]:
    """What the queue must know of a pod as it is now."""
    return {
        "uid": pod.uid,
        "priority": pod.priority,
        "gated": pod.gated,
        "group": pod.group,
        "template": template_key(pod.template),
    }


# -- facts -------------------------------------------------------------------------------------------


def _compare_facts(scheduler: Scheduler) -> list[str]:
    """Namespaces, services, controllers, budgets, groups, and what storage has."""
    facts = scheduler.table.facts
    by_resource = {informer.resource.resource: informer for informer in scheduler.informers.all()}
    namespaces = {
        obj["metadata"]["name"]: obj["metadata"].get("labels") or {}
        for obj in by_resource["namespaces"].list()
    }
    services: dict[str, dict[str, Any]] = {}
    for obj in by_resource["services"].list():
        if obj["selector"]:
            services.setdefault(obj["metadata"]["namespace"], {})[obj["metadata"]["name"]] = obj["selector"]
    workloads = {
        f"{kind} {obj['metadata']['namespace']}/{obj['metadata']['name']}": obj["selector"]
        for kind, resource in WORKLOADS
        for obj in by_resource[resource.resource].list()
        if obj["selector"] is not None
    }
    known = {f"{kind} {namespace}/{name}": sel for (kind, namespace, name), sel in facts.workloads.items()}
    budgets = Budgets()
    for obj in by_resource["poddisruptionbudgets"].list():
        budgets.set(obj)
    found = [
        *differences(facts.namespaces, namespaces, "namespaces"),
        *differences(facts.services, services, "services"),
        *differences(known, workloads, "workloads"),
        *differences(_budgets(scheduler.budgets), _budgets(budgets), "budgets"),
        *_compare_groups(scheduler),
    ]
    for kind in volumes.KINDS:
        if kind in by_resource:
            have = {key_of(obj): _version(obj) for obj in scheduler.table.volumes.all(kind)}
            should = {key_of(obj): _version(obj) for obj in by_resource[kind].list()}
            found += differences(have, should, kind)
    return found


def _version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


def _budgets(budgets: Budgets) -> dict[str, Any]:
    def told(budget: Budget) -> tuple[Any, ...]:
        selector = None if budget.selector is None else budget.selector.requirements
        return selector, budget.allowed, sorted(budget.disrupted)

    return {key: told(budget) for key, budget in budgets.known().items()}


def _compare_groups(scheduler: Scheduler) -> list[str]:
    should: dict[str, tuple[list[str], list[str]]] = {}
    for pod in scheduler.watching.pods.list():
        if pod.group and not pod.finished:
            everyone, placed = should.setdefault(f"{pod.namespace}/{pod.group}", ([], []))
            everyone.append(pod.key)
            if pod.node_name or scheduler.cache.knows(pod.key):
                placed.append(pod.key)
    sort = {name: (sorted(everyone), sorted(placed)) for name, (everyone, placed) in should.items()}
    found = []
    for gang in scheduler.gangs:
        found += differences(gang.groups(), sort, "groups")
    return found


# -- arrays ------------------------------------------------------------------------------------------


def _compare_tables(scheduler: Scheduler, listed: _Listed) -> list[str]:
    """The node table against one filled from the API's objects."""
    table, fresh = scheduler.table, listed.table
    known: dict[str, Template] = {}

    for kind in volumes.KINDS:
        for obj in table.volumes.all(kind):
            fresh.volumes.set(kind, obj)
    for kind in (volumes.CLAIMS, volumes.VOLUMES):
        for obj in table.volumes.all_assumed(kind):
            fresh.volumes.assume(kind, obj)
    for obj in scheduler.watching.nodes.list():
        current = listed.versions.get(("nodes", key_of(obj))) == _version(obj)
        fresh.set_node(listed.nodes[key_of(obj)] if current else obj)
    for pod in scheduler.watching.pods.list():
        if pod.node_name and not pod.finished:
            current = listed.versions.get(("pods", pod.key)) == pod.resource_version
            here = listed.pods[pod.key] if current else for_table(pod, fresh, known)
            fresh.add_pod(here, pod.node_name)
    for pod, node_name in scheduler.cache.all_assumed():
        fresh.add_pod(for_table(pod, fresh, known), node_name)
    return differences(content(table, fresh.columns), content(fresh, table.columns), "table")


def _compare_verdict(verdict: Verdict) -> list[str]:
    """A kept verdict against one made now."""
    verdict.refresh()
    fresh = Verdict(verdict.template, verdict.profile, verdict.table)
    fresh.refresh()
    rows = verdict.table.order
    found = [
        f"{name} of {verdict.table.node(row).name} is stale"
        for name in ("rejected_by", "code")
        for row in rows[getattr(verdict, name)[rows] != getattr(fresh, name)[rows]].tolist()
    ]
    found += stale_tallies(verdict, fresh)
    return [f"verdict of {template_key(verdict.template)}: {line}" for line in found]


def stale_tallies(verdict: Verdict, fresh: Verdict) -> list[str]:
    """Where the counters by domain that a verdict keeps are not those that another of the same table makes."""
    kept = verdict.tallies()
    if not kept:
        return []
    fresh.neighbours()
    made = fresh.tallies()
    found = [f"tally {slot} is missing" for slot in made.keys() - kept.keys()]
    for slot, tally in kept.items():
        should = made[slot].counts if slot in made else np.zeros_like(tally.counts)
        if not np.array_equal(tally.counts, should):
            found.append(f"tally {slot} is {tally.counts.tolist()}, not {should.tolist()}")
    return found


def sizes(scheduler: Scheduler) -> dict[str, int]:
    """How much is kept of each kind, for who watches for leaks."""
    table, queue = scheduler.table, scheduler.queue
    return {
        "tasks": len(asyncio.all_tasks()),
        "gc objects": sum(gc.get_count()),
        "node rows": len(table.nodes),
        "capacity": table.capacity,
        "resources": len(table.resources),
        "taint sets": len(table.taint_sets),
        "label values": sum(len(column.values) for column in table.columns.values()),
        "label columns": len(table.columns),
        "images": len(table.images),
        "ports": len(table.ports),
        "groups of placed pods": sum(1 for _ in table.placed),
        "priorities": len(table.priorities),
        "nodes waited for": len(table.waiting()),
        "templates": len(scheduler.templates),
        "verdicts": sum(1 for _ in scheduler.cycle.kept_verdicts()),
        "nominated": len(scheduler.cycle.nominator),
        **{f"queue {place}": queue.size(place) for place in PLACES},
        "writes": len(scheduler.writer),
        "permit waits": len(scheduler.binding.waiting),
        "pod groups": sum(len(gang.groups()) for gang in scheduler.gangs),
        "volume objects": sum(len(list(table.volumes.all(kind))) for kind in volumes.KINDS),
        "volume counts": sum(map(len, table.volumes.counts().values())),
        "informed objects": len(scheduler.watching.pods)
        + sum(len(informer) for informer in scheduler.informers.all()),
    }
