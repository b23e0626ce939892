"""Containers of a pod: regular, init (with sidecars) and ephemeral ones.

``PodFacts`` carries what a container's rules need to know of its pod. The usual container has an image and
little else, so every rule starts with whether its field is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_found, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation import shown
from coxswain.api.validation.fieldrefs import ENV_FIELDS, validate_field_ref, validate_resource_ref
from coxswain.api.validation.formats import (
    PORT_RANGE,
    config_key,
    dns_label,
    dns_subdomain,
    env_name,
    http_header_name,
    local_path,
    no_backsteps,
    nonnegative,
    port_name,
    port_or_name,
    relative_path,
    report,
)
from coxswain.api.validation.resources import validate_requirements
from coxswain.api.validation.security import validate_security_context

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_TOO_MANY_HANDLERS = "may not specify more than 1 handler type"
_ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"
_EPHEMERAL_FORBIDS = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


@dataclass(slots=True)
class PodFacts:
    """What the rules of containers ask about their pod."""

    #: Well-formed volumes by name.
    volumes: dict[str, Object] = field(default_factory=dict)
    #: Names in ``spec.resourceClaims``.
    claims: set[str] = field(default_factory=set)
    #: Seconds between asking to stop and killing.
    grace: int | None = None
    restart_policy: str = ""
    host_users: bool = True
    #: A pod, not a template in another object.
    is_pod: bool = False


def validate_containers(containers: list[Object], facts: PodFacts, path: str, errors: Errors) -> None:
    """``spec.containers``."""
    if not containers:
        errors.append(required(path))
        return
    names: set[str] = set()
    host_ports: set[str] = set()
    for position, container in enumerate(containers):
        here = f"{path}[{position}]"
        _validate_common(container, facts, here, errors)
        name = container.get("name") or ""
        if name in names:
            errors.append(duplicate(f"{here}.name", name))
        names.add(name)
        _validate_hooks(container, facts, here, errors)
        if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
            _validate_restart(container, here, errors)
    for position, container in enumerate(containers):
        if container.get("ports"):
            _validate_host_ports(container["ports"], host_ports, f"{path}[{position}].ports", errors)


def validate_init_containers(
    containers: list[Object], regular: list[Object], facts: PodFacts, path: str, errors: Errors
) -> None:
    """``spec.initContainers``: those with restartPolicy Always are sidecars and may have probes and hooks."""
    names = {each.get("name") or "" for each in regular}
    for position, container in enumerate(containers):
        here = f"{path}[{position}]"
        _validate_common(container, facts, here, errors)
        if container.get("restartPolicy") is not None or container.get("restartPolicyRules"):
            _validate_restart(container, here, errors)
        name = container.get("name") or ""
        if name in names:
            errors.append(duplicate(f"{here}.name", name))
        elif name:
            names.add(name)
        # Init containers run one after the other: only ports of the same one can clash.
        _validate_host_ports(container.get("ports") or [], set(), f"{path}[0].ports", errors)
        if container.get("restartPolicy") == "Always":
            _validate_hooks(container, facts, here, errors)
        else:
            for hook in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
                if container.get(hook) is not None:
                    errors.append(forbidden(f"{here}.{hook}", _ONLY_SIDECARS))


def validate_ephemeral_containers(
    containers: list[Object], spec: Object, facts: PodFacts, path: str, errors: Errors
) -> None:
    """``spec.ephemeralContainers``."""
    others = {each.get("name") for key in ("containers", "initContainers") for each in spec.get(key) or ()}
    names = set(others)
    for position, container in enumerate(containers):
        here = f"{path}[{position}]"
        _validate_common(container, facts, here, errors)
        validate_image_is_trimmed(container, here, errors)
        name = container.get("name") or ""
        if name in names:
            errors.append(duplicate(f"{here}.name", name))
        names.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(not_found(f"{here}.targetContainerName", target))
        for forbidden_field in _EPHEMERAL_FORBIDS:
            if container.get(forbidden_field):
                errors.append(forbidden(f"{here}.{forbidden_field}", _NOT_EPHEMERAL))
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    errors.append(forbidden(f"{here}.volumeMounts[{number}].{key}", _NOT_EPHEMERAL))


def validate_image_is_trimmed(container: Object, path: str, errors: Errors) -> None:
    """Images of pods (not of templates, for old objects' sake) have no spaces around them."""
    image = container.get("image") or ""
    if image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _validate_common(container: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    get = container.get
    name = get("name")
    if not name:
        errors.append(required(f"{path}.name"))
    elif dns_label(name):
        report(dns_label(name), f"{path}.name", name, errors)
    if not get("image"):
        errors.append(required(f"{path}.image"))
    _choice(get("terminationMessagePolicy"), _MESSAGE_POLICIES, f"{path}.terminationMessagePolicy", errors)
    if get("ports"):
        _validate_ports(container["ports"], f"{path}.ports", errors)
    if get("env"):
        _validate_env(container["env"], f"{path}.env", errors)
    if get("envFrom"):
        _validate_env_from(container["envFrom"], f"{path}.envFrom", errors)
    if get("volumeMounts"):
        _validate_mounts(container, facts, f"{path}.volumeMounts", errors)
    if get("volumeDevices"):
        _validate_devices(container, facts, f"{path}.volumeDevices", errors)
    _choice(get("imagePullPolicy"), _PULL_POLICIES, f"{path}.imagePullPolicy", errors)
    if get("resources"):
        validate_requirements(container["resources"], f"{path}.resources", errors, facts.claims)
    if get("resizePolicy"):
        _validate_resize_policy(
            container["resizePolicy"], facts.restart_policy, f"{path}.resizePolicy", errors
        )
    if get("securityContext"):
        validate_security_context(
            container["securityContext"], f"{path}.securityContext", errors, facts.host_users
        )


def _choice(value: Any, supported: tuple[str, ...], path: str, errors: Errors) -> None:
    if value in supported:
        return
    errors.append(not_supported(path, value, supported) if value else required(path))


def _validate_ports(ports: list[Object], path: str, errors: Errors) -> None:
    names: set[str] = set()
    for position, port in enumerate(ports):
        here = f"{path}[{position}]"
        name = port.get("name")
        if name:
            complaints = port_name(name)
            if complaints:
                report(complaints, f"{here}.name", name, errors)
            elif name in names:
                errors.append(duplicate(f"{here}.name", name))
            names.add(name)
        number, host = port.get("containerPort") or 0, port.get("hostPort") or 0
        if not number:
            errors.append(required(f"{here}.containerPort"))
        elif not 1 <= number <= 65535:
            errors.append(invalid(f"{here}.containerPort", number, PORT_RANGE))
        if host and not 1 <= host <= 65535:
            errors.append(invalid(f"{here}.hostPort", host, PORT_RANGE))
        _choice(port.get("protocol"), _PROTOCOLS, f"{here}.protocol", errors)


def _validate_host_ports(ports: list[Object], seen: set[str], path: str, errors: Errors) -> None:
    for position, port in enumerate(ports):
        host = port.get("hostPort")
        if host:
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{host}"
            if key in seen:
                errors.append(duplicate(f"{path}[{position}].hostPort", key))
            seen.add(key)


def _validate_env(variables: list[Object], path: str, errors: Errors) -> None:
    for position, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            errors.append(required(f"{path}[{position}].name"))
        elif env_name(name):
            report(env_name(name), f"{path}[{position}].name", name, errors)
        if variable.get("valueFrom") is not None:
            _validate_value_from(variable, f"{path}[{position}].valueFrom", errors)


def _validate_value_from(variable: Object, path: str, errors: Errors) -> None:
    source = variable["valueFrom"]
    found = 0
    if source.get("fieldRef") is not None:
        found += 1
        validate_field_ref(source["fieldRef"], ENV_FIELDS, f"{path}.fieldRef", errors)
    if source.get("resourceFieldRef") is not None:
        found += 1
        validate_resource_ref(source["resourceFieldRef"], f"{path}.resourceFieldRef", errors, in_volume=False)
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            found += 1
            _validate_key_ref(source[kind], f"{path}.{kind}", errors)
    if source.get("fileKeyRef") is not None:
        found += 1
        _validate_file_ref(source["fileKeyRef"], f"{path}.fileKeyRef", errors)
    if not found:
        why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(invalid(path, "", why))
    elif variable.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif found > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))


