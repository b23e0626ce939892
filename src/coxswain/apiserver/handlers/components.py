"""Component statuses: what older clients ask for to see whether the cluster is well.

Kubernetes probes the store, the scheduler and the controller manager on their own addresses. The store is what this
server knows of, under the name that it has there.
"""

from __future__ import annotations

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.representation import list_reply, object_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.watchcache import Item

STORE = "etcd-0"


def _status() -> Object:
    healthy = {"type": "Healthy", "status": "True", "message": "ok"}
    return {
        "kind": "ComponentStatus",
        "apiVersion": "v1",
        "metadata": {"name": STORE},
        "conditions": [healthy],
    }


async def read(core: Core, ctx: Context) -> Reply:
    """One of them, or all. An answer tells that the store is well: what has not caught up with it does not answer."""
    await core.storage.catch_up()
    raw = orjson.dumps(_status())
    if ctx.verb == "list":
        return list_reply(ctx, [Item(STORE, raw, 0, {}, ())], core.storage.revision)
    if ctx.name != STORE:
        raise errors.not_found(ctx.entry.gvr, ctx.name)
    return object_reply(ctx, 200, raw)
