"""``get -w``: the list, then every change as it happens, below it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import orjson

from coxswain.api.names import Object
from coxswain.cli.kubectl.failures import UsageError, show
from coxswain.cli.kubectl.get import fetch, namespace_of, nothing_found, selectors, view_of
from coxswain.cli.kubectl.printing import Printer, TableWriter
from coxswain.cli.kubectl.resources import Target, items_of
from coxswain.cli.kubectl.session import TABLE, Session


async def watch(
    session: Session, targets: Sequence[Target], args: argparse.Namespace, emit: Printer | None
) -> int:
    """Print until the server ends the watch or the user does."""
    if len(targets) != 1 or len(targets[0].names) > 1:
        raise UsageError("you may only specify a single resource type")
    target = targets[0]
    accept = TABLE if emit is None else "application/json"
    problems: list[Exception] = []
    answers = await fetch(session, target, args, accept, problems)
    if problems:
        show(problems)
        return 1
    lines = _Lines(target, args, emit)
    for answer in answers:
        if emit is not None:
            changes = [answer] if target.names else items_of(answer)
        else:
            changes = [answer]
        if not args.watch_only:
            for obj in changes:
                lines.add("ADDED", obj)
    if not lines.printed and not args.watch_only and emit is None and not target.names:
        sys.stderr.write(nothing_found(session, targets, args))
    revision = _revision(answers)
    await _follow(session, target, args, accept, revision, lines)
    return 0


def _revision(answers: Sequence[Object]) -> str:
    """The revision to watch from: a list's, or that of a table's or object's only row."""
    for answer in answers:
        meta = answer.get("metadata") or {}
        if meta.get("resourceVersion"):
            return str(meta["resourceVersion"])
        for row in answer.get("rows") or ():
            return str(((row.get("object") or {}).get("metadata") or {}).get("resourceVersion") or "")
    return "0"


async def _follow(
    session: Session, target: Target, args: argparse.Namespace, accept: str, revision: str, lines: _Lines
) -> None:
    query = selectors(args) | {"resourceVersion": revision}
    if target.names:
        query["fieldSelector"] = f"metadata.name={target.names[0]}"
    namespace = namespace_of(session, target, args)
    async with session.watch(target.resource.gvr, namespace, query, accept) as events:
        async for batch in events:
            for event in batch:
                if event.type != "BOOKMARK":
                    lines.add(event.type, orjson.loads(event.raw))


class _Lines:
    """Prints tables or objects one after another, in columns that stay."""

    def __init__(self, target: Target, args: argparse.Namespace, emit: Printer | None) -> None:
        self.printed = False
        self._emit = emit
        self._view = view_of(args, target.resource)
        self._writer = TableWriter()
        self._headers = not args.no_headers
        self._events = args.output_watch_events

    def add(self, event: str, obj: Object) -> None:
        if self._emit is not None:
            self._emit({"type": event, "object": obj} if self._events else obj)
            self.printed = True
        else:
            self._table(event, obj)
        sys.stdout.flush()

    def _table(self, event: str, table: Object) -> None:
        self._view.learn(table)
        rows = [self._view.row(row) for row in table.get("rows") or ()]
        if self._events:
            rows = [[event, *row] for row in rows]
        if rows and self._headers:
            header = self._view.header()
            rows.insert(0, ["EVENT", *header] if self._events else header)
            self._headers = False
        if rows:
            self.printed = True
            sys.stdout.write(self._writer.text(rows))
