"""What has to happen to a pod's sandbox and containers now: kubelet's ``computePodActions``.

    sandbox gone or not ready?  -> kill what is left, make a new one, begin with the first init container
    ephemeral containers        -> started once, whatever else is going on
    init containers             -> one after the other; sidecars stay and start before what follows them
    containers                  -> start what should run, kill what failed a liveness or startup probe or was changed
    nothing runs, nothing to start -> kill the pod (its sandbox goes, the phase becomes final)

Pure: a pod and a view in, ``Actions`` out. Back-off is applied by whoever starts the containers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coxswain.api.names import Object
from coxswain.kubelet.pod.view import (
    PodView,
    container_restart_policy,
    containers_of,
    ephemeral_containers_of,
    init_containers_of,
    is_changed,
    is_sidecar,
    matches_restart_rules,
    restart_policy,
    should_restart,
)
from coxswain.kubelet.runtime.interface import Container, ContainerState


@dataclass(frozen=True, slots=True)
class Kill:
    """A container to be stopped, and what the Killing event says. ``probe`` names the one that failed."""

    container: Container
    message: str
    probe: str = ""


@dataclass(slots=True)
class Actions:
    """The answer; names are those of containers, in the order in which they start."""

    kill_pod: bool = False
    create_sandbox: bool = False
    attempt: int = 0
    kill: list[Kill] = field(default_factory=list)
    ephemeral_start: list[str] = field(default_factory=list)
    init_start: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        starts = self.ephemeral_start or self.init_start or self.start
        return bool(self.kill_pod or self.create_sandbox or self.kill or starts)


def sandbox_changed(pod: Object, view: PodView) -> tuple[bool, int]:
    """Whether a new sandbox is needed, and its attempt number."""
    newest = view.sandbox
    if newest is None:
        return True, 0
    ready = [box for box in view.sandboxes if box.ready]
    if len(ready) > 1 or not newest.ready:
        return True, newest.config.attempt + 1
    if not newest.config.host_network and not newest.ips:
        return True, newest.config.attempt + 1
    return False, newest.config.attempt


def compute(pod: Object, view: PodView) -> Actions:
    """What to do now with a pod that should run."""
    create, attempt = sandbox_changed(pod, view)
    actions = Actions(kill_pod=create, create_sandbox=create, attempt=attempt)
    if create:
        return _compute_fresh(pod, view, actions)
    added = [box["name"] for box in ephemeral_containers_of(pod)]
    actions.ephemeral_start = [name for name in added if view.find(name) is None]
    initialized = _compute_init(pod, view, actions)
    if actions.kill_pod or not initialized:
        return actions
    keep = sum(_compute_container(pod, container, view, actions) for container in containers_of(pod))
    if not keep and not actions.start:
        actions.kill_pod = True
        actions.init_start.clear()
        actions.ephemeral_start.clear()
    return actions


def _compute_fresh(pod: Object, view: PodView, actions: Actions) -> Actions:
    """The pod needs a (new) sandbox: everything begins again, unless nothing is left to do."""
    if restart_policy(pod) == "Never" and actions.attempt != 0 and view.containers:
        actions.create_sandbox = False
        return actions
    start = [box["name"] for box in containers_of(pod) if not _is_done(pod, box, view)]
    if not start:
        actions.create_sandbox = False
        return actions
    if init := init_containers_of(pod):
        actions.init_start = [init[0]["name"]]
    else:
        actions.start = start
    return actions


def _is_done(pod: Object, container: Object, view: PodView) -> bool:
    found = view.find(container["name"])
    if found is None or found.state is not ContainerState.EXITED:
        return False
    policy = container_restart_policy(pod, container)
    if matches_restart_rules(container, found.exit_code):
        return False
    return policy == "Never" or (policy == "OnFailure" and found.exit_code == 0)


def _compute_container(pod: Object, container: Object, view: PodView, actions: Actions) -> bool:
    """Decide on one regular container; whether it stays running."""
    name = container["name"]
    found = view.find(name)
    if found is None or found.state is not ContainerState.RUNNING:
        if should_restart(pod, container, view):
            actions.start.append(name)
            if found is not None and found.state is ContainerState.UNKNOWN:
                state = found.state.value
                actions.kill.append(
                    Kill(found, f"Container is in {state!r} state, try killing it before restart")
                )
        return False
    if is_changed(container, found):
        # Whatever the restart policy: the pod asks for another container than the one that runs.
        actions.start.append(name)
        actions.kill.append(Kill(found, f"Container {name} definition changed, will be restarted"))
        return False
    probe = _failed_probe(found, view)
    if not probe:
        return True
    message = f"Container {name} failed {probe} probe"
    if container_restart_policy(pod, container) != "Never" or container.get("restartPolicyRules"):
        message += ", will be restarted"
        actions.start.append(name)
    actions.kill.append(Kill(found, message, probe))
    return False


def _failed_probe(container: Container, view: PodView) -> str:
    for probe in ("liveness", "startup"):
        if view.probes.get((container.id, probe)) is False:
            return probe
    return ""


def _compute_init(pod: Object, view: PodView, actions: Actions) -> bool:
    """Decide on the init containers, last one first; whether the regular containers may run."""
    init = init_containers_of(pod)
    if not init:
        return True
    seen = [box["name"] for box in containers_of(pod) if view.find(box["name"]) is not None]
    initialized = passed = bool(seen)
    found_any = passed
    for position in range(len(init) - 1, -1, -1):
        container = init[position]
        found = view.find(container["name"])
        if found is None:
            if passed and is_sidecar(container):
                actions.init_start.append(container["name"])
            continue
        if passed and not is_sidecar(container):
            continue
        found_any = True
        step = _sidecar_step if is_sidecar(container) else _init_step
        if step(pod, container, found, view, actions) and not passed:
            if position == len(init) - 1:
                initialized = True
            else:
                actions.init_start.append(init[position + 1]["name"])
        if actions.kill_pod:
            return False
        # Whatever lies before the newest one that ever ran is done: only sidecars there need a look.
        passed = True
    if not found_any:
        actions.init_start.append(init[0]["name"])
    actions.init_start.reverse()
    return initialized


def _init_step(pod: Object, container: Object, found: Container, view: PodView, actions: Actions) -> bool:
    """An ordinary init container; whether it has succeeded."""
    if found.state is ContainerState.RUNNING:
        return False
    if found.state is ContainerState.EXITED and found.exit_code == 0:
        return True
    if found.state is ContainerState.UNKNOWN:
        actions.kill.append(Kill(found, "Init container is in unknown state, try killing it before restart"))
    elif found.state is ContainerState.EXITED and not should_restart(pod, container, view):
        actions.kill_pod = True
        actions.init_start.clear()
        return False
    actions.init_start.append(container["name"])
    return False


def _sidecar_step(pod: Object, container: Object, found: Container, view: PodView, actions: Actions) -> bool:
    """A sidecar; whether what follows it may start."""
    name = container["name"]
    if found.state is not ContainerState.RUNNING:
        if found.state is ContainerState.UNKNOWN:
            actions.kill.append(
                Kill(found, "Init container is in unknown state, try killing it before restart")
            )
        actions.init_start.append(name)
        return False
    startup = view.probes.get((found.id, "startup"))
    if container.get("startupProbe") and startup is not True:
        if startup is False:
            actions.kill.append(Kill(found, f"Init container {name} failed startup probe", "startup"))
            actions.init_start.append(name)
        return False
    if container.get("livenessProbe") and view.probes.get((found.id, "liveness")) is False:
        actions.kill.append(Kill(found, f"Init container {name} failed liveness probe", "liveness"))
        actions.init_start.append(name)
    return True
