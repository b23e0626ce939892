"""Show objects in detail, with their events."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence

from coxswain.api.errors import ApiError
from coxswain.api.kinds import Resource
from coxswain.api.names import EVENTS, Object
from coxswain.cli.kubectl import flags
from coxswain.cli.kubectl.failures import UsageError, show
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.get import list_error, namespace_of
from coxswain.cli.kubectl.resources import Catalog, Target, items_of
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session

__all__ = ["configure", "parse_args", "run"]

#: Describes an object; events are None when they were not asked for.
Describer = Callable[[Session, Object, "Sequence[Object] | None"], Awaitable[str]]

#: ``group/Kind`` -> the module of its describer and the function's name; everything else is shown field by field.
_DESCRIBERS = {
    "/Pod": "pods:pod",
    "/Service": "services:service",
    "/Node": "nodes:node",
    "/Namespace": "namespaces:namespace",
    "/ConfigMap": "config:config_map",
    "/Secret": "config:secret",
    "/ServiceAccount": "config:service_account",
    "apps/Deployment": "workloads:deployment",
    "apps/ReplicaSet": "workloads:replica_set",
    "apps/DaemonSet": "workloads:daemon_set",
    "apps/StatefulSet": "workloads:stateful_set",
    "batch/Job": "workloads:job",
}


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox describe (TYPE [NAME_PREFIX ...] | TYPE/NAME ... | -f FILE) [flags]")
    flags.filenames(parser)
    flags.selecting(parser, fields=False)
    flags.switch(parser, "-A", "--all-namespaces", text="of all namespaces")
    parser.add_argument(
        "--show-events", nargs="?", const="true", default=None, type=flags.boolean, metavar="",
        help="with the events of each (default: when it is only one)",
    )  # fmt: skip
    parser.add_argument("--chunk-size", default="500", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    targets = await _targets(session, args)
    problems: list[Exception] = []
    found: list[tuple[Resource, Object]] = []
    for target in targets:
        found += [(target.resource, obj) for obj in await _objects(session, target, args, problems)]
    prefix = False
    if len(problems) == 1 and _may_be_prefix(args, problems[0]):
        found = await _by_prefix(session, targets[0], args)
        prefix = bool(found)
        problems = [] if found else problems
    with_events = args.show_events
    if with_events is None:
        with_events = prefix or (len(found) == 1 and not problems)
    for position, (resource, obj) in enumerate(found):
        text = await describe(session, resource, obj, with_events)
        sys.stdout.write(f"{text}\n" if prefix else text if not position else f"\n\n{text}")
    if not found and not problems:
        where = "" if args.all_namespaces else f" in {session.namespace} namespace."
        sys.stderr.write(f"No resources found{where}\n")
    sys.stdout.flush()
    show(problems)
    return 1 if problems else 0


async def describe(session: Session, resource: Resource, obj: Object, with_events: bool) -> str:
    """The description of one object."""
    events = await _events(session, obj) if with_events else None
    name = _DESCRIBERS.get(f"{resource.gvr.group}/{resource.kind}", "generic:generic")
    module, _, function = name.partition(":")
    describer: Describer = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return await describer(session, obj, events)


async def _events(session: Session, obj: Object) -> list[Object]:
    meta = obj["metadata"]
    namespace = str(meta.get("namespace") or "")
    fields = {"name": meta["name"], "namespace": namespace, "uid": meta.get("uid")}
    if obj.get("kind") == "Node":
        fields["uid"] = meta["name"]  # the kubelet's events name the node so
    if obj.get("kind") != "Pod":
        fields["kind"] = obj.get("kind")
    selector = ",".join(f"involvedObject.{key}={value}" for key, value in fields.items() if value)
    try:
        listed = await session.request("list", EVENTS, namespace, query={"fieldSelector": selector})
        if obj.get("kind") == "Node":
            selector = selector.replace(
                f"involvedObject.uid={meta['name']}", f"involvedObject.uid={meta['uid']}"
            )
            more = await session.request("list", EVENTS, namespace, query={"fieldSelector": selector})
            return items_of(listed) + items_of(more)
    except ApiError:
        return []  # who may not read events still gets the object
    return items_of(listed)


# --- which objects ----------------------------------------------------------------------------------------


async def _targets(session: Session, args: argparse.Namespace) -> list[Target]:
    catalog = Catalog(session)
    if args.filename:
        from coxswain.cli.kubectl import files

        items, problems = await files.items(session, catalog, args)
        if problems:
            raise problems[0]
        return [Target(item.resource, (item.name,), item.namespace) for item in items]
    if not args.words:
        raise UsageError("You must specify the type of resource to describe, for example 'cox describe pods'")
    targets = await catalog.targets(args.words, "describe")
    if args.selector and any(target.names for target in targets):
        raise UsageError("name cannot be provided when a selector is specified")
    return targets


async def _objects(
    session: Session, target: Target, args: argparse.Namespace, problems: list[Exception]
) -> list[Object]:
    gvr, namespace = target.resource.gvr, namespace_of(session, target, args)
    found: list[Object] = []
    if not target.names:
        query = {"labelSelector": args.selector} if args.selector else {}
        try:
            return items_of(await session.request("list", gvr, namespace, query=query))
        except ApiError as error:
            problems.append(list_error(error, target.resource, query))
    for name in target.names:
        try:
            found.append(await session.request("get", gvr, namespace, name))
        except ApiError as error:
            problems.append(error)
    return found


def _may_be_prefix(args: argparse.Namespace, problem: Exception) -> bool:
    return isinstance(problem, ApiError) and problem.reason == "NotFound" and len(args.words) == 2


async def _by_prefix(
    session: Session, target: Target, args: argparse.Namespace
) -> list[tuple[Resource, Object]]:
    listed = await session.request("list", target.resource.gvr, namespace_of(session, target, args))
    names = args.words[1]
    return [(target.resource, obj) for obj in items_of(listed) if obj["metadata"]["name"].startswith(names)]
