"""POST of a new object."""

from __future__ import annotations

from coxswain.apiserver.options import WriteOptions, write_options
from coxswain.apiserver.replicas import Replica
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply, Write
from coxswain.apiserver.verbs import decoding, writing


def begin(core: Core, ctx: Context) -> Write | None:
    """Another object like those that were made of the same body before; None where that takes more. Raises ``ApiError``."""
    options = write_options(ctx.query, "CreateOptions")
    return _twin(core, ctx, options, core.replicas.find(ctx, options))


def _twin(core: Core, ctx: Context, options: WriteOptions, replica: Replica | None) -> Write | None:
    if replica is None or options.dry_run or ctx.audit is not None:
        return None
    twin = replica.twin(ctx.user, core.admission.state)
    return None if twin is None else writing.begin_twin(core, ctx, twin)


async def create(core: Core, ctx: Context) -> Reply:
    """Create the body's object; 201 with the object as stored."""
    options = write_options(ctx.query, "CreateOptions")
    replica = core.replicas.find(ctx, options)
    if (write := _twin(core, ctx, options, replica)) is not None:
        return await writing.carry_out(core, write)
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
