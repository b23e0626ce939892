"""The ``scale`` subresource: an autoscaling/v1 Scale that shows and changes ``spec.replicas``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from coxswain.api import codec, errors, selectors
from coxswain.api.fields import invalid, quote
from coxswain.api.names import GVK, Object
from coxswain.api.structural.model import lookup
from coxswain.apiserver.admission.request import Request as AdmissionRequest
from coxswain.apiserver.options import WriteOptions, check_patch_options, write_options
from coxswain.apiserver.registry import ScalePaths
from coxswain.apiserver.representation import one_row, shaped_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.verbs import decoding, patch, writing
from coxswain.apiserver.verbs.writing import Door
from coxswain.client.interface import APPLY_PATCH

SCALE = GVK("autoscaling", "v1", "Scale")
_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


async def get(core: Core, ctx: Context) -> Reply:
    """The Scale of an object."""
    await core.storage.catch_up()
    cache = ctx.entry.cache
    item = cache.get(ctx.namespace, ctx.name) if cache is not None else None
    if item is None:
        raise errors.not_found(ctx.entry.gvr, ctx.name)
    return _reply(ctx, scale_of(writing.current(ctx.entry, item), ctx.entry.scale))


_COLUMNS: tuple[Object, ...] = (
    {"name": "Desired", "type": "integer", "jsonPath": ".spec.replicas"},
    {"name": "Available", "type": "integer", "jsonPath": ".status.replicas"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
)


def _reply(ctx: Context, scale: Object) -> Reply:
    if ctx.representation.shape == "Table":
        shown = {**scale, "spec": {"replicas": 0, **scale["spec"]}}
        return shaped_reply(ctx, 200, one_row(ctx, shown, _COLUMNS))
    return shaped_reply(ctx, 200, scale)


async def update(core: Core, ctx: Context) -> Reply:
    """Replace the Scale."""
    options = write_options(ctx.query, "UpdateOptions")
    scale = decoding.decode_body(ctx, SCALE, options.field_validation)
    decoding.settle_namespace(ctx, scale)
    decoding.settle_name(ctx, scale)
    return await _change(core, ctx, options, lambda present: scale)


async def patch_scale(core: Core, ctx: Context) -> Reply:
    """Patch the Scale."""
    media_type = decoding.media_type_of(ctx.content_type)
    options = write_options(ctx.query, "PatchOptions")
    check_patch_options(options, apply=media_type == APPLY_PATCH)
    if media_type == APPLY_PATCH:
        return await _apply(core, ctx, options)
    change = patch.patcher(ctx, media_type, SCALE)
    return await _change(
        core,
        ctx,
        options,
        lambda present: codec.conform(change(present), SCALE, options.field_validation).obj,
    )


async def _apply(core: Core, ctx: Context, options: WriteOptions) -> Reply:
    """Apply a Scale: it owns ``spec.replicas`` of the object."""
    sent = codec.decode_apply(ctx.body, options.field_validation).obj
    # Conforming drops a zero, which is a number of replicas like any other.
    given = isinstance(sent.get("spec"), dict) and sent["spec"].get("replicas") is not None
    scale = codec.conform(sent, SCALE, options.field_validation).obj
    decoding.settle_name(ctx, decoding.with_metadata(scale))
    decoding.settle_namespace(ctx, scale)
    replicas = _replicas(ctx, scale)
    gvk = ctx.entry.gvk
    names = {key: scale["metadata"][key] for key in ("name", "namespace") if key in scale["metadata"]}
    applied: Object = {"kind": gvk.kind, "apiVersion": gvk.api_version, "metadata": names}
    if given:
        _put_replicas(applied, ctx.entry.scale, replicas)

    def transform(existing: Object) -> Object:
        newest = existing["metadata"].pop("resourceVersion", None)
        merged = patch.merge_applied(ctx, existing, applied, options)
        merged["metadata"]["resourceVersion"] = newest
        return merged

    raw = await writing.update_object(core, ctx, transform, options, _door(ctx), tracked=False)
    return _reply(ctx, scale_of(orjson.loads(raw), ctx.entry.scale))


def _put_replicas(obj: Object, paths: ScalePaths | None, replicas: int) -> None:
    """Set the wanted number in place, on copies of what lies on the way."""
    path = paths.spec if paths is not None else ("spec", "replicas")
    for name in path[:-1]:
        obj[name] = obj = dict(obj.get(name) or {})
    obj[path[-1]] = replicas


def _replicas(ctx: Context, scale: Object) -> int:
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        problem = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid(SCALE.group, SCALE.kind, ctx.name, [problem])
    return int(replicas)


def _door(ctx: Context) -> Door:
    rules = ctx.entry.rules
    return Door(rules.prepare_update, rules.validate_update, "scale", shown=_ShownScale(ctx.entry.scale))


@dataclass(frozen=True, slots=True)
class _ShownScale:
    """Admission sees the Scale, not the object that is scaled."""

    paths: ScalePaths | None

    def show(self, request: AdmissionRequest) -> None:
        assert request.object is not None and request.old_object is not None
        request.object = scale_of(request.object, self.paths)
        request.old_object = scale_of(request.old_object, self.paths)

    def take(self, request: AdmissionRequest, new: Object) -> None:
        replicas = ((request.object or {}).get("spec") or {}).get("replicas") or 0
        if replicas != (scale_of(new, self.paths)["spec"].get("replicas") or 0):
            _put_replicas(new, self.paths, int(replicas))


async def _change(core: Core, ctx: Context, options: WriteOptions, make: Callable[[Object], Object]) -> Reply:
    def transform(existing: Object) -> Object:
        scale = make(scale_of(existing, ctx.entry.scale))
        replicas = _replicas(ctx, scale)
        metadata = scale.get("metadata") or {}
        _put_replicas(existing, ctx.entry.scale, replicas)
        revision, uid = metadata.get("resourceVersion"), metadata.get("uid")
        kept = existing["metadata"] = dict(existing["metadata"])
        if revision:
            kept["resourceVersion"] = revision
        if uid:
            kept["uid"] = uid
        return existing

    raw = await writing.update_object(core, ctx, transform, options, _door(ctx))
    return _reply(ctx, scale_of(orjson.loads(raw), ctx.entry.scale))


def scale_of(obj: Object, paths: ScalePaths | None = None) -> Object:
    """The Scale of a workload, or of a custom object that says where its numbers are."""
    metadata = {key: obj["metadata"][key] for key in _METADATA if key in obj["metadata"]}
    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata}
    if paths is not None:
        return _custom_scale(scale, obj, paths)
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    replicas = spec.get("replicas")
    replicas = 1 if replicas is None else replicas
    scale["spec"] = {"replicas": replicas} if replicas else {}
    scale["status"] = {"replicas": status.get("replicas") or 0}
    text = _selector(spec.get("selector"))
    if text:
        scale["status"]["selector"] = text
    return scale


def _custom_scale(scale: Object, obj: Object, paths: ScalePaths) -> Object:
    replicas = lookup(obj, paths.spec)
    if replicas is None:
        where = f".{'.'.join(paths.spec)}"
        raise errors.InternalError(
            f"the spec replicas field {quote(where)} does not exist",
            details={"causes": [{"message": f"the spec replicas field {quote(where)} does not exist"}]},
        )
    scale["spec"] = {"replicas": replicas} if replicas else {}
    scale["status"] = {"replicas": lookup(obj, paths.status) or 0}
    if paths.selector and (text := lookup(obj, paths.selector)):
        scale["status"]["selector"] = text
    return scale


def _selector(selector: Object | None) -> str:
    if not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(selectors.label_selector_from(selector))
    # A ReplicationController selects by a plain map.
    return str(selectors.selector_from_set(selector))
