"""Create or change objects so that they match files."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from coxswain.api import schema
from coxswain.api.errors import ApiError
from coxswain.api.names import Object
from coxswain.cli.kubectl import changes, files, flags
from coxswain.cli.kubectl.changes import Report
from coxswain.cli.kubectl.failures import UsageError, show, with_source
from coxswain.cli.kubectl.files import Item
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.printing import object_name
from coxswain.cli.kubectl.resources import Catalog, compact
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session
from coxswain.cli.kubectl.threeway import three_way
from coxswain.client.interface import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH

__all__ = ["configure", "parse_args", "run"]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE, SERVER_SIDE = "kubectl-client-side-apply", "kubectl"
LAST_APPLIED_OWNER = "kubectl-last-applied"
_CONFLICT_HELP = """
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"""


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox apply -f FILE [flags]")
    flags.filenames(parser)
    flags.selecting(parser, fields=False)
    changes.configure(parser, "")
    flags.switch(parser, "--server-side", text="let the server merge, field by field")
    flags.switch(parser, "--force-conflicts", text="take over fields of others (with --server-side)")
    flags.switch(parser, "--force", text="delete and create again what cannot be changed")
    flags.switch(parser, "--overwrite", default=True, text=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    if not args.filename:
        raise UsageError("must specify one of -f and -k")
    if args.words:
        raise UsageError(f"Unexpected args: {args.words}; objects come from files: cox apply -f FILE")
    if args.force_conflicts and not args.server_side:
        raise UsageError("--force-conflicts only works with --server-side")
    if args.dry_run == "client" and args.server_side:
        raise UsageError(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)"
        )
    args.field_manager = args.field_manager or (SERVER_SIDE if args.server_side else CLIENT_SIDE)
    report = Report(args)
    report.collect()
    found, problems = await files.items(session, Catalog(session), args)
    if not found and not problems:
        raise UsageError("no objects passed to apply")
    work = _ServerSide(session, args, report) if args.server_side else _ClientSide(session, args, report)
    for item in _selected(found, args.selector):
        try:
            if not item.name and (item.obj.get("metadata") or {}).get("generateName"):
                raise UsageError(
                    f"from {item.obj['metadata']['generateName']}: cannot use generate name with apply"
                )
            await work.apply(item)
        except (ApiError, UsageError) as problem:
            problems.append(problem)
    report.finish()
    sys.stdout.flush()
    show(problems)
    return 1 if problems else 0


def _selected(found: list[Item], selector: str) -> list[Item]:
    if not selector:
        return found
    from coxswain.api.selectors import parse_label_selector

    wanted = parse_label_selector(selector)
    return [item for item in found if wanted.matches((item.obj.get("metadata") or {}).get("labels") or {})]


class _ClientSide:
    """Reads the live object, works out what to change, and patches that."""

    def __init__(self, session: Session, args: argparse.Namespace, report: Report) -> None:
        self.session, self.args, self.report = session, args, report

    async def apply(self, item: Item) -> None:
        modified = with_last_applied(item.obj)
        try:
            current = await self.session.find(item.resource.gvr, item.namespace, item.name)
        except ApiError as error:
            raise with_source(error, "retrieving current configuration of:", item.source) from None
        if current is None:
            self.report.done(item.resource, await self._create(item, modified), "created")
            return
        annotations = current["metadata"].get("annotations") or {}
        if LAST_APPLIED not in annotations:
            self._warn_missing(current)
        shape = schema.type_of(item.resource.gvk)
        patch = three_way(_original(annotations), modified, current, shape)
        if not patch:
            self.report.done(item.resource, current, "unchanged")
            return
        if current["metadata"].get("deletionTimestamp"):
            sys.stderr.write(
                f"Warning: Detected changes to resource {item.name} which is currently being deleted.\n"
            )
        kind = STRATEGIC_MERGE_PATCH if shape is not None else MERGE_PATCH
        self.report.done(item.resource, await self._patch(item, modified, current, patch, kind), "configured")

    async def _create(self, item: Item, obj: Object) -> Object:
        if self.report.dry_run == "client":
            return obj
        query = changes.query(self.args, self.report.dry_run)
        try:
            return await self.session.request(
                "create", item.resource.gvr, item.namespace, query=query, body=obj
            )
        except ApiError as error:
            raise with_source(error, "creating", item.source) from None

    async def _patch(self, item: Item, modified: Object, current: Object, patch: Object, kind: str) -> Object:
        if self.report.dry_run == "client":
            return current
        try:
            return await self.session.request(
                "patch", item.resource.gvr, item.namespace, item.name, body=patch, content_type=kind,
                query=changes.query(self.args, self.report.dry_run),
            )  # fmt: skip
        except ApiError as error:
            if self.args.force and error.reason in ("Invalid", "Conflict") and self.report.dry_run == "none":
                return await self._replace(item, modified, current)
            if error.reason == "Invalid":
                raise
            inner = with_source(error, "patching", item.source)
            raise with_source(inner, _patch_story(item, patch), item.source) from None

    async def _replace(self, item: Item, modified: Object, current: Object) -> Object:
        from coxswain.cli.kubectl.waiting import wait_until_gone

        await self.session.request("delete", item.resource.gvr, item.namespace, item.name)
        uid = current["metadata"].get("uid", "")
        await wait_until_gone(self.session, item.resource, item.namespace, item.name, uid)
        return await self._create(item, modified)

    def _warn_missing(self, current: Object) -> None:
        kind = object_name(current).partition("/")[0]
        plural = f"{kind.partition('.')[0]}s/{current['metadata']['name']}"
        sys.stderr.write(
            f"Warning: resource {plural} is missing the {LAST_APPLIED} annotation which is required by kubectl "
            "apply. kubectl apply should only be used on resources created declaratively by either kubectl create "
            "--save-config or kubectl apply. The missing annotation will be patched automatically.\n"
        )


def _patch_story(item: Item, patch: Object) -> str:
    gvr, kind = item.resource.gvr, item.resource.kind
    version = f"{gvr.group}/{gvr.version}"
    return (
        f'applying patch:\n{compact(patch)}\nto:\nResource: "{version}, Resource={gvr.resource}", '
        f'GroupVersionKind: "{version}, Kind={kind}"\nName: "{item.name}", Namespace: "{item.namespace}"\nfor:'
    )


def with_last_applied(obj: Object) -> Object:
    """The object with itself (without this annotation) as its last applied configuration."""
    meta = dict(obj.get("metadata") or {})
    annotations = {
        key: value for key, value in (meta.get("annotations") or {}).items() if key != LAST_APPLIED
    }
    meta["annotations"] = annotations
    text = json.dumps({**obj, "metadata": meta}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return {**obj, "metadata": {**meta, "annotations": {**annotations, LAST_APPLIED: text + "\n"}}}


def _original(annotations: Object) -> Object:
    try:
        original = json.loads(annotations.get(LAST_APPLIED) or "{}")
    except ValueError:
        return {}
    return original if isinstance(original, dict) else {}


class _ServerSide:
    """Sends the manifest; the server merges and says who owns what."""

    def __init__(self, session: Session, args: argparse.Namespace, report: Report) -> None:
        self.session, self.args, self.report = session, args, report

    async def apply(self, item: Item) -> None:
        obj = await self._send(item)
        if self.report.dry_run == "none" and await self._take_over(item, obj):
            obj = await self._send(item)
        self.report.done(item.resource, obj, "serverside-applied")

    async def _send(self, item: Item) -> Object:
        query = changes.query(self.args, self.report.dry_run)
        query["force"] = "true" if self.args.force_conflicts else "false"
        try:
            return await self.session.request(
                "patch", item.resource.gvr, item.namespace, item.name, body=item.obj,
                content_type=APPLY_PATCH, query=query,
            )  # fmt: skip
        except ApiError as error:
            if error.reason == "Conflict":
                raise UsageError(error.message + _CONFLICT_HELP) from None
            raise

    async def _take_over(self, item: Item, obj: Object) -> bool:
        """Make the fields of earlier client-side applies ours, so that removing them from the file counts."""
        manager = self.args.field_manager
        if merge_managers(obj["metadata"].get("managedFields") or [], manager) is None:
            return False
        obj = await self._keep_annotation(item, obj)
        merged = merge_managers(obj["metadata"].get("managedFields") or [], manager)
        patch = [
            {"op": "replace", "path": "/metadata/managedFields", "value": merged},
            {
                "op": "replace",
                "path": "/metadata/resourceVersion",
                "value": obj["metadata"]["resourceVersion"],
            },
        ]
        try:
            await self.session.request(
                "patch", item.resource.gvr, item.namespace, item.name, body=patch,
                content_type=JSON_PATCH, query={"fieldManager": manager},
            )  # fmt: skip
        except ApiError as error:
            if error.reason == "Conflict":
                return False  # somebody wrote meanwhile: the next apply takes them over
            raise
        return True

    async def _keep_annotation(self, item: Item, obj: Object) -> Object:
        """Own the last applied configuration apart, so that client-side apply still finds it afterwards."""
        note = (obj["metadata"].get("annotations") or {}).get(LAST_APPLIED)
        if note is None or self.args.field_manager != SERVER_SIDE:
            return obj
        meta = {"name": item.name, "annotations": {LAST_APPLIED: note}}
        if item.namespace:
            meta["namespace"] = item.namespace
        only = {"apiVersion": item.obj["apiVersion"], "kind": item.obj["kind"], "metadata": meta}
        query = {"fieldManager": LAST_APPLIED_OWNER, "fieldValidation": "Strict"}
        return await self.session.request(
            "patch", item.resource.gvr, item.namespace, item.name, body=only, content_type=APPLY_PATCH,
            query=query,
        )  # fmt: skip


def merge_managers(entries: list[Object], manager: str) -> list[Object] | None:
    """managedFields with the client-side entry joined into ``manager``'s applied one; None: nothing to do."""
    old = [one for one in entries if _is_entry(one, CLIENT_SIDE, "Update")]
    new = next((one for one in entries if _is_entry(one, manager, "Apply")), None)
    if not old or new is None:
        return None
    fields: Any = new.get("fieldsV1") or {}
    for entry in old:
        fields = _union(fields, entry.get("fieldsV1") or {})
    return [{**one, "fieldsV1": fields} if one is new else one for one in entries if one not in old]


def _is_entry(entry: Object, manager: str, operation: str) -> bool:
    owner = (entry.get("manager"), entry.get("operation"))
    return owner == (manager, operation) and not entry.get("subresource")


def _union(left: Object, right: Object) -> Object:
    made = dict(left)
    for key, value in right.items():
        made[key] = _union(made[key], value) if key in made else value
    return made
