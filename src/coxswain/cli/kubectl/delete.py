"""Delete objects, by name, by label, or those of files; wait until they are gone."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from coxswain.api.errors import ApiError
from coxswain.api.kinds import Resource
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.cli.kubectl import changes, flags
from coxswain.cli.kubectl.failures import UsageError, show, with_source
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.get import list_error, namespace_of, selectors
from coxswain.cli.kubectl.resources import Catalog, Target, items_of, kind_name
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session
from coxswain.cli.kubectl.waiting import wait_until_gone

__all__ = ["configure", "parse_args", "run"]

_CASCADES = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan", "true": "Background"}


@dataclass(frozen=True, slots=True)
class _Victim:
    resource: Resource
    namespace: str
    name: str
    #: The file that names it.
    source: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(
        parser, "cox delete (TYPE NAME ... | TYPE/NAME ... | TYPE (-l LABELS | --all) | -f FILE) [flags]"
    )
    flags.filenames(parser)
    flags.selecting(parser)
    flags.dry_run(parser)
    parser.add_argument("-o", "--output", default="", metavar="name", help="name: print only what is deleted")
    flags.switch(parser, "-A", "--all-namespaces", text="of all namespaces")
    flags.switch(parser, "--all", text="every object of these types")
    flags.optional(
        parser, "--cascade", given="background", default="background", metavar="background|foreground|orphan",
        text="what happens to objects that these own",
    )  # fmt: skip
    parser.add_argument("--grace-period", type=int, default=-1, help="seconds that pods get to end")
    flags.switch(parser, "--now", text="as --grace-period=1")
    flags.switch(parser, "--force", text="do not wait for the kubelet to confirm")
    flags.switch(parser, "--ignore-not-found", text="no error when an object does not exist")
    flags.switch(parser, "--wait", default=True, text="wait until the objects are gone (default)")
    parser.add_argument("--timeout", type=flags.seconds, default=0.0, help="how long to wait; 0: for ever")


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    dry_run = flags.check_dry_run(args)
    options = _options(args)
    if args.output not in ("", "name"):
        raise UsageError(f"unexpected -o output mode: {args.output}. We only support '-o name'")
    if args.force and args.grace_period in (-1, 0) and not args.now:
        sys.stderr.write(
            "Warning: Immediate deletion does not wait for confirmation that the running resource has been "
            "terminated. The resource may continue to run on the cluster indefinitely.\n"
        )
    victims, problems = await _victims(session, args)
    if not victims and not problems:
        sys.stdout.write("No resources found\n")
        return 0
    waiting = await _delete_all(session, args, victims, options, dry_run, problems)
    if args.wait and dry_run == "none":
        await _wait(session, waiting, args.timeout, problems)
    sys.stdout.flush()
    show(problems)
    return 1 if problems else 0


def _options(args: argparse.Namespace) -> Object:
    """The DeleteOptions that the flags mean."""
    if args.now and args.grace_period != -1:
        raise UsageError("--now and --grace-period cannot be specified together")
    cascade = str(args.cascade)
    if cascade not in (*_CASCADES, "false"):
        raise UsageError(
            f'invalid cascade value ({cascade}). Must be "background", "foreground", or "orphan"'
        )
    grace = 1 if args.now else args.grace_period
    if args.force and grace < 0:
        grace = 0
    elif grace == 0 and not args.force:
        grace = 1  # a sure end needs --force; this is as near as it gets
    if args.force and grace > 0:
        raise UsageError("--force and --grace-period greater than 0 cannot be specified together")
    options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
    options["propagationPolicy"] = _CASCADES.get(cascade, "Orphan")
    if grace >= 0:
        options["gracePeriodSeconds"] = grace
    return options


async def _victims(session: Session, args: argparse.Namespace) -> tuple[list[_Victim], list[Exception]]:
    catalog = Catalog(session)
    if args.filename:
        from coxswain.cli.kubectl import files

        found, problems = await files.items(session, catalog, args)
        return [_Victim(item.resource, item.namespace, item.name, item.source) for item in found], problems
    if not args.words:
        raise UsageError("You must provide one or more resources by argument or filename.")
    problems = []
    victims: list[_Victim] = []
    chosen = args.all or args.selector or args.field_selector
    for target in await catalog.targets(args.words, "delete"):
        if target.names:
            if chosen:
                raise UsageError("name cannot be provided when a selector is specified")
            namespace = namespace_of(session, target, args)
            victims += [_Victim(target.resource, namespace, name) for name in target.names]
        elif not chosen:
            raise UsageError("resource(s) were provided, but no name was specified")
        else:
            victims += await _listed(session, target, args, problems)
    if session.namespace_given and victims and not any(victim.resource.namespaced for victim in victims):
        sys.stderr.write("Warning: deleting cluster-scoped resources, not scoped to the provided namespace\n")
    return victims, problems


async def _listed(
    session: Session, target: Target, args: argparse.Namespace, problems: list[Exception]
) -> list[_Victim]:
    gvr, query = target.resource.gvr, selectors(args)
    try:
        listed = await session.request("list", gvr, namespace_of(session, target, args), query=query)
    except ApiError as error:
        problems.append(list_error(error, target.resource, query))
        return []
    metas = [item["metadata"] for item in items_of(listed)]
    return [_Victim(target.resource, meta.get("namespace") or "", meta["name"]) for meta in metas]


async def _delete_all(
    session: Session,
    args: argparse.Namespace,
    victims: list[_Victim],
    options: Object,
    dry_run: str,
    problems: list[Exception],
) -> list[tuple[_Victim, str]]:
    """Delete each; those deleted, with their uid."""
    done: list[tuple[_Victim, str]] = []
    if dry_run == "server":
        options = {**options, "dryRun": ["All"]}  # beside a body the server heeds no query
    force = "force " if options.get("gracePeriodSeconds") == 0 else ""
    for victim in victims:
        gvr, namespace, name = victim.resource.gvr, victim.namespace, victim.name
        try:
            if dry_run == "client":
                answer = await session.request("get", gvr, namespace, name)
            else:
                answer = await session.request("delete", gvr, namespace, name, body=options)
        except ApiError as error:
            if not (error.reason == "NotFound" and (args.ignore_not_found or args.all)):
                problems.append(with_source(error, "deleting", victim.source) if victim.source else error)
            continue
        source = answer.get("details") if answer.get("kind") == "Status" else answer.get("metadata")
        done.append((victim, (source or {}).get("uid") or ""))
        kind = kind_name(victim.resource)
        if args.output == "name":
            sys.stdout.write(f"{kind}/{name}\n")
        else:
            sys.stdout.write(f'{kind} "{name}" {force}deleted{changes.dry_run_suffix(dry_run)}\n')
        sys.stdout.flush()
    return done


async def _wait(
    session: Session, victims: list[tuple[_Victim, str]], seconds: float, problems: list[Exception]
) -> None:
    end = clock.monotonic() + seconds
    for victim, uid in victims:
        left = max(end - clock.monotonic(), 0.001) if seconds else 0.0
        try:
            await wait_until_gone(session, victim.resource, victim.namespace, victim.name, uid, left)
        except UsageError as problem:
            problems.append(problem)
        except ApiError as error:
            if error.reason != "Forbidden":  # who may delete need not be allowed to look
                problems.append(error)
