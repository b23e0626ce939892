"""Security contexts of pods and containers, and the annotations that came before them."""

from __future__ import annotations

import re

from coxswain.api.fields import Errors, duplicate, forbidden, invalid, not_supported, required, too_long
from coxswain.api.names import Object
from coxswain.api.validation import shown
from coxswain.api.validation.formats import dns_subdomain, relative_path, report, user_or_group_id

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_MAX_PROFILE = 4095
_SYSCTL = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_sysctl_matches = re.compile(_SYSCTL).match
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "fs.mqueue.")


class Capabilities:
    """What the whole cluster allows its pods (kube-apiserver ``--allow-privileged``)."""

    #: Containers may ask to be privileged. Kubernetes' own default is no.
    allow_privileged = False


def validate_pod_security_context(context: Object, spec: Object, path: str, errors: Errors) -> None:
    """``spec.securityContext``; host namespaces are read from ``spec``."""
    if not context:
        return
    user_or_group_id(f"{path}.fsGroup", context.get("fsGroup"), errors)
    user_or_group_id(f"{path}.runAsUser", context.get("runAsUser"), errors)
    user_or_group_id(f"{path}.runAsGroup", context.get("runAsGroup"), errors)
    for position, group in enumerate(context.get("supplementalGroups") or ()):
        user_or_group_id(f"{path}.supplementalGroups[{position}]", group, errors)
    if spec.get("shareProcessNamespace"):
        validate_shared_processes(spec, path, errors)
    if context.get("sysctls"):
        _validate_sysctls(context["sysctls"], spec, f"{path}.sysctls", errors)
    _one_of(context, "fsGroupChangePolicy", ("Always", "OnRootMismatch"), path, errors)
    _validate_seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", errors)
    _validate_windows(context.get("windowsOptions"), f"{path}.windowsOptions", errors)
    _validate_apparmor(context.get("appArmorProfile"), f"{path}.appArmorProfile", errors)
    _one_of(context, "supplementalGroupsPolicy", ("Merge", "Strict"), path, errors)
    # MountOption needs a feature (SELinuxMount) that is off by default.
    _one_of(context, "seLinuxChangePolicy", ("Recursive",), path, errors)


def validate_shared_processes(spec: Object, path: str, errors: Errors) -> None:
    """Containers share their pod's processes or the host's, not both."""
    if spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, why))


def _one_of(context: Object, field: str, supported: tuple[str, ...], path: str, errors: Errors) -> None:
    value = context.get(field)
    if value is not None and value not in supported:
        errors.append(not_supported(f"{path}.{field}", value, supported))


def _validate_sysctls(sysctls: list[Object], spec: Object, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for position, sysctl in enumerate(sysctls):
        name = sysctl.get("name") or ""
        here = f"{path}[{position}].name"
        if not name:
            errors.append(required(here))
        elif len(name) > 253 or not _sysctl_matches(name):
            errors.append(invalid(here, name, f"must have at most 253 characters and match regex {_SYSCTL}"))
        elif name in seen:
            errors.append(duplicate(here, name))
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            errors.append(invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        if spec.get("hostIPC") and (dotted.startswith(_IPC_SYSCTLS) or dotted == "kernel.sem"):
            errors.append(invalid(here, name, "may not be specified when 'hostIPC' is true"))
        seen.add(name)


def _validate_seccomp(profile: Object | None, path: str, errors: Errors) -> None:
    if profile is None:
        return
    kind = profile.get("type") or ""
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        errors.append(not_supported(f"{path}.type", kind, _PROFILES))
    local = profile.get("localhostProfile")
    if kind == "Localhost":
        if local is None:
            errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            relative_path(f"{path}.localhostProfile", local, errors)
    elif local is not None:
        value = shown.go_struct(profile, "type", "localhostProfile")
        errors.append(
            invalid(f"{path}.localhostProfile", value, "can only be set when seccomp type is Localhost")
        )


def _validate_apparmor(profile: Object | None, path: str, errors: Errors) -> None:
    if profile is None:
        return
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    here = f"{path}.localhostProfile"
    if kind == "Localhost":
        if not local or not local.strip():
            errors.append(required(here, "must be set when AppArmor type is Localhost"))
        elif local.strip() != local:
            errors.append(invalid(here, local, "must not be padded with whitespace"))
        if local and len(local) > _MAX_PROFILE:
            errors.append(too_long(here, "", _MAX_PROFILE))
    elif kind in ("RuntimeDefault", "Unconfined"):
        if local is not None:
            errors.append(invalid(here, local, "can only be set when AppArmor type is Localhost"))
    elif not kind:
        errors.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    else:
        errors.append(not_supported(f"{path}.type", kind, _PROFILES))


def _validate_windows(options: Object | None, path: str, errors: Errors) -> None:
    if not options:
        return
    name = options.get("gmsaCredentialSpecName")
    if name is not None:
        report(dns_subdomain(name), f"{path}.gmsaCredentialSpecName", name, errors)
    spec = options.get("gmsaCredentialSpec")
    if spec is not None:
        if not spec:
            errors.append(
                invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string")
            )
        elif len(spec) > 64 * 1024:
            errors.append(
                invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec size must be under 64 KiB")
            )
    user = options.get("runAsUserName")
    if user is not None:
        for complaint in _windows_user(user):
            errors.append(invalid(f"{path}.runAsUserName", user, complaint))


def _windows_user(name: str) -> list[str]:
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if re.search(r"[\x00-\x1f\x7f]", name):
        return ["runAsUserName cannot contain control characters"]
    if name.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, backslash, user = name.rpartition("\\")
    out = []
    if len(domain) >= 256:
        out.append("runAsUserName's Domain length must be under 256 characters")
    netbios = re.fullmatch(r"[^\\/:\*\?\"<>|.][^\\/:\*\?\"<>|]{0,14}", domain)
    dns = re.fullmatch(
        r"(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*"
        r"([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])",
        domain,
    )
    if backslash and not netbios and not dns:
        out.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        out.append("runAsUserName's User cannot be empty")
    elif len(user) > 104:
        out.append("runAsUserName's User length must not be longer than 104 characters")
    if re.fullmatch(r"[\. ]+", user):
        out.append("runAsUserName's User cannot contain only periods or spaces")
    if re.search(r'["/\\:;|=,\+\*\?<>@\[\]]', user):
        out.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return out


def validate_security_context(context: Object, path: str, errors: Errors, host_users: bool) -> None:
    """``securityContext`` of a container."""
    privileged = context.get("privileged")
    if privileged and not Capabilities.allow_privileged:
        errors.append(forbidden(f"{path}.privileged", "disallowed by cluster policy"))
    user_or_group_id(f"{path}.runAsUser", context.get("runAsUser"), errors)
    user_or_group_id(f"{path}.runAsGroup", context.get("runAsGroup"), errors)
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            errors.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        elif mount == "Unmasked" and host_users:
            why = "`hostUsers` must be false to use `Unmasked`"
            errors.append(invalid(f"{path}.procMount", mount, why))
    _validate_seccomp(context.get("seccompProfile"), f"{path}.seccompProfile", errors)
    if context.get("allowPrivilegeEscalation") is False:
        value = shown.security_context(context)
        if privileged:
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, value, why))
        if "SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, value, why))
    _validate_windows(context.get("windowsOptions"), f"{path}.windowsOptions", errors)
    _validate_apparmor(context.get("appArmorProfile"), f"{path}.appArmorProfile", errors)
