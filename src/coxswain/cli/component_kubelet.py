"""Run a node agent. Its pods go on running when it stops, and it finds them again, unless --drain is given."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from coxswain.cli import flagtypes


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.place import default_data_dir
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument("--node-name", default=socket.gethostname().lower(), help="default: the host name")
    parser.add_argument("--runtime", choices=("process",), default="process", help="how pods run")
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="pods, logs and records")
    parser.add_argument(
        "--port", type=flagtypes.port, default=10250, help="port of the kubelet's own server; 0: any free"
    )
    parser.add_argument("--tls-cert-file", type=Path, help="its serving certificate")
    parser.add_argument("--tls-private-key-file", type=Path, help="the certificate's key")
    parser.add_argument(
        "--client-ca-file", type=Path, help="who may ask it: holders of this CA's certificates"
    )
    parser.add_argument("--static-pods", default="", metavar="DIR", help="directory of static pods")
    parser.add_argument("--drain", action="store_true", help="stop the node's pods when the agent stops")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_run(args))


async def _run(args: argparse.Namespace) -> None:
    from coxswain.cli import runner
    from coxswain.cli.node import run_kubelet
    from coxswain.client.connect import connect

    async with await connect(args.kubeconfig, program="kubelet") as client:
        runner.calm_garbage_collector()
        await run_kubelet(
            client,
            args.node_name,
            args.runtime,
            args.data_dir.expanduser().absolute(),
            port=args.port,
            serving_certificate=args.tls_cert_file,
            serving_key=args.tls_private_key_file,
            client_ca=args.client_ca_file,
            static_pod_dir=args.static_pods,
            drain=args.drain,
        )
