"""The spec of a pod, in pods and in the templates of everything that makes pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.containers import (
    PodFacts,
    validate_containers,
    validate_env_files,
    validate_ephemeral_containers,
    validate_init_containers,
    validate_resource_claims,
)
from coxswain.api.validation.formats import (
    dns_label,
    dns_subdomain,
    dns_subdomain_underscore,
    ip,
    qualified_name,
    relative_path,
    report,
)
from coxswain.api.validation.objectmeta import validate_annotations, validate_labels
from coxswain.api.validation.podlevel import validate_pod_resources
from coxswain.api.validation.resources import validate_requirements
from coxswain.api.validation.scheduling import (
    validate_affinity,
    validate_tolerations,
    validate_topology_spread,
)
from coxswain.api.validation.security import (
    Capabilities,
    validate_pod_security_context,
    validate_shared_processes,
)
from coxswain.api.validation.volumes import validate_volumes

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
_MAX_INT32 = 2147483647
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def validate_pod_template(template: Object, path: str, errors: Errors) -> None:
    """A PodTemplateSpec: metadata and spec."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    if metadata.get("labels"):
        validate_labels(metadata["labels"], f"{path}.labels", errors)
    annotations = metadata.get("annotations")
    if annotations:
        validate_annotations(annotations, f"{path}.annotations", errors)
        validate_pod_annotations(annotations, spec, f"{path}.annotations", errors)
    validate_pod_spec(spec, "", f"{path}.spec", errors)
    if spec.get("ephemeralContainers"):
        errors.append(
            forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )


def validate_pod_spec(
    spec: Object, pod_name: str, path: str, errors: Errors, *, is_pod: bool = False
) -> None:
    """A PodSpec. ``pod_name`` is the pod's, or empty in templates."""
    get = spec.get
    if get("terminationGracePeriodSeconds") is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    facts = PodFacts(
        grace=get("terminationGracePeriodSeconds"),
        restart_policy=get("restartPolicy") or "",
        host_users=get("hostUsers") is not False,
        is_pod=is_pod,
    )
    if get("volumes"):
        facts.volumes = validate_volumes(spec["volumes"], pod_name, f"{path}.volumes", errors, is_pod)
    if get("resourceClaims"):
        facts.claims = validate_resource_claims(spec["resourceClaims"], f"{path}.resourceClaims", errors)
    containers = get("containers") or []
    validate_containers(containers, facts, f"{path}.containers", errors)
    if get("initContainers"):
        here = f"{path}.initContainers"
        validate_init_containers(spec["initContainers"], containers, facts, here, errors)
    if get("ephemeralContainers"):
        here = f"{path}.ephemeralContainers"
        validate_ephemeral_containers(spec["ephemeralContainers"], spec, facts, here, errors)
    if get("resources"):
        validate_pod_resources(spec, facts.claims, path, errors)
    if get("hostNetwork"):
        _validate_host_network(containers, f"{path}.containers", errors, is_pod)
    _choice(get("restartPolicy"), _RESTART_POLICIES, f"{path}.restartPolicy", errors)
    _choice(get("dnsPolicy"), _DNS_POLICIES, f"{path}.dnsPolicy", errors)
    if get("nodeSelector"):
        validate_labels(spec["nodeSelector"], f"{path}.nodeSelector", errors)
    context = get("securityContext")
    if context:
        here = f"{path}.securityContext"
        validate_pod_security_context(context, spec, here, errors)
    elif get("shareProcessNamespace"):
        validate_shared_processes(spec, f"{path}.securityContext", errors)
    if len(spec) > _PLAIN_SPEC:
        _validate_rarer_fields(spec, facts, path, errors)


#: Fields that defaulting always sets (and containers): a spec with no more has nothing rare to look at.
_PLAIN_SPEC = 6


def _choice(value: Any, supported: tuple[str, ...], path: str, errors: Errors) -> None:
    if value not in supported:
        errors.append(not_supported(path, value, supported) if value else required(path))


