"""What pods and pod templates have in common: containers, volumes, tolerations, spreading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coxswain.api.names import Object
from coxswain.cli.kubectl.describe.sheet import NONE, UNSET, Sheet, moment, selector_text

#: Kind of volume -> what it is called, and (name, field, default) of its lines.
_VOLUMES: dict[str, tuple[str, tuple[tuple[str, str, Any], ...]]] = {
    "hostPath": (
        "HostPath (bare host directory volume)",
        (("Path", "path", ""), ("HostPathType", "type", "")),
    ),
    "emptyDir": (
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        (("Medium", "medium", ""), ("SizeLimit", "sizeLimit", UNSET)),
    ),
    "secret": (
        "Secret (a volume populated by a Secret)",
        (("SecretName", "secretName", ""), ("Optional", "optional", False)),
    ),
    "configMap": (
        "ConfigMap (a volume populated by a ConfigMap)",
        (("Name", "name", ""), ("Optional", "optional", False)),
    ),
    "nfs": (
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        (("Server", "server", ""), ("Path", "path", ""), ("ReadOnly", "readOnly", False)),
    ),
    "persistentVolumeClaim": (
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        (("ClaimName", "claimName", ""), ("ReadOnly", "readOnly", False)),
    ),
    "csi": (
        "CSI (a Container Storage Interface (CSI) volume source)",
        (("Driver", "driver", ""), ("FSType", "fsType", ""), ("ReadOnly", "readOnly", False)),
    ),
    "image": (
        "Image (a container image or OCI artifact)",
        (("Reference", "reference", ""), ("PullPolicy", "pullPolicy", "")),
    ),
    "ephemeral": (
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
        (),
    ),
}


def template(sheet: Sheet, pod: Object) -> None:
    """The pod template of a workload."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    sheet.line("Pod Template:")
    sheet.labels("  Labels", meta.get("labels"))
    if meta.get("annotations"):
        sheet.annotations("  Annotations", meta["annotations"])
    if spec.get("serviceAccountName"):
        sheet.row("Service Account", spec["serviceAccountName"], 1)
    if spec.get("initContainers"):
        containers(sheet, "Init Containers", spec["initContainers"], space="  ")
    containers(sheet, "Containers", spec.get("containers") or [], space="  ")
    volumes(sheet, spec.get("volumes") or [], "  ")
    spreading(sheet, spec.get("topologySpreadConstraints") or [], "  ")
    if spec.get("priorityClassName"):
        sheet.row("Priority Class Name", spec["priorityClassName"], 1)
    sheet.labels("  Node-Selectors", spec.get("nodeSelector"))
    tolerations(sheet, "  Tolerations", spec.get("tolerations") or [])


def containers(
    sheet: Sheet, label: str, specs: Sequence[Object], statuses: Sequence[Object] = (), space: str = "",
    pod: Object | None = None,
) -> None:  # fmt: skip
    """A group of containers, with their statuses where there are some."""
    by_name = {status.get("name"): status for status in statuses}
    sheet.line(f"{space}{label}:{'' if specs else ' ' + NONE}")
    for spec in specs:
        status = by_name.get(spec["name"])
        sheet.line(f"{' ' if space else ''}{spec['name']}:", 1)
        _identity(sheet, spec, status)
        for name, field in (("Command", "command"), ("Args", "args")):
            if spec.get(field):
                sheet.line(f"{name}:", 2)
                for word in spec[field]:
                    for part in word.split("\n"):
                        sheet.line(part, 3)
        if status is not None:
            _state(sheet, status)
        resources(sheet, spec.get("resources") or {}, 2)
        for name, field in (
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ):
            if spec.get(field):
                sheet.row(name, probe(spec[field]), 2)
        _environment(sheet, spec, pod)
        _mounts(sheet, spec)


def _identity(sheet: Sheet, spec: Object, status: Object | None) -> None:
    if status is not None:
        sheet.row("Container ID", status.get("containerID") or "", 2)
    sheet.row("Image", spec.get("image") or "", 2)
    if status is not None:
        sheet.row("Image ID", status.get("imageID") or "", 2)
    for name, field in (("Port", "containerPort"), ("Host Port", "hostPort")):
        ports = [_port(port, field) for port in spec.get("ports") or ()]
        if len(ports) > 1:
            sheet.row(f"{name}s", ", ".join(ports), 2)
        else:
            sheet.row(name, ports[0] if ports else NONE, 2)
    profile = (spec.get("securityContext") or {}).get("seccompProfile")
    if profile:
        sheet.row("SeccompProfile", profile.get("type"), 2)
        if profile.get("type") == "Localhost":
            sheet.row("LocalhostProfile", profile.get("localhostProfile"), 3)


def _port(port: Object, field: str) -> str:
    text = f"{port.get(field) or 0}/{port.get('protocol') or 'TCP'}"
    return f"{text} ({port['name']})" if port.get("name") else text


def _state(sheet: Sheet, status: Object) -> None:
    _one_state(sheet, "State", status.get("state") or {})
    if (status.get("lastState") or {}).get("terminated"):
        _one_state(sheet, "Last State", status["lastState"])
    sheet.row("Ready", "True" if status.get("ready") else "False", 2)
    sheet.row("Restart Count", status.get("restartCount") or 0, 2)


