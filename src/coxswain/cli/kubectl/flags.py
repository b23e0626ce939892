"""Flags as kubectl reads them, on top of argparse's declarations and help.

What argparse cannot do and kubectl's users do every day: flags and arguments in any order, ``--wait=false``,
``--dry-run`` with an optional value (only after ``=``), bundled short flags (``-Rf dir``), and everything
after ``--`` left alone. The arguments that are no flags become ``args.words``, those after ``--``
``args.command``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


def boolean(text: str) -> bool:
    """``true`` or ``false``, as Go's strconv.ParseBool reads it."""
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}")


def seconds(text: str) -> float:
    """Go's durations: ``1h30m``, ``5s``, ``300ms``, ``0``."""
    import re

    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    if text == "0":
        return 0.0
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.lstrip("+-")
    parts = re.findall(r"([0-9]*\.?[0-9]+)(h|ms|us|ns|m|s)", rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise argparse.ArgumentTypeError(f"time: invalid duration {text!r}")
    return sign * sum(float(number) * units[unit] for number, unit in parts)


def switch(parser: argparse.ArgumentParser, *names: str, default: bool = False, text: str) -> None:
    """A flag that is true when given, and takes ``=false``."""
    parser.add_argument(*names, nargs="?", const="true", type=boolean, default=default, help=text, metavar="")


def optional(
    parser: argparse.ArgumentParser, name: str, *, given: str, default: str, text: str, metavar: str = ""
) -> None:
    """A flag whose value may be left out (then it is ``given``)."""
    parser.add_argument(name, nargs="?", const=given, default=default, help=text, metavar=metavar)


def each(parser: argparse.ArgumentParser, *names: str, dest: str, text: str, metavar: str) -> None:
    """A flag that may be repeated; ``args.dest`` is the list."""
    parser.add_argument(*names, dest=dest, action="append", default=[], help=text, metavar=metavar)


def connection(parser: argparse.ArgumentParser, usage: str) -> None:
    """What every verb has: which cluster, which namespace."""
    parser.usage = usage
    parser.add_argument("--kubeconfig", default="", help="file that says where the cluster is")
    parser.add_argument("--context", default="", help="context of the kubeconfig to use")
    parser.add_argument("-n", "--namespace", default="", help="namespace (default: the context's)")


def output(parser: argparse.ArgumentParser) -> None:
    """``-o``, for verbs that print objects."""
    parser.add_argument(
        "-o",
        "--output",
        default="",
        metavar="FORMAT",
        help="wide, yaml, json, name, jsonpath=, custom-columns=",
    )
    switch(parser, "--show-managed-fields", text="keep metadata.managedFields in yaml and json")


def filenames(parser: argparse.ArgumentParser) -> None:
    """``-f`` and ``-R``."""
    each(
        parser,
        "-f",
        "--filename",
        dest="filename",
        text="file, directory, or - for standard input",
        metavar="FILE",
    )
    switch(parser, "-R", "--recursive", text="look into the directories of -f as well")


def selecting(parser: argparse.ArgumentParser, *, fields: bool = True) -> None:
    """``-l``, ``--field-selector``."""
    parser.add_argument("-l", "--selector", default="", help="labels that objects must have")
    if fields:
        parser.add_argument("--field-selector", default="", help="fields that objects must have")


def dry_run(parser: argparse.ArgumentParser) -> None:
    """``--dry-run[=client|server]``."""
    optional(
        parser, "--dry-run", given="unchanged", default="none", metavar="none|client|server",
        text="change nothing: print only (client), or let the server check (server)",
    )  # fmt: skip


def check_dry_run(args: argparse.Namespace) -> str:
    """``none``, ``client`` or ``server``. Raises ``UsageError``."""
    from coxswain.cli.kubectl.failures import UsageError

    value = str(args.dry_run)
    if value == "unchanged":
        sys.stderr.write("Warning: --dry-run is deprecated and can be replaced with --dry-run=client.\n")
        return "client"
    if value in ("none", "client", "server"):
        return value
    raise UsageError(f'Invalid dry-run value ({value}). Must be "none", "server", or "client".')


# --- reading ----------------------------------------------------------------------------------------------


def parse_args(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """``argv`` with the parser's flags; leaves through ``SystemExit`` on ``--help`` (0) or wrong usage (1)."""
    reader = _Reader(parser, list(argv))
    reader.read()
    try:
        args = parser.parse_args(reader.flags)
    except argparse.ArgumentError as error:
        _leave(parser, str(error))
    args.words, args.command = reader.words, reader.command
    return args


def _leave(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\nSee '{parser.prog} --help' for usage.\n")
    raise SystemExit(1)


class _Reader:
    """Sorts arguments into flags (all turned into ``--name=value``), words and a command."""

    def __init__(self, parser: argparse.ArgumentParser, argv: list[str]) -> None:
        self.parser = parser
        self.waiting = argv
        self.flags: list[str] = []
        self.words: list[str] = []
        self.command: list[str] = []
        self._actions: dict[str, argparse.Action] = {
            name: action for action in parser._actions for name in action.option_strings
        }

    def read(self) -> None:
        while self.waiting:
            token = self.waiting.pop(0)
            if token == "--":
                self.command, self.waiting = self.waiting, []
            elif token.startswith("--"):
                self._long(token)
            elif token.startswith("-") and len(token) > 1:
                self._short(token[1:])
            else:
                self.words.append(token)

    def _long(self, token: str) -> None:
        name, equals, value = token.partition("=")
        action = self._actions.get(name)
        if action is None:
            _leave(self.parser, f"unknown flag: {name}")
        if equals:
            self._add(action, value)
        elif action.nargs == "?" or action.nargs == 0:
            self._add(action, None)
        else:
            self._add(action, self._next(f"flag needs an argument: {name}"))

    def _short(self, letters: str) -> None:
        """``Rf`` + ``dir``, ``lapp=web``, ``n=x``: flags in a bundle, the last may take the rest as value."""
        for position, letter in enumerate(letters):
            action = self._actions.get(f"-{letter}")
            if action is None:
                _leave(self.parser, f"unknown shorthand flag: '{letter}' in -{letters}")
            rest = letters[position + 1 :]
            if rest.startswith("="):
                return self._add(action, rest[1:])
            if action.nargs == "?" or action.nargs == 0:
                self._add(action, None)
                continue
            missing = f"flag needs an argument: '{letter}' in -{letters}"
            return self._add(action, rest or self._next(missing))
        return None

    def _next(self, missing: str) -> str:
        if not self.waiting:
            _leave(self.parser, missing)
        return self.waiting.pop(0)

    def _add(self, action: argparse.Action, value: str | None) -> None:
        name = action.option_strings[-1]
        if action.nargs == 0:
            self.flags.append(name)
        else:
            self.flags.append(f"{name}={action.const if value is None else value}")


#: What a verb's ``run`` is.
Verb = Callable[[Any], Any]
