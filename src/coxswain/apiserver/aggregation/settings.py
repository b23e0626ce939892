"""Settings of the aggregation layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AggregationSettings:
    """How extension API servers are reached, and how often they are looked at."""

    proxy_client_cert_file: Path | None = None
    """Client certificate shown to extension servers; None: one signed by the front proxy's authority of the cluster."""
    proxy_client_key_file: Path | None = None
    """The key to it."""
    endpoint_routing: bool = True
    """Reach a Service's pods themselves; False: its cluster IP, which needs a service proxy on this machine."""
    probe_interval: float = 30.0
    """Seconds between looks at an extension server that answers; Kubernetes' resync."""
    retry_interval: float = 1.0
    """Seconds until the first look again at one that does not; doubled each time, up to ``probe_interval``."""
    probe_timeout: float = 5.0
    """Seconds that an extension server has to answer a look, as in Kubernetes."""
    gather: float = 0.1
    """Seconds that changes of a Service and its slices are gathered before the server behind is looked at."""
    refresh_interval: float = 60.0
    """Seconds between readings of an extension server's discovery and OpenAPI documents, as in Kubernetes."""
