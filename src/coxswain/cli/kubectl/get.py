"""List or show objects: a table, or whole objects with -o."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from coxswain.api.errors import ApiError, from_status
from coxswain.api.kinds import Resource
from coxswain.api.names import Object
from coxswain.cli.kubectl import flags, printing
from coxswain.cli.kubectl.failures import UsageError, show
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.printing import Printer, TableView, TableWriter
from coxswain.cli.kubectl.resources import Catalog, Target, items_of, kind_name, several_types
from coxswain.cli.kubectl.session import TABLE, Session
from coxswain.cli.kubectl.session import run as run_session

__all__ = ["configure", "parse_args", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox get (TYPE[,TYPE] [NAME ...] | TYPE/NAME ... | -f FILE) [flags]")
    flags.output(parser)
    flags.filenames(parser)
    flags.selecting(parser)
    flags.switch(parser, "-A", "--all-namespaces", text="of all namespaces")
    flags.switch(parser, "-w", "--watch", text="go on with changes after the list")
    flags.switch(parser, "--watch-only", text="changes only")
    flags.switch(parser, "--output-watch-events", text="say what happened with each change")
    flags.switch(parser, "--no-headers", text="leave the names of the columns out")
    flags.switch(parser, "--show-labels", text="a last column with all labels")
    flags.switch(parser, "--show-kind", text="put the kind before every name")
    flags.switch(parser, "--ignore-not-found", text="no error when an object does not exist")
    flags.each(
        parser, "-L", "--label-columns", dest="label_columns", text="labels that get a column", metavar="A,B"
    )
    parser.add_argument("--sort-by", default="", metavar="PATH", help="jsonpath of the field to sort by")
    parser.add_argument("--subresource", default="", help="status or scale instead of the object")
    parser.add_argument("--chunk-size", default="500", help=argparse.SUPPRESS)
    parser.add_argument("--raw", default="", metavar="PATH", help="print what the server has at this path")


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    if args.raw:
        answer = await session.path(args.raw)
        if answer.code >= 400:
            answer.object()
        sys.stdout.write(answer.body.decode(errors="replace"))
        return 0
    whole = printing.printer(
        args.output, managed_fields=args.show_managed_fields, headers=not args.no_headers
    )
    catalog = Catalog(session)
    targets = await _targets(session, catalog, args)
    if args.watch or args.watch_only:
        from coxswain.cli.kubectl.watching import watch

        return await watch(session, targets, args, whole)
    if whole is not None:
        return await _whole(session, targets, args, whole)
    return await _tables(session, targets, args)


async def _targets(session: Session, catalog: Catalog, args: argparse.Namespace) -> list[Target]:
    if args.filename:
        from coxswain.cli.kubectl import files

        found, problems = await files.items(session, catalog, args)
        if problems:
            raise problems[0]
        return [Target(item.resource, (item.name,), item.namespace) for item in found]
    if not args.words:
        raise UsageError(
            "You must specify the type of resource to get, for example 'cox get pods'.\n\n"
            "error: Required resource not specified."
        )
    targets = await catalog.targets(args.words, "get")
    if any(target.names for target in targets):
        if args.selector or args.field_selector:
            raise UsageError("name cannot be provided when a selector is specified")
        if args.all_namespaces and any(target.resource.namespaced for target in targets):
            raise UsageError("a resource cannot be retrieved by name across all namespaces")
    return targets


def namespace_of(session: Session, target: Target, args: argparse.Namespace) -> str:
    """Where to look for the objects of ``target``."""
    everywhere = getattr(args, "all_namespaces", False) or not target.resource.namespaced
    return "" if everywhere else target.namespace or session.namespace


def selectors(args: argparse.Namespace) -> dict[str, str]:
    """The query of ``-l`` and ``--field-selector``."""
    query = {}
    if args.selector:
        query["labelSelector"] = args.selector
    if args.field_selector:
        query["fieldSelector"] = args.field_selector
    return query


def list_error(error: ApiError, resource: Resource, query: Mapping[str, str]) -> ApiError:
    """A list's error, with what was asked for."""
    if error.reason not in ("BadRequest", "NotFound"):
        return error
    gvr = resource.gvr
    subject = f'"{gvr.group}/{gvr.version}, Resource={gvr.resource}"'
    labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
    status = error.status()
    if labels or fields:
        asked = f'Unable to find {subject} that match label selector "{labels}", field selector "{fields}"'
    else:
        asked = f"Unable to list {subject}"
    status["message"] = f"{asked}: {error.message}"
    return from_status(status)


