"""POST of a new object."""

from __future__ import annotations

from coxswain.apiserver.options import write_options
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, writing


async def create(core: Core, ctx: Context) -> Reply:
    """Create the body's object; 201 with the object as stored."""
    options = write_options(ctx.query, "CreateOptions")
    replica = core.replicas.find(ctx, options)
    if replica is not None and not options.dry_run and ctx.audit is None:
        twin = replica.twin(ctx.user, core.admission.state)
        if twin is not None:
            ctx.warnings.extend(twin.warnings)
            return object_reply(ctx, 201, await writing.create_twin(core, ctx, twin))
    state, told = core.admission.state, len(ctx.warnings)
    obj = replica.prepared() if replica is not None else None
    if obj is not None and replica is not None:
        ctx.warnings.extend(replica.decode_warnings)
    else:
        obj = decoding.decode_body(ctx, ctx.entry.gvk, options.field_validation)
        decoding.settle_namespace(ctx, obj)
        writing.prepare_new(ctx, obj)
        if replica is not None:
            replica.keep_prepared(obj, ctx.warnings[told:])
    ctx.name = obj["metadata"].get("name") or ""
    raw = await writing.create_prepared(core, ctx, obj, options, replica)
    if replica is not None and replica.wants_twin and not options.dry_run:
        writing.keep_twin(core, ctx, obj, options, replica, tuple(ctx.warnings[told:]), state)
    return object_reply(ctx, 201, raw)
