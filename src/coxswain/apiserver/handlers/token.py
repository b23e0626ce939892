"""``serviceaccounts/token`` and the reviews: requests that are answered and never stored."""

from __future__ import annotations

from coxswain.api import codec, errors
from coxswain.api.names import GVK, SERVICE_ACCOUNTS
from coxswain.apiserver.options import write_options
from coxswain.apiserver.representation import shaped_reply
from coxswain.apiserver.request import Context, Core, Reply, not_served
from coxswain.apiserver.verbs import decoding, writing

TOKEN_REQUEST = GVK("authentication.k8s.io", "v1", "TokenRequest")


async def create_token(core: Core, ctx: Context) -> Reply:
    """A token for a service account; 201 with the TokenRequest and its status."""
    if core.tokens is None:
        raise not_served()
    options = write_options(ctx.query, "CreateOptions")
    request = codec.decode(ctx.body, ctx.content_type, TOKEN_REQUEST, options.field_validation).obj
    decoding.with_metadata(request)
    await core.storage.catch_up()
    account = core.registry.lookup.get(SERVICE_ACCOUNTS, ctx.namespace, ctx.name)
    if account is None:
        raise errors.not_found(SERVICE_ACCOUNTS, ctx.name)
    admission = writing.admission_request(ctx, "CREATE", options, request, None)
    await writing.admit(core, admission)
    return shaped_reply(ctx, 201, core.tokens.create(account, request, ctx.warnings))


async def review(core: Core, ctx: Context) -> Reply:
    """A review with its status filled in; 201."""
    if core.reviews is None or not core.reviews.handles(ctx.entry.gvr):
        raise not_served()
    options = write_options(ctx.query, "CreateOptions")
    obj = decoding.decode_body(ctx, ctx.entry.gvk, options.field_validation)
    if ctx.entry.namespaced:
        decoding.settle_namespace(ctx, obj)
    writing.track(ctx, obj, None)
    await writing.admit(core, writing.admission_request(ctx, "CREATE", options, obj, None))
    await core.storage.catch_up()
    answered = core.reviews.handle(ctx.entry.gvr, obj, ctx.user, ctx.namespace)
    return shaped_reply(ctx, 201, answered)