def _one_state(sheet: Sheet, name: str, state: Object) -> None:
    if state.get("running") is not None:
        sheet.row(name, "Running", 2)
        sheet.row("Started", moment(state["running"].get("startedAt")), 3)
    elif (ended := state.get("terminated")) is not None:
        sheet.row(name, "Terminated", 2)
        for label, field in (("Reason", "reason"), ("Message", "message")):
            if ended.get(field):
                sheet.row(label, ended[field], 3)
        sheet.row("Exit Code", ended.get("exitCode") or 0, 3)
        if ended.get("signal"):
            sheet.row("Signal", ended["signal"], 3)
        sheet.row("Started", moment(ended.get("startedAt")), 3)
        sheet.row("Finished", moment(ended.get("finishedAt")), 3)
    else:
        sheet.row(name, "Waiting", 2)
        if (state.get("waiting") or {}).get("reason"):
            sheet.row("Reason", state["waiting"]["reason"], 3)


def resources(sheet: Sheet, wanted: Object, level: int) -> None:
    """Limits and requests."""
    for name, field in (("Limits", "limits"), ("Requests", "requests")):
        if wanted.get(field):
            sheet.line(f"{name}:", level)
            for resource, amount in sorted(wanted[field].items()):
                sheet.row(resource, amount, level + 1)


def probe(spec: Object) -> str:
    """``http-get http://:80/x delay=0s timeout=1s ...``."""
    pace = (
        f"delay={spec.get('initialDelaySeconds') or 0}s timeout={spec.get('timeoutSeconds') or 0}s "
        f"period={spec.get('periodSeconds') or 0}s successThreshold={spec.get('successThreshold') or 0} "
        f"failureThreshold={spec.get('failureThreshold') or 0}"
    )
    if spec.get("exec"):
        return f"exec [{' '.join(spec['exec'].get('command') or ())}] {pace}"
    if http := spec.get("httpGet"):
        path = str(http.get("path") or "")
        slash = "" if path.startswith("/") or not path else "/"
        scheme = str(http.get("scheme") or "HTTP").lower()
        return f"http-get {scheme}://{http.get('host') or ''}:{http.get('port')}{slash}{path} {pace}"
    if tcp := spec.get("tcpSocket"):
        return f"tcp-socket {tcp.get('host') or ''}:{tcp.get('port')} {pace}"
    if grpc := spec.get("grpc"):
        return f"grpc <pod>:{grpc.get('port')} {grpc.get('service') or ''} {pace}"
    return f"unknown {pace}"


def _environment(sheet: Sheet, spec: Object, pod: Object | None) -> None:
    if spec.get("envFrom"):
        sheet.line("Environment Variables from:", 2)
        for source in spec["envFrom"]:
            kind, field = (
                ("ConfigMap", "configMapRef") if source.get("configMapRef") else ("Secret", "secretRef")
            )
            ref = source.get(field) or {}
            prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
            sheet.line(f"{ref.get('name') or ''}\t{kind}{prefix}\tOptional: {_go(ref.get('optional'))}", 3)
    variables = spec.get("env") or ()
    sheet.line("Environment:" if variables else f"Environment:\t{NONE}", 2)
    for variable in variables:
        _variable(sheet, variable, spec, pod)


def _variable(sheet: Sheet, variable: Object, spec: Object, pod: Object | None) -> None:
    name, source = variable["name"], variable.get("valueFrom")
    if not source:
        first, *rest = str(variable.get("value") or "").split("\n")
        sheet.row(name, first, 3)
        for part in rest:
            sheet.line(f"\t{part}", 3)
    elif ref := source.get("fieldRef"):
        value = _field_value(pod, ref.get("fieldPath") or "") if pod is not None else ""
        sheet.row(name, f"{value} ({ref.get('apiVersion') or 'v1'}:{ref.get('fieldPath')})", 3)
    elif ref := source.get("resourceFieldRef"):
        sheet.row(name, f"{_resource_value(spec, ref)} ({ref.get('resource')})", 3)
    elif ref := source.get("secretKeyRef"):
        text = f"<set to the key '{ref.get('key')}' in secret '{ref.get('name')}'>"
        sheet.row(name, f"{text}\tOptional: {_go(ref.get('optional'))}", 3)
    elif ref := source.get("configMapKeyRef"):
        text = f"<set to the key '{ref.get('key')}' of config map '{ref.get('name')}'>"
        sheet.row(name, f"{text}\tOptional: {_go(ref.get('optional'))}", 3)


def _go(value: Any) -> str:
    return "true" if value else "false"


