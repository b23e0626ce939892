"""What the decisions on one pod are made from: its containers as the runtime has them, and probe results.

``PodView`` is rebuilt from a relist of the runtime before every decision, so a kubelet that was just started
decides like one that ran all the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coxswain.api.meta import fnv32a
from coxswain.api.names import Object
from coxswain.kubelet.runtime.interface import Container, ContainerState, Sandbox

#: The annotation of a container that says from what it was made; kubelet's name for it.
CONTAINER_HASH = "io.kubernetes.container.hash"

#: (container id, "liveness" | "readiness" | "startup") -> passed; absent while nothing is known yet.
ProbeResults = Mapping[tuple[str, str], bool]


@dataclass(frozen=True, slots=True)
class PodView:
    """The runtime's state of one pod, newest first."""

    sandboxes: Sequence[Sandbox] = ()
    containers: Sequence[Container] = ()
    probes: ProbeResults = field(default_factory=dict)

    @classmethod
    def of(
        cls, sandboxes: Sequence[Sandbox], containers: Sequence[Container], probes: ProbeResults
    ) -> PodView:
        """Sorted as the decisions want it."""
        return cls(
            sorted(sandboxes, key=lambda box: (box.config.attempt, box.created_at), reverse=True),
            sorted(containers, key=lambda box: (box.attempt, box.created_at), reverse=True),
            probes,
        )

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    def find(self, name: str) -> Container | None:
        """The newest container of this name."""
        return next((box for box in self.containers if box.name == name), None)

    def last_exited(self, name: str) -> Container | None:
        """The newest container of this name that has ended."""
        return next((b for b in self.containers if b.name == name and b.state is ContainerState.EXITED), None)

    def previous(self, name: str) -> Container | None:
        """The container before the newest one of this name."""
        named = [box for box in self.containers if box.name == name]
        return named[1] if len(named) > 1 else None

    @property
    def active(self) -> list[Container]:
        """Containers that run, or may run."""
        return [b for b in self.containers if b.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)]


def containers_of(pod: Object) -> list[Object]:
    """``spec.containers``."""
    return pod["spec"].get("containers") or []


def init_containers_of(pod: Object) -> list[Object]:
    """``spec.initContainers``."""
    return pod["spec"].get("initContainers") or []


def ephemeral_containers_of(pod: Object) -> list[Object]:
    """``spec.ephemeralContainers``: added to a running pod, started once, of no account for its phase."""
    return pod["spec"].get("ephemeralContainers") or []


def is_sidecar(container: Object) -> bool:
    """An init container that goes on running (its own restartPolicy is Always)."""
    return bool(container.get("restartPolicy") == "Always")


def restart_policy(pod: Object) -> str:
    """The pod's restart policy."""
    return str(pod["spec"].get("restartPolicy") or "Always")


def container_restart_policy(pod: Object, container: Object) -> str:
    """The container's own restart policy, or the pod's (KEP 5307)."""
    return str(container.get("restartPolicy") or restart_policy(pod))


def matches_restart_rules(container: Object, exit_code: int) -> bool:
    """A ``restartPolicyRules`` entry with action Restart matches the exit code (KEP 5307)."""
    for rule in container.get("restartPolicyRules") or ():
        codes: dict[str, Any] = rule.get("exitCodes") or {}
        inside = exit_code in (codes.get("values") or ())
        if rule.get("action") == "Restart" and inside == (codes.get("operator") == "In"):
            return True
    return False


def should_restart(pod: Object, container: Object, view: PodView) -> bool:
    """Whether the container is to be started (again); kubelet's ``ShouldContainerBeRestarted``."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    found = view.find(container["name"])
    if found is None:
        return True
    if found.state is ContainerState.RUNNING:
        return False
    if found.state in (ContainerState.UNKNOWN, ContainerState.CREATED):
        return True
    if matches_restart_rules(container, found.exit_code):
        return True
    policy = container_restart_policy(pod, container)
    if policy == "Never":
        return False
    return not (policy == "OnFailure" and found.exit_code == 0)


def container_hash(container: Object) -> str:
    """What has to stay for a container to go on running: its name and image, as with kubelet's ``HashContainer``."""
    seed = f"{container['name']}\0{container.get('image') or ''}"
    return f"{fnv32a(seed.encode()):x}"


def is_changed(container: Object, found: Container) -> bool:
    """Whether ``found`` was made from another definition than the pod now has."""
    made_from = found.annotations.get(CONTAINER_HASH)
    return made_from is not None and made_from != container_hash(container)


def describe(pod: Object) -> str:
    """``name_namespace(uid)``: how kubelet names a pod in messages."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta.get('namespace', '')}({meta.get('uid', '')})"
