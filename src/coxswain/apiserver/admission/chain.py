"""The ordered plugins of a server, and for each shape of request those that concern it.

Order is Kubernetes' (``kubeapiserver/options/plugins.go``): NamespaceLifecycle first, ResourceQuota last.
The pipeline calls ``mutate`` before the registry's validation and ``validate`` after it:

    pending = chain.mutate(request)
    if pending is not None:
        await pending

Nothing is pending unless some plugin has to wait for this very request: webhooks and policies that nobody
configured are not even among the steps. When a resource changes that decides about the steps, they are worked
out anew (``Lookup.on_change``), so that the usual request pays nothing for asking. In the same way ``state`` tells
``apiserver/replicas.py`` that what it remembers of earlier requests holds no longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.metrics import ADMISSION_STEPS
from coxswain.base import clock

Step = Callable[[Request], Awaitable[None] | None]
Steps = tuple[Step, ...]


class Chain:
    """Runs plugins; the first refusal ends the request."""

    def __init__(self, plugins: Sequence[Plugin], lookup: Lookup | None = None) -> None:
        """``lookup`` tells of changes of what the plugins watch."""
        self.plugins = tuple(plugins)
        self._steps: dict[tuple[Operation, GVR, str], tuple[Steps, Steps]] = {}
        #: Changes with whatever may change the answer to a request that ``repeats``.
        self.state = 0
        self._follows = lookup is not None
        if lookup is not None:
            watched = {gvr for plugin in self.plugins for gvr in plugin.WATCHES}
            for gvr in sorted(watched | {gvr for plugin in self.plugins for gvr in plugin.READS}):
                lookup.on_change(gvr, self._forget if gvr in watched else self._age)

    def mutate(self, request: Request) -> Awaitable[None] | None:
        """Let the plugins complete ``request.object`` in place; what is left to wait for. Raises ``ApiError``."""
        steps = self._of(request)[0]
        started = clock.monotonic()
        try:
            for position, admit in enumerate(steps):
                pending = admit(request)
                if pending is not None:
                    return _timed(
                        self._mutate_on(pending, steps[position + 1 :], request), "admit", request, started
                    )
            pending = self._once_more(request) if request.reinvoke else None
        except BaseException:
            _note("admit", request, started, "true")
            raise
        _note("admit", request, started, "false")
        return pending

    def validate(self, request: Request) -> Awaitable[None] | None:
        """Let the plugins judge the final object; what is left to wait for. Raises ``ApiError``."""
        steps = self._of(request)[1]
        started = clock.monotonic()
        try:
            for position, validate in enumerate(steps):
                pending = validate(request)
                if pending is not None:
                    return _timed(
                        _go_on(pending, steps[position + 1 :], request), "validate", request, started
                    )
        except BaseException:
            _note("validate", request, started, "true")
            raise
        _note("validate", request, started, "false")
        return None

    def repeats(self, request: Request) -> bool:
        """Whether an equal create by the same user gets the same answer while ``state`` stays as it is."""
        shape = (request.operation, request.resource, request.subresource)
        return self._follows and all(
            plugin.repeats(request) for plugin in self.plugins if plugin.handles(*shape)
        )

    def _forget(self) -> None:
        self._steps.clear()
        self.state += 1

    def _age(self) -> None:
        self.state += 1

    async def close(self) -> None:
        """Close what the plugins hold open."""
        for plugin in self.plugins:
            await plugin.close()

    async def _mutate_on(self, pending: Awaitable[None], rest: Steps, request: Request) -> None:
        await _go_on(pending, rest, request)
        if request.reinvoke:
            again = self._once_more(request)
            if again is not None:
                await again

    def _once_more(self, request: Request) -> Awaitable[None] | None:
        """Kubernetes' reinvocation: at most one second round."""
        if request.reinvoked:
            return None
        request.reinvoked = True
        return self.mutate(request)

    def _of(self, request: Request) -> tuple[Steps, Steps]:
        key = (request.operation, request.resource, request.subresource)
        steps = self._steps.get(key)
        if steps is None:
            concerned = [plugin for plugin in self.plugins if plugin.handles(*key)]
            steps = (
                tuple(p.admit for p in concerned if type(p).admit is not Plugin.admit),
                tuple(p.validate for p in concerned if type(p).validate is not Plugin.validate),
            )
            self._steps[key] = steps
        return steps


def _note(step: str, request: Request, started: float, rejected: str) -> None:
    """Count a step of admission, for the metrics."""
    ADMISSION_STEPS.observe((step, request.operation, rejected), clock.monotonic() - started)


async def _timed(rest: Awaitable[None], step: str, request: Request, started: float) -> None:
    try:
        await rest
    except BaseException:
        _note(step, request, started, "true")
        raise
    _note(step, request, started, "false")


async def _go_on(pending: Awaitable[None], rest: Steps, request: Request) -> None:
    await pending
    for step in rest:
        more = step(request)
        if more is not None:
            await more
