"""Flags of the audit log."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coxswain.apiserver.audit.settings import AuditSettings


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    parser.add_argument(
        "--audit-policy-file",
        type=Path,
        metavar="FILE",
        help="Policy that says what is audited, and how much of it",
    )
    parser.add_argument(
        "--audit-log-path", default="", metavar="FILE", help="file for audit events; -: standard output"
    )
    parser.add_argument(
        "--audit-log-maxage", type=int, default=0, metavar="DAYS", help="how long rotated files are kept"
    )
    parser.add_argument(
        "--audit-log-maxbackup", type=int, default=0, metavar="N", help="how many rotated files are kept"
    )
    parser.add_argument(
        "--audit-log-maxsize", type=int, default=100, metavar="MB", help="size at which the file is rotated"
    )
    parser.add_argument(
        "--audit-webhook-config-file",
        type=Path,
        metavar="FILE",
        help="kubeconfig of a server that gets the events",
    )
    parser.add_argument(
        "--audit-webhook-batch-max-size", type=int, default=400, metavar="N", help="events in one request"
    )
    parser.add_argument(
        "--audit-webhook-batch-max-wait",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long an event waits for others to go with it",
    )
    parser.add_argument(
        "--audit-webhook-batch-buffer-size",
        type=int,
        default=10_000,
        metavar="N",
        help="events that may wait to be sent; more are dropped",
    )


def settings(args: argparse.Namespace) -> AuditSettings:
    """What the flags say."""
    from coxswain.apiserver.audit.settings import AuditSettings

    def absolute(path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None

    return AuditSettings(
        policy_file=absolute(args.audit_policy_file),
        log_path=args.audit_log_path,
        log_max_age=args.audit_log_maxage,
        log_max_backups=args.audit_log_maxbackup,
        log_max_size=args.audit_log_maxsize,
        webhook_config_file=absolute(args.audit_webhook_config_file),
        webhook_batch_events=args.audit_webhook_batch_max_size,
        webhook_batch_wait=args.audit_webhook_batch_max_wait,
        webhook_buffer=args.audit_webhook_batch_buffer_size,
    )
