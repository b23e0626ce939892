"""Binding: the scheduler's word on where a pod runs (``pods/binding`` and the older ``bindings``).

It writes nothing but the node's name, the binding's annotations and the PodScheduled condition, and skips
what a whole update would do: this is the busiest write of a cluster.
"""

from __future__ import annotations

from coxswain.api import codec, errors, meta
from coxswain.api.fields import invalid
from coxswain.api.names import GVK, PODS, Object
from coxswain.api.validation.formats import dns_subdomain
from coxswain.api.validation.pods import validate_binding
from coxswain.apiserver.handlers import assignment
from coxswain.apiserver.options import WriteOptions, write_options
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.representation import status_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, writing
from coxswain.apiserver.watchcache import Item, Pending
from coxswain.store.interface import CompareFailed, Op

BINDING = GVK("", "v1", "Binding")
_ATTEMPTS = 50


async def create(core: Core, ctx: Context) -> Reply:
    """Bind a pod; 201 with a Status."""
    options = write_options(ctx.query, "CreateOptions")
    binding = codec.decode(ctx.body, ctx.content_type, BINDING, options.field_validation).obj
    decoding.settle_namespace(ctx, decoding.with_metadata(binding))
    if ctx.subresource:
        decoding.settle_name(ctx, binding)
    else:
        ctx.name = binding["metadata"].get("name") or ""
    request = writing.admission_request(ctx, "CREATE", options, binding, None)
    pending = core.admission.mutate(request)
    if pending is not None:
        await pending
    _check(binding)
    pending = core.admission.validate(request)
    if pending is not None:
        await pending
    entry = core.registry.get(PODS)
    assert entry is not None
    await _bind(core, entry, ctx, binding, options)
    success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return status_reply(ctx, 201, success)


def _check(binding: Object) -> None:
    problems = validate_binding(binding)
    if not problems:
        # Kubernetes looks no further and stores a pod that it would not take.
        node = binding["target"]["name"]
        problems = [invalid("target.name", node, complaint) for complaint in dns_subdomain(node)]
    if problems:
        # The client's mistake, where Kubernetes answers with a bare 500.
        raise errors.invalid("", "Binding", binding["metadata"].get("name") or "", problems)


async def _bind(core: Core, entry: Entry, ctx: Context, binding: Object, options: WriteOptions) -> None:
    assert entry.cache is not None
    for _ in range(_ATTEMPTS):
        await core.storage.catch_up()
        item = entry.cache.get(ctx.namespace, ctx.name)
        if item is None:
            raise errors.not_found(entry.gvr, ctx.name)
        try:
            if options.dry_run or not await _bind_fresh(core, entry, item, binding):
                pod = item.decode()
                _assign(pod, binding, ctx.name)
                if not options.dry_run:
                    pod["metadata"].pop("resourceVersion", None)
                    await writing.commit(core, entry, pod, item.revision)
            return
        except CompareFailed:
            continue
    raise errors.conflict(entry.gvr, ctx.name, errors.MODIFIED)


async def _bind_fresh(core: Core, entry: Entry, item: Item, binding: Object) -> bool:
    """Bind a pod to which nothing has happened yet; False if it is not one. Raises ``CompareFailed``."""
    bound, node = binding["metadata"], binding["target"]["name"]
    if bound.get("annotations") or bound.get("resourceVersion"):
        return False
    added = bound.get("labels")
    value = assignment.assigned(item, bound.get("uid") or "", node, added)
    if value is None:
        return False
    labels = {**item.labels, **added} if added else item.labels
    assert entry.cache is not None
    fields = entry.cache.spec.replaced(item.fields, "spec.nodeName", node)
    op = Op(entry.prefix + item.key, value, item.revision)
    await writing.committed(core, op, Pending(value, labels, fields))
    return True


def _assign(pod: Object, binding: Object, name: str) -> None:
    """Put the binding into the pod, or raise ``Conflict``."""
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
    status = pod.setdefault("status", {})
    present = meta.condition(pod, "PodScheduled")
    others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
    if present is not None and present.get("status") == "True":
        return
    status["conditions"] = [*others, assignment.scheduled()]


def _refusal(name: str, why: str) -> errors.Conflict:
    details = {"name": name, "kind": "pods/binding"}
    return errors.Conflict(f'Operation cannot be fulfilled on pods/binding "{name}": {why}', details=details)
