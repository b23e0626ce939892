"""Run the controllers against an API server."""

from __future__ import annotations

import argparse
import socket


def configure(parser: argparse.ArgumentParser) -> None:
    from coxswain.cli.runner import add_log_flags

    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument(
        "--controllers", default="*", help="'*' for all, 'foo' to switch one on, '-foo' to switch it off"
    )
    parser.add_argument(
        "--cluster-cidr",
        default="",
        help="addresses of all pods, of one or two families (default 10.244.0.0/16)",
    )
    parser.add_argument(
        "--local-path-directory",
        default="",
        help="where volumes of the provisioner coxswain.dev/local-path are made (default: nowhere)",
    )
    for family in ("", "-ipv4", "-ipv6"):
        parser.add_argument(
            f"--node-cidr-mask-size{family}",
            type=int,
            default=0,
            help="prefix of a node's range (24; IPv6: 64)",
        )
    parser.add_argument(
        "--cluster-signing-cert-file", default="", help="PEM of the authority that signs certificate requests"
    )
    parser.add_argument("--cluster-signing-key-file", default="", help="PEM of that authority's key")
    parser.add_argument(
        "--cluster-signing-duration",
        type=float,
        default=0,
        help="seconds that such a certificate lives at most",
    )
    parser.add_argument(
        "--service-account-private-key-file",
        default="",
        help="PEM of the key that signs service account tokens",
    )
    parser.add_argument("--leader-elect", action="store_true", help="run only while holding the lease")
    add_log_flags(parser)


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_control(args))


async def _control(args: argparse.Namespace) -> None:
    import os

    from coxswain.cli import runner
    from coxswain.client.connect import connect
    from coxswain.controllers import manager

    identity = f"{socket.gethostname()}_{os.getpid()}" if args.leader_elect else ""
    async with await connect(args.kubeconfig) as client:
        runner.calm_garbage_collector()
        await manager.run(client, args.controllers, options=_options(args), identity=identity)


def _options(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Settings of single controllers; what was not given is left to their defaults."""
    signing = {
        name: getattr(args, name)
        for name in ("cluster_signing_cert_file", "cluster_signing_key_file", "cluster_signing_duration")
        if getattr(args, name)
    }
    found: dict[str, dict[str, object]] = {"certificatesigningrequest-signing-controller": signing}
    if args.local_path_directory:
        found["local-path-provisioner-controller"] = {"directory": args.local_path_directory}
    ranges = ("cluster_cidr", *(f"node_cidr_mask_size{family}" for family in ("", "_ipv4", "_ipv6")))
    found["node-ipam-controller"] = {name: getattr(args, name) for name in ranges if getattr(args, name)}
    return found
