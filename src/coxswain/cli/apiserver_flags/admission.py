"""Flags of admission: which plugins, and what they are told."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    parser.add_argument(
        "--admission-control-config-file",
        type=Path,
        metavar="FILE",
        help="an AdmissionConfiguration: what plugins are told",
    )


def settings(args: argparse.Namespace) -> Path | None:
    """The file, if one is given."""
    path: Path | None = args.admission_control_config_file
    return path.expanduser().absolute() if path is not None else None
