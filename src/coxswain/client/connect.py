"""A client for a kubeconfig: gRPC where the cluster announces it, REST elsewhere.

client = await connect("/path/to/kubeconfig")          # or connect("") inside a pod
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from typing import Literal

from coxswain import KUBERNETES_VERSION, __version__
from coxswain.base.errors import ConfigurationError
from coxswain.client import kubeconfig
from coxswain.client.client import ApiClient
from coxswain.client.interface import Transport
from coxswain.client.kubeconfig import Config


async def connect(
    path: str | os.PathLike[str] = "",
    *,
    wire: Literal["auto", "grpc", "rest"] = "auto",
    context: str = "",
    program: str = "",
    gather: float = 0.0,
) -> ApiClient:
    """A client for the kubeconfig at ``path``; an empty path means $KUBECONFIG, or the pod's account.

    ``program`` is Kubernetes' name of the component that asks (``kube-scheduler``). Over gRPC, calls may be held back
    for ``gather`` seconds at most to go together (see ``GrpcTransport``). Nothing is sent yet: a server that is down
    shows with the first call. Raises ``ConfigurationError``.
    """
    config = settings_of(path, context)
    return ApiClient(transport(replace(config, agent=agent_of(program)) if program else config, wire, gather))


def agent_of(program: str) -> str:
    """The user agent of a component (client-go's ``DefaultKubernetesUserAgent``, without commit)."""
    return f"{program}/{KUBERNETES_VERSION} ({sys.platform}/{platform.machine()}) coxswain/{__version__}"


def settings_of(path: str | os.PathLike[str] = "", context: str = "") -> Config:
    """What ``connect`` goes by. Raises ``ConfigurationError``."""
    return kubeconfig.load(path, context) if path else _ambient(context)


def transport(
    config: Config, wire: Literal["auto", "grpc", "rest"] = "auto", gather: float = 0.0
) -> Transport:
    """The transport for ``config``; libraries are imported only for the one chosen."""
    if wire == "grpc" and not config.grpc_address:
        raise ConfigurationError(
            f"the kubeconfig's cluster has no extension {kubeconfig.GRPC_EXTENSION}; use REST"
        )
    if config.grpc_address and wire != "rest":
        from coxswain.client.grpc import GrpcTransport

        return GrpcTransport(config, gather=gather)
    from coxswain.client.rest import RestTransport

    return RestTransport(config)


def _ambient(context: str) -> Config:
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
        return kubeconfig.in_cluster()
    return kubeconfig.load(kubeconfig.default_path(), context)
