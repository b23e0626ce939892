"""The ordered plugins of a server, and for each shape of request those that concern it.

Order is Kubernetes' (``kubeapiserver/options/plugins.go``): NamespaceLifecycle first, ResourceQuota last.
The pipeline calls ``mutate`` before the registry's validation and ``validate`` after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coxswain.api.names import GVR
from coxswain.apiserver.admission.request import Operation, Plugin, Request

Step = Callable[[Request], None]


class Chain:
    """Runs plugins; the first refusal ends the request."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._steps: dict[tuple[Operation, GVR, str], tuple[tuple[Step, ...], tuple[Step, ...]]] = {}

    def mutate(self, request: Request) -> None:
        """Let the plugins complete ``request.object`` in place. Raises ``ApiError``."""
        for admit in self._of(request)[0]:
            admit(request)

    def validate(self, request: Request) -> None:
        """Let the plugins judge the final object. Raises ``ApiError``."""
        for validate in self._of(request)[1]:
            validate(request)

    def _of(self, request: Request) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
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
