"""The binding cycle of pods that need more than a binding: Reserve, Permit, PreBind, Bind, PostBind.

    begin -> reserve, permit (at once) -> [waiting: until allowed, rejected or timed out] -> pre_bind -> bind
      |                                                                                         |
      '-- refused -----------> unreserve, in reverse order <-------- refused, failed -----------'

Each such pod has a task; whoever takes part was asked before (``BindingPlugin.takes_part``). Outcomes go to
``done`` exactly once: None when bound (PostBind has run), else why not.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from coxswain.api.errors import ApiError
from coxswain.base import clock
from coxswain.client.interface import Answer
from coxswain.scheduler import metrics
from coxswain.scheduler.framework import UNSCHEDULABLE, Rejection, offers
from coxswain.scheduler.lifecycle import (
    BindPlugin,
    CycleState,
    PermitPlugin,
    PostBindPlugin,
    PreBindPlugin,
    ReservePlugin,
    Wait,
)
from coxswain.scheduler.pod import Pod
from coxswain.scheduler.timing import SUCCESS, now, plugin_ran, point_ran
from coxswain.scheduler.writes import message_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a pod was not bound: by a plugin (its rejection), or by an error (``plugin`` empty)."""

    plugin: str
    rejection: Rejection
    #: The API's answer where the binding itself failed.
    answer: Answer | None = None


@contextmanager
def _timed(plugin: Any, point: str, pod: Pod) -> Iterator[None]:
    """Notes how long one plugin (None: the default binder) takes at a point; such pods are few, so each counts."""
    began, status = now(), "Error"
    try:
        yield
        status = SUCCESS
    finally:
        plugin_ran("DefaultBinder" if plugin is None else plugin.NAME, point, status, began)
        point_ran(pod.scheduler_name, point, status, began)


Done = Callable[[Refused | None], None]
Bind = Callable[[Pod, str], Awaitable[Answer]]


class Waiting:
    """A pod that Permit holds (``lifecycle.WaitingPod``)."""

    def __init__(self, pod: Pod, node_name: str, plugins: set[str]) -> None:
        self.pod = pod
        self.node_name = node_name
        self._plugins = plugins
        self.result: asyncio.Future[tuple[str, Rejection] | None] = asyncio.get_running_loop().create_future()

    def allow(self, plugin: str) -> None:
        """``plugin`` waits no longer."""
        self._plugins.discard(plugin)
        if not self._plugins and not self.result.done():
            self.result.set_result(None)

    def reject(self, plugin: str, message: str) -> None:
        """Give the node up."""
        if not self.result.done():
            self.result.set_result((plugin, Rejection(UNSCHEDULABLE, (message,))))


