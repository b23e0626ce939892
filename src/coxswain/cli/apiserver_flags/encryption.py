"""Flags of encryption at rest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coxswain.apiserver.encryption.settings import EncryptionSettings


def add(parser: argparse.ArgumentParser) -> None:
    """The flags, under Kubernetes' names."""
    parser.add_argument(
        "--encryption-provider-config",
        type=Path,
        metavar="FILE",
        help="EncryptionConfiguration that says which resources are encrypted in the store, and with what",
    )
    parser.add_argument(
        "--encryption-provider-config-automatic-reload",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="read the file again when it has changed (default: at the next start)",
    )


def settings(args: argparse.Namespace) -> EncryptionSettings:
    """What the flags say."""
    from coxswain.apiserver.encryption.settings import EncryptionSettings

    path: Path | None = args.encryption_provider_config
    return EncryptionSettings(
        config_file=path.expanduser().absolute() if path is not None else None,
        automatic_reload=args.encryption_provider_config_automatic_reload,
    )
