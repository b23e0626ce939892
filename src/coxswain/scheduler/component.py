r"""The scheduler as a component: informers in, bindings, conditions and events out.

    informers --Watching--> cache + node table, queue                    synchronous, in revision order
    loop: queue.pop -> cycle.schedule -> assume -> writer (bindings)     one run of identical pods a step
                                     |           \-> BindingCycle        pods that Reserve, Permit, ... are about
                                     \-> reject  -> writer (conditions, nominations), events, Evictor (victims)
    writer: batches to the API --settled--> confirm, or forget and try again

A pod is bound at most once by us: it is assumed before its binding is sent, and leaves the queue only when the
API has it on a node. After a restart everything is rebuilt from the informers.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.client.interface import Answer, Client
from coxswain.scheduler import extended, metrics, writes
from coxswain.scheduler.binding import BindingCycle, Refused
from coxswain.scheduler.cache import Cache
from coxswain.scheduler.config import SchedulerConfig
from coxswain.scheduler.cycle import Cycle, Failure, Placement
from coxswain.scheduler.disruption import Budgets
from coxswain.scheduler.eviction import Evictor
from coxswain.scheduler.extender import Extender, ExtenderError
from coxswain.scheduler.framework import Change, Event, HintingPlugin, Profile, offers
from coxswain.scheduler.gang import GangScheduling
from coxswain.scheduler.group import Refusal, schedule_group
from coxswain.scheduler.lifecycle import StartingPlugin, WaitingPod
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.preemption import Candidate
from coxswain.scheduler.profiles import build_all
from coxswain.scheduler.queue import QueuedPod, SchedulingQueue
from coxswain.scheduler.template import Template, Templates
from coxswain.scheduler.timing import ONE_IN, SUCCESS, Timing, plugin_ran, point_ran
from coxswain.scheduler.watching import Watching
from coxswain.scheduler.writer import LINGER, Writer

log = logging.getLogger(__name__)
#: Seconds that one step of the loop may take before runs are made shorter, and the shortest run.
_LONG_STEP, _SHORTEST_RUN = 0.008, 8


async def run(client: Client, config: SchedulerConfig | None = None) -> None:
    """Schedule pods until cancelled."""
    await Scheduler(client, config or SchedulerConfig()).run()


class Scheduler:
    """See the module's text. It is the plugins' ``Handle``."""

    def __init__(self, client: Client, config: SchedulerConfig) -> None:
        """Raises ``ConfigurationError`` if the configuration's profiles cannot be built."""
        settings = config.configuration()
        self.config = config
        self.client = client
        self.table = NodeTable()
        self.templates = Templates(self.table)
        self.cache = Cache(self.table)
        self.profiles = build_all(settings)
        self.extenders = [Extender(one) for one in settings.extenders]
        sort = next(iter(self.profiles.values())).queue_sort
        self.queue = SchedulingQueue(
            initial_backoff=settings.pod_initial_backoff_seconds,
            max_backoff=settings.pod_max_backoff_seconds,
            max_unschedulable=config.pod_max_in_unschedulable_seconds,
            pop_from_backoff=True,
            sort_key=sort.sort_key if sort is not None else None,
        )
        self.budgets = Budgets()
        self.cycle = Cycle(self.table, clock.random().getrandbits(63), budgets=self.budgets)
        self.cycle.nominator.freed = lambda pod: self.happened(Event.POD_DELETE, pod)
        self.writer = Writer(client, batch=config.bind_batch_size, concurrency=config.bind_concurrency)
        self.events = {
            name: EventRecorder(client, name, series=True, yields_to=self._is_placing)
            for name in self.profiles
        }
        self.informers = InformerFactory(client, "scheduler's informers")
        self.binding = BindingCycle(self._write_binding)
        self.evictor = Evictor(
            client,
            reject_waiting=lambda pod: self.binding.reject_waiting(pod, "DefaultPreemption", "preempted"),
            evicted=self._evicted,
            finished=self._eviction_finished,
        )
        gates = (plugin for profile in self.profiles.values() for plugin in profile.gates)
        self.gangs = [plugin for plugin in gates if isinstance(plugin, GangScheduling)]
        whole = any(not one.config.node_cache_capable for one in self.extenders)
        self.watching = Watching(
            self.informers, self.table, self.templates, self.budgets, self.gangs, self, whole_nodes=whole
        )
        self._plugins = _plugins_of(self.profiles.values())
        self._attempts = {name: metrics.Attempts(name) for name in self.profiles}
        self._wake = asyncio.Event()
        self._changes: dict[object, Change] = {}
        self._step = config.batch_size
        self._timings = {name: Timing(name) for name in self.profiles}
        self._decisions = 0
        self._measuring = metrics.Measuring(self.queue, self.cache, self.table, self.cycle)
        self.synced = False

    async def run(self) -> None:
        """Until cancelled; every task has ended on return."""
        for plugin in self._plugins.values():
            if offers(plugin, StartingPlugin):  # type: ignore[type-abstract]
                plugin.start(self)
        try:
            async with Supervisor("scheduler") as tasks:
                await self.watching.follow_pod_groups(self.client)
                await self.informers.start()
                await self.informers.wait_for_sync()
                self.synced = True
                log.info("scheduling: %d nodes, %d pods wait", len(self.table), len(self.queue))
                tasks.supervise("writer", self.writer.run)
                await tasks.supervise("scheduling", self._schedule_for_ever)
        finally:
            self.synced = False
            await self.evictor.close()
            await self.binding.close()
            await self.informers.stop()
            for recorder in self.events.values():
                await recorder.close()
            for extender in self.extenders:
                await extender.close()

    # -- what plugins may use (lifecycle.Handle) ---------------------------------------------------

    def happened(self, event: Event, old: Any = None, new: Any = None) -> None:
        """Something changed that may help pods that wait; they are woken before the next decision."""
        if not self.queue.interested(event):
            self.queue.note(event)
            return
        # Pods of one template are alike to every hint.
        one = new if new is not None else old
        key: object = (event, id(one.template)) if isinstance(one, Pod) else len(self._changes)
        self._changes[key] = Change(event, old, new)
        self._wake.set()

    def waiting(self) -> list[WaitingPod]:
        return list(self.binding.waiting.values())

    def activate(self, key: str) -> None:
        self.queue.activate(key, clock.monotonic())
        self._wake.set()

    # -- what informers say (watching.Listener) ----------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def pod_placed(self, pod: Pod) -> None:
        self.queue.delete(pod.key)
        self.cycle.nominator.remove(pod.uid, pod.node_name)
        if self.cache.place(pod):
            self.happened(Event.POD_ADD, None, pod)
            if pod.group:
                self.groups_changed()

    def pod_pending(self, pod: Pod) -> None:
        profile = self.profiles.get(pod.scheduler_name)
        if profile is None:
            return
        if pod.deleting:
            self.queue.delete(pod.key)
            self.cycle.nominator.remove(pod.uid)
            return
        if self.cache.knows(pod.key):
            # Should the binding fail, the pod is tried again as it is then.
            self.queue.update(pod, clock.monotonic())
            return
        known = self.queue.get(pod.key)
        if pod.nominated != (known.pod.nominated if known is not None else ""):
            self.cycle.nominator.set(pod, pod.nominated)
        self.queue.add(pod, clock.monotonic(), gate=_gate_of(pod, profile))
        if known is None and pod.group:
            self.groups_changed()
            self.happened(Event.POD_PENDING, None, pod)

    def pod_gone(self, key: str, pod: Pod) -> None:
        self.queue.delete(key)
        self.writer.drop(key)
        self.cycle.nominator.remove(pod.uid)
        self.binding.reject_waiting(pod, "", "the pod was deleted")
        if self.cache.remove(key):
            self.happened(Event.POD_DELETE, pod, None)

    def groups_changed(self) -> None:
        """Pods that wait for others of their group may enter the queue now."""
        now = clock.monotonic()
        for queued in self.queue.gated():
            if queued.pod.group:
                profile = self.profiles[queued.pod.scheduler_name]
                self.queue.update(queued.pod, now, gate=_gate_of(queued.pod, profile))
        self._wake.set()

    # -- scheduling ------------------------------------------------------------------------------

    async def _schedule_for_ever(self) -> None:
        while True:
            await self.writer.has_room(self.config.max_unbound)
            if self.writer.gathers and self.queue.size("active") < self.config.bind_batch_size:
                # What were decided now would be sent later: let more pods come, and decide on all in one go.
                await self.writer.quiet(LINGER)
            now = clock.monotonic()
            if self._changes:
                self._wake_those_helped(now)
            self.queue.tick(now)
            if self._measuring.is_due(now):
                self._measuring.look(now)
            batch = self.queue.pop(self._step)
            if batch:
                await self._schedule(batch, now)
                self._adapt(clock.monotonic() - now)
                await asyncio.sleep(0)
            else:
                self._measuring.look(now)
                await self._wait(now)

    def _adapt(self, seconds: float) -> None:
        """Decisions that take long go in shorter runs, so that bindings are sent and events heard meanwhile."""
        if seconds > _LONG_STEP:
            self._step = max(self._step // 2, _SHORTEST_RUN)
        elif seconds < _LONG_STEP / 4:
            self._step = min(self._step * 2, self.config.batch_size)

    def _wake_those_helped(self, now: float) -> None:
        changes, self._changes = self._changes, {}
        for change in changes.values():

            def helps(template: Template, plugins: tuple[str, ...], change: Change = change) -> bool:
                return any(self._plugin_helps(name, template, change) for name in plugins)

            self.queue.move(change.event, now, helps, metrics.label_of(change))

    def _plugin_helps(self, name: str, template: Template, change: Change) -> bool:
        plugin = self._plugins.get(name)
        if plugin is None:
            return True
        if not plugin.EVENTS & change.event:
            return False
        if not offers(plugin, HintingPlugin):  # type: ignore[type-abstract]
            return True
        return plugin.helps(template, change, self.table)

    async def _wait(self, now: float) -> None:
        """Until something happened or the next pod is due."""
        due = min(filter(None, (self.queue.next_due(), self._measuring.owed)), default=None)
        try:
            async with asyncio.timeout(None if due is None else max(due - now, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _schedule(self, batch: list[QueuedPod], started: float) -> None:
        first = batch[0].pod
        profile = self.profiles[first.scheduler_name]
        if len(self.cycle.nominator):
            for queued in [queued for queued in batch if self.evictor.busy(queued.pod)]:
                self.queue.park(queued)
                batch.remove(queued)
            if not batch:
                return
        self._decisions += 1
        if self._decisions % ONE_IN:
            await self._decide(batch, profile, started)
            return
        timing = self.cycle.timing = self._timings[profile.name]
        try:
            await self._decide(batch, profile, started)
        finally:
            self.cycle.timing = None
            timing.finish()

    async def _decide(self, batch: list[QueuedPod], profile: Profile, started: float) -> None:
        first = batch[0].pod
        asked = extended.interested(self.extenders, first, self.table)
        try:
            if first.group and (gang := self._gang_of(first, profile)) is not None:
                others = (self.queue.take(key) for key in gang.members(first))
                batch += [queued for queued in others if queued is not None]
                self._schedule_gang(batch, gang, profile, started)
                return
            if asked:
                await self._schedule_extended(batch, profile, asked, started)
                return
            outcomes = self.cycle.schedule([queued.pod for queued in batch], profile)
        except Exception as error:
            log.exception("deciding for %s and %d more failed", first.key, len(batch) - 1)
            self._attempts[profile.name].count("error", clock.monotonic() - started, len(batch))
            for queued in batch:
                self._tell_unschedulable(queued, "SchedulerError", f"{type(error).__name__}: {error}")
                self.queue.retry(queued, started)
            return
        self._settle(batch, outcomes, profile, started)

    def _settle(
        self,
        batch: list[QueuedPod],
        outcomes: list[Placement | Failure],
        profile: Profile,
        started: float,
        extenders: list[Extender] | None = None,
    ) -> None:
        now = clock.monotonic()
        metrics.ALGORITHM.observe(now - started)
        failed = 0
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Placement):
                self._bind(queued, outcome, profile, started, extenders)
            else:
                failed += 1
                self._reject(queued, outcome, now)
        if failed:
            self._attempts[profile.name].count("unschedulable", now - started, failed)

    async def _schedule_extended(
        self, batch: list[QueuedPod], profile: Profile, asked: list[Extender], started: float
    ) -> None:
        for queued in batch:
            try:
                outcome = await extended.schedule(
                    self.cycle, self.client, queued.pod, profile, asked, self.watching.node_object
                )
            except Exception as error:
                if not isinstance(error, ExtenderError):
                    log.exception("deciding for %s with extenders failed", queued.pod.key)
                self._error(queued, profile.name, str(error), started)
                continue
            self._settle([queued], [outcome], profile, started, asked)

    def _gang_of(self, pod: Pod, profile: Profile) -> GangScheduling | None:
        found = (gang for gang in profile.gates if isinstance(gang, GangScheduling))
        return next((gang for gang in found if (gang.minimum(pod) or 0) > 1), None)

    def _schedule_gang(
        self, batch: list[QueuedPod], gang: GangScheduling, profile: Profile, started: float
    ) -> None:
        """All pods of a group that wait, together."""
        if any(self.evictor.busy(queued.pod) for queued in batch):
            for queued in batch:
                self.queue.park(queued)
            return
        pods = [queued.pod for queued in batch]
        decided: list[Placement | Failure] | Refusal
        if any(extended.interested(self.extenders, pod, self.table) for pod in pods):
            # To place them all the same could give away what only the extender counts.
            decided = Refusal(
                "it is decided as a whole, and HTTP extenders, which its pods concern, can be asked about single pods only",
                {},
            )
        else:
            decided = schedule_group(self.cycle, pods, profile, gang.missing(pods[0]))
        if isinstance(decided, Refusal):
            self._refuse(batch, decided, gang, profile, started)
        else:
            self._settle(batch, decided, profile, started)

    def _refuse(
        self, batch: list[QueuedPod], refusal: Refusal, gang: GangScheduling, profile: Profile, started: float
    ) -> None:
        """All wait, whoever fits alone too, for what the others wait for."""
        now = clock.monotonic()
        told = {key: failure.diagnosis for key, failure in refusal.failures.items()}
        wakes_on = gang.EVENTS
        for diagnosis in told.values():
            wakes_on |= diagnosis.wakes_on
        plugins = tuple(dict.fromkeys(name for one in told.values() for name in one.plugins))
        for queued in batch:
            key = queued.pod.key
            self.queue.reject(queued, wakes_on, now, (*plugins, gang.NAME))
            found = told.get(key)
            message = f'pod group "{queued.pod.group}": {refusal.why}' + (
                f": {found.message}" if found else ""
            )
            self._tell_unschedulable(queued, "Unschedulable", message, refusal.nominated.get(key, ""))
            if key in refusal.nominated and found is not None and found.preempts is not None:
                self._preempt(queued.pod, found.preempts)
        self._attempts[profile.name].count("unschedulable", now - started, len(batch))

    # -- placements ------------------------------------------------------------------------------

    def _bind(
        self,
        queued: QueuedPod,
        placement: Placement,
        profile: Profile,
        started: float,
        extenders: list[Extender] | None,
    ) -> None:
        pod, node_name = placement.pod, placement.node_name
        self.cache.note_assumed(pod, node_name)
        if pod.group:
            for gang in self.gangs:
                gang.assumed(pod)
        self.happened(Event.POD_ADD, None, pod)
        binder = next((one for one in extenders if one.config.bind), None) if extenders else None
        plugins = [plugin for plugin in profile.binding if plugin.takes_part(pod)]
        if plugins or binder is not None:
            bind = self._write_binding if binder is None else self._through(binder)
            self.binding.begin(
                pod, node_name, plugins, lambda refused: self._done(queued, node_name, started, refused), bind
            )
            return

        began = clock.monotonic() if self.cycle.timing is not None else None

        def settle(answer: Answer) -> None:
            if began is not None:
                status = SUCCESS if answer.code < 300 else "Error"
                plugin_ran("DefaultBinder", "Bind", status, began)
                point_ran(profile.name, "Bind", status, began)
            self._bound(queued, pod, node_name, started, answer)

        self.writer.put(pod.key, writes.binding(pod, node_name), settle)

    async def _write_binding(self, pod: Pod, node_name: str) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self.writer.put(pod.key, writes.binding(pod, node_name), settle)
        return await answered

    def _through(self, binder: Extender) -> Any:
        async def bind(pod: Pod, node_name: str) -> Answer:
            try:
                await binder.bind(pod.namespace, pod.name, pod.uid, node_name)
            except ExtenderError as error:
                return Answer(500, b'{"message":"%s"}' % str(error).replace('"', "'").encode())
            return Answer(201, b"{}")

        return bind

    def _done(self, queued: QueuedPod, node_name: str, started: float, refused: Refused | None) -> None:
        """The binding cycle has ended."""
        pod = queued.pod
        if refused is None or refused.answer is not None:
            answer = refused.answer if refused is not None else None
            self._bound(queued, pod, node_name, started, answer or Answer(201, b"{}"))
            return
        if not self._forget(pod):
            return
        code, reasons = refused.rejection
        message = ", ".join(reasons)
        if refused.plugin and code != "Error":
            plugin = self._plugins.get(refused.plugin)
            wakes_on = getattr(plugin, "EVENTS", Event(0))
            self.queue.reject(queued, wakes_on, clock.monotonic(), (refused.plugin,))
            self._attempts[pod.scheduler_name].count("unschedulable", clock.monotonic() - started)
            nodes = len(self.table)
            self._tell_unschedulable(queued, "Unschedulable", f"0/{nodes} nodes are available: 1 {message}.")
        else:
            who = f'running plugin "{refused.plugin}": ' if refused.plugin else ""
            self._error(queued, pod.scheduler_name, f"{who}{message}", started)
        self._wake.set()

    def _forget(self, pod: Pod) -> bool:
        """Take back what was assumed; False if an informer has said meanwhile where the pod is, or that it is gone."""
        if not self.cache.forget(pod):
            return False
        if pod.group:
            for gang in self.gangs:
                gang.assumed(pod, taken_back=True)
        self.happened(Event.POD_DELETE, pod, None)  # its room is free again
        return True

    def _bound(self, queued: QueuedPod, pod: Pod, node_name: str, started: float, answer: Answer) -> None:
        now = clock.monotonic()
        if answer.code < 300:
            self._leave_queue(queued)
            attempts = self._attempts[pod.scheduler_name]
            attempts.bound(now - started, now - queued.first_seen, queued.attempts)
            message = f"Successfully assigned {pod.key} to {node_name}"
            recorder = self.events[pod.scheduler_name]
            recorder.event(writes.reference(pod), "Normal", "Scheduled", message, action="Binding")
            return
        if not self._forget(pod):
            return
        if answer.code == 404:
            self._leave_queue(queued)
            return
        message = f"binding rejected: {writes.message_of(answer)}"
        self._error(queued, pod.scheduler_name, message, started)
        self._wake.set()

    def _leave_queue(self, queued: QueuedPod) -> None:
        """Unless another pod of that name has taken its place meanwhile: answers may be late."""
        if self.queue.get(queued.pod.key) is queued:
            self.queue.delete(queued.pod.key)

    def _error(self, queued: QueuedPod, profile: str, message: str, started: float) -> None:
        """Not the pod's fault: try again after the back-off."""
        now = clock.monotonic()
        self._attempts[profile].count("error", now - started)
        log.warning("pod %s: %s", queued.pod.key, message)
        self._tell_unschedulable(queued, "SchedulerError", message)
        self.queue.retry(queued, now)

    # -- failures --------------------------------------------------------------------------------

    def _reject(self, queued: QueuedPod, failure: Failure, now: float) -> None:
        found = failure.diagnosis
        plugins = tuple(part for name in found.plugins for part in name.split())
        self.queue.reject(queued, found.wakes_on, now, plugins)
        nominated: str | None = None
        if found.preempts is not None:
            nominated = found.preempts.node_name
        elif found.hopeless and self.cycle.nominator.node_of(queued.pod.uid):
            self.cycle.nominator.remove(queued.pod.uid)
            nominated = ""
        self._tell_unschedulable(queued, "Unschedulable", found.message, nominated)
        if found.preempts is not None:
            self._preempt(queued.pod, found.preempts)

    def _preempt(self, pod: Pod, candidate: Candidate) -> None:
        for other in self.cycle.nominator.on(candidate.node_name):
            if other.priority < pod.priority:
                self.cycle.nominator.remove(other.uid)
                patch = writes.status_patch(other, {"nominatedNodeName": None})
                self.writer.put(other.key, patch, _ignore)
                self.queue.activate(other.key, clock.monotonic())
        self.evictor.start(pod, candidate)

    def _evicted(self, victim: Pod, preemptor: Pod, node_name: str) -> None:
        self.events[preemptor.scheduler_name].event(
            writes.reference(victim),
            "Normal",
            "Preempted",
            f"Preempted by pod {preemptor.uid} on node {node_name}",
            action="Preempting",
            related=writes.reference(preemptor),
        )

    def _eviction_finished(self, preemptor: Pod, candidate: Candidate, good: bool) -> None:
        node = self.table.find(candidate.node_name)
        left = node is not None and any(victim.uid in node.pods for victim in candidate.victims)
        # While victims end, their going wakes the pod; else nothing would.
        if not (good and left):
            self.activate(preemptor.key)

    def _tell_unschedulable(
        self, queued: QueuedPod, reason: str, message: str, nominated: str | None = None
    ) -> None:
        """Event, PodScheduled=False and the nomination (None: as it was); written only when it says something new."""
        pod = queued.pod
        self.events[pod.scheduler_name].event(
            writes.reference(pod), "Warning", "FailedScheduling", message, action="Scheduling"
        )
        if queued.message == message and (nominated is None or nominated == queued.nominated):
            return
        queued.message = message
        queued.since = queued.since or clock.timestamp()
        status: dict[str, Any] = {"conditions": [writes.unscheduled(reason, message, queued.since)]}
        if nominated is not None:
            queued.nominated = nominated
            status["nominatedNodeName"] = nominated or None
        self.writer.put(pod.key, writes.status_patch(pod, status), _ignore)

    def _is_placing(self) -> bool:
        """Whether pods are being placed: that goes before telling about it."""
        return len(self.writer) > 0 or self.queue.size("active") > 0


def _gate_of(pod: Pod, profile: Profile) -> str:
    """The PreEnqueue plugin that holds the pod, or empty."""
    for plugin in profile.gates:
        if plugin.gate(pod) is not None:
            return plugin.NAME
    return ""


def _plugins_of(profiles: Any) -> dict[str, Any]:
    """Every plugin by name; the first profile's where several have one."""
    found: dict[str, Any] = {}
    for profile in profiles:
        scores = (weighted.plugin for weighted in profile.scores)
        for plugin in (*profile.filters, *profile.binding, *profile.gates, *scores):
            found.setdefault(plugin.NAME, plugin)
    return found


def _ignore(answer: Answer) -> None:
    """A condition that could not be written is written with the next attempt's message."""
