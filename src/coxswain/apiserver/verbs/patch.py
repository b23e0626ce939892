"""PATCH in its four forms: JSON patch, merge patch, strategic merge patch, server-side apply.

The first three change a copy of the newest object and go on as an update would. Apply compares what the
manager applied before with what it applies now (``api.managedfields``), and creates what is not there yet.
"""

from __future__ import annotations

from typing import Any

import orjson

from coxswain.api import codec, errors, managedfields, patch, schema
from coxswain.api.fields import invalid
from coxswain.api.names import GVK, Object
from coxswain.apiserver.options import WriteOptions, check_patch_options, write_options
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, writing
from coxswain.apiserver.verbs.writing import Door, Transform
from coxswain.base import clock
from coxswain.client.interface import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH

_BUILT_IN = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH, "application/apply-patch+cbor")
_CUSTOM = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)


async def patch_object(core: Core, ctx: Context) -> Reply:
    """Patch through the resource itself."""
    return await patch_through(core, ctx, writing.main_door(ctx.entry))


async def patch_status(core: Core, ctx: Context) -> Reply:
    """Patch through ``/status``."""
    return await patch_through(core, ctx, writing.status_door(ctx.entry))


async def patch_through(core: Core, ctx: Context, door: Door) -> Reply:
    """Patch the whole object through ``door``."""
    media_type = decoding.media_type_of(ctx.content_type)
    accepted = _CUSTOM if ctx.entry.custom else _BUILT_IN
    if media_type not in accepted:
        raise decoding.refuse_media_type(accepted if ctx.entry.custom else _BUILT_IN)
    options = write_options(ctx.query, "PatchOptions")
    check_patch_options(options, apply=media_type == APPLY_PATCH)
    if media_type == APPLY_PATCH:
        return await _apply(core, ctx, options, door)
    change = patcher(ctx, media_type)

    def transform(existing: Object) -> Object:
        return _checked(ctx, change(existing), options)

    raw = await writing.update_object(core, ctx, transform, options, door)
    return object_reply(ctx, 200, raw)


def patcher(ctx: Context, media_type: str, gvk: GVK | None = None) -> Transform:
    """A function that patches an object (of ``gvk``, or the entry's kind) by the request's body.

    Raises ``BadRequest`` for a bad body and ``UnsupportedMediaType`` for a media type that is no patch.
    """
    body = _parse(ctx.body)
    if media_type == JSON_PATCH:
        return lambda obj: patch.json_patch(obj, body)
    if media_type == MERGE_PATCH:
        return lambda obj: patch.merge_patch(obj, body)
    if media_type != STRATEGIC_MERGE_PATCH:
        raise decoding.refuse_media_type(_BUILT_IN)
    shape = schema.type_of(gvk) if gvk is not None else ctx.entry.type
    return lambda obj: patch.strategic_merge_patch(obj, body, shape)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequest(f"error decoding patch: {error}") from None


def _checked(ctx: Context, obj: Object, options: WriteOptions) -> Object:
    patched = obj
    try:
        obj = decoding.conform(ctx, obj, options.field_validation)
    except errors.BadRequest as error:
        raise _unfit(ctx, patched, error) from None
    decoding.settle_name(ctx, obj)
    decoding.settle_namespace(ctx, obj)
    return obj


def _unfit(ctx: Context, patched: Object, error: errors.BadRequest) -> errors.Invalid:
    """What Kubernetes says of a patch whose result cannot be decoded: the patch is invalid, of no kind."""
    _, _, why = error.message.partition(f"cannot be handled as a {ctx.entry.kind}: ")
    problem = invalid("patch", orjson.dumps(patched).decode(), why or error.message)
    failure = errors.invalid("", "", "", [problem])
    if failure.details is not None:
        failure.details.pop("kind", None)
    return failure


