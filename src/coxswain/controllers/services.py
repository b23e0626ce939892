"""Services and the pods behind them: what the endpoints and the endpoint slice controllers share."""

from __future__ import annotations

from collections.abc import Callable

from coxswain.api import meta
from coxswain.api.names import SERVICES, Object
from coxswain.client.informer import Informer, InformerFactory, key_of
from coxswain.controllers.labels import Selected, Selecting

HEADLESS_LABEL = "service.kubernetes.io/headless"

#: Seconds in which changes of pods are gathered: a rollout touches every pod, its service once or twice.
BATCH_PERIOD = 0.1


def selects(service: Object, pod: Object) -> bool:
    """Whether ``pod`` has every label of the service's selector; a service without one selects nothing."""
    wanted = service["spec"].get("selector")
    return bool(wanted) and wanted.items() <= meta.labels(pod).items()


def target_port(port: Object, pod: Object) -> int | None:
    """The number of a service port on ``pod``; a name is looked up among its containers' ports."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    protocol = port.get("protocol", "TCP")
    spec = pod["spec"]
    sidecars = (one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for declared in container.get("ports") or ():
            if declared.get("name") == target and declared.get("protocol", "TCP") == protocol:
                return int(declared["containerPort"])
    return None


def is_headless(service: Object) -> bool:
    """The service has no cluster address: names resolve to the pods themselves."""
    return bool(service["spec"].get("clusterIP") == "None")


def addresses(pod: Object, family: str) -> list[str]:
    """The pod's addresses of ``family`` (IPv4 or IPv6)."""
    status = pod["status"]
    found = [entry["ip"] for entry in status.get("podIPs") or ()] or [status.get("podIP") or ""]
    return [ip for ip in found if ip and (":" in ip) == (family == "IPv6")]


def should_appear(pod: Object, *, terminating: bool) -> bool:
    """Whether a pod can be an endpoint at all (``endpointutil.ShouldPodBeInEndpoints``)."""
    if meta.is_pod_finished(pod) or not (pod["status"].get("podIP") or pod["status"].get("podIPs")):
        return False
    return terminating or not meta.is_terminating(pod)


def target_ref(pod: Object) -> Object:
    """The reference by which an endpoint names its pod."""
    return {"kind": "Pod", "namespace": meta.namespace(pod), "name": meta.name(pod), "uid": meta.uid(pod)}


def _endpoint_facts(pod: Object) -> tuple[object, ...]:
    """What of a pod can change an endpoint."""
    spec, status = pod["spec"], pod["status"]
    return (
        status.get("podIPs"),
        spec.get("nodeName"),
        meta.is_pod_ready(pod),
        meta.is_pod_finished(pod),
        meta.is_terminating(pod),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def selected_labels(service: Object) -> dict[str, str] | None:
    """What a service selects by; None if it selects nothing."""
    return service["spec"].get("selector") or None


class Touched:
    """Which pods of each service changed since it was last looked at."""

    def __init__(self) -> None:
        #: Service -> uid and key of its pods; None: the service itself, so all of them.
        self._pods: dict[str, dict[str, str] | None] = {}

    def note(self, service: str, pod: Object | None) -> None:
        """``pod`` (None: the service itself) changed."""
        changed = self._pods.setdefault(service, {}) if pod is not None else None
        if pod is None:
            self._pods[service] = None
        elif changed is not None:
            changed[meta.uid(pod)] = key_of(pod)

    def take(self, service: str) -> dict[str, str] | None:
        """Uid and key of the pods that changed; None: look at all. From here on, nothing has changed."""
        return self._pods.pop(service, {})

    def __contains__(self, service: str) -> bool:
        return service in self._pods


def current_pod(pods: Informer, service: Object, uid: str, key: str) -> Object | None:
    """The pod ``key``, if it is still that of this uid and ``service`` selects it."""
    pod = pods.get(key)
    return pod if pod is not None and meta.uid(pod) == uid and selects(service, pod) else None


class ServiceEvents:
    """Wakes services when they, or pods that they select, change; knows the pods of each."""

    def __init__(
        self,
        informers: InformerFactory,
        pods: Informer,
        wake: Callable[[str, float], None],
        touched: Callable[[str, Object | None], None] = lambda service, pod: None,
    ) -> None:
        """``wake(key, delay)`` queues a service's key in ``delay`` seconds.

        ``touched(key, pod)`` says before which pod it is about; None: the service itself changed.
        """
        self.services = informers.informer(SERVICES)
        self._selecting = Selecting(self.services, selected_labels)
        self._selected = Selected(pods)
        self._wake = wake
        self._touched = touched
        self.services.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        pods.add_handler(self.pod_changed, self._pod_updated, self.pod_changed)

    def _changed(self, service: Object) -> None:
        self._touched(key_of(service), None)
        self._wake(key_of(service), 0.0)

    def pods_of(self, service: Object) -> list[Object]:
        """The pods that a service selects."""
        wanted = selected_labels(service)
        return self._selected.matching(meta.namespace(service), wanted) if wanted else []

    def pod_changed(self, pod: Object) -> None:
        """Wake the services that select ``pod``."""
        for service in self._selecting.candidates(pod):
            if selects(service, pod):
                self._touched(key_of(service), pod)
                self._wake(key_of(service), BATCH_PERIOD)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if meta.labels(old) != meta.labels(new):
            self.pod_changed(old)
            self.pod_changed(new)
        elif _endpoint_facts(old) != _endpoint_facts(new):
            self.pod_changed(new)
