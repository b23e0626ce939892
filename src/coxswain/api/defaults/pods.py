"""Defaults of pods and of the pod templates in everything that makes pods (Kubernetes core/v1 defaults)."""

from __future__ import annotations

from typing import Any

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.resources import container_requests, may_overcommit
from coxswain.base.memo import remembered

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_DEFAULT_MODE = 0o644


@remembered(4096)
def pull_policy(image: str) -> str:
    """Always for ``:latest`` and for images without a tag; IfNotPresent for others, and for what is no image."""
    name, at, _ = image.partition("@")
    last = name.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    repository = name[: len(name) - len(tag) - 1] if colon else name
    path = (
        repository.partition("/")[2]
        if "/" in repository and ("." in repository.partition("/")[0])
        else repository
    )
    if not name or (path != path.lower() and not at) or any(char.isspace() for char in image):
        return "IfNotPresent"
    if colon:
        return "Always" if tag == "latest" else "IfNotPresent"
    return "IfNotPresent" if at else "Always"


def default_pod(pod: Object) -> None:
    """A whole pod: its spec, and what only pods (not templates) get."""
    spec = pod.get("spec")
    if spec is None:
        spec = pod["spec"] = {}
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            resources = container.get("resources")
            if resources and resources.get("limits"):
                resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    default_pod_spec(spec)
    if spec.get("resources"):
        _default_pod_resources(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        default_host_ports(spec)


def default_host_ports(spec: Object) -> None:
    """With the host's network a container's port is the host's."""
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            for port in container.get("ports") or ():
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort")


def _default_pod_resources(spec: Object) -> None:
    """Pod-level requests: what containers ask for, else the pod's own limits."""
    resources = spec["resources"]
    limits = resources.get("limits") or {}
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name, total in container_requests(spec).items():
        if name not in requests and may_overcommit(name) and name in ("cpu", "memory"):
            requests[name] = str(total)
    for name, limit in limits.items():
        requests.setdefault(name, limit)
    resources["requests"] = requests


def default_pod_template(template: Object | None) -> None:
    """A PodTemplateSpec."""
    if template is not None:
        spec = template.get("spec")
        if spec is None:
            spec = template["spec"] = {}
        default_pod_spec(spec)


def default_pod_spec(spec: Object) -> None:
    """A PodSpec, in pods and templates alike."""
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    # The deprecated name and the new one say the same.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for group in _CONTAINERS:
        for container in spec.get(group) or ():
            default_container(container)
    for volume in spec.get("volumes") or ():
        default_volume(volume)
    if spec.get("overhead"):
        round_amounts(spec["overhead"])
    for constraint in spec.get("topologySpreadConstraints") or ():
        if constraint.get("nodeAffinityPolicy") == "":
            del constraint["nodeAffinityPolicy"]


def default_container(container: Object) -> None:
    """A container of any sort."""
    get = container.get
    if not get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(get("image") or "")
    if not get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = get("resources")
    if resources is None:
        container["resources"] = {}
    elif resources:
        for kind in ("limits", "requests"):
            if resources.get(kind):
                round_amounts(resources[kind])
    for port in get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _default_field_ref(reference)
        resource = (variable.get("valueFrom") or {}).get("resourceFieldRef")
        if resource is not None:
            resource.setdefault("divisor", "0")
        file_ref = (variable.get("valueFrom") or {}).get("fileKeyRef")
        if file_ref is not None:
            file_ref.setdefault("optional", False)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if get(probe) is not None:
            default_probe(container[probe])
    lifecycle = get("lifecycle")
    if lifecycle:
        for hook in ("postStart", "preStop"):
            _default_http((lifecycle.get(hook) or {}).get("httpGet"))


def round_amounts(amounts: dict[str, Any]) -> None:
    """Amounts finer than a thousandth are rounded up to one."""
    for name, value in amounts.items():
        if isinstance(value, str) and value[-1:] in ("n", "u"):
            amounts[name] = str(Quantity(Quantity.parse(value).milli() * 1_000_000))


def default_probe(probe: Object) -> None:
    """A probe: 1 second to answer, every 10 seconds, once for success, three times for failure."""
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _default_http(probe.get("httpGet"))
    grpc = probe.get("grpc")
    if grpc is not None:
        grpc.setdefault("service", "")


def _default_http(action: Object | None) -> None:
    if action is not None:
        if not action.get("path"):
            action["path"] = "/"
        if not action.get("scheme"):
            action["scheme"] = "HTTP"


def _default_field_ref(reference: Object) -> None:
    if not reference.get("apiVersion"):
        reference["apiVersion"] = "v1"


def _mode(source: Object) -> None:
    if source.get("defaultMode") is None:
        source["defaultMode"] = _DEFAULT_MODE


def _downward(source: Object) -> None:
    for item in source.get("items") or ():
        if item.get("fieldRef") is not None:
            _default_field_ref(item["fieldRef"])
        if item.get("resourceFieldRef") is not None:
            item["resourceFieldRef"].setdefault("divisor", "0")


def _downward_volume(source: Object) -> None:
    _mode(source)
    _downward(source)


def _projected(source: Object) -> None:
    _mode(source)
    for each in source.get("sources") or ():
        token = each.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
        if each.get("downwardAPI") is not None:
            _downward(each["downwardAPI"])


def default_host_path(source: Object) -> None:
    """An unset type of hostPath is written as empty."""
    if source.get("type") is None:
        source["type"] = ""


def default_iscsi(source: Object) -> None:
    """iSCSI's interface."""
    if not source.get("iscsiInterface"):
        source["iscsiInterface"] = "default"


def default_rbd(source: Object) -> None:
    """Ceph block device's pool, user and keyring."""
    for field, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
        if not source.get(field):
            source[field] = value


def default_azure_disk(source: Object) -> None:
    """Azure disk's caching, file system and kind."""
    for field, value in (
        ("cachingMode", "ReadWrite"),
        ("fsType", "ext4"),
        ("readOnly", False),
        ("kind", "Shared"),
    ):
        if source.get(field) is None:
            source[field] = value


def default_scale_io(source: Object) -> None:
    """ScaleIO's storage mode and file system."""
    for field, value in (("storageMode", "ThinProvisioned"), ("fsType", "xfs")):
        if not source.get(field):
            source[field] = value


def _image(source: Object) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference") or "")


def default_claim_spec(spec: Object) -> None:
    """The spec of a PersistentVolumeClaim."""
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if spec.get("resources") is None:
        spec["resources"] = {}


def _ephemeral(source: Object) -> None:
    template = source.get("volumeClaimTemplate")
    if template is not None:
        default_claim_spec(template.setdefault("spec", {}))


_SOURCES = {
    "secret": _mode,
    "configMap": _mode,
    "downwardAPI": _downward_volume,
    "projected": _projected,
    "hostPath": default_host_path,
    "iscsi": default_iscsi,
    "rbd": default_rbd,
    "azureDisk": default_azure_disk,
    "scaleIO": default_scale_io,
    "ephemeral": _ephemeral,
    "image": _image,
}


def default_volume(volume: Object) -> None:
    """A volume of a pod: an empty directory where no source is given."""
    found = False
    for kind in list(volume):
        if kind != "name" and volume[kind] is not None:
            found = True
            fill = _SOURCES.get(kind)
            if fill is not None:
                fill(volume[kind])
    if not found:
        volume["emptyDir"] = {}


def _pod_template(obj: Object) -> None:
    default_pod_template(obj.get("template"))


DEFAULTS = {("", "Pod"): default_pod, ("", "PodTemplate"): _pod_template}
