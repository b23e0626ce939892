"""DELETE of one object or a collection.

    pods            wait for their kubelet (gracePeriodSeconds), unless nothing runs them: then they go at once
    namespaces      become Terminating; the namespace controller empties and finalizes them
    with finalizers get a deletionTimestamp and stay until the last finalizer is taken off
    the rest        go at once

``propagationPolicy`` works through the finalizers ``foregroundDeletion`` and ``orphan``, which the garbage
collector takes off. The rules are those of Kubernetes' ``registry/generic/registry.Store``.
"""

from __future__ import annotations

import asyncio

from coxswain.api import errors
from coxswain.api.names import (
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    EVENTS_V1,
    JOBS,
    NAMESPACES,
    PODS,
    REPLICATION_CONTROLLERS,
    Object,
)
from coxswain.apiserver.admission.request import Request as AdmissionRequest
from coxswain.apiserver.customresources.definitions import CLEANUP, with_condition
from coxswain.apiserver.options import DeleteOptions, delete_options
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.representation import list_reply, object_reply, status_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.selecting import scope_of
from coxswain.apiserver.verbs import writing
from coxswain.apiserver.verbs.reading import select
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock
from coxswain.store.interface import CompareFailed

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

_ATTEMPTS = 50
#: How many objects of a collection are deleted at one time.
_WORKERS = 32

#: Resources whose deletion answers with the object that went, not with a Status (``ReturnDeletedObject``).
_RETURNS_OBJECT = frozenset(
    {
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "pods"),
        ("", "podtemplates"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("resource.k8s.io", "deviceclasses"),
        ("resource.k8s.io", "resourceclaims"),
        ("resource.k8s.io", "resourceclaimtemplates"),
        ("resource.k8s.io", "resourceslices"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
        ("storage.k8s.io", "volumeattributesclasses"),
    }
)


async def delete(core: Core, ctx: Context) -> Reply:
    """Delete one object; 200 with the object or a Status that names it."""
    options = delete_options(ctx.query, ctx.body)
    _warn_about_orphans(ctx, options)
    gone, raw, uid = await delete_object(core, ctx, options)
    gvr = ctx.entry.gvr
    if not gone or (gvr.group, gvr.resource) in _RETURNS_OBJECT:
        code = 202 if not gone and options.orphan_dependents is False else 200
        return object_reply(ctx, code, raw)
    details: Object = {"name": ctx.name}
    if gvr.group:
        details["group"] = gvr.group
    details["kind"] = gvr.resource
    details["uid"] = uid
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return status_reply(ctx, 200, status)


#: Their dependents stay by default, for the sake of old clients, who are told so.
_ORPHANING = ("batch", "v1", "jobs")
_ORPHANS = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or "
    "set propagationPolicy=Orphan to suppress this warning"
)


def _warn_about_orphans(ctx: Context, options: DeleteOptions) -> None:
    if ctx.entry.gvr == _ORPHANING and not options.propagation and options.orphan_dependents is None:
        ctx.warnings.append(_ORPHANS)


async def delete_object(core: Core, ctx: Context, options: DeleteOptions) -> tuple[bool, bytes, str]:
    """Delete ``ctx.name``: whether it is gone, its last JSON, its uid. Raises ``ApiError``."""
    entry = ctx.entry
    assert entry.cache is not None
    for _ in range(_ATTEMPTS):
        await core.storage.catch_up()
        item = entry.cache.get(ctx.namespace, ctx.name)
        if item is None:
            raise errors.not_found(entry.gvr, ctx.name)
        obj = writing.current(entry, item)
        _check_preconditions(entry, obj, options)
        old = writing.current(entry, item)
        request = AdmissionRequest(
            ctx.user,
            "DELETE",
            entry.gvr,
            ctx.subresource,
            ctx.namespace,
            ctx.name,
            None,
            old,
            options.raw or {},
            options.dry_run,
            ctx.warnings,
        )
        await writing.admit(core, request)
        stays = mark(entry, obj, options)
        uid = str(obj["metadata"].get("uid") or "")
        try:
            if options.dry_run:
                return not stays, writing.object_json(obj), uid
            if not stays:
                revision = await writing.remove_key(core, entry, item)
                obj["metadata"]["resourceVersion"] = str(revision)
                return True, writing.object_json(obj), uid
            obj["metadata"].pop("resourceVersion", None)
            old["metadata"].pop("resourceVersion", None)
            if obj == old:
                return False, writing.served(entry, item.raw), uid
            return False, await writing.commit(core, entry, obj, item.revision), uid
        except CompareFailed:
            if options.resource_version:
                raise errors.conflict(entry.gvr, ctx.name, errors.MODIFIED) from None
    raise errors.conflict(entry.gvr, ctx.name, errors.MODIFIED)


