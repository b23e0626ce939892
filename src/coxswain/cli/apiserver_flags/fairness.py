"""Flags of fairness and of the server's bounds."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from coxswain.apiserver.fairness.settings import FairnessSettings
    from coxswain.apiserver.settings import LimitSettings


class Flags(NamedTuple):
    """What the flags say."""

    fairness: FairnessSettings
    limits: LimitSettings
    shutdown_delay: float


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    parser.add_argument(
        "--enable-priority-and-fairness",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="share the server by flow schemas and priority levels; else only the two limits below hold",
    )
    parser.add_argument(
        "--max-requests-inflight",
        type=int,
        default=400,
        metavar="N",
        help="reading requests at one time (with fairness: part of the seats that all share)",
    )
    parser.add_argument(
        "--max-mutating-requests-inflight",
        type=int,
        default=200,
        metavar="N",
        help="writing requests at one time (with fairness: part of the seats that all share)",
    )
    parser.add_argument(
        "--request-timeout", type=float, default=60.0, metavar="SECONDS", help="how long a request may take"
    )
    parser.add_argument(
        "--shutdown-delay-duration",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long /readyz tells of the end before requests are refused",
    )


def settings(args: argparse.Namespace) -> Flags:
    """What the flags say."""
    from coxswain.apiserver.fairness.settings import FairnessSettings
    from coxswain.apiserver.settings import LimitSettings

    limits = LimitSettings(
        max_in_flight=args.max_requests_inflight,
        max_mutating_in_flight=args.max_mutating_requests_inflight,
        request_timeout=args.request_timeout,
    )
    fairness = FairnessSettings(
        enabled=args.enable_priority_and_fairness, queue_wait=args.request_timeout / 4
    )
    return Flags(fairness, limits, args.shutdown_delay_duration)
