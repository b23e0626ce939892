"""The pod worker: one pod's life as a state machine without IO.

    SYNCING ----> TERMINATING ----> TERMINATED
       |  deleted, gone, past its deadline,  |  nothing runs any more: volumes go,
       |  refused, or finished by itself     |  the last status is written, the API object deleted

``decide`` takes what is known now and answers with instructions, to be carried out in order:

    SYNCING       Kill*, StopSandbox?, CreateSandbox?, StartContainer*       (then decide again)
    TERMINATING   StopPod(grace)                                             (until nothing is left)
    TERMINATED    CleanUp, Finish(delete)                                    (once)

The shell tells the outcome back (``start_failed``, ``started``), and asks ``status`` for what to report.
Phases never go back; a grace period may only become shorter. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.kubelet.pod import status as pod_status
from coxswain.kubelet.pod.actions import Kill, compute
from coxswain.kubelet.pod.backoff import Backoff, go_duration
from coxswain.kubelet.pod.conditions import OWNED
from coxswain.kubelet.pod.view import (
    PodView,
    containers_of,
    describe,
    ephemeral_containers_of,
    init_containers_of,
)

DEFAULT_GRACE = 30


class Phase(Enum):
    """Where the worker stands; see the module's drawing."""

    SYNCING = "syncing"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run its preStop hook and stop it within ``grace`` seconds; ``message`` goes into a Killing event."""

    kill: Kill
    spec: Object
    grace: float


@dataclass(frozen=True, slots=True)
class StopSandboxes:
    """Stop every container and sandbox that is left: a new sandbox comes, or the pod is done."""

    grace: float


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the volumes and a sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Get the image, create and start the container, run its postStart hook."""

    spec: Object
    attempt: int
    init: bool


@dataclass(frozen=True, slots=True)
class BackOff:
    """A container waits before its next start: a BackOff event is due."""

    spec: Object


