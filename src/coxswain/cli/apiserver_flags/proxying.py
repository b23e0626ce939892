"""Flags of what is passed on to kubelets, pods and services."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coxswain.apiserver.proxying.settings import ProxySettings


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names where it has them."""
    parser.add_argument(
        "--kubelet-certificate-authority",
        type=Path,
        metavar="FILE",
        help="authority that signs kubelets' serving certificates (default: the cluster's own)",
    )
    parser.add_argument(
        "--kubelet-insecure-tls",
        action="store_true",
        help="do not verify kubelets' serving certificates",
    )
    parser.add_argument(
        "--allow-loopback-proxy",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="reach pods and services at loopback addresses (default: if the server listens on loopback only)",
    )


def settings(args: argparse.Namespace) -> ProxySettings:
    """What the flags say."""
    from coxswain.apiserver.proxying.settings import ProxySettings

    authority: Path | None = args.kubelet_certificate_authority
    return ProxySettings(
        kubelet_certificate_authority=authority.expanduser().absolute() if authority is not None else None,
        kubelet_insecure=args.kubelet_insecure_tls,
        loopback=args.allow_loopback_proxy,
    )