def _field_value(pod: Object, path: str) -> str:
    """What the downward API gives for a field of the pod."""
    import re

    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return str((pod["metadata"].get(match.group(1)) or {}).get(match.group(2)) or "")
    value: Any = pod
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _resource_value(spec: Object, ref: Object) -> str:
    from coxswain.api.quantity import Quantity

    group, _, resource = str(ref.get("resource") or "").partition(".")
    amount = ((spec.get("resources") or {}).get(group) or {}).get(resource)
    if amount is None:
        return "node allocatable" if group == "limits" and resource in ("cpu", "memory") else "0"
    divisor = str(ref.get("divisor") or "0")
    by = Quantity.parse("1" if divisor == "0" else divisor)
    return str(-(-Quantity.parse(amount).nano // by.nano))


def _mounts(sheet: Sheet, spec: Object) -> None:
    mounts = sorted(spec.get("volumeMounts") or (), key=lambda mount: str(mount.get("mountPath")))
    sheet.line("Mounts:" if mounts else f"Mounts:\t{NONE}", 2)
    for mount in mounts:
        how = "ro" if mount.get("readOnly") else "rw"
        if mount.get("subPath"):
            how += f',path="{mount["subPath"]}"'
        sheet.line(f"{mount.get('mountPath')} from {mount.get('name')} ({how})", 3)
    devices = sorted(spec.get("volumeDevices") or (), key=lambda device: str(device.get("devicePath")))
    if devices:
        sheet.line("Devices:" if mounts else f"Devices:\t{NONE}", 2)
        for device in devices:
            sheet.line(f"{device.get('devicePath')} from {device.get('name')}", 3)


# --- volumes ----------------------------------------------------------------------------------------------


def volumes(sheet: Sheet, specs: Sequence[Object], space: str) -> None:
    """The volumes of a pod."""
    if not specs:
        sheet.line(f"{space}Volumes:\t{NONE}")
        return
    sheet.line(f"{space}Volumes:")
    for spec in specs:
        sheet.line(f"{' ' if space else ''}{spec['name']}:", 1)
        kind = next((key for key in spec if key != "name"), "")
        source = spec.get(kind) or {}
        if kind == "projected":
            _projected(sheet, source)
        elif kind == "downwardAPI":
            _downward(sheet, source)
        elif kind in _VOLUMES:
            title, lines = _VOLUMES[kind]
            sheet.row("Type", title, 2)
            for name, field, default in lines:
                value = source.get(field, default)
                sheet.row(name, _go(value) if isinstance(value, bool) else value, 2)
            if kind == "csi":
                _attributes(sheet, source.get("volumeAttributes") or {})
        else:
            sheet.line("<unknown>", 1)


def _attributes(sheet: Sheet, attributes: Object) -> None:
    shown = [f"{key}={value}" for key, value in sorted(attributes.items())] or [NONE]
    for position, text in enumerate(shown):
        sheet.line(f"VolumeAttributes:\t{text}" if not position else f"\t{text}", 2)


def _projected(sheet: Sheet, source: Object) -> None:
    sheet.row("Type", "Projected (a volume that contains injected data from multiple sources)", 2)
    for one in source.get("sources") or ():
        for field, name in (("secret", "SecretName"), ("configMap", "ConfigMapName")):
            if field in one:
                sheet.row(name, one[field].get("name") or "", 2)
                sheet.row("Optional", _go(one[field].get("optional")), 2)
        if "downwardAPI" in one:
            sheet.row("DownwardAPI", "true", 2)
        if "serviceAccountToken" in one:
            sheet.row("TokenExpirationSeconds", one["serviceAccountToken"].get("expirationSeconds"), 2)


def _downward(sheet: Sheet, source: Object) -> None:
    sheet.row("Type", "DownwardAPI (a volume populated by information about the pod)", 2)
    sheet.line("Items:", 2)
    for item in source.get("items") or ():
        if item.get("fieldRef"):
            sheet.line(f"{item['fieldRef'].get('fieldPath')} -> {item.get('path')}", 3)
        if item.get("resourceFieldRef"):
            sheet.line(f"{item['resourceFieldRef'].get('resource')} -> {item.get('path')}", 3)


# --- placement --------------------------------------------------------------------------------------------


def tolerations(sheet: Sheet, name: str, specs: Sequence[Object]) -> None:
    """Tolerations, sorted by key."""
    sheet.lines(name, [_toleration(one) for one in sorted(specs, key=lambda one: str(one.get("key") or ""))])


def _toleration(one: Object) -> str:
    text = str(one.get("key") or "")
    if one.get("value"):
        text += f"={one['value']}"
    if one.get("effect"):
        text += f":{one['effect']}"
    if one.get("operator") == "Exists" and not one.get("value"):
        text += " op=Exists" if text else "op=Exists"
    if one.get("tolerationSeconds") is not None:
        text += f" for {one['tolerationSeconds']}s"
    return text


def spreading(sheet: Sheet, specs: Sequence[Object], space: str) -> None:
    """Topology spread constraints."""
    texts = []
    for one in sorted(specs, key=lambda one: str(one.get("topologyKey"))):
        text = f"{one.get('topologyKey')}:{one.get('whenUnsatisfiable')} when max skew {one.get('maxSkew')} is exceeded"
        if one.get("labelSelector") is not None:
            text += f" for selector {selector_text(one['labelSelector'])}"
        texts.append(text)
    if texts:
        sheet.lines(f"{space}Topology Spread Constraints", texts)
