"""PUT: replace an object, or create it where its resource allows that."""

from __future__ import annotations

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.options import write_options
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, writing
from coxswain.apiserver.verbs.writing import Door


async def update(core: Core, ctx: Context) -> Reply:
    """Replace through the resource itself."""
    return await _put(core, ctx, writing.main_door(ctx.entry))


async def update_status(core: Core, ctx: Context) -> Reply:
    """Replace through ``/status``: only the status counts."""
    return await _put(core, ctx, writing.status_door(ctx.entry))


async def update_through(core: Core, ctx: Context, door: Door) -> Reply:
    """Replace through another subresource whose body is the whole object."""
    return await _put(core, ctx, door)


async def _put(core: Core, ctx: Context, door: Door) -> Reply:
    options = write_options(ctx.query, "UpdateOptions")
    obj = decoding.decode_body(ctx, ctx.entry.gvk, options.field_validation)
    decoding.settle_namespace(ctx, obj)
    decoding.settle_name(ctx, obj)
    if ctx.entry.create_on_update and not door.subresource and not _exists(ctx):
        if obj["metadata"].get("resourceVersion"):
            raise errors.not_found(ctx.entry.gvr, ctx.name)
        writing.authorize_create(core, ctx)
        raw = await writing.create_object(core, ctx, obj, options)
        return object_reply(ctx, 201, raw)
    first = True

    def replace(existing: Object) -> Object:
        nonlocal first, obj
        if not first:
            # A repeated attempt starts from the body again: the first one has changed the object.
            obj = decoding.decode_body(ctx, ctx.entry.gvk, "Ignore")
            decoding.settle_namespace(ctx, obj)
            decoding.settle_name(ctx, obj)
        first = False
        return obj

    raw = await writing.update_object(core, ctx, replace, options, door)
    return object_reply(ctx, 200, raw)


def _exists(ctx: Context) -> bool:
    cache = ctx.entry.cache
    return cache is not None and cache.get(ctx.namespace, ctx.name) is not None
