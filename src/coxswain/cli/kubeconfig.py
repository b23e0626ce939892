"""Print where the cluster's kubeconfig is, or its text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coxswain.base.errors import ResourceUnavailable
from coxswain.cli.place import default_data_dir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="the cluster's directory")
    parser.add_argument("--raw", action="store_true", help="print the file itself (it holds a private key)")


def run(args: argparse.Namespace) -> int:
    path = args.data_dir.expanduser().absolute() / "kubeconfig"
    if not path.exists():
        raise ResourceUnavailable(f"there is no kubeconfig in {path.parent}; start a cluster with 'cox up'")
    if args.raw:
        sys.stdout.write(path.read_text())
    else:
        print(path)
    return 0
