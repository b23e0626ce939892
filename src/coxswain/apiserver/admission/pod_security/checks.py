"""The checks of the Pod Security Standards, in the words of ``pod-security-admission/policy``.

A check takes the pod's metadata and spec and returns None, or why the pod is refused: (reason, detail).
``CHECKS`` lists for each check its level and, newest last, the minor versions from which a form of it
counts; a restricted check may replace a baseline one. ``evaluate`` runs those of a level and version,
baseline ones first, each group in the order of names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from coxswain.api.fields import quote
from coxswain.api.names import Object
from coxswain.apiserver.admission.pod_security.levels import BASELINE, PRIVILEGED, RESTRICTED, LevelVersion


class Violation(NamedTuple):
    """``str()`` is how a refusal lists it."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


CheckFunction = Callable[[Object, Object], Violation | None]


class Check(NamedTuple):
    """One check; ``versions`` maps the minor version from which a form counts to that form."""

    name: str
    level: str
    versions: Mapping[int, CheckFunction]
    replaces: str = ""


def evaluate(wanted: LevelVersion, metadata: Object, spec: Object) -> list[Violation]:
    """What the pod violates at this level and version."""
    if wanted.level == PRIVILEGED:
        return []
    found = (check(metadata, spec) for check in _active(wanted.level, wanted.version))
    return [violation for violation in found if violation is not None]


@cache
def _active(level: str, version: int) -> tuple[CheckFunction, ...]:
    forms: dict[str, CheckFunction] = {}
    replaced: set[str] = set()
    ordered = sorted(CHECKS, key=lambda check: (check.level != BASELINE, check.name))
    for check in ordered:
        since = max((minor for minor in check.versions if minor <= version), default=None)
        if since is None or (check.level == RESTRICTED and level != RESTRICTED):
            continue
        forms[check.name] = check.versions[since]
        if check.replaces:
            replaced.add(check.replaces)
    return tuple(form for name, form in forms.items() if name not in replaced)


