"""The pod loop: carries out one pod worker's instructions, one pass after the other.

    news (pod changed, container ended, probe verdict, timer) -> relist -> decide -> carry out -> status

One task a pod. A pass is interrupted when the pod is to end sooner than the pass knew (deleted, shorter
grace), and never otherwise. An error in a pass is logged and the pass is tried again with back-off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.kubelet.container_config import container_config, sandbox_config
from coxswain.kubelet.pod import worker as work
from coxswain.kubelet.pod.view import PodView, describe, is_sidecar
from coxswain.kubelet.pod.worker import PodWorker
from coxswain.kubelet.probes import Prober, port_number
from coxswain.kubelet.runtime.interface import (
    Container,
    ContainerConfig,
    ContainerState,
    ImageUnavailable,
    Runtime,
    RuntimeFailure,
)
from coxswain.kubelet.volumes import PodVolumes

log = logging.getLogger(__name__)

_RETRY, _RETRY_MAX = 0.5, 60.0
_MINIMUM_GRACE = 2.0


class PodHost(Protocol):
    """What the agent does for its pods."""

    runtime: Runtime
    node_name: str
    host_ips: tuple[str, ...]

    async def view(self, uid: str, probes: dict[tuple[str, str], bool]) -> PodView: ...
    def pod_dir(self, uid: str) -> str: ...
    def log_dir(self, pod: Object) -> str: ...
    async def prepare_volumes(self, pod: Object, volumes: PodVolumes) -> None: ...
    async def environment(self, pod: Object, container: Object, pod_ips: list[str]) -> dict[str, str]: ...
    def report(self, worker: PodWorker, status: Object, delete: bool) -> None: ...
    def event(self, pod: Object, kind: str, reason: str, message: str, container: str = "") -> None: ...
    def ended(self, uid: str) -> None: ...


class PodLoop:
    """See the module's text. ``update`` and ``wake`` may be called at any time."""

    def __init__(self, host: PodHost, pod: Object, scheme: str) -> None:
        self.host = host
        self.uid: str = pod["metadata"]["uid"]
        self.worker = PodWorker(pod, scheme, clock.now())
        self.volumes = PodVolumes(host.pod_dir(self.uid))
        self.prober = Prober(host.runtime, self.wake, self._probe_failed)
        self._news = asyncio.Event()
        self._pass: asyncio.Task[None] | None = None
        self._volumes_ready = False
        self._deleted_everything = False
        self._reported: Object | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; ``task`` ends when the pod has ended and its end was reported."""
        self.task = asyncio.get_running_loop().create_task(
            self._run(), name=f"pod {describe(self.worker.pod)}"
        )

    def update(self, pod: Object) -> None:
        """The pod's object changed."""
        before = self._termination_key()
        self.worker.update(pod)
        self._interrupt_if(before != self._termination_key())

    def removed(self) -> None:
        """The pod's object is gone."""
        before = self._termination_key()
        self.worker.removed()
        self._interrupt_if(before != self._termination_key())

    def end(self, reason: str, message: str, grace: float | None = None) -> None:
        """End the pod for good (see ``PodWorker.end``)."""
        self.worker.end(reason, message, grace)
        self._interrupt_if(True)

    def wake(self) -> None:
        """Something happened: look again."""
        self._news.set()

    async def close(self) -> None:
        """Stop looking after the pod; what runs goes on."""
        if self.task is not None:
            await cancel_and_wait(self.task)
        await self.prober.close()

    def _termination_key(self) -> tuple[object, ...]:
        meta = self.worker.pod["metadata"]
        deleted = bool(meta.get("deletionTimestamp"))
        return (deleted, meta.get("deletionGracePeriodSeconds") if deleted else None)

    def _interrupt_if(self, sooner: bool) -> None:
        if sooner and self._pass is not None:
            self._pass.cancel()
        self._news.set()

    # ---- passes

    async def _run(self) -> None:
        delay = _RETRY
        while not self.worker.finished or not self._deleted_everything:
            self._news.clear()
            self._pass = asyncio.get_running_loop().create_task(self._one_pass())
            try:
                await self._pass
                delay = _RETRY
                pause = None if self.worker.wake_at is None else self.worker.wake_at - clock.now()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    await cancel_and_wait(self._pass)
                    raise
                continue  # the pass was interrupted because of news
            except Exception as error:
                if not isinstance(error, RuntimeFailure):
                    log.exception("pod %s: a pass failed", describe(self.worker.pod))
                pause, delay = delay, min(delay * 2, _RETRY_MAX)
            if self.worker.finished and self._deleted_everything:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause if pause is None else max(0.0, pause))
        await self.prober.close()
        self.host.ended(self.uid)

    async def _one_pass(self) -> None:
        """Decide and carry out until there is nothing to do now."""
        worker = self.worker
        while True:
            view = await self._look()
            plan = worker.decide(view, clock.now())
            self._report(view, any(isinstance(step, work.Finish) and step.delete for step in plan))
            if not plan or all(isinstance(step, work.BackOff) for step in plan):
                for step in plan:
                    self._back_off_event(step)
                return
            for step in plan:
                await self._carry_out(step)
            if any(isinstance(step, work.Finish) for step in plan):
                return

    async def _look(self) -> PodView:
        view = await self.host.view(self.uid, self.prober.results)
        ip = self._ip(view)
        running = [box for box in view.containers if box.state is ContainerState.RUNNING]
        self.prober.keep({box.id for box in running})
        if self.worker.phase is work.Phase.SYNCING:
            for box in running:
                spec = self.worker.spec_of(box.name)
                if spec is not None:
                    self.prober.watch(spec, box, ip)
        return view

    def _ip(self, view: PodView) -> str:
        if self.worker.pod["spec"].get("hostNetwork"):
            return self.host.host_ips[0] if self.host.host_ips else "127.0.0.1"
        return view.sandbox.ips[0] if view.sandbox and view.sandbox.ips else ""

    def _report(self, view: PodView, delete: bool) -> None:
        status = self.worker.status(view, clock.now(), self.host.host_ips)
        if status != self._reported or delete:
            self._reported = status
            self.worker.said(status)
            self.host.report(self.worker, status, delete)

    def forget_reported(self) -> None:
        """The last status did not arrive: report again."""
        self._reported = None
        self._news.set()

    async def _carry_out(self, step: work.Instruction) -> None:
        match step:
            case work.KillContainer(kill, spec, grace):
                await self._kill(kill.container, spec, grace, kill.message)
            case work.StopSandboxes(grace) | work.StopPod(grace):
                await self._stop_all(grace)
            case work.CreateSandbox(attempt):
                await self._create_sandbox(attempt)
            case work.StartContainer(spec, attempt, _):
                await self._start(spec, attempt)
            case work.BackOff():
                self._back_off_event(step)
            case work.Finish():
                await self._finish()

    def _back_off_event(self, step: work.Instruction) -> None:
        assert isinstance(step, work.BackOff)
        name = step.spec["name"]
        text = f"Back-off restarting failed container {name} in pod {describe(self.worker.pod)}"
        reason = self.worker.reasons.get(name, ("", ""))[0]
        if reason == "CrashLoopBackOff":
            self.host.event(self.worker.pod, "Warning", "BackOff", text, name)

    # ---- the steps

    async def _create_sandbox(self, attempt: int) -> None:
        pod = self.worker.pod
        await self._mount_volumes()
        try:
            await self.host.runtime.run_sandbox(sandbox_config(pod, attempt, self.host.log_dir(pod)))
        except RuntimeFailure as error:
            self.host.event(
                pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
            )
            raise
        self._report(await self._look(), False)

    async def _mount_volumes(self) -> None:
        try:
            await self.host.prepare_volumes(self.worker.pod, self.volumes)
        except RuntimeFailure as error:
            self.host.event(self.worker.pod, "Warning", "FailedMount", str(error))
            raise
        self._volumes_ready = True

    async def refresh_volumes(self) -> None:
        """A source may have changed: write it again (files change only if it has)."""
        if self._volumes_ready and self.worker.phase is work.Phase.SYNCING:
            with contextlib.suppress(RuntimeFailure):
                await self.host.prepare_volumes(self.worker.pod, self.volumes)

    async def _start(self, spec: Object, attempt: int) -> None:
        """Image, container, process, postStart hook; failures back off."""
        name, pod = spec["name"], self.worker.pod
        view = await self.host.view(self.uid, self.prober.results)
        if view.sandbox is None or not view.sandbox.ready:
            return
        try:
            if not self._volumes_ready:
                await self._mount_volumes()
            await self._run_container(spec, attempt, view)
            self.worker.started(name)
        except RuntimeFailure as error:
            self.worker.start_failed(name, error.reason, str(error), clock.now())
            self.host.event(pod, "Warning", "Failed", f"Error: {error}", name)
        self._report(await self._look(), False)

    async def _run_container(self, spec: Object, attempt: int, view: PodView) -> None:
        runtime, pod, name = self.host.runtime, self.worker.pod, spec["name"]
        assert view.sandbox is not None
        image = spec.get("image", "")
        try:
            await runtime.ensure_image(image, spec.get("imagePullPolicy") or "IfNotPresent")
        except ImageUnavailable as error:
            self.host.event(pod, "Warning", "Failed", f'Failed to pull image "{image}": {error}', name)
            raise
        text = f'Container image "{image}" already present on machine and can be accessed by the pod'
        self.host.event(pod, "Normal", "Pulled", text, name)
        variables = await self.host.environment(pod, spec, list(view.sandbox.ips))
        own = "" if pod["spec"].get("hostNetwork") or not view.sandbox.ips else view.sandbox.ips[0]
        config = container_config(pod, spec, attempt, variables, self.volumes, own)
        await self._collect_garbage(name, view)
        identifier = await runtime.create_container(view.sandbox.id, config)
        self.host.event(pod, "Normal", "Created", "Container created", name)
        await runtime.start_container(identifier)
        self.host.event(pod, "Normal", "Started", "Container started", name)
        await self._post_start(spec, identifier, config)

    async def _post_start(self, spec: Object, identifier: str, config: ContainerConfig) -> None:
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        why = await self._run_hook(spec, identifier, hook, 0)
        if why:
            self.host.event(
                self.worker.pod,
                "Warning",
                "FailedPostStartHook",
                f"PostStartHook failed: {why}",
                spec["name"],
            )
            found = await self.host.view(self.uid, self.prober.results)
            box = next((b for b in found.containers if b.id == identifier), None)
            if box is not None:
                await self._kill(box, spec, float(work.grace_period(self.worker.pod)), "FailedPostStartHook")
            raise RuntimeFailure(f"PostStartHook failed: {why}", "PostStartHookError")

    async def _run_hook(self, spec: Object, identifier: str, hook: Object, timeout: float) -> str:
        """Run a lifecycle hook; what went wrong, or nothing."""
        from coxswain.kubelet.probes import http_probe

        try:
            if (action := hook.get("exec")) is not None:
                result = await self.host.runtime.exec(identifier, action.get("command") or [], timeout)
                if result.exit_code:
                    shown = (result.stdout + result.stderr)[:512].decode(errors="replace")
                    return f"command {action.get('command')} exited with {result.exit_code}: {shown}"
            elif (action := hook.get("httpGet")) is not None:
                view = await self.host.view(self.uid, self.prober.results)
                port_number(spec, action["port"])
                async with asyncio.timeout(timeout or 30):
                    passed, output = await http_probe(spec, action, self._ip(view))
                return "" if passed else output
            elif (action := hook.get("sleep")) is not None:
                seconds = float(action.get("seconds") or 0)
                await clock.sleep(min(seconds, timeout) if timeout else seconds)
        except TimeoutError:
            return f"hook did not end in {timeout:g} s"
        except (RuntimeFailure, ValueError, OSError) as error:
            return str(error)
        return ""

    async def _kill(self, box: Container, spec: Object, grace: float, message: str = "") -> None:
        """Killing event, preStop hook, signal, SIGKILL after what is left of ``grace`` seconds."""
        if box.state is ContainerState.RUNNING:
            text = message or f"Stopping container {box.name}"
            self.host.event(self.worker.pod, "Normal", "Killing", text, box.name)
        hook = (spec.get("lifecycle") or {}).get("preStop")
        left = grace
        if hook and grace > 0 and box.state is ContainerState.RUNNING:
            began = clock.monotonic()
            why = await self._run_hook(spec, box.id, hook, grace)
            if why:
                text = f"PreStopHook failed: {why}"
                self.host.event(self.worker.pod, "Warning", "FailedPreStopHook", text, box.name)
            left = max(grace - (clock.monotonic() - began), _MINIMUM_GRACE)
        await self.host.runtime.stop_container(box.id, left)

    async def _stop_all(self, grace: float) -> None:
        """Regular containers at once, then sidecars one by one in reverse, then the sandbox."""
        self.prober.stop_kinds("liveness", "startup")
        view = await self.host.view(self.uid, self.prober.results)
        began = clock.monotonic()
        sidecars = [c["name"] for c in self.worker.pod["spec"].get("initContainers") or () if is_sidecar(c)]
        running = view.active
        others = [box for box in running if box.name not in sidecars]
        await asyncio.gather(*(self._kill(b, self.worker.spec_of(b.name) or {}, grace) for b in others))
        for name in reversed(sidecars):
            for box in running:
                if box.name == name:
                    left = max(0.0, grace - (clock.monotonic() - began))
                    await self._kill(box, self.worker.spec_of(name) or {}, left)
        self._report(await self._look(), False)
        for sandbox in view.sandboxes:
            await self.host.runtime.stop_sandbox(sandbox.id)

    async def _collect_garbage(self, name: str, view: PodView) -> None:
        """Keep one dead container of each name (for its logs and its last state)."""
        dead = [b for b in view.containers if b.name == name and b.state is not ContainerState.RUNNING]
        for box in dead[1:]:
            await self.host.runtime.remove_container(box.id)
        for sandbox in view.sandboxes[1:]:
            used = any(box.sandbox_id == sandbox.id for box in view.containers)
            if not sandbox.ready and not used:
                await self.host.runtime.remove_sandbox(sandbox.id)

    async def _finish(self) -> None:
        """Everything has ended. A finished pod keeps its containers for its logs until it is deleted."""
        await self.prober.close()
        meta = self.worker.pod["metadata"]
        gone = bool(meta.get("deletionTimestamp")) or self.worker.is_gone
        if not gone:
            return
        view = await self.host.view(self.uid, {})
        for sandbox in view.sandboxes:
            await self.host.runtime.remove_sandbox(sandbox.id)
        for box in view.containers:
            await self.host.runtime.remove_container(box.id)
        self.volumes.remove()
        self._deleted_everything = True

    def _probe_failed(self, spec: Object, kind: str, output: str) -> None:
        text = f"{kind.capitalize()} probe failed: {output}"
        self.host.event(self.worker.pod, "Warning", "Unhealthy", text, spec["name"])
