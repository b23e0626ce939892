"""Create objects from files, or one of the everyday kinds from flags:

cox create -f FILE
cox create namespace NAME
cox create deployment NAME --image=IMAGE [--replicas=N] [--port=N] [-- COMMAND ARGS]
cox create configmap NAME [--from-literal=KEY=VALUE] [--from-file=[KEY=]PATH]
cox create secret generic NAME [--from-literal=...] [--from-file=...] [--type=TYPE]
cox create serviceaccount NAME
"""

from __future__ import annotations

import argparse
import sys

from coxswain.api.errors import ApiError
from coxswain.api.names import GVK
from coxswain.cli.kubectl import changes, files, flags
from coxswain.cli.kubectl.changes import Report
from coxswain.cli.kubectl.failures import UsageError, show, with_source
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.resources import Catalog
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session

__all__ = ["configure", "parse_args", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox create (-f FILE | KIND NAME) [flags]")
    flags.filenames(parser)
    changes.configure(parser, "kubectl-create")
    flags.switch(parser, "--save-config", text="note the manifest for a later apply")
    flags.each(parser, "--image", dest="image", text="deployment: image of a container", metavar="IMAGE")
    parser.add_argument("-r", "--replicas", type=int, default=1, help="deployment: how many pods")
    parser.add_argument("--port", type=int, default=-1, help="deployment: the port that the container offers")
    flags.each(
        parser, "--from-literal", dest="literals", text="configmap, secret: a key with its value",
        metavar="KEY=VALUE",
    )  # fmt: skip
    flags.each(
        parser, "--from-file", dest="from_file", text="configmap, secret: a file, or those of a directory",
        metavar="[KEY=]PATH",
    )  # fmt: skip
    parser.add_argument("--type", default="", help="secret: its type")


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    report = Report(args)
    if args.filename:
        if args.words:
            raise UsageError(f"Unexpected args: {args.words}; with -f there is nothing else to name")
        return await _from_files(session, args, report)
    if not args.words:
        raise UsageError("must specify one of -f and -k, or a kind: cox create --help lists them")
    from coxswain.cli.kubectl.generators import generate

    obj = generate(args)
    if args.save_config:
        from coxswain.cli.kubectl.apply import with_last_applied

        obj = with_last_applied(obj)
    resource = await Catalog(session).of_kind(GVK.of(obj))
    assert resource is not None  # generators make built-in kinds
    if session.namespace_given and resource.namespaced:
        obj = {**obj, "metadata": {**obj["metadata"], "namespace": session.namespace}}
    if report.dry_run != "client":
        query = changes.query(args, report.dry_run)
        namespace = session.namespace if resource.namespaced else ""
        try:
            obj = await session.request("create", resource.gvr, namespace, query=query, body=obj)
        except ApiError as error:
            raise _failed(error, args.words[0]) from None
    report.done(resource, obj, "created")
    return 0


def _failed(error: ApiError, word: str) -> Exception:
    """kubectl's words, which differ from kind to kind."""
    kind = {"deploy": "deployment", "cm": "configmap", "sa": "serviceaccount"}.get(word, word)
    if error.reason == "Invalid" or kind in ("namespace", "ns"):
        return error
    colon = "" if kind == "secret" else ":"
    return UsageError(f"failed to create {kind}{colon} {error.message}")


async def _from_files(session: Session, args: argparse.Namespace, report: Report) -> int:
    found, problems = await files.items(session, Catalog(session), args)
    if not found and not problems:
        raise UsageError("no objects passed to create")
    for item in found:
        obj = item.obj
        if args.save_config:
            from coxswain.cli.kubectl.apply import with_last_applied

            obj = with_last_applied(obj)
        try:
            if report.dry_run != "client":
                obj = await session.request(
                    "create", item.resource.gvr, item.namespace, body=obj,
                    query=changes.query(args, report.dry_run),
                )  # fmt: skip
        except ApiError as error:
            problems.append(with_source(error, "creating", item.source))
            continue
        report.done(item.resource, obj, "created")
    sys.stdout.flush()
    show(problems)
    return 1 if problems else 0
