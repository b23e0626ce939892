"""Settings of the kubelet, grouped; every field says its unit, its default and why."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The kubelet's HTTP server."""

    address: str = "127.0.0.1"
    """Address to listen on; loopback, because nothing else is exposed by default."""
    port: int = 10250
    """TCP port; 0 lets the system choose one (the node says which)."""
    certificate_file: str = ""
    """Serving certificate (PEM); without one the server speaks plain HTTP on loopback only."""
    key_file: str = ""
    """Key of the serving certificate (PEM)."""
    client_ca_file: str = ""
    """CA of client certificates; with it every path but /healthz needs a certificate."""
    enabled: bool = True
    """Whether to serve at all."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the node says of itself, and how often."""

    lease_interval: float = 10.0
    """Seconds between renewals of the lease: a quarter of its 40 s."""
    status_interval: float = 300.0
    """Seconds between status writes without a change (nodeStatusReportFrequency)."""
    max_pods: int = 110
    """Pods that may run here."""
    labels: tuple[tuple[str, str], ...] = ()
    """Labels beyond the standard ones."""
    taints: tuple[tuple[str, str, str], ...] = ()
    """Taints the node registers with: (key, value, effect)."""
    address: str = "127.0.0.1"
    """The node's InternalIP."""


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """Everything ``agent.run`` needs."""

    node_name: str
    """Name of the node object."""
    data_dir: str
    """Directory of pods, logs and the runtime's records."""
    server: ServerSettings = field(default_factory=ServerSettings)
    node: NodeSettings = field(default_factory=NodeSettings)
    static_pod_dir: str = ""
    """Directory of static pods (YAML or JSON); empty for none."""
    static_pod_interval: float = 20.0
    """Seconds between looks at it (fileCheckFrequency)."""
    relist_interval: float = 10.0
    """Seconds between looks at every pod, for events that were lost."""
    volume_refresh: float = 30.0
    """Seconds until a change of a config map or secret reaches a volume, at most twice that."""
    drain: bool = False
    """Whether the end of the agent stops its pods; they go on running by default."""
