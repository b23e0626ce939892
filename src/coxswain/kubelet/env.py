"""A container's environment, command and arguments, by kubelet's rules.

    service variables (of the pod's namespace, and the kubernetes service)
    < envFrom, in order < env, in order           later ones win; $(NAME) refers to what came before

``$(NAME)`` of an unknown name stays as written; ``$$`` is a literal dollar. Pure, except that sources
(config maps, secrets) are handed in by ``Sources``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.kubelet.runtime.interface import RuntimeFailure

_REFERENCE = re.compile(r"\$(?:\$|\(([^()$]*)\))")
_NAME = re.compile(r"^[ -<>-~]+$")
_UNITS = {"cpu": "1"}


class ConfigError(RuntimeFailure):
    """A source is missing or a name is bad; the container waits with CreateContainerConfigError."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "CreateContainerConfigError")


class Sources(Protocol):
    """Config maps and secrets of the pod's namespace; None for those that do not exist."""

    def config_map(self, name: str) -> Object | None: ...

    def secret(self, name: str) -> Object | None: ...


def expand(text: str, known: Mapping[str, str]) -> str:
    """``text`` with ``$(NAME)`` replaced; see the module's text."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return known.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def secret_value(secret: Object, key: str) -> bytes | None:
    """The decoded value of a secret's key."""
    import base64

    data = (secret.get("data") or {}).get(key)
    return None if data is None else base64.b64decode(data)


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    """``REDIS_SERVICE_HOST`` and its like, Docker links included, of services with a cluster address."""
    found: dict[str, str] = {}
    for service in services:
        spec = service["spec"]
        ip = spec.get("clusterIP")
        ports = spec.get("ports") or []
        if not ip or ip == "None" or not ports:
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        found[f"{name}_SERVICE_HOST"] = ip
        found[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                label = port["name"].upper().replace("-", "_")
                found[f"{name}_SERVICE_PORT_{label}"] = str(port["port"])
        first = ports[0]
        protocol = (first.get("protocol") or "TCP").lower()
        found[f"{name}_PORT"] = f"{protocol}://{ip}:{first['port']}"
        for port in ports:
            protocol = port.get("protocol") or "TCP"
            prefix = f"{name}_PORT_{port['port']}_{protocol}"
            found[prefix] = f"{protocol.lower()}://{ip}:{port['port']}"
            found[f"{prefix}_PROTO"] = protocol.lower()
            found[f"{prefix}_PORT"] = str(port["port"])
            found[f"{prefix}_ADDR"] = ip
    return found


def field_value(pod: Object, path: str, pod_ips: list[str], host_ips: list[str]) -> str:
    """The downward API's value of a field path. Raises ``ConfigError`` for unknown ones."""
    meta = pod["metadata"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path):
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = sorted((meta.get(path.partition(".")[2]) or {}).items())
        return "\n".join(f'{key}="{_escape(value)}"' for key, value in pairs)
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.hostIP": host_ips[0] if host_ips else "",
        "status.hostIPs": ",".join(host_ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path])


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(pod: Object, container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """``resourceFieldRef``: a limit or request of a container in units of the divisor, rounded up."""
    name = reference.get("containerName")
    if name:
        everyone = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
        container = next(c for c in everyone if c["name"] == name)
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "limits":
        amount = allocatable.get(resource)
    value = Quantity.parse(amount or "0")
    divisor = Quantity.parse(reference.get("divisor") or "1")
    unit = divisor.milli() or 1000
    return str(-(-value.milli() // unit))


def environment(
    pod: Object,
    container: Object,
    sources: Sources,
    *,
    services: Mapping[str, str],
    pod_ips: list[str],
    host_ips: list[str],
    allocatable: Mapping[str, str],
) -> dict[str, str]:
    """The container's variables. Raises ``ConfigError`` in kubelet's words."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        for key, value in _env_from(source, sources).items():
            found[source.get("prefix", "") + key] = value
    for variable in container.get("env") or ():
        resolved = _env_value(
            pod, container, variable, sources, found, services, pod_ips, host_ips, allocatable
        )
        if resolved is not None:
            found[variable["name"]] = resolved
    return {**services, **found}


def _env_from(source: Object, sources: Sources) -> dict[str, str]:
    if (reference := source.get("configMapRef")) is not None:
        config = sources.config_map(reference["name"])
        if config is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'configmap "{reference["name"]}" not found')
        return dict(config.get("data") or {})
    reference = source["secretRef"]
    secret = sources.secret(reference["name"])
    if secret is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'secret "{reference["name"]}" not found')
    pairs = ((key, secret_value(secret, key) or b"") for key in secret.get("data") or {})
    return {key: value.decode(errors="replace") for key, value in pairs}


def _env_value(
    pod: Object,
    container: Object,
    variable: Object,
    sources: Sources,
    found: Mapping[str, str],
    services: Mapping[str, str],
    pod_ips: list[str],
    host_ips: list[str],
    allocatable: Mapping[str, str],
) -> str | None:
    source = variable.get("valueFrom")
    if not source:
        return expand(variable.get("value") or "", {**services, **found})
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"], pod_ips, host_ips)
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, container, reference, allocatable)
    if reference := source.get("configMapKeyRef"):
        config = sources.config_map(reference["name"])
        value = None if config is None else (config.get("data") or {}).get(reference["key"])
        return _required(value, config, "configmap", "ConfigMap", reference, pod)
    reference = source["secretKeyRef"]
    secret = sources.secret(reference["name"])
    raw = None if secret is None else secret_value(secret, reference["key"])
    text = None if raw is None else raw.decode(errors="replace")
    return _required(text, secret, "secret", "Secret", reference, pod)


def _required(
    value: str | None, owner: Object | None, word: str, kind: str, reference: Object, pod: Object
) -> str | None:
    if value is not None or reference.get("optional"):
        return value
    if owner is None:
        raise ConfigError(f'{word} "{reference["name"]}" not found')
    namespace = pod["metadata"].get("namespace", "")
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