class BindingCycle:
    """See the module's text."""

    def __init__(self, bind: Bind) -> None:
        """``bind`` writes the binding, unless a plugin or an extender does."""
        self._bind = bind
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting: dict[str, Waiting] = {}

    def begin(
        self, pod: Pod, node_name: str, plugins: Sequence[Any], done: Done, bind: Bind | None = None
    ) -> None:
        """Bind an assumed pod; ``bind`` instead of the default one."""
        state = CycleState()
        reserved: list[ReservePlugin] = []
        refused: Refused | None = None
        for plugin in plugins:
            if offers(plugin, ReservePlugin):  # type: ignore[type-abstract]
                reserved.append(plugin)
                with _timed(plugin, "Reserve", pod):
                    rejection = plugin.reserve(state, pod, node_name)
                if rejection:
                    refused = Refused(plugin.NAME, rejection)
                    break
        held: dict[str, float] = {}
        for plugin in plugins if refused is None else ():
            if offers(plugin, PermitPlugin):  # type: ignore[type-abstract]
                with _timed(plugin, "Permit", pod):
                    answer = plugin.permit(state, pod, node_name)
                if isinstance(answer, Rejection):
                    refused = Refused(plugin.NAME, answer)
                    break
                if isinstance(answer, Wait):
                    held[plugin.NAME] = answer.seconds
        if refused is not None:
            self._undo(state, pod, node_name, reserved)
            done(refused)
            return
        if held:
            self.waiting[pod.uid] = Waiting(pod, node_name, set(held))
        task = asyncio.ensure_future(
            self._go_on(state, pod, node_name, plugins, reserved, held, done, bind or self._bind)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reject_waiting(self, pod: Pod, plugin: str, message: str) -> bool:
        """Turn a pod away that Permit holds; False if it is not held."""
        held = self.waiting.get(pod.uid)
        if held is None:
            return False
        held.reject(plugin, message)
        return True

    async def close(self) -> None:
        """Give up what is under way; plugins unreserve."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(
        self,
        state: CycleState,
        pod: Pod,
        node_name: str,
        plugins: Sequence[Any],
        reserved: list[ReservePlugin],
        held: dict[str, float],
        done: Done,
        bind: Bind,
    ) -> None:
        refused: Refused | None = Refused("", Rejection("Error", ("the scheduler stops",)))
        try:
            refused = await self._permitted(pod, held)
            if refused is None:
                refused = await self._pre_bind(state, pod, node_name, plugins)
            if refused is None:
                refused = await self._bound(state, pod, node_name, plugins, bind)
        except ApiError as error:
            refused = Refused("", Rejection("Error", (str(error),)))
        except Exception as error:
            log.exception("binding %s to %s failed", pod.key, node_name)
            refused = Refused("", Rejection("Error", (f"{type(error).__name__}: {error}",)))
        finally:
            if refused is None:
                for plugin in plugins:
                    if offers(plugin, PostBindPlugin):  # type: ignore[type-abstract]
                        with _timed(plugin, "PostBind", pod):
                            plugin.post_bind(state, pod, node_name)
            else:
                self._undo(state, pod, node_name, reserved)
            done(refused)

    async def _permitted(self, pod: Pod, held: dict[str, float]) -> Refused | None:
        if not held:
            return None
        waiting = self.waiting[pod.uid]
        began, result = clock.monotonic(), "rejected"
        shortest = min(held, key=lambda name: held[name])
        try:
            async with asyncio.timeout(held[shortest]):
                answer = await waiting.result
            if answer is None:
                result = "allowed"
        except TimeoutError:
            message = f"rejected due to timeout after waiting {held[shortest]:g}s at plugin {shortest}"
            return Refused(shortest, Rejection(UNSCHEDULABLE, (message,)))
        finally:
            self.waiting.pop(pod.uid, None)
            metrics.PERMIT_WAIT.labels(result).observe(clock.monotonic() - began)
        return None if answer is None else Refused(*answer)

    @staticmethod
    async def _pre_bind(
        state: CycleState, pod: Pod, node_name: str, plugins: Sequence[Any]
    ) -> Refused | None:
        for plugin in plugins:
            if offers(plugin, PreBindPlugin):  # type: ignore[type-abstract]
                with _timed(plugin, "PreBind", pod):
                    rejection = await plugin.pre_bind(state, pod, node_name)
                if rejection:
                    return Refused(plugin.NAME, rejection)
        return None

    @staticmethod
    async def _bound(
        state: CycleState, pod: Pod, node_name: str, plugins: Sequence[Any], bind: Bind
    ) -> Refused | None:
        for plugin in plugins:
            if offers(plugin, BindPlugin):  # type: ignore[type-abstract]
                with _timed(plugin, "Bind", pod):
                    did = await plugin.bind(state, pod, node_name)
                if did:
                    return None
        with _timed(None, "Bind", pod):
            answer = await bind(pod, node_name)
        if answer.code < 300:
            return None
        return Refused("", Rejection("Error", (f"binding rejected: {message_of(answer)}",)), answer)

    @staticmethod
    def _undo(state: CycleState, pod: Pod, node_name: str, reserved: list[ReservePlugin]) -> None:
        for plugin in reversed(reserved):
            try:
                plugin.unreserve(state, pod, node_name)
            except Exception:
                log.exception("%s could not take back what it reserved for %s", plugin, pod.key)