def _validate_key_ref(reference: Object, path: str, errors: Errors) -> None:
    name, key = reference.get("name") or "", reference.get("key") or ""
    report(dns_subdomain(name), f"{path}.name", name, errors)
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        report(config_key(key), f"{path}.key", key, errors)


def _validate_file_ref(reference: Object, path: str, errors: Errors) -> None:
    key, volume = reference.get("key") or "", reference.get("volumeName") or ""
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        report(env_name(key), f"{path}.key", key, errors)
    if not volume:
        errors.append(required(f"{path}.volumeName"))
    else:
        report(dns_label(volume), f"{path}.volumeName", volume, errors)
    if not reference.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        local_path(f"{path}.path", reference["path"], errors)


def validate_env_files(spec: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    """Environment files must lie in emptyDir volumes of the pod."""
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(group) or ()):
            for number, variable in enumerate(container.get("env") or ()):
                reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
                if reference is None:
                    continue
                here = f"{path}.{group}[{position}].env[{number}].valueFrom.fileKeyRef.volumeName"
                name = reference.get("volumeName") or ""
                volume = next((each for each in spec.get("volumes") or () if each.get("name") == name), None)
                if volume is None:
                    errors.append(not_found(here, name))
                elif volume.get("emptyDir") is None:
                    errors.append(invalid(here, name, "referenced volume must be of type emptyDir"))


