"""What a client should be told although its object is fine: Warning headers (Kubernetes ``pkg/api/*/warnings.go``)."""

from __future__ import annotations

from coxswain.api.fields import quote
from coxswain.api.names import GVK, Object
from coxswain.api.quantity import Quantity
from coxswain.api.strategy.definitions import warn_about_definition
from coxswain.api.validation.formats import dns_label

_DEPRECATED_KINDS = {
    ("", "v1", "Endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "ComponentStatus"): "v1 ComponentStatus is deprecated in v1.19+",
}
_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
_DEPRECATED_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
_BYTES = ("memory", "ephemeral-storage", "storage")
#: Where a kind keeps its pods' template.
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


def deprecation(gvk: GVK) -> str | None:
    """The warning that every request about an outdated kind gets."""
    return _DEPRECATED_KINDS.get(gvk)


def warnings(obj: Object, gvk: GVK) -> list[str]:
    """What to tell the author of ``obj`` (created or changed), in Kubernetes' words."""
    out: list[str] = []
    where = _TEMPLATES.get((gvk.group, gvk.kind))
    if where is not None:
        _warn_about_name(obj, gvk, out)
        template = obj
        for step in where:
            template = template.get(step) or {}
        path = ".".join(where)
        _warn_about_pod(template.get("spec") or {}, template.get("metadata") or {}, path, out)
    elif (gvk.group, gvk.kind) == ("", "Pod"):
        name = (obj.get("metadata") or {}).get("name") or ""
        if name and dns_label(name):
            listed = " ".join(dns_label(name))
            out.append(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; "
                f"a DNS label is recommended: [{listed}]"
            )
        _warn_about_pod(obj.get("spec") or {}, obj.get("metadata") or {}, "", out)
    elif (gvk.group, gvk.kind) == ("apiextensions.k8s.io", "CustomResourceDefinition"):
        warn_about_definition(obj, out)
    elif (gvk.group, gvk.kind) == ("", "Service"):
        _warn_about_service(obj.get("spec") or {}, out)
    elif (gvk.group, gvk.kind) in (("", "PersistentVolumeClaim"), ("", "PersistentVolume")):
        _warn_about_storage(obj, gvk, out)
    elif (gvk.group, gvk.kind) == ("", "Node") and (obj.get("spec") or {}).get("configSource") is not None:
        out.append("spec.configSource: the feature is removed")
    return out


def _warn_about_name(obj: Object, gvk: GVK, out: list[str]) -> None:
    name = (obj.get("metadata") or {}).get("name") or ""
    if gvk.kind in ("Deployment", "ReplicaSet", "ReplicationController", "Job", "CronJob") and name:
        complaints = dns_label(name)
        if complaints:
            out.append(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising "
                f"behavior; a DNS label is recommended: [{' '.join(complaints)}]"
            )


def _join(path: str, *names: str) -> str:
    return ".".join((path, *names)) if path else ".".join(names)


def _warn_about_pod(spec: Object, metadata: Object, path: str, out: list[str]) -> None:
    spec_path = _join(path, "spec")
    out += [
        f"{spec_path}.nodeSelector[{label}]: {_DEPRECATED_LABELS[label]}"
        for label in spec.get("nodeSelector") or ()
        if label in _DEPRECATED_LABELS
    ]
    if spec.get("affinity"):
        _warn_about_affinity(
            spec["affinity"].get("nodeAffinity") or {}, f"{spec_path}.affinity.nodeAffinity", out
        )
    if metadata.get("annotations"):
        _warn_about_annotations(metadata["annotations"], _join(path, "metadata", "annotations"), out)
    for position, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        key = constraint.get("topologyKey")
        if key in _DEPRECATED_LABELS:
            where = f"{spec_path}.topologySpreadConstraints[{position}].topologyKey"
            out.append(f"{where}: {key} is {_DEPRECATED_LABELS[key]}")
    for position, volume in enumerate(spec.get("volumes") or ()):
        where = f"{spec_path}.volumes[{position}]"
        out += [
            f"{where}.{kind}: {_DEPRECATED_VOLUMES[kind]}" for kind in volume if kind in _DEPRECATED_VOLUMES
        ]
    _warn_about_repetitions(spec, spec_path, out)
    for group in ("initContainers", "containers"):
        for position, container in enumerate(spec.get(group) or ()):
            _warn_about_container(container, f"{spec_path}.{group}[{position}]", out)
    _warn_about_ports(spec, spec_path, out)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        where = f"{spec_path}.terminationGracePeriodSeconds"
        out.append(f"{where}: must be >= 0; negative values are invalid and will be treated as 1")


def _warn_about_affinity(affinity: Object, path: str, out: list[str]) -> None:
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = [
        (term, f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{position}]")
        for position, term in enumerate(required.get("nodeSelectorTerms") or ())
    ]
    terms += [
        (
            term.get("preference") or {},
            f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{position}].preference",
        )
        for position, term in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ())
    ]
    for term, where in terms:
        for position, requirement in enumerate(term.get("matchExpressions") or ()):
            key = requirement.get("key")
            if key in _DEPRECATED_LABELS:
                out.append(f"{where}.matchExpressions[{position}].key: {key} is {_DEPRECATED_LABELS[key]}")


