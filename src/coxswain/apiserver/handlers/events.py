"""New Events: there are as many of them as of all other writes together, and they are much alike (``moulds``)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from coxswain.apiserver.moulds import Sighting
from coxswain.apiserver.negotiation import JSON
from coxswain.apiserver.options import write_options
from coxswain.apiserver.representation import object_reply
from coxswain.apiserver.request import Context, Core, Reply, Write
from coxswain.apiserver.storage import without_resource_version
from coxswain.apiserver.verbs import create as ordinary
from coxswain.apiserver.verbs import writing
from coxswain.apiserver.watchcache import Pending
from coxswain.base import clock
from coxswain.store.interface import ABSENT, Op


async def create(core: Core, ctx: Context) -> Reply:
    """Create the body's Event; 201 with the Event as stored."""
    return await writing.carry_out(core, begin(core, ctx))


def begin(core: Core, ctx: Context) -> Write | Coroutine[Any, Any, Reply]:
    """``create`` up to the commit; or all of it, where there is more to do. Raises ``ApiError``."""
    sighting = None
    if not ctx.query and ctx.content_type == JSON and ctx.audit is None:
        sighting = core.moulds.find(ctx.body, ctx.namespace, ctx.manager)
    if sighting is None:
        return ordinary.create(core, ctx)
    mould = sighting.mould(ctx.user, core.admission.state)
    if mould is None:
        return _learn(core, ctx, sighting)
    entry, name = ctx.entry, sighting.name
    assert entry.cache is not None
    if entry.cache.get(ctx.namespace, name) is not None:
        return ordinary.create(core, ctx)  # which knows how to refuse it
    value = mould.cast(sighting.filling, writing.new_uid(), clock.timestamp())
    pending = Pending(value, {}, mould.selectable(sighting.filling))
    return Write(
        Op(entry.key(ctx.namespace, name), value, ABSENT),
        pending,
        lambda: object_reply(ctx, 201, writing.arrived(entry, pending, ctx.namespace, name).raw),
        lambda: ordinary.create(core, ctx),
    )


async def _learn(core: Core, ctx: Context, sighting: Sighting) -> Reply:
    """Create an Event the long way, and look how it was done."""
    state = core.admission.state
    reply = await ordinary.create(core, ctx)
    cache = ctx.entry.cache
    assert cache is not None
    item = cache.get(ctx.namespace, sighting.name)
    if item is not None and not ctx.warnings:
        options = write_options(ctx.query, "CreateOptions")
        request = writing.admission_request(ctx, "CREATE", options, item.decode(), None)
        if core.admission.repeats(request):
            sighting.learn(without_resource_version(item), cache.spec.field_values, ctx.user, state)
    return reply