def _validate_rarer_fields(spec: Object, facts: PodFacts, path: str, errors: Errors) -> None:
    get = spec.get
    if get("affinity"):
        validate_affinity(spec["affinity"], f"{path}.affinity", errors)
    if get("dnsConfig") is not None or get("dnsPolicy") == "None":
        _validate_dns(get("dnsConfig"), get("dnsPolicy"), f"{path}.dnsConfig", errors)
    for position, gate in enumerate(get("readinessGates") or ()):
        kind = gate.get("conditionType") or ""
        report(qualified_name(kind), f"{path}.readinessGates[{position}].conditionType", kind, errors)
    if get("schedulingGates"):
        _validate_scheduling_gates(spec["schedulingGates"], f"{path}.schedulingGates", errors)
    if get("topologySpreadConstraints"):
        here = f"{path}.topologySpreadConstraints"
        validate_topology_spread(spec["topologySpreadConstraints"], here, errors)
    _validate_windows_host_process(spec, path, errors)
    if get("hostUsers") is False:
        _validate_host_users(spec, path, errors)
    if get("hostnameOverride") is not None:
        _validate_hostname_override(spec, path, errors)
    for field in ("serviceAccountName", "nodeName"):
        if get(field):
            report(dns_subdomain(spec[field]), f"{path}.{field}", spec[field], errors)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        why = f"must be between 1 and {_MAX_INT32}, inclusive"
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, why))
    for field in ("hostname", "subdomain"):
        if get(field):
            report(dns_label(spec[field]), f"{path}.{field}", spec[field], errors)
    if get("tolerations"):
        validate_tolerations(spec["tolerations"], f"{path}.tolerations", errors)
    for position, alias in enumerate(get("hostAliases") or ()):
        ip(f"{path}.hostAliases[{position}].ip", alias.get("ip") or "", errors)
        for number, name in enumerate(alias.get("hostnames") or ()):
            report(dns_subdomain(name), f"{path}.hostAliases[{position}].hostnames[{number}]", name, errors)
    if get("priorityClassName"):
        name = spec["priorityClassName"]
        report(dns_subdomain(name), f"{path}.priorityClassName", name, errors)
    if get("runtimeClassName") is not None:
        name = spec["runtimeClassName"]
        report(dns_subdomain(name), f"{path}.runtimeClassName", name, errors)
    if get("preemptionPolicy") is not None:
        _choice(spec["preemptionPolicy"], _PREEMPTION, f"{path}.preemptionPolicy", errors)
    if get("overhead"):
        validate_requirements({"limits": spec["overhead"]}, f"{path}.overhead", errors, facts.claims)
    if get("os") is not None:
        _validate_os(spec, path, errors)
    validate_env_files(spec, facts, path, errors)


def _validate_host_network(containers: list[Object], path: str, errors: Errors, is_pod: bool) -> None:
    for position, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            host, own = port.get("hostPort") or 0, port.get("containerPort") or 0
            if (is_pod or host) and host != own:
                why = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(f"{path}[{position}].ports[{number}].hostPort", host, why))


def _validate_dns(config: Object | None, policy: str | None, path: str, errors: Errors) -> None:
    servers = (config or {}).get("nameservers") or []
    if policy == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not servers:
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{path}.nameservers", why))
            return
    searches = (config or {}).get("searches") or []
    if len(servers) > 3:
        errors.append(invalid(f"{path}.nameservers", servers, "must not have more than 3 nameservers"))
    for position, server in enumerate(servers):
        ip(f"{path}.nameservers[{position}]", server, errors)
    if len(searches) > 32:
        errors.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        why = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(invalid(f"{path}.searches", searches, why))
    for position, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            report(dns_subdomain_underscore(bare), f"{path}.searches[{position}]", bare, errors)
    for position, option in enumerate((config or {}).get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{position}]", "must not be empty"))


def _validate_scheduling_gates(gates: list[Object], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for position, gate in enumerate(gates):
        name = gate.get("name") or ""
        report(qualified_name(name), f"{path}[{position}]", name, errors)
        if name in seen:
            errors.append(duplicate(f"{path}[{position}]", name))
        seen.add(name)


def _containers_with_path(spec: Object, path: str) -> Iterator[tuple[Object, str]]:
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(group) or ()):
            yield container, f"{path}.{group}[{position}]"


