"""Flags of admission: which plugins, and what they are told."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

#: Plugins that need a controller manager to be of use.
OFF_ALONE = ("ServiceAccount",)


class Flags(NamedTuple):
    """What the flags say."""

    enabled: tuple[str, ...]
    disabled: tuple[str, ...]
    config_file: Path | None


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    parser.add_argument(
        "--enable-admission-plugins", type=_names, default=(), metavar="A,B", help="plugins to switch on"
    )
    parser.add_argument(
        "--disable-admission-plugins",
        type=_names,
        default=(),
        metavar="A,B",
        help="default plugins to switch off",
    )
    parser.add_argument(
        "--admission-control-config-file",
        type=Path,
        metavar="FILE",
        help="an AdmissionConfiguration: what plugins are told",
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def settings(args: argparse.Namespace) -> Flags:
    """What the flags say, for a server without a controller manager."""
    enabled: tuple[str, ...] = args.enable_admission_plugins
    disabled = tuple({*args.disable_admission_plugins, *OFF_ALONE} - {*enabled})
    path: Path | None = args.admission_control_config_file
    return Flags(enabled, disabled, path.expanduser().absolute() if path is not None else None)
