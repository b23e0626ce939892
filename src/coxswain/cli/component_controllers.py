"""Run the controllers against an API server."""

from __future__ import annotations

import argparse
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from coxswain.cli import flagtypes

if TYPE_CHECKING:
    from coxswain.controllers.manager import Manager


#: kube-controller-manager's flags for how many objects of a kind are worked on at a time.
_CONCURRENCY = {
    "concurrent-cron-job-syncs": "cronjob-controller",
    "concurrent-daemonset-syncs": "daemonset-controller",
    "concurrent-deployment-syncs": "deployment-controller",
    "concurrent-endpoint-syncs": "endpoints-controller",
    "concurrent-ephemeralvolume-syncs": "ephemeral-volume-controller",
    "concurrent-gc-syncs": "garbage-collector-controller",
    "concurrent-horizontal-pod-autoscaler-syncs": "horizontal-pod-autoscaler-controller",
    "concurrent-job-syncs": "job-controller",
    "concurrent-namespace-syncs": "namespace-controller",
    "concurrent-rc-syncs": "replicationcontroller-controller",
    "concurrent-replicaset-syncs": "replicaset-controller",
    "concurrent-resource-quota-syncs": "resourcequota-controller",
    "concurrent-service-endpoint-syncs": "endpointslice-controller",
    "concurrent-serviceaccount-token-syncs": "serviceaccount-token-controller",
    "concurrent-statefulset-syncs": "statefulset-controller",
    "concurrent-ttl-after-finished-syncs": "ttl-after-finished-controller",
    "concurrent-validating-admission-policy-status-syncs": "validatingadmissionpolicy-status-controller",
    "mirroring-concurrent-service-endpoint-syncs": "endpointslice-mirroring-controller",
}

#: Seconds for which a controller's requests wait for one another at most: far fewer messages when there is much to do.
_GATHER = 0.02


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
        type=flagtypes.seconds,
        default=0,
        help="seconds (or 8760h) that such a certificate lives at most",
    )
    parser.add_argument(
        "--service-account-private-key-file",
        default="",
        help="PEM of the key that signs service account tokens",
    )
    parser.add_argument(
        "--use-service-account-credentials",
        action="store_true",
        help="each controller acts as its own service account in kube-system",
    )
    for flag, controller in _CONCURRENCY.items():
        parser.add_argument(
            f"--{flag}",
            type=flagtypes.count,
            default=0,
            help=f"what the {controller} works on at a time (default 20)",
        )
    _configure_election(parser)
    _configure_serving(parser)
    add_log_flags(parser)


def _configure_election(parser: argparse.ArgumentParser) -> None:
    from coxswain.client.leaderelection import ElectionSettings

    standard = ElectionSettings()
    parser.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="run only while holding the lease",
    )
    for name, default, text in (
        ("lease-duration", standard.lease_seconds, "that others wait after the leader's last renewal"),
        ("renew-deadline", standard.renew_deadline, "after which a leader that cannot renew gives up"),
        ("retry-period", standard.retry_period, "between tries"),
    ):
        parser.add_argument(
            f"--leader-elect-{name}", type=flagtypes.seconds, default=default, help=f"seconds (or 15s) {text}"
        )


def _configure_serving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bind-address", default="127.0.0.1", help="of /healthz, /livez, /readyz and /metrics"
    )
    parser.add_argument(
        "--secure-port",
        type=flagtypes.port,
        default=-1,
        help="their port (kube-controller-manager's is 10257); default: none",
    )
    parser.add_argument("--tls-cert-file", default="", help="serve them over TLS")
    parser.add_argument("--tls-private-key-file", default="")


def run(args: argparse.Namespace) -> int:
    from coxswain.cli import runner

    runner.setup_logging(args)
    return runner.run(_control(args))


async def _control(args: argparse.Namespace) -> None:
    from coxswain.cli import runner
    from coxswain.cli.health import HealthServer
    from coxswain.client.accounts import AccountClients
    from coxswain.client.connect import agent_of, connect, settings_of
    from coxswain.controllers.manager import Manager

    program = "kube-controller-manager"
    async with (
        await connect(args.kubeconfig, program=program, gather=_GATHER) as client,
        AsyncExitStack() as closing,
    ):
        manager = Manager(client, args.controllers, _options(args), _workers(args))
        if args.use_service_account_credentials:
            config = replace(settings_of(args.kubeconfig), agent=agent_of(program))
            accounts = AccountClients(client, config)
            closing.push_async_callback(accounts.close)
            manager.acting_as = accounts
        server = HealthServer(manager.live(), {"informer-sync": manager.unsynced})
        if args.secure_port >= 0:
            await server.start(
                args.bind_address, args.secure_port, args.tls_cert_file, args.tls_private_key_file
            )
        runner.calm_garbage_collector()
        try:
            await _run(manager, args)
        finally:
            await server.close()


async def _run(manager: Manager, args: argparse.Namespace) -> None:
    import os

    from coxswain.client.leaderelection import ElectionSettings

    if not args.leader_elect:
        await manager.run()
        return
    settings = ElectionSettings(
        args.leader_elect_lease_duration, args.leader_elect_renew_deadline, args.leader_elect_retry_period
    )
    await manager.run_elected(f"{socket.gethostname()}_{os.getpid()}", settings)


def _workers(args: argparse.Namespace) -> dict[str, int]:
    given = {name: getattr(args, flag.replace("-", "_")) for flag, name in _CONCURRENCY.items()}
    return {name: number for name, number in given.items() if number}


def _options(args: argparse.Namespace) -> dict[str, dict[str, object]]:
    """Settings of single controllers; what was not given is left to their defaults."""
    signing = {
        name: getattr(args, name)
        for name in ("cluster_signing_cert_file", "cluster_signing_key_file", "cluster_signing_duration")
        if getattr(args, name)
    }
    found: dict[str, dict[str, object]] = {"certificatesigningrequest-signing-controller": signing}
    if args.service_account_private_key_file:
        key = {"service_account_private_key_file": args.service_account_private_key_file}
        found["serviceaccount-token-controller"] = dict(key)
    if args.local_path_directory:
        found["local-path-provisioner-controller"] = {"directory": args.local_path_directory}
    ranges = ("cluster_cidr", *(f"node_cidr_mask_size{family}" for family in ("", "_ipv4", "_ipv6")))
    found["node-ipam-controller"] = {name: getattr(args, name) for name in ranges if getattr(args, name)}
    return found