def _check_preconditions(entry: Entry, obj: Object, options: DeleteOptions) -> None:
    metadata = obj["metadata"]
    if options.uid is not None and options.uid != metadata.get("uid"):
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata.get('uid')}). The object might have been deleted and then recreated"
        )
        raise errors.conflict(entry.gvr, metadata["name"], why)
    revision = metadata.get("resourceVersion")
    if options.resource_version is not None and options.resource_version != revision:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({revision}). The object might have been modified"
        )
        raise errors.conflict(entry.gvr, metadata["name"], why)


def mark(entry: Entry, obj: Object, options: DeleteOptions) -> bool:
    """Mark ``obj`` as being deleted, in place; whether it stays for now."""
    metadata = obj["metadata"]
    finalizers = _finalizers(entry, metadata.get("finalizers") or [], options)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if entry.gvr == NAMESPACES:
        return _mark_namespace(obj)
    if entry.gvr == CUSTOM_RESOURCE_DEFINITIONS:
        _mark_definition(obj)
        return True
    if entry.gvr == PODS:
        return _mark_pod(obj, options) or bool(finalizers)
    if not finalizers:
        return False
    if not metadata.get("deletionTimestamp"):
        _stamp(metadata, 0)
    return True


def _stamp(metadata: Object, grace: int) -> None:
    metadata["deletionTimestamp"] = clock.format_time(clock.now() + grace)
    if metadata.get("deletionGracePeriodSeconds") is None and metadata.get("generation"):
        metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = grace


def _mark_namespace(namespace: Object) -> bool:
    metadata = namespace["metadata"]
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = clock.timestamp()
        namespace["status"] = {**(namespace.get("status") or {}), "phase": "Terminating"}
    return bool((namespace.get("spec") or {}).get("finalizers") or metadata.get("finalizers"))


def _mark_definition(definition: Object) -> None:
    """A definition stays until all its objects are gone: the custom resources' controller sees to that."""
    metadata = definition["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    _stamp(metadata, 0)
    if CLEANUP not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), CLEANUP]
    definition["status"] = with_condition(
        definition.get("status") or {},
        "Terminating",
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        clock.timestamp(),
    )


def _mark_pod(pod: Object, options: DeleteOptions) -> bool:
    """Whether the pod still has to be ended by its kubelet."""
    metadata = pod["metadata"]
    grace = _grace_period(pod, options)
    if metadata.get("deletionTimestamp"):
        pending = metadata.get("deletionGracePeriodSeconds")
        if pending is None:
            return False
        if options.grace_period_seconds is None or grace >= pending:
            return bool(pending > 0)
        asked = clock.parse_time(metadata["deletionTimestamp"]) - pending
        metadata["deletionTimestamp"] = clock.format_time(asked + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        return grace > 0
    _stamp(metadata, grace)
    return grace > 0


def _grace_period(pod: Object, options: DeleteOptions) -> int:
    spec = pod.get("spec") or {}
    grace = options.grace_period_seconds
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds")
        grace = 30 if grace is None else grace
    if grace < 0:
        grace = 1
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        grace = 0
    return int(grace)


def _finalizers(entry: Entry, existing: list[str], options: DeleteOptions) -> list[str]:
    """The finalizers after the propagation policy has been considered."""
    if entry.gvr in (EVENTS, EVENTS_V1):
        return existing
    wanted = set()
    if _orphans(entry, existing, options):
        wanted.add(ORPHAN)
    if _foreground(existing, options):
        wanted.add(FOREGROUND)
    result = [name for name in existing if name not in (ORPHAN, FOREGROUND) or name in wanted]
    return result + sorted(wanted.difference(result))


def _orphans(entry: Entry, existing: list[str], options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return options.orphan_dependents
    if options.propagation:
        return options.propagation == "Orphan"
    if ORPHAN in existing:
        return True
    # Kept from the days before propagation policies, for these two.
    return FOREGROUND not in existing and entry.gvr in (REPLICATION_CONTROLLERS, JOBS)


def _foreground(existing: list[str], options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return False
    if options.propagation:
        return options.propagation == "Foreground"
    return FOREGROUND in existing


async def delete_collection(core: Core, ctx: Context) -> Reply:
    """Delete everything that the selectors select; the list of it as it was."""
    options = delete_options(ctx.query, ctx.body)
    await core.storage.catch_up()
    entry = ctx.entry
    assert entry.cache is not None
    scope = scope_of(entry.selectable, entry.namespaced, ctx.namespace, "", ctx.query)
    items = list(select(entry.cache, scope))
    revision = core.storage.revision
    for start in range(0, len(items), _WORKERS):
        chunk = items[start : start + _WORKERS]
        results = await asyncio.gather(
            *(_delete_one(core, ctx, item, options) for item in chunk), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, errors.NotFound):
                raise result
    return list_reply(ctx, items, revision)


async def _delete_one(core: Core, ctx: Context, item: Item, options: DeleteOptions) -> None:
    one = Context(
        ctx.entry,
        "delete",
        ctx.user,
        item.namespace,
        item.name,
        query=ctx.query,
        warnings=ctx.warnings,
        user_agent=ctx.user_agent,
    )
    await delete_object(core, one, options)
