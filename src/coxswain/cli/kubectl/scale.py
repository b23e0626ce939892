"""Set the number of replicas of deployments, replica sets, stateful sets, and custom resources that scale."""

from __future__ import annotations

import argparse
import asyncio

from coxswain.api.errors import ApiError
from coxswain.cli.kubectl import files, flags
from coxswain.cli.kubectl.changes import Report
from coxswain.cli.kubectl.failures import UsageError, show
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.get import namespace_of
from coxswain.cli.kubectl.resources import Catalog, Target, items_of
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session
from coxswain.client.interface import MERGE_PATCH

__all__ = ["configure", "parse_args", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox scale --replicas=COUNT (TYPE NAME ... | TYPE/NAME ... | -f FILE) [flags]")
    flags.output(parser)
    flags.filenames(parser)
    flags.selecting(parser, fields=False)
    flags.dry_run(parser)
    flags.switch(parser, "--all", text="every object of this type")
    parser.add_argument("--replicas", type=int, default=-1, metavar="COUNT", help="how many there shall be")
    parser.add_argument(
        "--current-replicas", type=int, default=-1, metavar="COUNT", help="only if there are so many now"
    )
    parser.add_argument("--resource-version", default="", help="only if the object has this version")
    parser.add_argument(
        "--timeout", type=flags.seconds, default=0.0, help="how long to wait until it is done"
    )


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    if args.replicas < 0:
        raise UsageError(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"
        )
    report = Report(args)
    targets, problems = await _targets(session, args)
    for target in targets:
        namespace = namespace_of(session, target, args)
        for name in target.names:
            try:
                await _scale(session, args, report, target, namespace, name)
            except (ApiError, UsageError) as problem:
                problems.append(problem)
    show(problems)
    return 1 if problems else 0


async def _targets(session: Session, args: argparse.Namespace) -> tuple[list[Target], list[Exception]]:
    catalog = Catalog(session)
    if args.filename:
        found, problems = await files.items(session, catalog, args)
        return [Target(item.resource, (item.name,), item.namespace) for item in found], problems
    if not args.words:
        raise UsageError("You must provide one or more resources by argument or filename.")
    targets: list[Target] = []
    for target in await catalog.targets(args.words, "scale"):
        if target.names:
            targets.append(target)
        elif args.all or args.selector:
            namespace = namespace_of(session, target, args)
            query = {"labelSelector": args.selector} if args.selector else {}
            listed = await session.request("list", target.resource.gvr, namespace, query=query)
            names = tuple(item["metadata"]["name"] for item in items_of(listed))
            targets.append(Target(target.resource, names))
        else:
            raise UsageError("resource(s) were provided, but no name was specified")
    if not any(target.names for target in targets):
        raise UsageError("no objects passed to scale")
    return targets, []


async def _scale(
    session: Session, args: argparse.Namespace, report: Report, target: Target, namespace: str, name: str
) -> None:
    gvr = target.resource.gvr
    scale = await session.request("get", gvr, namespace, name, subresource="scale")
    meta, before = scale["metadata"], (scale.get("spec") or {}).get("replicas") or 0
    if args.current_replicas not in (-1, before):
        raise UsageError(f"Expected replicas to be {args.current_replicas}, was {before}")
    if args.resource_version and args.resource_version != meta["resourceVersion"]:
        raise UsageError(
            f"Expected resource version to be {args.resource_version}, was {meta['resourceVersion']}"
        )
    patch: dict[str, object] = {"spec": {"replicas": args.replicas}}
    if args.current_replicas >= 0 or args.resource_version:
        patch["metadata"] = {"resourceVersion": meta["resourceVersion"]}
    if report.dry_run != "client":
        query = {"dryRun": "All"} if report.dry_run == "server" else {}
        await session.request(
            "patch", gvr, namespace, name, subresource="scale", body=patch, content_type=MERGE_PATCH,
            query=query,
        )  # fmt: skip
    if args.timeout and report.dry_run == "none":
        await _wait(session, args, target, namespace, name)
    obj = {"metadata": {"name": name}}
    if args.output:
        obj = await session.request("get", gvr, namespace, name)
    report.done(target.resource, obj, "scaled")


async def _wait(
    session: Session, args: argparse.Namespace, target: Target, namespace: str, name: str
) -> None:
    try:
        async with asyncio.timeout(args.timeout):
            while True:
                scale = await session.request(
                    "get", target.resource.gvr, namespace, name, subresource="scale"
                )
                if ((scale.get("status") or {}).get("replicas") or 0) == args.replicas:
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise UsageError(f'timed out waiting for "{name}" to be synced') from None