def _validate_env_from(sources: list[Object], path: str, errors: Errors) -> None:
    for position, source in enumerate(sources):
        here = f"{path}[{position}]"
        prefix = source.get("prefix")
        if prefix:
            report(env_name(prefix), f"{here}.prefix", prefix, errors)
        found = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in found:
            name = source[kind].get("name")
            if not name:
                errors.append(required(f"{here}.{kind}.name"))
            else:
                report(dns_subdomain(name), f"{here}.{kind}.name", name, errors)
        if not found:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(found) > 1:
            errors.append(invalid(path, "", "may not have more than one field specified at a time"))


def _validate_mounts(container: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    devices = {each.get("name"): each.get("devicePath") for each in container.get("volumeDevices") or ()}
    points: set[str] = set()
    for position, mount in enumerate(container["volumeMounts"]):
        here = f"{path}[{position}]"
        name, point = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            errors.append(required(f"{here}.name"))
        if name not in facts.volumes:
            errors.append(not_found(f"{here}.name", name))
        if not point:
            errors.append(required(f"{here}.mountPath"))
        if point in points:
            errors.append(invalid(f"{here}.mountPath", point, "must be unique"))
        points.add(point)
        if devices:
            if name in devices:
                errors.append(invalid(f"{here}.name", name, "must not already exist in volumeDevices"))
            if point in devices.values():
                why = "must not already exist as a path in volumeDevices"
                errors.append(invalid(f"{here}.mountPath", point, why))
        sub, expression = mount.get("subPath"), mount.get("subPathExpr")
        if sub:
            relative_path(f"{path}.subPath", sub, errors)
        if expression:
            if sub:
                why = "subPathExpr and subPath are mutually exclusive"
                errors.append(invalid(f"{here}.subPathExpr", expression, why))
            relative_path(f"{path}.subPathExpr", expression, errors)
        if mount.get("mountPropagation") is not None:
            _validate_propagation(mount["mountPropagation"], container, f"{path}.mountPropagation", errors)
        if mount.get("recursiveReadOnly") is not None:
            _validate_recursive(mount, f"{path}.recursiveReadOnly", errors)


def _validate_propagation(mode: str, container: Object, path: str, errors: Errors) -> None:
    supported = ("Bidirectional", "HostToContainer", "None")
    if mode not in supported:
        errors.append(not_supported(path, mode, supported))
    if mode == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        why = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(forbidden(path, why))


def _validate_recursive(mount: Object, path: str, errors: Errors) -> None:
    mode = mount["recursiveReadOnly"]
    if mode in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            errors.append(forbidden(path, "may only be specified when readOnly is true"))
        if mount.get("mountPropagation") not in (None, "None"):
            why = "may only be specified when mountPropagation is None or not specified"
            errors.append(forbidden(path, why))
    elif mode != "Disabled":
        errors.append(not_supported(path, mode, ("Disabled", "Enabled", "IfPossible")))


def _validate_devices(container: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    mounts = {each.get("name"): each.get("mountPath") for each in container.get("volumeMounts") or ()}
    names: set[str] = set()
    paths: set[str] = set()
    for position, device in enumerate(container["volumeDevices"]):
        name, target = device.get("name") or "", device.get("devicePath") or ""
        named, placed = f"{path}[{position}].name", f"{path}[{position}].devicePath"
        volume = facts.volumes.get(name)
        if not name:
            errors.append(required(named))
        if name in names:
            errors.append(invalid(named, name, "must be unique"))
        if volume is None:
            errors.append(not_found(named, name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(named, name, why))
        if not target:
            errors.append(required(placed))
        if target in paths:
            errors.append(invalid(placed, target, "must be unique"))
        steps: Errors = []
        no_backsteps(placed, target, steps)
        if steps:
            errors.append(invalid(placed, target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mounts:
            errors.append(invalid(named, name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            errors.append(invalid(placed, target, "must not already exist as a path in volumeMounts"))
        if name:
            names.add(name)


def _validate_resize_policy(policies: list[Object], restart_policy: str, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for position, policy in enumerate(policies):
        resource, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if resource in seen:
            errors.append(duplicate(f"{path}[{position}]", resource))
        seen.add(resource)
        _choice(resource, ("cpu", "memory"), path, errors)
        _choice(restart, ("NotRequired", "RestartContainer"), path, errors)
        if restart_policy == "Never" and restart != "NotRequired":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            errors.append(invalid(path, restart, why))


def _validate_restart(container: Object, path: str, errors: Errors) -> None:
    """A container's own restart policy and the rules that refine it."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if policy is None and rules:
        why = "must specify restartPolicy when restart rules are used"
        errors.append(required(f"{path}.restartPolicy", why))
    if len(rules) > 20:
        errors.append(invalid(f"{path}.restartPolicyRules", rules, "must have at most 20 rules"))
    for position, rule in enumerate(rules):
        here = f"{path}.restartPolicyRules[{position}]"
        _choice(rule.get("action"), ("Restart", "RestartAllContainers"), f"{here}.action", errors)
        codes = rule.get("exitCodes")
        if codes is None:
            errors.append(required(f"{here}.exitCodes", "must be specified"))
            continue
        _choice(codes.get("operator"), ("In", "NotIn"), f"{here}.exitCodes.operator", errors)
        if len(codes.get("values") or ()) > 255:
            errors.append(
                invalid(f"{here}.exitCodes.values", codes["values"], "must have at most 255 values")
            )


def _validate_hooks(container: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    """Lifecycle and probes, where the container may have them."""
    get = container.get
    lifecycle = get("lifecycle")
    if lifecycle:
        for hook in ("postStart", "preStop"):
            if lifecycle.get(hook) is not None:
                _validate_handler(lifecycle[hook], _HOOKS, facts, f"{path}.lifecycle.{hook}", errors)
        if lifecycle.get("stopSignal") is not None and not facts.restart_policy:
            errors.append(
                forbidden(f"{path}.lifecycle.stopSignal", "may not be set without a restart policy")
            )
    if get("livenessProbe") is not None:
        _validate_probe(container["livenessProbe"], "liveness", facts, f"{path}.livenessProbe", errors)
    if get("readinessProbe") is not None:
        _validate_probe(container["readinessProbe"], "readiness", facts, f"{path}.readinessProbe", errors)
    if get("startupProbe") is not None:
        _validate_probe(container["startupProbe"], "startup", facts, f"{path}.startupProbe", errors)


_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")


def _validate_probe(probe: Object, kind: str, facts: PodFacts, path: str, errors: Errors) -> None:
    _validate_handler(probe, _PROBES, facts, path, errors)
    for number in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        nonnegative(f"{path}.{number}", probe.get(number), errors)
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None:
        if grace <= 0:
            errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
        if kind == "readiness":
            why = "must not be set for readinessProbes"
            errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, why))
    if kind != "readiness" and (probe.get("successThreshold") or 0) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe.get("successThreshold") or 0, "must be 1"))


def _validate_handler(
    handler: Object, kinds: tuple[str, ...], facts: PodFacts, path: str, errors: Errors
) -> None:
    found = [kind for kind in kinds if handler.get(kind) is not None]
    if not found:
        errors.append(required(path, "must specify a handler type"))
        return
    first = found[0]
    action, here = handler[first], f"{path}.{first}"
    if first == "exec":
        if not action.get("command"):
            errors.append(required(f"{here}.command"))
    elif first == "httpGet":
        _validate_http(action, here, errors)
    elif first in ("tcpSocket", "grpc"):
        port_or_name(f"{here}.port", action.get("port"), errors)
    else:
        seconds = action.get("seconds") or 0
        if facts.grace is not None and not 0 <= seconds <= facts.grace:
            why = f"must be non-negative and less than terminationGracePeriodSeconds ({facts.grace})"
            errors.append(invalid(here, seconds, why))
    for kind in found[1:]:
        errors.append(forbidden(f"{path}.{kind}", _TOO_MANY_HANDLERS))


def _validate_http(action: Object, path: str, errors: Errors) -> None:
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    port_or_name(f"{path}.port", action.get("port"), errors)
    scheme = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        report(http_header_name(name), f"{path}.httpHeaders", name, errors)


def validate_resource_claims(claims: list[Object], path: str, errors: Errors) -> set[str]:
    """``spec.resourceClaims``; their names."""
    names: set[str] = set()
    for position, claim in enumerate(claims):
        here = f"{path}[{position}]"
        name = claim.get("name") or ""
        if not name:
            errors.append(required(f"{here}.name"))
        elif name in names:
            errors.append(duplicate(f"{here}.name", name))
        else:
            report(dns_label(name), f"{here}.name", name, errors)
            names.add(name)
        direct, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        value = shown.go_struct(claim, "name", "resourceClaimName", "resourceClaimTemplateName")
        if direct is not None and template is not None:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid(here, value, why))
        if direct is None and template is None:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid(here, value, why))
        if direct is not None:
            report(dns_subdomain(direct), f"{here}.resourceClaimName", direct, errors)
        if template is not None:
            report(dns_subdomain(template), f"{here}.resourceClaimTemplateName", template, errors)
    return names
