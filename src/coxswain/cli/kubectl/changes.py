"""What the writing verbs share: dry runs, field validation, ``pod/a created``."""

from __future__ import annotations

import argparse
import sys

from coxswain.api.kinds import Resource
from coxswain.api.names import Object
from coxswain.cli.kubectl import flags, printing
from coxswain.cli.kubectl.failures import UsageError
from coxswain.cli.kubectl.resources import kind_name

_VALIDATION = {
    "true": "Strict", "strict": "Strict", "warn": "Warn", "false": "Ignore", "ignore": "Ignore",
}  # fmt: skip
_SUFFIX = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


def configure(parser: argparse.ArgumentParser, manager: str) -> None:
    """Flags of verbs that write objects; ``manager`` is the field manager by default."""
    flags.output(parser)
    flags.dry_run(parser)
    flags.optional(
        parser, "--validate", given="strict", default="strict", metavar="strict|warn|ignore",
        text="what unknown fields are: errors, warnings, or nothing",
    )  # fmt: skip
    parser.add_argument("--field-manager", default=manager, help="who owns the fields that are written")


class Report:
    """Prints what was done to each object, as ``-o`` says."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.dry_run = flags.check_dry_run(args)
        if args.output == "wide":
            raise UsageError("the output format wide is for tables; use yaml, json or name")
        self._emit = printing.printer(args.output, managed_fields=args.show_managed_fields)
        self._collected: list[Object] | None = None

    def collect(self) -> None:
        """Print several objects as one List, at ``finish``."""
        self._collected = []

    def done(self, resource: Resource, obj: Object, what: str) -> None:
        """``what`` (created, scaled ...) happened to ``obj``."""
        if self._emit is None:
            name = (obj.get("metadata") or {}).get("name") or ""
            sys.stdout.write(f"{kind_name(resource)}/{name} {what}{_SUFFIX[self.dry_run]}\n")
            sys.stdout.flush()
        elif self._collected is not None:
            self._collected.append(obj)
        else:
            self._emit(obj)

    def finish(self) -> None:
        """Print what was collected."""
        if self._emit is not None and self._collected:
            alone = len(self._collected) == 1
            self._emit(self._collected[0] if alone else printing.list_of(self._collected))


def query(args: argparse.Namespace, dry_run: str) -> dict[str, str]:
    """The parameters of a write."""
    made = {"fieldManager": args.field_manager, "fieldValidation": validation(args)}
    if dry_run == "server":
        made["dryRun"] = "All"
    return made


def validation(args: argparse.Namespace) -> str:
    """``Strict``, ``Warn`` or ``Ignore``."""
    try:
        return _VALIDATION[str(args.validate).lower()]
    except KeyError:
        raise UsageError(
            f'invalid - validate option "{args.validate}"; must be one of: strict, warn, ignore'
        ) from None


def dry_run_suffix(dry_run: str) -> str:
    """What follows a message in a dry run."""
    return _SUFFIX[dry_run]