async def fetch(
    session: Session, target: Target, args: argparse.Namespace, accept: str, problems: list[Exception]
) -> list[Object]:
    """One answer for each name, or one list; what fails is added to ``problems``."""
    namespace = namespace_of(session, target, args)
    gvr = target.resource.gvr
    query = {"includeObject": "Object"} if accept == TABLE and args.sort_by else {}
    answers: list[Object] = []
    for name in target.names or ("",):
        try:
            if name:
                answer = await session.request(
                    "get", gvr, namespace, name, subresource=args.subresource, query=query, accept=accept
                )
            else:
                answer = await session.request(
                    "list", gvr, namespace, query=query | selectors(args), accept=accept
                )
        except ApiError as error:
            if not (name and args.ignore_not_found and error.reason == "NotFound"):
                problems.append(error if name else list_error(error, target.resource, selectors(args)))
            continue
        answers.append(answer)
    return answers


# --- whole objects ----------------------------------------------------------------------------------------


async def _whole(session: Session, targets: Sequence[Target], args: argparse.Namespace, emit: Printer) -> int:
    problems: list[Exception] = []
    single = len(targets) == 1 and len(targets[0].names) == 1
    found: list[Object] = []
    for target in targets:
        for answer in await fetch(session, target, args, "application/json", problems):
            found += [answer] if target.names else items_of(answer)
    if args.sort_by:
        found = printing.sort_objects(found, args.sort_by, lambda obj: obj)
    if single:
        for obj in found:
            emit(obj)
    elif found or not problems:
        emit(printing.list_of(found))
    show(problems)
    return 1 if problems else 0


# --- tables -----------------------------------------------------------------------------------------------


def view_of(args: argparse.Namespace, resource: Resource) -> TableView:
    """The columns that ``args`` ask for."""
    with_kind = args.show_kind or several_types(args.words)
    return TableView(
        wide=args.output == "wide",
        namespace=args.all_namespaces and resource.namespaced,
        kind=kind_name(resource) if with_kind else "",
        show_labels=args.show_labels,
        label_columns=[name for part in args.label_columns for name in part.split(",") if name],
    )


async def _tables(session: Session, targets: Sequence[Target], args: argparse.Namespace) -> int:
    problems: list[Exception] = []
    blocks: list[tuple[Resource, list[Object]]] = []
    for target in targets:
        tables = await fetch(session, target, args, TABLE, problems)
        if blocks and blocks[-1][0].gvr == target.resource.gvr:
            blocks[-1][1].extend(tables)
        else:
            blocks.append((target.resource, tables))
    texts = [text for resource, tables in blocks if (text := _table(resource, tables, args))]
    # Without headers kubectl runs the tables together.
    sys.stdout.write(("" if args.no_headers else "\n").join(texts))
    sys.stdout.flush()
    show(problems)
    if problems:
        return 1
    if not texts and not args.ignore_not_found:
        sys.stderr.write(nothing_found(session, targets, args))
    return 0


def _table(resource: Resource, tables: Sequence[Object], args: argparse.Namespace) -> str:
    rows: list[Any] = [row for table in tables for row in table.get("rows") or ()]
    if not rows:
        return ""
    if args.sort_by:
        rows = printing.sort_objects(rows, args.sort_by, lambda row: row.get("object") or {})
    view = view_of(args, resource)
    view.learn(tables[0])
    head = [] if args.no_headers else [view.header()]
    return TableWriter().text(head + [view.row(row) for row in rows])


def nothing_found(session: Session, targets: Sequence[Target], args: argparse.Namespace) -> str:
    """kubectl's words for an empty answer."""
    if not args.all_namespaces and all(target.resource.namespaced for target in targets):
        return f"No resources found in {session.namespace} namespace.\n"
    return "No resources found\n"