@dataclass(frozen=True, slots=True)
class StopPod:
    """Stop all containers (regular ones first, then sidecars in reverse), then the sandbox."""

    grace: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything has ended: remove volumes, write the last status, and delete the object if asked to."""

    delete: bool


Instruction = KillContainer | StopSandboxes | CreateSandbox | StartContainer | BackOff | StopPod | Finish


def grace_period(pod: Object) -> int:
    """Seconds the pod may take to stop."""
    meta = pod["metadata"]
    if meta.get("deletionTimestamp") and meta.get("deletionGracePeriodSeconds") is not None:
        return int(meta["deletionGracePeriodSeconds"])
    grace = pod["spec"].get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if grace is None else int(grace)


class PodWorker:
    """See the module's text. One for each pod uid; ``pod`` is the newest known object."""

    def __init__(self, pod: Object, scheme: str, now: float, backoff: Backoff | None = None) -> None:
        self.pod = pod
        self.phase = Phase.SYNCING
        self.scheme = scheme
        self.reasons: dict[str, tuple[str, str]] = {}
        self.wake_at: float | None = None
        self._backoff = backoff or Backoff()
        self._failed_at: dict[str, float] = {}
        self._start_time = now
        self._gone = False
        self._grace: float | None = None
        self._reason = ""
        self._message = ""
        self._finished = False
        self._own_status: Object | None = None

    # ---- what happened

    def update(self, pod: Object) -> None:
        """The object changed. Of its status only others' conditions count: the rest is ours to say."""
        if self._own_status is not None:
            others = [
                condition
                for condition in (pod.get("status") or {}).get("conditions") or ()
                if condition["type"] not in OWNED
            ]
            ours = [c for c in self._own_status["conditions"] if c["type"] in OWNED]
            pod = {**pod, "status": {**self._own_status, "conditions": [*others, *ours]}}
        self.pod = pod

    def said(self, status: Object) -> None:
        """``status`` was reported: the next one builds on it."""
        self._own_status = status
        self.pod = {**self.pod, "status": status}

    def removed(self) -> None:
        """The object is gone from its source: stop what runs."""
        self._gone = True

    def end(self, reason: str, message: str, grace: float | None = None) -> None:
        """End the pod for good with phase Failed (refused, evicted, past its deadline)."""
        if not self._reason:
            self._reason, self._message = reason, message
        if grace is not None:
            self._grace = grace if self._grace is None else min(self._grace, grace)

    def started(self, name: str) -> None:
        """A container runs: nothing hinders it any more."""
        self.reasons.pop(name, None)
        self._failed_at.pop(name, None)

    def start_failed(self, name: str, reason: str, message: str, now: float) -> None:
        """A container could not be started: it waits with ``reason``, and backs off."""
        self.reasons[name] = (reason, message)
        if name not in self._failed_at and not self._backoff.delay(name):
            self._backoff.next(name, now, now)
        self._failed_at[name] = now

    @property
    def is_gone(self) -> bool:
        """The object is gone from its source."""
        return self._gone

    @property
    def finished(self) -> bool:
        """``Finish`` was handed out."""
        return self._finished

    # ---- what to do

    def decide(self, view: PodView, now: float) -> list[Instruction]:
        """What to do now, in order; ``wake_at`` says when to ask again at the latest (None: on news)."""
        self.wake_at = None
        if self.phase is Phase.SYNCING and self._must_end(view, now):
            self.phase = Phase.TERMINATING
        if self.phase is Phase.SYNCING:
            return self._sync(view, now)
        if self.phase is Phase.TERMINATING:
            if any(box.ready for box in view.sandboxes) or view.active:
                return [StopPod(self._grace_now(), self._reason, self._message)]
            self.phase = Phase.TERMINATED
        if not self._finished or self._deletable() or self._gone:
            self._finished = True
            return [Finish(self._deletable())]
        return []

    def _deletable(self) -> bool:
        return bool(self.pod["metadata"].get("deletionTimestamp")) and not self._gone

    def _grace_now(self) -> float:
        if self._gone and not self.pod["metadata"].get("deletionTimestamp"):
            # Taken away by force: what runs gets a moment, as kubelet gives it.
            return 1.0
        grace = float(grace_period(self.pod))
        return grace if self._grace is None else min(grace, self._grace)

    def _must_end(self, view: PodView, now: float) -> bool:
        meta, spec = self.pod["metadata"], self.pod["spec"]
        if self._gone or self._reason or meta.get("deletionTimestamp"):
            return True
        status = self.pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            return True
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None:
            since = clock.parse_time(status["startTime"]) if status.get("startTime") else self._start_time
            if now - since >= deadline:
                self.end("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
                return True
            self._wake(since + deadline)
        return self.status(view, now)["phase"] in ("Succeeded", "Failed")

    def _sync(self, view: PodView, now: float) -> list[Instruction]:
        actions = compute(self.pod, view)
        plan: list[Instruction] = []
        if actions.kill_pod:
            if view.active or any(box.ready for box in view.sandboxes):
                plan.append(StopSandboxes(self._grace_now()))
        else:
            plan += [self._kill(kill) for kill in actions.kill]
        if actions.kill_pod and not actions.create_sandbox:
            return plan
        starts = [self._start(name, view, now, False) for name in actions.ephemeral_start]
        for name in actions.init_start:
            step = self._start(name, view, now, True)
            starts.append(step)
            if isinstance(step, BackOff):
                break
        starts += [self._start(name, view, now, False) for name in actions.start]
        if actions.create_sandbox:
            plan.append(CreateSandbox(actions.attempt))
        return plan + starts

    def _kill(self, kill: Kill) -> KillContainer:
        spec = self.spec_of(kill.container.name)
        grace: float = grace_period(self.pod)
        if kill.probe and spec:
            own = (spec.get(f"{kill.probe}Probe") or {}).get("terminationGracePeriodSeconds")
            grace = grace if own is None else float(own)
        return KillContainer(kill, spec or {}, grace)

    def _start(self, name: str, view: PodView, now: float, init: bool) -> Instruction:
        spec = self.spec_of(name)
        assert spec is not None
        newest, exited = view.find(name), view.last_exited(name)
        # A start that failed before there was a process counts from that moment.
        ended = max(exited.finished_at if exited else 0.0, self._failed_at.get(name, 0.0))
        if ended:
            wait = self._backoff.remaining(name, ended, now)
            if wait > 0:
                self._wake(now + wait)
                if name not in self._failed_at:
                    text = go_duration(self._backoff.delay(name))
                    message = f"back-off {text} restarting failed container={name} pod={describe(self.pod)}"
                    self.reasons[name] = ("CrashLoopBackOff", message)
                return BackOff(spec)
            self._backoff.next(name, ended, now)
        return StartContainer(spec, newest.attempt + 1 if newest else 0, init)

    # ---- what to report

    def status(self, view: PodView, now: float, host_ips: tuple[str, ...] = ()) -> Object:
        """The status to report now."""
        ended = self.phase is Phase.TERMINATED
        about = pod_status.Circumstances(
            now=now,
            start_time=self._start_time,
            scheme=self.scheme,
            host_ips=host_ips,
            reasons=self.reasons,
            terminal=ended,
            reason=self._reason,
            message=self._message,
        )
        return pod_status.generate(self.pod, view, about)

    def spec_of(self, name: str) -> Object | None:
        """The container (or init or ephemeral container) of this name in the spec."""
        pod = self.pod
        for spec in (*containers_of(pod), *init_containers_of(pod), *ephemeral_containers_of(pod)):
            if spec["name"] == name:
                return spec
        return None

    def _wake(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
