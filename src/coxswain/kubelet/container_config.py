"""From a pod's spec to what a runtime is told: sandbox and container configurations."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.kubelet.env import expand
from coxswain.kubelet.pod.view import CONTAINER_HASH, container_hash
from coxswain.kubelet.runtime.interface import POD_UID_LABEL, ContainerConfig, Resources, SandboxConfig
from coxswain.kubelet.volumes import PodVolumes

#: Labels that tie the runtime's objects to pods; kubelet's names.
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
CONTAINER_NAME = "io.kubernetes.container.name"


def pod_labels(pod: Object) -> dict[str, str]:
    """The labels of everything that belongs to the pod."""
    full = pod["metadata"]
    return {
        POD_NAME: full["name"],
        POD_NAMESPACE: full.get("namespace", ""),
        POD_UID_LABEL: full["uid"],
    }


def hostname(pod: Object) -> str:
    """``spec.hostname`` or the pod's name, at most 63 letters."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def sandbox_config(pod: Object, attempt: int, log_directory: str) -> SandboxConfig:
    """What the pod's sandbox is made from."""
    full, spec = pod["metadata"], pod["spec"]
    ports = tuple(
        (int(port["hostPort"]), int(port["containerPort"]), port.get("protocol") or "TCP")
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )
    return SandboxConfig(
        name=full["name"],
        namespace=full.get("namespace", ""),
        uid=full["uid"],
        attempt=attempt,
        hostname=hostname(pod),
        log_directory=log_directory,
        labels={**(full.get("labels") or {}), **pod_labels(pod)},
        host_network=bool(spec.get("hostNetwork")),
        host_pid=bool(spec.get("hostPID")),
        port_mappings=ports,
    )


def container_config(
    pod: Object, spec: Object, attempt: int, variables: dict[str, str], volumes: PodVolumes, ip: str
) -> ContainerConfig:
    """What one container is made from; ``ip`` is the pod's own address (none on the host's network). Raises ``RuntimeFailure`` for volumes that cannot be shown."""
    security = {**(pod["spec"].get("securityContext") or {}), **(spec.get("securityContext") or {})}
    name = spec["name"]
    mounts = volumes.mounts(pod, spec, lambda text: expand(text, variables))
    if ip and not any(mount.container_path == "/etc/hosts" for mount in mounts):
        mounts.append(volumes.hosts_file(pod, ip, hostname(pod)))
    return ContainerConfig(
        name=name,
        attempt=attempt,
        image=spec.get("image", ""),
        command=[expand(text, variables) for text in spec.get("command") or ()],
        args=[expand(text, variables) for text in spec.get("args") or ()],
        working_dir=spec.get("workingDir") or "",
        env=list(variables.items()),
        mounts=mounts,
        log_path=f"{name}/{attempt}.log",
        labels={**pod_labels(pod), CONTAINER_NAME: name},
        annotations={CONTAINER_HASH: container_hash(spec)},
        resources=resources_of(pod, spec),
        run_as_user=security.get("runAsUser"),
        run_as_group=security.get("runAsGroup"),
        privileged=bool(security.get("privileged")),
        stop_signal=(spec.get("lifecycle") or {}).get("stopSignal") or "",
    )


def resources_of(pod: Object, spec: Object) -> Resources:
    """cpu and memory of the container, and its score for the out-of-memory killer (kubelet's policy)."""
    given = spec.get("resources") or {}
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    memory = Quantity.parse(requests.get("memory") or "0").value()
    score = {"Guaranteed": -997, "BestEffort": 1000}.get(meta.qos_class(pod))
    if score is None:
        total = 64 << 30
        score = max(3, min(999, 1000 - 1000 * memory // total))
    return Resources(
        cpu_request_milli=Quantity.parse(requests.get("cpu") or "0").milli(),
        cpu_limit_milli=Quantity.parse(limits.get("cpu") or "0").milli(),
        memory_limit=Quantity.parse(limits.get("memory") or "0").value(),
        oom_score_adj=score,
    )