def containers(spec: Object) -> Iterator[Object]:
    """All containers: init, ordinary, ephemeral."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _security(holder: Object) -> Object:
    context: Object = holder.get("securityContext") or {}
    return context


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _named(names: list[str]) -> str:
    return f"{_plural('container', len(names))} {_quoted(names)}"


def _uses(count: int) -> str:
    return "uses" if count == 1 else "use"


def _bad_containers(spec: Object, bad: Callable[[Object], Any]) -> list[str]:
    return [str(container.get("name")) for container in containers(spec) if bad(container)]


def _setters(spec: Object, bad: Callable[[Object], Any]) -> str:
    """``pod and containers "a", "b"``: who has a bad security context; "" for nobody."""
    who = ["pod"] if bad(_security(spec)) else []
    names = _bad_containers(spec, lambda container: bad(_security(container)))
    if names:
        who.append(_named(names))
    return " and ".join(who)


def _windows(spec: Object) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _in_user_namespace(spec: Object) -> bool:
    return spec.get("hostUsers") is False


def _unless(exempt: Callable[[Object], bool], check: CheckFunction) -> CheckFunction:
    """``check``, except for pods that are exempt from it."""

    def wrapped(metadata: Object, spec: Object) -> Violation | None:
        return None if exempt(spec) else check(metadata, spec)

    return wrapped


def _privilege_escalation(metadata: Object, spec: Object) -> Violation | None:
    bad = _bad_containers(spec, lambda c: _security(c).get("allowPrivilegeEscalation") is not False)
    if not bad:
        return None
    detail = f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


_APP_ARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


def _app_armor(metadata: Object, spec: Object) -> Violation | None:
    values: set[str] = set()

    def bad(context: Object) -> bool:
        profile = context.get("appArmorProfile")
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        values.add(str(profile.get("type") or ""))
        return True

    who = _setters(spec, bad)
    annotations = sorted(
        f"{key}={quote(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APP_ARMOR_PREFIX) and not _good_app_armor(value)
    )
    listed = [*sorted(values), *annotations]
    if annotations:
        who = " and ".join(filter(None, (who, _plural("annotation", len(annotations)))))
    if not who:
        return None
    detail = f"{who} must not set AppArmor profile type to {_quoted(listed)}"
    return Violation(_plural("forbidden AppArmor profile", len(listed)), detail)


def _good_app_armor(value: str) -> bool:
    return value in ("", "runtime/default") or value.startswith("localhost/")


_DEFAULT_CAPABILITIES = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)


def _added(container: Object, allowed: frozenset[str]) -> set[str]:
    return set((_security(container).get("capabilities") or {}).get("add") or ()) - allowed


def _capabilities_baseline(metadata: Object, spec: Object) -> Violation | None:
    found: set[str] = set()
    bad: list[str] = []
    for container in containers(spec):
        extra = _added(container, _DEFAULT_CAPABILITIES)
        if extra:
            found |= extra
            bad.append(str(container.get("name")))
    if not bad:
        return None
    detail = f"{_named(bad)} must not include {_quoted(sorted(found))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _capabilities_restricted(metadata: Object, spec: Object) -> Violation | None:
    keeping = _bad_containers(
        spec, lambda c: "ALL" not in ((_security(c).get("capabilities") or {}).get("drop") or ())
    )
    allowed = frozenset({"NET_BIND_SERVICE"})
    adding = _bad_containers(spec, lambda c: _added(c, allowed))
    details = []
    if keeping:
        details.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        found = sorted(set().union(*(_added(c, allowed) for c in containers(spec))))
        details.append(
            f"{_named(adding)} must not include {_quoted(found)} in securityContext.capabilities.add"
        )
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def _host_namespaces(metadata: Object, spec: Object) -> Violation | None:
    bad = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Violation("host namespaces", ", ".join(bad)) if bad else None


def _host_path_volumes(metadata: Object, spec: Object) -> Violation | None:
    bad = [str(v.get("name")) for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Violation("hostPath volumes", f"{_plural('volume', len(bad))} {_quoted(bad)}") if bad else None


def _host_ports(metadata: Object, spec: Object) -> Violation | None:
    ports: set[str] = set()

    def bad(container: Object) -> bool:
        own = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        ports.update(own)
        return bool(own)

    names = _bad_containers(spec, bad)
    if not names:
        return None
    listed = ", ".join(sorted(ports))
    return Violation(
        "hostPort", f"{_named(names)} {_uses(len(names))} {_plural('hostPort', len(ports))} {listed}"
    )


def _probe_hosts(metadata: Object, spec: Object) -> Violation | None:
    hosts: set[str] = set()

    def bad(container: Object) -> bool:
        lifecycle = container.get("lifecycle") or {}
        handlers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
        own = {
            str(handler[action]["host"])
            for handler in handlers
            if handler
            for action in ("httpGet", "tcpSocket")
            if (handler.get(action) or {}).get("host")
        }
        hosts.update(own)
        return bool(own)

    names = sorted(set(_bad_containers(spec, bad)))
    if not names:
        return None
    word = _plural("probe or lifecycle host", len(hosts))
    return Violation(
        "probe or lifecycle host", f"{_named(names)} {_uses(len(names))} {word} {_quoted(sorted(hosts))}"
    )


def _privileged(metadata: Object, spec: Object) -> Violation | None:
    bad = _bad_containers(spec, lambda c: _security(c).get("privileged"))
    if not bad:
        return None
    return Violation("privileged", f"{_named(bad)} must not set securityContext.privileged=true")


def _proc_mount(metadata: Object, spec: Object) -> Violation | None:
    def bad(container: Object) -> bool:
        return _security(container).get("procMount") not in (None, "Default")

    names = _bad_containers(spec, bad)
    if not names:
        return None
    types = sorted({_security(c)["procMount"] for c in containers(spec) if bad(c)})
    return Violation(
        "procMount", f"{_named(names)} must not set securityContext.procMount to {_quoted(types)}"
    )


_ALLOWED_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)


def _volume_type(volume: Object) -> str:
    types = [name for name, source in volume.items() if name != "name" and source is not None]
    return next((name for name in types if name in _ALLOWED_VOLUMES), types[0] if types else "unknown")


def _restricted_volumes(metadata: Object, spec: Object) -> Violation | None:
    bad = [v for v in spec.get("volumes") or () if _volume_type(v) not in _ALLOWED_VOLUMES]
    if not bad:
        return None
    types = sorted({_volume_type(volume) for volume in bad})
    names = _quoted(str(volume.get("name")) for volume in bad)
    word = _plural("restricted volume type", len(types))
    detail = f"{_plural('volume', len(bad))} {names} {_uses(len(bad))} {word} {_quoted(types)}"
    return Violation("restricted volume types", detail)


def _run_as_non_root(metadata: Object, spec: Object) -> Violation | None:
    reason = "runAsNonRoot != true"
    who = _setters(spec, lambda context: context.get("runAsNonRoot") is False)
    if who:
        return Violation(reason, f"{who} must not set securityContext.runAsNonRoot=false")
    if _security(spec).get("runAsNonRoot"):
        return None
    bad = _bad_containers(spec, lambda c: _security(c).get("runAsNonRoot") is None)
    if not bad:
        return None
    return Violation(reason, f"pod or {_named(bad)} must set securityContext.runAsNonRoot=true")


def _run_as_user(metadata: Object, spec: Object) -> Violation | None:
    who = _setters(spec, lambda context: context.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})


def _selinux(allowed: frozenset[str], metadata: Object, spec: Object) -> Violation | None:
    types: set[str] = set()
    forbidden: set[str] = set()

    def bad(context: Object) -> bool:
        options = context.get("seLinuxOptions") or {}
        kind = str(options.get("type") or "")
        if kind not in allowed:
            types.add(kind)
        forbidden.update(field for field in ("user", "role") if options.get(field))
        return kind not in allowed or any(options.get(field) for field in ("user", "role"))

    who = _setters(spec, bad)
    if not who:
        return None
    data = [f"{_plural('type', len(types))} {_quoted(sorted(types))}"] if types else []
    data += [f"{field} may not be set" for field in ("user", "role") if field in forbidden]
    return Violation(
        "seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
    )


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"


def _seccomp_annotations(metadata: Object, spec: Object) -> Violation | None:
    annotations = metadata.get("annotations") or {}
    keys = {_SECCOMP_POD, *(f"{_SECCOMP_PREFIX}{c.get('name')}" for c in containers(spec))}
    bad = sorted(
        f"{key}={quote(annotations[key])}"
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    )
    if not bad:
        return None
    return Violation("seccompProfile", f"forbidden {_plural('annotation', len(bad))} {', '.join(bad)}")


def _seccomp_baseline(metadata: Object, spec: Object) -> Violation | None:
    values: set[str] = set()

    def bad(context: Object) -> bool:
        profile = context.get("seccompProfile")
        if profile is None or profile.get("type") in ("RuntimeDefault", "Localhost"):
            return False
        values.add(str(profile.get("type") or ""))
        return True

    who = _setters(spec, bad)
    if not who:
        return None
    detail = f"{who} must not set securityContext.seccompProfile.type to {_quoted(sorted(values))}"
    return Violation("seccompProfile", detail)


def _seccomp_restricted(metadata: Object, spec: Object) -> Violation | None:
    violation = _seccomp_baseline(metadata, spec)
    if violation is not None or _security(spec).get("seccompProfile") is not None:
        return violation
    bad = _bad_containers(spec, lambda c: _security(c).get("seccompProfile") is None)
    if not bad:
        return None
    detail = (
        f"pod or {_named(bad)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", detail)


_SYSCTLS_0 = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ]
)
_SYSCTLS_27 = _SYSCTLS_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _sysctls(allowed: frozenset[str], metadata: Object, spec: Object) -> Violation | None:
    names = [str(sysctl.get("name")) for sysctl in _security(spec).get("sysctls") or ()]
    bad = [name for name in names if name not in allowed]
    return Violation("forbidden sysctls", ", ".join(bad)) if bad else None


def _windows_host_process(metadata: Object, spec: Object) -> Violation | None:
    who = _setters(spec, lambda context: (context.get("windowsOptions") or {}).get("hostProcess"))
    if not who:
        return None
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", BASELINE, {0: _app_armor}),
    Check("capabilities_baseline", BASELINE, {0: _capabilities_baseline}),
    Check("hostNamespaces", BASELINE, {0: _host_namespaces}),
    Check("hostPathVolumes", BASELINE, {0: _host_path_volumes}),
    Check("hostPorts", BASELINE, {0: _host_ports}),
    Check("hostProbesAndHostLifecycle", BASELINE, {34: _probe_hosts}),
    Check("privileged", BASELINE, {0: _privileged}),
    Check("procMount", BASELINE, {0: _proc_mount, 35: _unless(_in_user_namespace, _proc_mount)}),
    Check(
        "seLinuxOptions",
        BASELINE,
        {
            0: partial(_selinux, _SELINUX_TYPES),
            31: partial(_selinux, _SELINUX_TYPES | {"container_engine_t"}),
        },
    ),
    Check("seccompProfile_baseline", BASELINE, {0: _seccomp_annotations, 19: _seccomp_baseline}),
    Check(
        "sysctls",
        BASELINE,
        {
            0: partial(_sysctls, _SYSCTLS_0),
            27: partial(_sysctls, _SYSCTLS_27),
            29: partial(_sysctls, _SYSCTLS_29),
            32: partial(_sysctls, _SYSCTLS_32),
        },
    ),
    Check("windowsHostProcess", BASELINE, {0: _windows_host_process}),
    Check(
        "allowPrivilegeEscalation",
        RESTRICTED,
        {8: _privilege_escalation, 25: _unless(_windows, _privilege_escalation)},
    ),
    Check(
        "capabilities_restricted",
        RESTRICTED,
        {22: _capabilities_restricted, 25: _unless(_windows, _capabilities_restricted)},
        "capabilities_baseline",
    ),
    Check("procMount_restricted", RESTRICTED, {35: _proc_mount}, "procMount"),
    Check("restrictedVolumes", RESTRICTED, {0: _restricted_volumes}, "hostPathVolumes"),
    Check(
        "runAsNonRoot", RESTRICTED, {0: _run_as_non_root, 35: _unless(_in_user_namespace, _run_as_non_root)}
    ),
    Check("runAsUser", RESTRICTED, {23: _run_as_user, 35: _unless(_in_user_namespace, _run_as_user)}),
    Check(
        "seccompProfile_restricted",
        RESTRICTED,
        {19: _seccomp_restricted, 25: _unless(_windows, _seccomp_restricted)},
        "seccompProfile_baseline",
    ),
)
