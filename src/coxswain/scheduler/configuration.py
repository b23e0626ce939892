"""KubeSchedulerConfiguration v1: the same YAML that kube-scheduler reads, checked and with its defaults.

    file -> parse: strict types, unknown fields refused with their path -> validate -> Configuration -> profiles.py

Everything of kube-scheduler's file is understood. What has no meaning here (``parallelism``, profiling, content
types) is checked and otherwise ignored. All that is wrong is reported at once, each with its field path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from coxswain.base.errors import ConfigurationError

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"
DEFAULT_NAME: Final = "default-scheduler"
POINTS: Final = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
    "preBind", "bind", "postBind", "multiPoint",
)  # fmt: skip
_REMOVED: Final = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")


@dataclass(frozen=True, slots=True)
class PluginRef:
    """A plugin by name; weight 0 is the default one."""

    name: str
    weight: int = 0


@dataclass(frozen=True, slots=True)
class PluginSet:
    """What a profile enables and disables at one extension point."""

    enabled: tuple[PluginRef, ...] = ()
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """One profile, as written."""

    scheduler_name: str = DEFAULT_NAME
    plugins: Mapping[str, PluginSet] = field(default_factory=dict)
    args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    percentage_of_nodes_to_score: int | None = None


@dataclass(frozen=True, slots=True)
class LeaderElectionConfig:
    """Seconds; kube-scheduler's defaults."""

    elect: bool = True
    lease_seconds: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    name: str = "kube-scheduler"
    namespace: str = "kube-system"


