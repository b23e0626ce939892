"""Run an API server alone. It writes the administrator's DATA_DIR/kubeconfig and serves until stopped.

The admission plugin ServiceAccount refuses pods in namespaces without a default service account, which the
controller manager makes. Alone there is nobody to make it, so the plugin is off unless it is enabled.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from coxswain.cli import flagtypes
from coxswain.cli.apiserver_flags import (
    admission,
    aggregation,
    audit,
    encryption,
    fairness,
    identity,
    proxying,
    storage,
)

#: The flags of each concern, in the order of the help.
_CONCERNS = (storage, identity, admission, audit, encryption, fairness, proxying, aggregation)


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument(
        "--data-dir", type=Path, required=True, help="certificates, kubeconfigs and the store"
    )
    parser.add_argument(
        "--address", default="127.0.0.1", help="address to listen on (default: loopback only)"
    )
    parser.add_argument(
        "--cert-sans",
        default="",
        metavar="NAME[,NAME]",
        help="further names and addresses for the serving certificate, such as a balancer's",
    )
    parser.add_argument(
        "--port", type=flagtypes.port, default=6443, help="HTTPS port; 0 takes a free one (default 6443)"
    )
    parser.add_argument(
        "--grpc-port", type=flagtypes.port, default=0, help="port for components; 0: any free, -1: none"
    )
    parser.add_argument(
        "--advertise-address",
        default="",
        metavar="IP",
        help="where the rest of the cluster reaches this server (default: the address it listens on)",
    )
    parser.add_argument("--token-auth-file", type=Path, help='CSV: token,user,uid,"group1,group2"')
    parser.add_argument(
        "--service-cluster-ip-range",
        "--service-cidr",
        dest="service_cidr",
        metavar="CIDR[,CIDR]",
        default="10.96.0.0/16",
        help="addresses of Services: one network, or one a family, the default family's first",
    )
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    for concern in _CONCERNS:
        concern.add(parser)
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_serve(args))


async def _serve(args: argparse.Namespace) -> None:
    from coxswain.apiserver.server import ApiServer
    from coxswain.apiserver.settings import ApiServerConfig, ServingSettings
    from coxswain.cli import runner

    data_dir = args.data_dir.expanduser().absolute()
    plugins, bounds = admission.settings(args), fairness.settings(args)
    server = ApiServer(
        ApiServerConfig(
            data_dir=data_dir,
            token_auth_file=args.token_auth_file,
            service_cidr=args.service_cidr,
            disable_admission_plugins=plugins.disabled,
            enable_admission_plugins=plugins.enabled,
            admission_config_file=plugins.config_file,
            serving=ServingSettings(
                address=args.address,
                advertise_address=args.advertise_address,
                certificate_names=tuple(filter(None, args.cert_sans.split(","))),
                port=args.port,
                grpc_port=args.grpc_port,
                shutdown_delay=bounds.shutdown_delay,
            ),
            storage=storage.settings(args),
            limits=bounds.limits,
            fairness=bounds.fairness,
            audit=audit.settings(args),
            encryption=encryption.settings(args),
            proxies=proxying.settings(args),
            aggregation=aggregation.settings(args),
            identity=identity.settings(args),
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
