"""The file of ``--encryption-provider-config``: read, and checked by Kubernetes' rules and in its words.

    kind: EncryptionConfiguration
    apiVersion: apiserver.config.k8s.io/v1
    resources:
    - resources: [secrets, configmaps, "*.apps"]     # "*." is the core group, "*.*" everything
      providers:                                     # the first writes, all of them read
      - aesgcm: {keys: [{name: key1, secret: <base64>}]}
      - identity: {}

The rules are those of apiserver ``pkg/apis/apiserver/validation`` and ``encryptionconfig``. The file holds keys: one that
everybody on the machine can read or write is refused, and no message quotes a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from coxswain.api import fields, yamlio
from coxswain.api.fields import Errors
from coxswain.base.errors import ConfigurationError

GroupResource = tuple[str, str]

_EVERYTHING: GroupResource = ("*", "*")
_KINDS = {("EncryptionConfiguration", "apiserver.config.k8s.io/v1"), ("EncryptionConfig", "v1")}
_PROVIDERS = ("kms", "aesgcm", "aescbc", "secretbox", "identity")
_KEY_SIZES = {"aesgcm": (16, 24, 32), "aescbc": (16, 24, 32), "secretbox": (32,)}
_KMS_FIELDS = frozenset({"apiVersion", "name", "cachesize", "endpoint", "timeout"})
_NO_REST = frozenset({"apiserveripinfo", "serviceipallocations", "servicenodeportallocations"})
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?)(ns|us|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_KMS_V1 = (
    "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  "
    "Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
)


@dataclass(frozen=True, slots=True)
class KmsConfiguration:
    """A KMS plugin: its name, the path of its Unix socket, and the seconds that a call may take."""

    name: str
    socket: str
    timeout: float = 3.0


@dataclass(frozen=True, slots=True)
class ProviderConfiguration:
    """One provider. ``keys`` are names and secrets; secrets are not shown in logs."""

    kind: str
    keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    kms: KmsConfiguration | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """Providers by resource (group, resource; ``*`` for any), and the SHA-256 of the file."""

    resources: Mapping[GroupResource, tuple[ProviderConfiguration, ...]]
    digest: str


def digest_of(path: Path) -> str:
    """The SHA-256 of the file. Raises ``ConfigurationError``."""
    return hashlib.sha256(_content(path)).hexdigest()


def load(path: Path) -> Configuration:
    """The configuration in a file. Raises ``ConfigurationError``."""
    _check_mode(path)
    data = _content(path)
    raw = _parse(path, data)
    problems: Errors = []
    _check(raw, problems)
    if problems:
        raise ConfigurationError(_listed(problems))
    return Configuration(_providers_by_resource(raw["resources"]), hashlib.sha256(data).hexdigest())


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f'error reading encryption provider configuration file "{path}": {error.strerror}'
        ) from None
    if not data:
        raise ConfigurationError(f'encryption provider configuration file "{path}" is empty')
    return data


def _check_mode(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigurationError(
            f'error reading encryption provider configuration file "{path}": {error.strerror}'
        ) from None
    if mode & 0o027:
        raise ConfigurationError(
            f'encryption provider configuration file "{path}" has mode {mode:04o}: it holds keys and must be '
            "closed to others and to writes of its group (chmod 600)"
        )


def _parse(path: Path, data: bytes) -> dict[str, Any]:
    wrong = f'error decoding encryption provider configuration file "{path}": '
    try:
        raw, _ = yamlio.loads(data)
    except ValueError as error:
        raise ConfigurationError(f"{wrong}{error}") from None
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{wrong}it is not an object")
    kind, version = raw.get("kind"), raw.get("apiVersion")
    if (kind, version) not in _KINDS:
        raise ConfigurationError(f'{wrong}no kind "{kind}" is registered for version "{version}"')
    unknown = list(_unknown_fields(raw))
    if unknown:
        listed = ", ".join(f'unknown field "{name}"' for name in unknown)
        raise ConfigurationError(f"{wrong}strict decoding error: {listed}")
    return raw


def _unknown_fields(raw: dict[str, Any]) -> list[str]:
    found = [name for name in raw if name not in ("kind", "apiVersion", "resources")]
    for at, element in enumerate(_list(raw.get("resources"))):
        path = f"resources[{at}]"
        found += [f"{path}.{name}" for name in _dict(element) if name not in ("resources", "providers")]
        for number, provider in enumerate(_list(_dict(element).get("providers"))):
            below = f"{path}.providers[{number}]"
            found += [f"{below}.{name}" for name in _dict(provider) if name not in _PROVIDERS]
            for kind, settings in _dict(provider).items():
                known = _KMS_FIELDS if kind == "kms" else {"keys"} if kind in _KEY_SIZES else set()
                if kind in _PROVIDERS:
                    found += [f"{below}.{kind}.{name}" for name in _dict(settings) if name not in known]
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(problems: Errors) -> str:
    texts = [str(one) for one in problems]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


# -- checks


def _check(raw: dict[str, Any], problems: Errors) -> None:
    elements = _list(raw.get("resources"))
    if not elements:
        problems.append(fields.required("resources", "at least one resources is required"))
    names: set[str] = set()
    for at, element in enumerate(elements):
        path = f"resources[{at}]"
        resources = [str(one) for one in _list(_dict(element).get("resources"))]
        below = f"{path}.resources"
        if not resources:
            problems.append(fields.required(below, f"at least one {below} is required"))
        _check_overlap(resources, below, problems)
        for number, name in enumerate(resources):
            why = _wrong_name(name)
            if why:
                problems.append(fields.invalid(f"{below}[{number}]", name, why))
        providers = _list(_dict(element).get("providers"))
        below = f"{path}.providers"
        if not providers:
            problems.append(fields.required(below, f"at least one {below} is required"))
        for number, provider in enumerate(providers):
            _check_provider(_dict(provider), f"{below}[{number}]", names, problems)


def _check_overlap(resources: list[str], path: str, problems: Errors) -> None:
    parsed = [parse_group_resource(name) for name in resources]
    if len(set(parsed)) < len(parsed):
        problems.append(
            fields.invalid(path, resources, "the same resource cannot be specified multiple times")
        )
    distinct = set(parsed)
    wide = _EVERYTHING in distinct and len(distinct) > 1
    by_group: dict[str, set[str]] = {}
    for group, resource in distinct:
        by_group.setdefault(group, set()).add(resource)
    if wide or any("*" in found and len(found) > 1 for found in by_group.values()):
        why = (
            "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed "
            "as they will be masked"
        )
        problems.append(fields.invalid(path, resources, why))


def _wrong_name(name: str) -> str:
    group, resource = parse_group_resource(name)
    if name != name.lower():
        return "resource name should not contain capital letters"
    if name == "*":
        return "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"
    if name in _NO_REST:
        return "resources which do not have REST API/s cannot be encrypted"
    if group == "events.k8s.io":
        return (
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. "
            "Use 'events' instead in the config file"
        )
    if group == "extensions":
        return "'extensions' group has been removed and cannot be used for encryption"
    if group == "*" and resource != "*":
        return "encrypting the same resource across groups is not supported"
    return ""


def _check_provider(provider: dict[str, Any], path: str, names: set[str], problems: Errors) -> None:
    found = [kind for kind in _PROVIDERS if provider.get(kind) is not None]
    if not found:
        expected = "KMS, AESGCM, AESCBC, Secretbox, Identity"
        why = f"provider does not contain any of the expected providers: {expected}"
        problems.append(fields.invalid(path, {}, why))
    elif len(found) > 1:
        why = (
            "more than one provider specified in a single element, should split into different list elements"
        )
        problems.append(fields.invalid(path, "REDACTED", why))
    elif found[0] == "kms":
        _check_kms(_dict(provider["kms"]), f"{path}.kms", names, problems)
    elif found[0] in _KEY_SIZES:
        _check_keys(provider[found[0]], f"{path}.{found[0]}.keys", _KEY_SIZES[found[0]], problems)


def _check_keys(settings: Any, path: str, sizes: tuple[int, ...], problems: Errors) -> None:
    keys = _list(_dict(settings).get("keys"))
    if not keys:
        problems.append(fields.required(path, "at least one keys is required"))
    for at, key in enumerate(keys):
        name, secret = _dict(key).get("name"), _dict(key).get("secret")
        if not name:
            problems.append(fields.required(f"{path}[{at}].name", "name is a mandatory field for a key"))
        below = f"{path}[{at}].secret"
        if not secret:
            problems.append(fields.required(below, "secret is a mandatory field for a key"))
            continue
        try:
            size = len(base64.b64decode(str(secret), validate=True))
        except (binascii.Error, ValueError):
            problems.append(fields.invalid(below, "REDACTED", "secrets must be base64 encoded"))
            continue
        if size not in sizes:
            listed = " ".join(str(one) for one in sizes)
            why = f"secret is not of the expected length, got {size}, expected one of [{listed}]"
            problems.append(fields.invalid(below, "REDACTED", why))


def _check_kms(settings: dict[str, Any], path: str, names: set[str], problems: Errors) -> None:
    name, version = str(settings.get("name") or ""), settings.get("apiVersion") or "v1"
    if not name:
        problems.append(fields.required(f"{path}.name", "name is a mandatory field for a provider"))
    elif ":" in name:
        why = f"invalid KMS provider name {name}, must not contain ':'"
        problems.append(fields.invalid(f"{path}.name", name, why))
    elif name in names:
        why = f"duplicate KMS provider name {name}, names must be unique"
        problems.append(fields.invalid(f"{path}.name", name, why))
    names.add(name)
    if _seconds(settings.get("timeout")) <= 0:
        problems.append(
            fields.invalid(f"{path}.timeout", settings.get("timeout"), "timeout should be a positive value")
        )
    _check_endpoint(str(settings.get("endpoint") or ""), f"{path}.endpoint", problems)
    if version == "v1":
        problems.append(fields.invalid(f"{path}.apiVersion", version, _KMS_V1))
    elif version != "v2":
        why = f"unsupported apiVersion {version} for KMS provider, only v1 and v2 are supported"
        problems.append(fields.invalid(f"{path}.apiVersion", version, why))
    elif settings.get("cachesize") is not None:
        why = "cachesize is not supported in v2"
        problems.append(fields.invalid(f"{path}.cachesize", settings["cachesize"], why))


def _check_endpoint(endpoint: str, path: str, problems: Errors) -> None:
    if not endpoint:
        problems.append(fields.invalid(path, "", "endpoint is a mandatory field for a kms"))
        return
    scheme = urlsplit(endpoint).scheme
    if scheme != "unix":
        why = f'unsupported scheme "{scheme}" for KMS provider, only unix is supported'
        problems.append(fields.invalid(path, endpoint, why))


def _seconds(duration: Any) -> float:
    """A Go duration; 3 seconds where none is given, and -1 for what is none."""
    if duration is None:
        return 3.0
    parts = _DURATION.findall(str(duration))
    if "".join(number + unit for number, unit in parts) != str(duration):
        return -1.0
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


# -- what it means


def parse_group_resource(text: str) -> GroupResource:
    """``deployments.apps`` as ("apps", "deployments"), ``secrets`` and ``secrets.`` in the core group."""
    resource, _, group = text.partition(".")
    return group, resource


def _spelled(group: str, resource: str) -> str:
    return f"{resource}.{group}" if group or resource == "*" else resource


def _providers_by_resource(elements: list[Any]) -> dict[GroupResource, tuple[ProviderConfiguration, ...]]:
    """Providers of a resource that several elements name are one list, in the order of the file."""
    found: dict[GroupResource, tuple[ProviderConfiguration, ...]] = {}
    for element in elements:
        providers = tuple(_provider(one) for one in element["providers"])
        for name in element["resources"]:
            wanted = parse_group_resource(name)
            for earlier in ((wanted[0], "*"), _EVERYTHING):
                if earlier in found:
                    raise ConfigurationError(
                        "error while building transformers: "
                        f'resource "{_spelled(*wanted)}" is masked by earlier rule "{_spelled(*earlier)}"'
                    )
            found[wanted] = found.get(wanted, ()) + providers
    return found


def _provider(raw: dict[str, Any]) -> ProviderConfiguration:
    kind = next(one for one in _PROVIDERS if raw.get(one) is not None)
    settings = _dict(raw[kind])
    if kind == "kms":
        socket = str(settings["endpoint"]).removeprefix("unix://")
        timeout = _seconds(settings.get("timeout"))
        return ProviderConfiguration(kind, kms=KmsConfiguration(settings["name"], socket, timeout))
    keys = tuple((key["name"], base64.b64decode(key["secret"])) for key in settings.get("keys") or ())
    return ProviderConfiguration(kind, keys)