def _validate_windows_host_process(spec: Object, path: str, errors: Errors) -> None:
    pod = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    total = host = 0
    for container, here in _containers_with_path(spec, path):
        context = container.get("securityContext")
        own = ((context or {}).get("windowsOptions") or {}).get("hostProcess") if context else None
        total += 1
        if pod is not None and own is not None and pod != own:
            why = f"pod hostProcess value must be identical if both are specified, was {str(pod).lower()}"
            errors.append(invalid(f"{here}.securityContext.windowsOptions.hostProcess", own, why))
        if own or (own is None and pod):
            host += 1
    if not host:
        return
    if host != total:
        why = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errors.append(invalid(path, "", why))
    if not spec.get("hostNetwork"):
        why = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(invalid(f"{path}.hostNetwork", False, why))
    if not Capabilities.allow_privileged:
        errors.append(forbidden(path, "hostProcess containers are disallowed by cluster policy"))


def _validate_host_users(spec: Object, path: str, errors: Errors) -> None:
    why = "when `hostUsers` is false"
    for field, shown_as in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            errors.append(forbidden(f"{path}.{shown_as}", why))


def _validate_hostname_override(spec: Object, path: str, errors: Errors) -> None:
    name, here = spec["hostnameOverride"], f"{path}.hostnameOverride"
    for field in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(field):
            errors.append(forbidden(here, f"may not be specified when {field} is true"))
    if len(name) > 64:
        errors.append(invalid(here, name, "must be no more than 64 bytes"))
    report(dns_subdomain(name), here, name, errors)


_WINDOWS_POD_CONTEXT = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_WINDOWS_CONTEXT = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def _validate_os(spec: Object, path: str, errors: Errors) -> None:
    name = spec["os"].get("name") or ""
    context = spec.get("securityContext") or {}
    if not name:
        errors.append(required(f"{path}.os.name", "cannot be empty"))
    elif name not in ("linux", "windows"):
        errors.append(not_supported(f"{path}.os", name, ("linux", "windows")))
    elif name == "linux":
        why = "windows options cannot be set for a linux pod"
        if context.get("windowsOptions") is not None:
            errors.append(forbidden(f"{path}.securityContext.windowsOptions", why))
        for container, here in _containers_with_path(spec, path):
            if (container.get("securityContext") or {}).get("windowsOptions") is not None:
                errors.append(forbidden(f"{here}.securityContext.windowsOptions", why))
    else:
        why = "cannot be set for a windows pod"
        for field in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"):
            if spec.get(field):
                errors.append(forbidden(f"{path}.{field}", why))
        for field in _WINDOWS_POD_CONTEXT:
            if context.get(field) is not None:
                errors.append(forbidden(f"{path}.securityContext.{field}", why))
        for container, here in _containers_with_path(spec, path):
            for field in _WINDOWS_CONTEXT:
                if (container.get("securityContext") or {}).get(field) is not None:
                    errors.append(forbidden(f"{here}.securityContext.{field}", why))


def validate_pod_annotations(annotations: Object, spec: Object, path: str, errors: Errors) -> None:
    """Annotations of pods that mean something to Kubernetes."""
    if MIRROR in annotations and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(f"{path}[{MIRROR}]", annotations[MIRROR], why))
    cost = annotations.get(DELETION_COST)
    if cost is not None and not _is_int32(cost):
        errors.append(invalid(f"{path}[{DELETION_COST}]", cost, "must be a 32bit integer"))
    for name, value in annotations.items():
        if name == _SECCOMP_POD or name.startswith(_SECCOMP_CONTAINER):
            _validate_seccomp_annotation(value, f"{path}.{name}", errors)
        elif name.startswith(_APPARMOR):
            _validate_apparmor_annotation(name, value, spec, f"{path}[{name}]", errors)


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0") and text != "-0"
    return plain and -_MAX_INT32 - 1 <= int(text) <= _MAX_INT32


def _validate_seccomp_annotation(value: str, path: str, errors: Errors) -> None:
    if value in ("runtime/default", "docker/default", "unconfined"):
        return
    if value.startswith("localhost/"):
        relative_path(path, value.removeprefix("localhost/"), errors)
    else:
        errors.append(invalid(path, value, "must be a valid seccomp profile"))


def _validate_apparmor_annotation(name: str, value: str, spec: Object, path: str, errors: Errors) -> None:
    container = name.removeprefix(_APPARMOR)
    if all(each.get("name") != container for each, _ in _containers_with_path(spec, "")):
        errors.append(invalid(path, container, "container not found"))
    if value not in ("", "runtime/default", "unconfined") and not value.startswith("localhost/"):
        errors.append(invalid(path, value, f'invalid AppArmor profile name: "{value}"'))
