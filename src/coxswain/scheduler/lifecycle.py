"""The extension points after a node was chosen, and what plugins share: state, handle, outcomes.

    (chosen) -> assume -> Reserve -> Permit ------> PreBind -> Bind -> PostBind
                             |          |  waits       |         |
                             v          v              v         v
                          Unreserve, in reverse order, of all that reserved; the pod is forgotten and waits

Reserve, Permit and PostBind decide at once; PreBind and Bind may speak with the API. A plugin has any of these
methods; ``takes_part`` says cheaply for which pods it is asked at all, so that ordinary pods go to the API in
batches, without a task of their own. Reserve runs in the profile's order, Unreserve in reverse; Unreserve is
called also on the plugin whose Reserve refused, and must not fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from coxswain.scheduler.framework import Event, Rejection
from coxswain.scheduler.pod import Pod

if TYPE_CHECKING:
    from coxswain.client.informer import InformerFactory
    from coxswain.client.interface import Client
    from coxswain.scheduler.nodetable import NodeTable
    from coxswain.scheduler.template import Templates


class CycleState(dict[str, Any]):
    """What plugins keep for one attempt of one pod, by plugin name."""


class Handle(Protocol):
    """What a plugin may use of the scheduler that runs it."""

    client: Client
    informers: InformerFactory
    table: NodeTable
    templates: Templates

    def happened(self, event: Event, old: Any = None, new: Any = None) -> None:
        """Something changed that may make pods schedulable; wakes those that plugins' hints say."""
        ...

    def waiting(self) -> list[WaitingPod]:
        """Pods that Permit makes wait."""
        ...

    def activate(self, key: str) -> None:
        """Try the pod ``namespace/name`` again at once, if it waits in the queue."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """Permit: hold the pod for at most ``seconds``."""

    seconds: float


class WaitingPod(Protocol):
    """A pod that Permit holds, assumed on its node."""

    pod: Pod
    node_name: str

    def allow(self, plugin: str) -> None:
        """``plugin`` waits no longer; when the last one says so, the pod is bound."""
        ...

    def reject(self, plugin: str, message: str) -> None:
        """Give the node up."""
        ...


@runtime_checkable
class StartingPlugin(Protocol):
    """A plugin that needs the scheduler: called once, before informers start."""

    def start(self, handle: Handle) -> None:
        """Register handlers on ``handle.informers``."""
        ...


class BindingPlugin(Protocol):
    """A plugin of any of the points below."""

    NAME: ClassVar[str]

    def takes_part(self, pod: Pod) -> bool:
        """False skips all of the plugin's points below for this pod."""
        ...


@runtime_checkable
class ReservePlugin(Protocol):
    """Reserve and Unreserve."""

    NAME: ClassVar[str]

    def reserve(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None: ...

    def unreserve(self, state: CycleState, pod: Pod, node_name: str) -> None: ...


@runtime_checkable
class PermitPlugin(Protocol):
    """Permit: None lets the pod go on, a rejection gives up, ``Wait`` holds it."""

    NAME: ClassVar[str]

    def permit(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | Wait | None: ...


@runtime_checkable
class PreBindPlugin(Protocol):
    """PreBind. An ``ApiError`` counts as a failure that is tried again."""

    NAME: ClassVar[str]

    async def pre_bind(self, state: CycleState, pod: Pod, node_name: str) -> Rejection | None: ...


@runtime_checkable
class BindPlugin(Protocol):
    """Bind in place of the default binder: True if it bound the pod, False to leave it to the next."""

    NAME: ClassVar[str]

    async def bind(self, state: CycleState, pod: Pod, node_name: str) -> bool: ...


@runtime_checkable
class PostBindPlugin(Protocol):
    """PostBind: the pod is bound."""

    NAME: ClassVar[str]

    def post_bind(self, state: CycleState, pod: Pod, node_name: str) -> None: ...
