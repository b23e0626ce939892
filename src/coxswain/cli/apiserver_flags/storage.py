"""Flags of the store: which one, and where etcd is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coxswain.base.errors import ConfigurationError

if TYPE_CHECKING:
    from coxswain.apiserver.settings import StorageSettings

_SERVERS = "http://127.0.0.1:2379"


def add(parser: argparse.ArgumentParser) -> None:
    """The flags; those of etcd under Kubernetes' names."""
    add_servers(parser)
    parser.add_argument(
        "--etcd-cafile", type=Path, metavar="FILE", help="who signed the certificates of etcd (PEM)"
    )
    parser.add_argument(
        "--etcd-certfile", type=Path, metavar="FILE", help="client certificate for etcd (PEM)"
    )
    parser.add_argument("--etcd-keyfile", type=Path, metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--etcd-prefix", default="/registry", help="what keys begin with in etcd (default /registry)"
    )
    parser.add_argument(
        "--etcd-compaction-interval",
        default="5m",
        metavar="DURATION",
        help="time between compactions, of which one server of all does each; 0: none (default 5m)",
    )


def add_servers(parser: argparse.ArgumentParser) -> None:
    """Which store, and at which addresses."""
    parser.add_argument(
        "--store",
        choices=("sqlite", "memory", "etcd"),
        default="sqlite",
        help="memory forgets at the end; several API servers may share etcd (default sqlite)",
    )
    parser.add_argument(
        "--etcd-servers",
        default="",
        metavar="URL[,URL]",
        help=f"addresses of etcd for --store=etcd (default {_SERVERS})",
    )


def settings(args: argparse.Namespace) -> StorageSettings:
    """What the flags say. Raises ``ConfigurationError``."""
    from coxswain.api import errors
    from coxswain.apiserver.deadlines import parse_duration
    from coxswain.apiserver.settings import EtcdSettings, StorageSettings

    try:
        interval = parse_duration(args.etcd_compaction_interval)
    except errors.BadRequest:
        interval = -1.0
    if interval < 0:
        raise ConfigurationError(f"--etcd-compaction-interval {args.etcd_compaction_interval} is no duration")
    if not args.etcd_prefix.strip("/"):
        raise ConfigurationError("--etcd-prefix must not be empty")
    return StorageSettings(
        backend=backend(args),
        etcd=EtcdSettings(
            servers=servers(args.etcd_servers),
            ca_file=_absolute(args.etcd_cafile),
            certificate_file=_absolute(args.etcd_certfile),
            key_file=_absolute(args.etcd_keyfile),
            prefix="/" + args.etcd_prefix.strip("/"),
            compaction_interval=interval,
        ),
    )


def backend(args: argparse.Namespace) -> Literal["sqlite", "memory", "etcd"]:
    """The store that is meant: who names servers of etcd means etcd. Raises ``ConfigurationError``."""
    chosen: Literal["sqlite", "memory", "etcd"] = args.store
    if args.etcd_servers and chosen == "memory":
        raise ConfigurationError("--etcd-servers is for --store=etcd")
    return "etcd" if args.etcd_servers else chosen


def servers(text: str) -> tuple[str, ...]:
    """The addresses in ``--etcd-servers``."""
    return tuple(part.strip() for part in (text or _SERVERS).split(",") if part.strip())


def _absolute(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path is not None else None
