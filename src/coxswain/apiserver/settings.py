"""Settings of the API server, grouped by concern. Every field says its unit, default and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from coxswain.apiserver.aggregation.settings import AggregationSettings
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.apiserver.authn.settings import IdentitySettings
from coxswain.apiserver.encryption.settings import EncryptionSettings
from coxswain.apiserver.fairness.settings import FairnessSettings
from coxswain.apiserver.proxying.settings import ProxySettings
from coxswain.store.etcd_client import EtcdSettings as EtcdSettings


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """Who may connect, and where."""

    address: str = "127.0.0.1"
    """Address to listen on; loopback unless asked otherwise: nothing is exposed by default."""
    advertise_address: str = ""
    """Where the rest of the cluster reaches this server: the address of the service ``kubernetes``; empty: the one
    that it listens on, or this machine's own when it listens on all."""
    certificate_names: tuple[str, ...] = ()
    """Further names and addresses that the serving certificate is good for: of a balancer in front of several
    servers, say."""
    port: int = 6443
    """TCP port of HTTPS; 0 takes a free one, -1 opens no door at all: clients in this process only."""
    grpc_port: int = -1
    """TCP port of the gRPC door; 0 takes a free one, -1 switches the door off."""
    max_body_bytes: int = 3 << 20
    """Largest request body; Kubernetes' own limit of 3 MiB."""
    max_header_bytes: int = 32 << 10
    """Largest request head, its line and all headers; bearer tokens and client-go's headers stay far below."""
    idle_timeout: float = 120.0
    """Seconds that an idle keep-alive connection stays open."""
    max_connections: int = 10_000
    """Connections served at one time; more are refused."""
    head_timeout: float = 32.0
    """Seconds that a request head may take to arrive, as kube-apiserver's ReadHeaderTimeout."""
    body_timeout: float = 60.0
    """Seconds that a whole request may take to arrive."""
    unread_timeout: float = 120.0
    """Seconds that a client may read nothing of an answer that waits for it."""
    max_buffered_bytes: int = 256 << 20
    """Bytes of request bodies that all connections together may hold; beyond it large bodies get 429."""
    max_unread_bytes: int = 1 << 30
    """Bytes of answers that clients have not read yet, together; beyond it new lists get 429, and after a second
    the connections that have stood still the longest are cut off."""
    gzip_min_bytes: int = 128 << 10
    """Lists of this many bytes are compressed for clients that accept gzip, as in Kubernetes; 0: never."""
    gzip_loopback: bool = False
    """Whether clients on this machine get compressed answers, too: for them it only costs time."""
    shutdown_delay: float = 0.0
    """Seconds between ``/readyz`` turning 500 and the end of accepting requests when the server stops, for load
    balancers to notice; kube-apiserver's --shutdown-delay-duration."""
    shutdown_grace: float = 2.0
    """Seconds that running requests get to finish when the server stops."""


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """What keeps the cluster."""

    backend: Literal["sqlite", "memory", "etcd"] = "sqlite"
    """``sqlite`` is durable (data_dir/store.db); ``memory`` forgets when the process ends; several servers share
    ``etcd``."""
    etcd: EtcdSettings = field(default_factory=EtcdSettings)
    """Where etcd is, for that backend, and how it is asked; it has a compaction interval of its own."""
    compaction_interval: float = 300.0
    """Seconds between compactions; revisions of the last one to two intervals are kept, as in Kubernetes."""


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """Bounds of watches."""

    ring_events: int = 8192
    """Events each resource remembers at most for watchers that come back, within 64 MiB of objects."""
    ring_seconds: float = 150.0
    """Events older than one to two times this many seconds are forgotten, but for the newest hundred of each
    resource. Kubernetes keeps 75 seconds; a watcher that was away for longer lists again."""
    queue_events: int = 100_000
    """Events that may wait for one in-process or gRPC watcher before it is cut off."""
    buffer_bytes: int = 16 << 20
    """Bytes that may wait in one REST watcher's connection before it is cut off."""
    bookmark_interval: float = 60.0
    """Seconds between bookmarks for watchers that want them; Kubernetes sends about one a minute."""
    min_timeout: float = 1800.0
    """A watch without timeoutSeconds ends after one to two times this many seconds."""


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much is done at one time."""

    max_in_flight: int = 400
    """Reading requests in progress; more get 429. With fairness on, reads and writes share the sum of both."""
    max_mutating_in_flight: int = 200
    """Writing requests in progress; more get 429."""
    request_timeout: float = 60.0
    """Seconds that a request may take (watches, logs and proxies excepted); less with ``?timeout=``."""


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """Everything that an API server can be told."""

    data_dir: Path = Path("data")
    """Holds the store, certificates and kubeconfigs; created with mode 0700."""
    token_auth_file: Path | None = None
    """Static bearer tokens as CSV: token,user,uid,"group1,group2"."""
    service_cidr: str = "10.96.0.0/16"
    """Addresses of Services: one network, or two of different families with a comma between (dual stack). The first
    one's family is the default."""
    node_port_range: str = "30000-32767"
    """Node ports of Services."""
    enable_admission_plugins: tuple[str, ...] = ()
    """Names of admission plugins that are off by default."""
    disable_admission_plugins: tuple[str, ...] = ()
    """Names of admission plugins to go without. Without a controller manager nobody makes the service accounts
    that ``ServiceAccount`` demands of pods: an API server alone is better off without that one."""
    admission_config_file: Path | None = None
    """An AdmissionConfiguration: what single admission plugins are told."""
    serving: ServingSettings = field(default_factory=ServingSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    fairness: FairnessSettings = field(default_factory=FairnessSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    encryption: EncryptionSettings = field(default_factory=EncryptionSettings)
    proxies: ProxySettings = field(default_factory=ProxySettings)
    aggregation: AggregationSettings = field(default_factory=AggregationSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