@dataclass(frozen=True, slots=True)
class ExtenderConfig:
    """One HTTP extender."""

    url: str
    filter: str = ""
    prioritize: str = ""
    bind: str = ""
    preempt: str = ""
    weight: int = 1
    timeout: float = 5.0
    https: bool = False
    tls: Mapping[str, Any] = field(default_factory=dict)
    node_cache_capable: bool = False
    #: (resource, ignored by the scheduler).
    managed: tuple[tuple[str, bool], ...] = ()
    ignorable: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole file."""

    profiles: tuple[ProfileConfig, ...] = (ProfileConfig(),)
    percentage_of_nodes_to_score: int | None = None
    pod_initial_backoff_seconds: float = 1.0
    pod_max_backoff_seconds: float = 10.0
    leader_election: LeaderElectionConfig = field(default_factory=LeaderElectionConfig)
    extenders: tuple[ExtenderConfig, ...] = ()
    kubeconfig: str = ""


def load(path: str | Path) -> Configuration:
    """Read a file. Raises ``ConfigurationError`` naming every field that is wrong."""
    import yaml

    try:
        raw = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from None
    try:
        return parse(raw)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def parse(raw: Any) -> Configuration:
    """A configuration from decoded YAML."""
    if not isinstance(raw, dict):
        raise ConfigurationError(f"a {KIND} is expected")
    if (raw.get("apiVersion"), raw.get("kind")) != (API_VERSION, KIND):
        found = f"{raw.get('apiVersion')!r}, {raw.get('kind')!r}"
        raise ConfigurationError(f"apiVersion {API_VERSION!r} and kind {KIND!r} are expected, not {found}")
    reader = Reader()
    configuration = _configuration(reader.section(raw, ""), reader)
    if reader.errors:
        raise ConfigurationError("; ".join(reader.errors))
    return configuration


class Reader:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def section(self, raw: Any, path: str) -> Section:
        if raw is not None and not isinstance(raw, dict):
            self.errors.append(f"{path}: an object is expected, not {type(raw).__name__}")
            raw = {}
        return Section(raw or {}, path, self)

    def invalid(self, path: str, value: Any, why: str) -> None:
        shown = f'"{value}"' if isinstance(value, str) else value
        self.errors.append(f"{path}: Invalid value: {shown}: {why}")


class Section:
    """One object of the file: fields are taken out by name and type; ``done`` complains of what is left."""

    def __init__(self, raw: dict[str, Any], path: str, reader: Reader) -> None:
        self._left = dict(raw)
        self.path = path
        self.reader = reader

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self._left.pop(name, None)
        if value is None:
            return default
        wrong_bool = isinstance(value, bool) and kind is not bool
        if wrong_bool or not isinstance(value, kind):
            wanted = kind.__name__ if isinstance(kind, type) else kind[0].__name__
            self.reader.errors.append(f"{self.at(name)}: {wanted} is expected, not {type(value).__name__}")
            return default
        return value

    def text(self, name: str, default: str = "") -> str:
        return str(self.take(name, str, default))

    def number(self, name: str, default: int | None = None) -> Any:
        return self.take(name, int, default)

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.take(name, bool, default))

    def seconds(self, name: str, default: float) -> float:
        """A Go duration, or nanoseconds."""
        value = self.take(name, (str, int), None)
        if value is None:
            return default
        if isinstance(value, int):
            return value / 1e9
        found = duration(value)
        if found is None:
            self.reader.invalid(self.at(name), value, "a duration such as 15s is expected")
            return default
        return found

    def child(self, name: str) -> Section:
        return self.reader.section(self._left.pop(name, None), self.at(name))

    def has(self, name: str) -> bool:
        return self._left.get(name) is not None

    def children(self, name: str) -> list[Section]:
        values = self.take(name, list, [])
        return [self.reader.section(value, f"{self.at(name)}[{i}]") for i, value in enumerate(values)]

    def rest(self) -> dict[str, Any]:
        """All that is left, unchecked."""
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        for name in self._left:
            self.reader.errors.append(f'strict decoding error: unknown field "{self.at(name)}"')


_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def duration(text: str) -> float | None:
    """Seconds of a Go duration such as ``1m30s``; None if it is none."""
    parts = _PART.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _configuration(top: Section, reader: Reader) -> Configuration:
    for name in ("apiVersion", "kind"):
        top.text(name)
    percentage = _percentage(top)
    initial, most = top.number("podInitialBackoffSeconds", 1), top.number("podMaxBackoffSeconds", 10)
    if initial <= 0:
        reader.invalid("podInitialBackoffSeconds", initial, "must be greater than 0")
    if most < initial:
        reader.invalid(
            "podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds"
        )
    parallelism = top.number("parallelism", 16)
    if parallelism <= 0:
        reader.invalid("parallelism", parallelism, "should be an integer value greater than zero")
    for name in ("enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"):
        top.flag(name)
    connection = top.child("clientConnection")
    kubeconfig = connection.text("kubeconfig")
    for name in ("acceptContentTypes", "contentType"):
        connection.text(name)
    connection.take("qps", (float, int), None)
    connection.number("burst")
    connection.done()
    found = Configuration(
        profiles=_profiles(top, reader),
        percentage_of_nodes_to_score=percentage,
        pod_initial_backoff_seconds=initial,
        pod_max_backoff_seconds=most,
        leader_election=_leader_election(top.child("leaderElection"), reader),
        extenders=_extenders(top, reader),
        kubeconfig=kubeconfig,
    )
    top.done()
    return found


def _percentage(section: Section) -> int | None:
    value: int | None = section.number("percentageOfNodesToScore")
    if value is not None and not 0 <= value <= 100:
        section.reader.invalid(section.at("percentageOfNodesToScore"), value, "not in valid range [0-100]")
    return value


def _leader_election(section: Section, reader: Reader) -> LeaderElectionConfig:
    found = LeaderElectionConfig(
        elect=section.flag("leaderElect", True),
        lease_seconds=section.seconds("leaseDuration", 15.0),
        renew_deadline=section.seconds("renewDeadline", 10.0),
        retry_period=section.seconds("retryPeriod", 2.0),
        name=section.text("resourceName", "kube-scheduler"),
        namespace=section.text("resourceNamespace", "kube-system"),
    )
    lock = section.text("resourceLock", "leases")
    section.done()
    if not found.elect:
        return found
    if lock != "leases":
        reader.invalid("leaderElection.resourceLock", lock, 'resourceLock value must be "leases"')
    checks: tuple[tuple[str, bool, float, str], ...] = (
        ("leaseDuration", found.lease_seconds > 0, found.lease_seconds, "must be greater than zero"),
        ("renewDeadline", found.renew_deadline > 0, found.renew_deadline, "must be greater than zero"),
        ("retryPeriod", found.retry_period > 0, found.retry_period, "must be greater than zero"),
        (
            "leaseDuration",
            found.lease_seconds > found.renew_deadline,
            found.lease_seconds,
            "LeaseDuration must be greater than RenewDeadline",
        ),
        (
            "renewDeadline",
            found.renew_deadline > found.retry_period * 1.2,
            found.renew_deadline,
            "RenewDeadline must be greater than RetryPeriod*JitterFactor",
        ),
    )
    for name, good, value, why in checks:
        if not good:
            reader.invalid(f"leaderElection.{name}", value, why)
    return found


def _profiles(top: Section, reader: Reader) -> tuple[ProfileConfig, ...]:
    sections = top.children("profiles")
    if not sections:
        return (ProfileConfig(),)
    profiles = tuple(_profile(section, reader, only=len(sections) == 1) for section in sections)
    seen: dict[str, int] = {}
    for i, profile in enumerate(profiles):
        first = seen.setdefault(profile.scheduler_name, i)
        if first != i:
            reader.errors.append(
                f'profiles[{i}].schedulerName: Duplicate value: "profiles[{first}].schedulerName"'
            )
        if profile.plugins.get("queueSort") != profiles[0].plugins.get("queueSort"):
            reader.errors.append(f"profiles[{i}].plugins.queueSort: must be the same for all profiles")
    return profiles


def _profile(section: Section, reader: Reader, *, only: bool) -> ProfileConfig:
    name = section.text("schedulerName", DEFAULT_NAME if only else "")
    if not name:
        reader.errors.append(f"{section.at('schedulerName')}: Required value")
    plugins = section.child("plugins")
    sets = {point: _plugin_set(plugins.child(point), reader) for point in POINTS if plugins.has(point)}
    plugins.done()
    args: dict[str, Mapping[str, Any]] = {}
    for entry in section.children("pluginConfig"):
        plugin = entry.text("name")
        if plugin in args:
            reader.errors.append(f'{entry.path}: Duplicate value: "{plugin}"')
        if plugin in _REMOVED:
            reader.invalid(entry.path, plugin, f'was invalid in version "{API_VERSION}"')
        args[plugin] = entry.take("args", dict, {}) | {"": entry.at("args")}
        entry.done()
    found = ProfileConfig(name, sets, args, _percentage(section))
    section.done()
    return found


def _plugin_set(section: Section, reader: Reader) -> PluginSet:
    enabled, disabled = [], []
    for entry in section.children("enabled"):
        name, weight = entry.text("name"), entry.number("weight", 0)
        entry.done()
        if name in _REMOVED:
            reader.invalid(entry.path, name, f'was invalid in version "{API_VERSION}"')
        if not 0 <= weight <= 2**31 - 1:
            reader.invalid(entry.at("weight"), weight, "must not be negative")
        enabled.append(PluginRef(name, weight))
    for entry in section.children("disabled"):
        disabled.append(entry.text("name"))
        entry.number("weight")
        entry.done()
    section.done()
    return PluginSet(tuple(enabled), tuple(disabled))


def _extenders(top: Section, reader: Reader) -> tuple[ExtenderConfig, ...]:
    found = tuple(_extender(section, reader) for section in top.children("extenders"))
    binders = sum(bool(extender.bind) for extender in found)
    if binders > 1:
        reader.invalid(
            "extenders",
            f"found {binders} extenders implementing bind",
            "only one extender can implement bind",
        )
    seen: set[str] = set()
    for i, extender in enumerate(found):
        for j, (name, _) in enumerate(extender.managed):
            path = f"extenders[{i}].managedResources[{j}].name"
            if name in seen:
                reader.invalid(path, name, "duplicate extender managed resource name")
            if not _is_extended(name):
                reader.invalid(path, name, "is an invalid extended resource name")
            seen.add(name)
    return found


def _is_extended(name: str) -> bool:
    domain, slash, rest = name.partition("/")
    return (
        bool(slash and domain and rest) and "kubernetes.io" not in domain and not name.startswith("requests.")
    )


def _extender(section: Section, reader: Reader) -> ExtenderConfig:
    tls = section.child("tlsConfig")
    managed = []
    for entry in section.children("managedResources"):
        managed.append((entry.text("name"), entry.flag("ignoredByScheduler")))
        entry.done()
    found = ExtenderConfig(
        url=section.text("urlPrefix"),
        filter=section.text("filterVerb"),
        prioritize=section.text("prioritizeVerb"),
        bind=section.text("bindVerb"),
        preempt=section.text("preemptVerb"),
        weight=section.number("weight", 0),
        timeout=section.seconds("httpTimeout", 5.0),
        https=section.flag("enableHTTPS"),
        tls=tls.rest(),
        node_cache_capable=section.flag("nodeCacheCapable"),
        managed=tuple(managed),
        ignorable=section.flag("ignorable"),
    )
    if found.prioritize and found.weight <= 0:
        reader.invalid(section.at("weight"), found.weight, "must have a positive weight applied to it")
    section.done()
    return found