def _warn_about_annotations(annotations: Object, path: str, out: list[str]) -> None:
    for name in annotations:
        if name == "seccomp.security.alpha.kubernetes.io/pod" or name.startswith(
            "container.seccomp.security.alpha.kubernetes.io/"
        ):
            out.append(f'{path}[{name}]: non-functional in v1.27+; use the "seccompProfile" field instead')
        elif name.startswith("container.apparmor.security.beta.kubernetes.io/"):
            out.append(f'{path}[{name}]: deprecated since v1.30; use the "appArmorProfile" field instead')
        elif name == "scheduler.alpha.kubernetes.io/critical-pod":
            out.append(f'{path}[{name}]: non-functional in v1.16+; use the "priorityClassName" field instead')


def _warn_about_repetitions(spec: Object, path: str, out: list[str]) -> None:
    seen: set[str] = set()
    for position, secret in enumerate(spec.get("imagePullSecrets") or ()):
        name = secret.get("name") or ""
        where = f"{path}.imagePullSecrets[{position}].name"
        if not name:
            out.append(f'{where}: invalid empty name ""')
        elif name in seen:
            out.append(f"{where}: duplicate name {quote(name)}")
        seen.add(name)
    addresses: set[str] = set()
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip") or ""
        if address in addresses:
            out.append(f"{path}.hostAliases[{position}].ip: duplicate ip {quote(address)}")
        addresses.add(address)


def _warn_about_container(container: Object, path: str, out: list[str]) -> None:
    resources = container.get("resources") or {}
    for kind in ("limits", "requests"):
        for name in _BYTES:
            value = (resources.get(kind) or {}).get(name)
            if value is not None and Quantity.parse(value).nano % 1_000_000_000:
                shown = str(Quantity.parse(value))
                where = f"{path}.resources.{kind}[{name}]"
                out.append(f'{where}: fractional byte value "{shown}" is invalid, must be an integer')
    variables = container.get("env") or ()
    if len(variables) > 1:
        seen: set[str] = set()
        for position, variable in enumerate(variables):
            name = variable.get("name") or ""
            if name in seen:
                out.append(
                    f"{path}.env[{position}]: hides previous definition of {quote(name)}, "
                    "which may be dropped when using apply"
                )
            seen.add(name)


def _warn_about_ports(spec: Object, path: str, out: list[str]) -> None:
    names: dict[str, str] = {}
    for group in ("containers",):
        for position, container in enumerate(spec.get(group) or ()):
            ports: dict[tuple[object, object], str] = {}
            for number, port in enumerate(container.get("ports") or ()):
                where = f"{path}.{group}[{position}].ports[{number}]"
                identity = (port.get("protocol"), port.get("containerPort"))
                if not port.get("hostPort"):
                    if identity in ports:
                        out.append(f"{where}: duplicate port definition with {ports[identity]}")
                    ports.setdefault(identity, where)
                name = port.get("name")
                if name:
                    if name in names and not names[name].startswith(f"{path}.{group}[{position}]"):
                        first = names[name]
                        out.append(
                            f"{where}: duplicate port name {quote(name)} with {first}, "
                            f"services and probes that select ports by name will use {first}"
                        )
                    names.setdefault(name, where)


def _warn_about_service(spec: Object, out: list[str]) -> None:
    headless = spec.get("clusterIP") == "None"
    if headless and spec.get("loadBalancerIP"):
        out.append("spec.loadBalancerIP is ignored for headless services")
    if headless and spec.get("externalIPs"):
        out.append("spec.externalIPs is ignored for headless services")
    if headless and spec.get("sessionAffinity") not in (None, "", "None"):
        out.append("spec.SessionAffinity is ignored for headless services")
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        out.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        out.append("spec.trafficDistribution: PreferClose is deprecated, use PreferSameZone instead")


def _warn_about_storage(obj: Object, gvk: GVK, out: list[str]) -> None:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    spec = obj.get("spec") or {}
    if _STORAGE_CLASS in annotations:
        where = f"metadata.annotations[{_STORAGE_CLASS}]"
        out.append(f'{where}: deprecated since v1.8; use "storageClassName" attribute instead')
    if gvk.kind == "PersistentVolume":
        if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            out.append(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
                "Instead, the recommended approach is to use dynamic provisioning."
            )
        out += [f"spec.{kind}: {_DEPRECATED_VOLUMES[kind]}" for kind in spec if kind in _DEPRECATED_VOLUMES]
        return
    for field in ("storage",):
        for kind in ("requests", "limits"):
            value = ((spec.get("resources") or {}).get(kind) or {}).get(field)
            if value is not None and Quantity.parse(value).nano % 1_000_000_000:
                shown = str(Quantity.parse(value))
                where = f"spec.resources.{kind}[{field}]"
                out.append(f'{where}: fractional byte value "{shown}" is invalid, must be an integer')
