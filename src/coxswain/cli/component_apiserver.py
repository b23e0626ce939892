"""Run an API server alone. It writes the administrator's DATA_DIR/kubeconfig and serves until stopped."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument(
        "--data-dir", type=Path, required=True, help="certificates, kubeconfigs and the store"
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="address to listen on (default: loopback only)"
    )
    parser.add_argument(
        "--port", type=int, default=6443, help="HTTPS port; 0 takes a free one (default 6443)"
    )
    parser.add_argument("--grpc-port", type=int, default=0, help="port for components; 0: any free, -1: none")
    parser.add_argument(
        "--store", choices=("sqlite", "memory"), default="sqlite", help="memory forgets at the end"
    )
    parser.add_argument("--token-auth-file", type=Path, help='CSV: token,user,uid,"group1,group2"')
    parser.add_argument("--service-cidr", default="10.96.0.0/16", help="addresses of Services")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_serve(args))


async def _serve(args: argparse.Namespace) -> None:
    from coxswain.apiserver.server import ApiServer
    from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
    from coxswain.cli import runner

    data_dir = args.data_dir.expanduser().absolute()
    server = ApiServer(
        ApiServerConfig(
            data_dir=data_dir,
            token_auth_file=args.token_auth_file,
            service_cidr=args.service_cidr,
            serving=ServingSettings(address=args.address, port=args.port, grpc_port=args.grpc_port),
            storage=StorageSettings(backend=args.store),
        )
    )
    await server.start()
    try:
        runner.calm_garbage_collector()
        if args.ready_fd >= 0:
            os.write(args.ready_fd, f"{server.url}\n".encode())
            os.close(args.ready_fd)
        else:
            print(f"serving {server.url}; kubeconfig {data_dir / 'kubeconfig'}", flush=True)
        await asyncio.Event().wait()
    finally:
        await server.stop()
