"""Settings of what is passed on to nodes, pods and services."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Whom the API server believes, and where it lets requests through."""

    kubelet_certificate_authority: Path | None = None
    """PEM of the authority that signs kubelets' serving certificates; None: the cluster's own."""
    kubelet_insecure: bool = False
    """Do not verify kubelets' serving certificates: for kubelets that sign their own."""
    loopback: bool | None = None
    """Whether pods and services at loopback addresses may be reached: with it, who may proxy reaches what listens on
    the API server's machine only. None: where the API server itself listens on loopback (development)."""
