"""Binding: the scheduler's word on where a pod runs (``pods/binding`` and the older ``bindings``).

It writes nothing but the node's name, the binding's annotations and the PodScheduled condition, and skips
what a whole update would do: this is the busiest write of a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from coxswain.api import codec, errors, meta
from coxswain.api.fields import Errors, invalid
from coxswain.api.names import GVK, PODS, Object
from coxswain.api.validation.formats import dns_subdomain
from coxswain.api.validation.objectmeta import validate_annotations
from coxswain.api.validation.pods import validate_binding
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.handlers import assignment
from coxswain.apiserver.options import WriteOptions, write_options
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.representation import status_reply
from coxswain.apiserver.request import Context, Core, Reply, Write
from coxswain.apiserver.verbs import decoding, writing
from coxswain.apiserver.watchcache import Pending
from coxswain.store.interface import CompareFailed, Op

BINDING = GVK("", "v1", "Binding")
_ATTEMPTS = 50


async def create(core: Core, ctx: Context) -> Reply:
    """Bind a pod; 201 with a Status."""
    return await writing.carry_out(core, begin(core, ctx))


def begin(core: Core, ctx: Context) -> Write | Coroutine[Any, Any, Reply]:
    """``create`` up to the commit; or all of it, where there is more to do. Raises ``ApiError``."""
    options = write_options(ctx.query, "CreateOptions")
    binding = _read(ctx, options)
    request = writing.admission_request(ctx, "CREATE", options, binding, None)
    pending = core.admission.mutate(request)
    if pending is not None:
        return _once_admitted(core, ctx, request, options, pending)
    _check(binding)
    pending = core.admission.validate(request)
    if pending is not None:
        return _bind(core, ctx, binding, options, pending)
    write = None if options.dry_run else _write(core, ctx, binding, options)
    return write if write is not None else _bind(core, ctx, binding, options)


def _read(ctx: Context, options: WriteOptions) -> Object:
    """The request's binding, for the pod that the request names."""
    binding = _plain(ctx.body) if ctx.content_type == codec.JSON else None
    if binding is None:
        binding = codec.decode(ctx.body, ctx.content_type, BINDING, options.field_validation).obj
    decoding.settle_namespace(ctx, decoding.with_metadata(binding))
    if ctx.subresource:
        decoding.settle_name(ctx, binding)
    else:
        ctx.name = binding["metadata"].get("name") or ""
    return binding


_TEXT: Final = rb"([-.0-9A-Za-z]+)"
#: A binding as our scheduler writes it.
_PLAIN: Final = re.compile(
    rb'\{"apiVersion":"v1","kind":"Binding","metadata":\{"name":"%b","namespace":"%b","uid":"%b"\},'
    rb'"target":\{"kind":"Node","name":"%b"\}\}' % (_TEXT, _TEXT, _TEXT, _TEXT)
)


def _plain(body: bytes) -> Object | None:
    """What ``codec`` would read, at a tenth of the cost, where the body has the usual form; None for another."""
    match = _PLAIN.fullmatch(body)
    if match is None:
        return None
    name, namespace, uid, node = [text.decode() for text in match.groups()]
    return {
        "kind": "Binding",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
        "target": {"kind": "Node", "name": node},
    }


async def _once_admitted(
    core: Core, ctx: Context, request: Request, options: WriteOptions, pending: Awaitable[None]
) -> Reply:
    """What is left to do when admission waits for something."""
    await pending
    binding = request.object
    assert binding is not None
    _check(binding)
    return await _bind(core, ctx, binding, options, core.admission.validate(request))


def _check(binding: Object) -> None:
    problems = validate_binding(binding)
    if not problems:
        # Kubernetes looks no further and stores a pod that it would not take.
        node = binding["target"]["name"]
        problems = [invalid("target.name", node, complaint) for complaint in dns_subdomain(node)]
    if problems:
        # The client's mistake, where Kubernetes answers with a bare 500.
        raise errors.invalid("", "Binding", binding["metadata"].get("name") or "", problems)


def _pods(core: Core) -> Entry:
    entry = core.registry.get(PODS)
    assert entry is not None and entry.cache is not None
    return entry


async def _bind(
    core: Core,
    ctx: Context,
    binding: Object,
    options: WriteOptions,
    pending: Awaitable[None] | None = None,
) -> Reply:
    """Bind, once ``pending`` is done, whatever has happened to the pod."""
    if pending is not None:
        await pending
    entry = _pods(core)
    assert entry.cache is not None
    for _ in range(_ATTEMPTS):
        await core.storage.catch_up()
        item = entry.cache.get(ctx.namespace, ctx.name)
        if item is None:
            raise errors.not_found(entry.gvr, ctx.name)
        pod = item.decode()
        _assign(pod, binding, ctx.name)
        if options.dry_run:
            return _done(ctx)
        pod["metadata"].pop("resourceVersion", None)
        try:
            await writing.commit(core, entry, pod, item.revision)
            return _done(ctx)
        except CompareFailed:
            continue
    raise errors.conflict(entry.gvr, ctx.name, errors.MODIFIED)


def _write(core: Core, ctx: Context, binding: Object, options: WriteOptions) -> Write | None:
    """What binds a pod to which nothing has happened yet; None if it is not one, as far as can be seen now."""
    bound, node = binding["metadata"], binding["target"]["name"]
    if bound.get("annotations") or bound.get("resourceVersion"):
        return None
    entry = _pods(core)
    assert entry.cache is not None
    item = entry.cache.get(ctx.namespace, ctx.name)
    if item is None:
        return None
    added = bound.get("labels")
    value = assignment.assigned(item, bound.get("uid") or "", node, added)
    if value is None:
        return None
    labels = {**item.labels, **added} if added else item.labels
    fields = entry.cache.spec.replaced(item.fields, "spec.nodeName", node)
    return Write(
        Op(entry.prefix + item.key, value, item.revision),
        Pending(value, labels, fields),
        lambda: _done(ctx),
        lambda: _bind(core, ctx, binding, options),
    )


_SUCCESS: Final = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def _done(ctx: Context) -> Reply:
    return status_reply(ctx, 201, _SUCCESS)


def _assign(pod: Object, binding: Object, name: str) -> None:
    """Put the binding into the pod, or raise ``Conflict``; ``Invalid`` if the pod has too many annotations then."""
    metadata, spec, bound = pod["metadata"], pod["spec"], binding["metadata"]
    for field, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted = bound.get(field)
        if wanted and wanted != metadata.get(field):
            why = (
                f"Precondition failed: {label} in precondition: {wanted}, "
                f"{label} in object meta: {metadata.get(field)}"
            )
            raise errors.conflict(PODS, name, why)
    if metadata.get("deletionTimestamp"):
        raise _refusal(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _refusal(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _refusal(name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    for field in ("annotations", "labels"):
        if bound.get(field):
            metadata[field] = {**(metadata.get(field) or {}), **bound[field]}
    if bound.get("annotations"):
        problems: Errors = []
        validate_annotations(metadata["annotations"], "metadata.annotations", problems)
        if problems:
            raise errors.invalid("", "Binding", name, problems)
    status = pod.setdefault("status", {})
    present = meta.condition(pod, "PodScheduled")
    others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
    if present is not None and present.get("status") == "True":
        return
    status["conditions"] = [*others, assignment.scheduled()]


def _refusal(name: str, why: str) -> errors.Conflict:
    details = {"name": name, "kind": "pods/binding"}
    return errors.Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": {why}', details=details)
