"""The entry point of ``cox``: find the command, import it alone, run it, turn errors into exit codes.

Exit codes: 0 done, 1 failed (one line on standard error says why and what to do), 2 wrong usage,
130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from coxswain import KUBERNETES_VERSION, __version__
from coxswain.base.errors import CoxswainError

#: Command -> (module, one line for the overview). Grouped as the overview shows them.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "cluster": {
        "up": ("coxswain.cli.up", "start a cluster on this machine"),
        "down": ("coxswain.cli.down", "stop it"),
        "status": ("coxswain.cli.status", "show whether it runs, and how it is"),
        "explain": ("coxswain.cli.explain", "why a pod runs here, why not there, what would have to change"),
        "kubeconfig": ("coxswain.cli.kubeconfig", "print the path (or text) of its kubeconfig"),
    },
    "components, each alone": {
        "apiserver": ("coxswain.cli.component_apiserver", "run an API server"),
        "scheduler": ("coxswain.cli.component_scheduler", "run a scheduler, or evaluate snapshots"),
        "controller-manager": ("coxswain.cli.component_controllers", "run the controllers"),
        "kubelet": ("coxswain.cli.component_kubelet", "run a node agent"),
        "hollow-nodes": ("coxswain.cli.component_hollow", "run nodes that only pretend"),
    },
    "objects": {
        "get": ("coxswain.cli.kubectl.get", "list or show objects"),
        "describe": ("coxswain.cli.kubectl.describe", "show objects in detail"),
        "apply": ("coxswain.cli.kubectl.apply", "create or change objects to match files"),
        "create": ("coxswain.cli.kubectl.create", "create objects from files"),
        "delete": ("coxswain.cli.kubectl.delete", "delete objects"),
        "logs": ("coxswain.cli.kubectl.logs", "print a container's log"),
        "scale": ("coxswain.cli.kubectl.scale", "set the number of replicas"),
    },
}
_MODULES = {name: entry for group in COMMANDS.values() for name, entry in group.items()}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the way out."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"error: {message}\nRun '{self.prog} --help' for usage.\n")
        raise SystemExit(2)


def overview() -> str:
    """What ``cox`` and ``cox --help`` print."""
    lines = [
        f"cox {__version__}: Kubernetes {KUBERNETES_VERSION} with a compiled scheduling core",
        "",
        "usage: cox COMMAND [options]      (cox COMMAND --help explains one)",
    ]
    for title, commands in COMMANDS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<20}{text}" for name, (_, text) in commands.items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``cox`` with ``argv`` (default: the process's); the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] in ("--version", "version"):
        print(f"cox {__version__} (Kubernetes {KUBERNETES_VERSION})")
        return 0
    name, *rest = arguments
    if name not in _MODULES:
        return _unknown(name)
    module = importlib.import_module(_MODULES[name][0])
    parser = Parser(
        prog=f"cox {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.configure(parser)
    # The kubectl-like verbs have kubectl's grammar of flags, which argparse does not know.
    parse = getattr(module, "parse_args", None)
    return _guarded(module.run, parse(parser, rest) if parse else parser.parse_args(rest))


def _unknown(name: str) -> int:
    import difflib

    close = difflib.get_close_matches(name, _MODULES, n=1)
    hint = f" Did you mean 'cox {close[0]}'?" if close else ""
    sys.stderr.write(f"error: unknown command {name!r}.{hint} Run 'cox --help' for all commands.\n")
    return 2


def _guarded(run: object, args: argparse.Namespace) -> int:
    assert callable(run)
    try:
        return int(run(args) or 0)
    except CoxswainError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (| head): not an error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Files and directories that cannot be used; what components expect, they say better themselves.
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"error: {where}{error.strerror or error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
