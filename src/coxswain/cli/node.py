"""The local node: its credentials from the cluster's authority, its runtime, its agent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import Client


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """Paths of a node's credentials."""

    kubeconfig: Path
    serving_certificate: Path
    serving_key: Path
    client_ca: Path


def issue_credentials(data_dir: Path, name: str, server: str, grpc_address: str = "") -> NodeFiles:
    """Credentials of node ``name``, signed by the authority that the API server keeps in ``data_dir``."""
    from coxswain.apiserver import pki

    authority = pki.Pki(data_dir / "pki")
    serving = authority.kubelet_serving(name, ["127.0.0.1"])
    kubeconfig = data_dir / "kubelet.kubeconfig"
    pki.write_kubeconfig(
        kubeconfig,
        server=server,
        ca=authority.ca.certificate,
        client=authority.node(name),
        user=f"system:node:{name}",
        grpc_address=grpc_address,
    )
    return NodeFiles(kubeconfig, serving.certificate_file, serving.key_file, authority.ca.certificate_file)


def issue_hollow_credentials(data_dir: Path, server: str, grpc_address: str = "") -> Path:
    """A kubeconfig for the process that runs hollow nodes: one user for all of them."""
    from coxswain.apiserver import bootstrap, pki

    authority = pki.Pki(data_dir / "pki")
    kubeconfig = data_dir / "hollow-nodes.kubeconfig"
    pki.write_kubeconfig(
        kubeconfig,
        server=server,
        ca=authority.ca.certificate,
        client=authority.client("hollow-nodes", bootstrap.HOLLOW_NODES_USER),
        user=bootstrap.HOLLOW_NODES_USER,
        grpc_address=grpc_address,
    )
    return kubeconfig


async def run_kubelet(
    client: Client,
    name: str,
    runtime: str,
    data_dir: Path,
    *,
    port: int = 10250,
    serving_certificate: Path | None = None,
    serving_key: Path | None = None,
    client_ca: Path | None = None,
    static_pod_dir: str = "",
    drain: bool = False,
) -> None:
    """Run the agent of node ``name`` until cancelled; ``drain``: its pods end with it."""
    from coxswain.kubelet import agent
    from coxswain.kubelet.config import KubeletConfig, ServerSettings
    from coxswain.kubelet.runtime.process.runtime import ProcessRuntime

    if runtime != "process":
        raise ConfigurationError(f"runtime {runtime!r} is not known; there is: process")
    directory = data_dir / "kubelet"
    config = KubeletConfig(
        node_name=name,
        data_dir=os.fspath(directory),
        server=ServerSettings(
            port=port,
            certificate_file=os.fspath(serving_certificate or ""),
            key_file=os.fspath(serving_key or ""),
            client_ca_file=os.fspath(client_ca or ""),
        ),
        static_pod_dir=static_pod_dir,
        drain=drain,
    )
    await agent.run(client, config, await ProcessRuntime.open(os.fspath(directory)))


async def end_pods(data_dir: Path) -> int:
    """End the pods that still run although the node that ran them is gone (it was killed); how many there were."""
    directory = data_dir / "kubelet"
    if not (directory / "runtime").is_dir():
        return 0
    from coxswain.kubelet.agent import stop_pods
    from coxswain.kubelet.runtime.process.runtime import ProcessRuntime

    runtime = await ProcessRuntime.open(os.fspath(directory))
    try:
        left = sum(1 for sandbox in await runtime.sandboxes() if sandbox.ready)
        if left:
            await stop_pods(runtime)
    finally:
        await runtime.close()
    return left