async def _apply(core: Core, ctx: Context, options: WriteOptions, door: Door) -> Reply:
    sent = codec.decode_apply(ctx.body, "Warn")
    applied = _applied_object(ctx, sent.obj)
    twice = sent.warnings
    entry = ctx.entry
    assert entry.cache is not None
    if entry.cache.get(ctx.namespace, ctx.name) is None:
        if door.subresource:
            raise errors.not_found(entry.gvr, ctx.name)
        merged = _made(ctx, None, applied, options, twice)
        if uid := merged["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise errors.conflict(entry.gvr, ctx.name, why)
        writing.authorize_create(core, ctx)
        merged["metadata"].pop("resourceVersion", None)
        raw = await writing.create_object(core, ctx, merged, options, applied=True)
        return object_reply(ctx, 201, raw)

    def transform(existing: Object) -> Object:
        newest = existing["metadata"].pop("resourceVersion", None)
        # What conforming does to the merged object must not reach what a further attempt starts from.
        again = orjson.loads(orjson.dumps(applied))
        merged = _made(ctx, existing, again, options, twice)
        _keep_times(merged, existing)
        merged["metadata"]["resourceVersion"] = (applied.get("metadata") or {}).get(
            "resourceVersion"
        ) or newest
        return merged

    raw = await writing.update_object(core, ctx, transform, options, door, tracked=False)
    return object_reply(ctx, 200, raw)


def _applied_object(ctx: Context, applied: Object) -> Object:
    """The configuration as it was sent, zero values and nulls included. Raises ``BadRequest``."""
    wanted = ctx.entry.gvk
    kind, version = applied.get("kind") or "", applied.get("apiVersion") or ""
    if version != wanted.api_version:
        raise errors.BadRequest(
            f"Incorrect version specified in apply patch. Specified patch version: {version}, "
            f"expected: {wanted.api_version}"
        )
    if not kind:
        raise errors.BadRequest(f"no corresponding type for {wanted.group}/{wanted.version}, Kind=")
    if kind != wanted.kind:
        raise errors.BadRequest(
            f'{kind} in version "{wanted.version}" cannot be handled as a {wanted.kind}: '
            f"the configuration is of another kind"
        )
    return {**applied, "kind": kind, "apiVersion": version}


def _made(
    ctx: Context, live: Object | None, applied: Object, options: WriteOptions, twice: list[str]
) -> Object:
    """The merged object as if it had been sent whole: of the right types, canonical, with defaults.

    ``twice``: complaints about keys that the configuration gives twice, which are told after all others.
    """
    merged = merge_applied(ctx, live, applied, options)
    owners = merged["metadata"].pop("managedFields", None)
    if twice and options.field_validation == "Strict":
        raise errors.BadRequest(f"error strict decoding patch: {twice[0]}")
    if twice and options.field_validation == "Warn":
        ctx.warnings.extend(warning for warning in twice if warning not in ctx.warnings)
    merged = decoding.conform(
        ctx, merged, "Ignore" if ctx.entry.type is not None else options.field_validation
    )
    decoding.settle_namespace(ctx, merged)
    decoding.settle_name(ctx, merged)
    ctx.entry.rules.default(merged)
    codec.complete(merged, ctx.entry.gvk)
    if owners is not None:
        merged["metadata"]["managedFields"] = owners
    return merged


def _keep_times(merged: Object, existing: Object) -> None:
    """An apply that changes nothing but the times of its managers changes nothing at all."""
    now, before = merged["metadata"].get("managedFields"), existing["metadata"].get("managedFields")
    if now == before or not now or not before or len(now) != len(before):
        return
    if [_timeless(entry) for entry in now] != [_timeless(entry) for entry in before]:
        return
    merged["metadata"]["managedFields"] = before
    if merged != existing:
        merged["metadata"]["managedFields"] = now


def _timeless(entry: Object) -> Object:
    return {name: value for name, value in entry.items() if name != "time"}


def merge_applied(ctx: Context, live: Object | None, applied: Object, options: WriteOptions) -> Object:
    """What server-side apply makes of ``live``. Raises ``Conflict``."""
    return managedfields.apply(
        live,
        applied,
        manager=ctx.manager,
        api_version=ctx.entry.gvk.api_version,
        force=bool(options.force),
        subresource=ctx.subresource,
        type=ctx.entry.type,
        now=clock.timestamp(),
        versions=ctx.entry.versions,
    )
