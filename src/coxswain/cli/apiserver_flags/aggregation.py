"""Flags of the aggregation layer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coxswain.apiserver.aggregation.settings import AggregationSettings


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    for name, what in (("cert", "certificate"), ("key", "key")):
        parser.add_argument(
            f"--proxy-client-{name}-file",
            type=Path,
            metavar="FILE",
            help=f"client {what} shown to extension API servers (default: one of the cluster's front proxy CA)",
        )
    parser.add_argument(
        "--enable-aggregator-routing",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="reach extension API servers at their pods' addresses; else at their Service's cluster IP",
    )


def settings(args: argparse.Namespace) -> AggregationSettings:
    """What the flags say."""
    from coxswain.apiserver.aggregation.settings import AggregationSettings

    return AggregationSettings(
        proxy_client_cert_file=args.proxy_client_cert_file,
        proxy_client_key_file=args.proxy_client_key_file,
        endpoint_routing=args.enable_aggregator_routing,
    )
