"""Replies in the representation that the client accepts.

Plain JSON is the fast path: the bytes of the cache go out as they are. Everything else (Table,
PartialObjectMetadata, YAML, protobuf, pretty-printed JSON) decodes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.negotiation import EMPTY, JSON, PROTOBUF, Representation, encode
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.request import Context, Reply
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock

Render = Callable[[bytes], bytes]


def object_reply(ctx: Context, code: int, raw: bytes) -> Reply:
    """One object, given as the JSON of the version that was asked for."""
    if ctx.representation.is_plain and not ctx.pretty:
        return Reply(code, raw, warnings=ctx.warnings)
    if ctx.representation is EMPTY:
        return Reply(code, b"", warnings=ctx.warnings)
    obj: Object = orjson.loads(raw)
    return shaped_reply(ctx, code, shape(ctx.entry, ctx.representation, obj, ctx.query))


def shaped_reply(ctx: Context, code: int, obj: Object) -> Reply:
    """An object that already has its shape, in the media type asked for."""
    if ctx.representation is EMPTY:
        return Reply(code, b"", warnings=ctx.warnings)
    media_type = ctx.representation.media_type
    return Reply(code, encode(obj, media_type, pretty=ctx.pretty), media_type, ctx.warnings)


def status_reply(ctx: Context, code: int, status: Object) -> Reply:
    """A Status (or another object that has no table)."""
    return shaped_reply(ctx, code, status)


def list_reply(
    ctx: Context, items: Sequence[Item], revision: int, continue_token: str = "", remaining: int | None = None
) -> Reply:
    """A list of cached items."""
    entry = ctx.entry
    meta: Object = {"resourceVersion": str(revision)}
    if continue_token:
        meta["continue"] = continue_token
    if remaining:
        meta["remainingItemCount"] = remaining
    raws: Sequence[bytes] = [item.raw for item in items]
    if entry.conversion is not None:
        raws = [entry.conversion.raw_from_storage(raw) for raw in raws]
    if ctx.representation.is_plain and not ctx.pretty:
        return Reply(200, plain_list(entry, raws, meta), warnings=ctx.warnings)
    objects: list[Object] = [orjson.loads(raw) for raw in raws]
    if ctx.representation.shape == "Table":
        return shaped_reply(ctx, 200, _table(entry, objects, ctx.query, meta, ctx.representation.version))
    if ctx.representation.shape:
        items_ = [partial_metadata(obj, ctx.representation.version) for obj in objects]
        return shaped_reply(
            ctx,
            200,
            _list(f"meta.k8s.io/{ctx.representation.version}", "PartialObjectMetadataList", meta, items_),
        )
    if not entry.custom:
        for obj in objects:
            obj.pop("kind", None)
            obj.pop("apiVersion", None)
    return shaped_reply(ctx, 200, _list(entry.gvk.api_version, entry.resource.list_kind, meta, objects))


def _list(api_version: str, kind: str, meta: Object, items: list[Object]) -> Object:
    return {"kind": kind, "apiVersion": api_version, "metadata": meta, "items": items}


def plain_list(entry: Entry, raws: Sequence[bytes], meta: Object) -> bytes:
    """The JSON of a list. Items of built-in kinds leave out kind and apiVersion, as Kubernetes' do."""
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        entry.resource.list_kind.encode(),
        entry.gvk.api_version.encode(),
        orjson.dumps(meta),
    )
    if not raws:
        return head + b"]}"
    if entry.custom:
        return b"".join((head, b",".join(raws), b"]}"))
    start = header_length(entry)
    return b"".join((head, b"{", b",{".join([raw[start:] for raw in raws]), b"]}"))


def header_length(entry: Entry) -> int:
    """How many bytes ``{"apiVersion":...,"kind":...,`` takes at the start of this kind's JSON."""
    return len(f'{{"apiVersion":"{entry.gvk.api_version}","kind":"{entry.kind}",')


def shape(entry: Entry, representation: Representation, obj: Object, query: object = None) -> Object:
    """``obj`` as Table, PartialObjectMetadata or itself."""
    if representation.shape == "Table":
        meta = {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", "")}
        return _table(entry, [obj], query, meta, representation.version)
    if representation.shape:
        return partial_metadata(obj, representation.version)
    return obj


def one_row(ctx: Context, obj: Object, columns: Sequence[Object]) -> Object:
    """A Table of one object with columns of its own, as custom resources have them."""
    meta = {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", "")}
    return _table(ctx.entry, [obj], ctx.query, meta, ctx.representation.version, columns)


def partial_metadata(obj: Object, version: str = "v1") -> Object:
    """The PartialObjectMetadata of ``obj``."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata") or {},
    }


def _table(
    entry: Entry,
    objects: list[Object],
    query: object,
    meta: Object,
    version: str,
    columns: Sequence[Object] | None = None,
) -> Object:
    from coxswain.api import tables

    asked = query.get("includeObject") if isinstance(query, Mapping) else None
    wanted: Literal["Metadata", "Object", "None"] = "Metadata"
    if asked == "Object":
        wanted = "Object"
    elif asked == "None":
        wanted = "None"
    table = tables.table(
        entry.gvr,
        objects,
        now=clock.now(),
        include_object=wanted,
        list_meta=meta,
        columns=entry.columns if columns is None else columns,
    )
    if version != "v1":
        table["apiVersion"] = f"meta.k8s.io/{version}"
    return table


def render_for(entry: Entry, representation: Representation, include_object: str = "") -> Render | None:
    """What turns stored JSON into what a watcher sees; None when it is the same.

    The same function is returned for the same request, so that an event is rendered once for all who ask alike.
    """
    if representation.is_plain and entry.conversion is None:
        return None
    return _render(entry, representation.shape, representation.version, include_object)


@lru_cache(maxsize=1024)
def _render(entry: Entry, shape_: str, version: str, include_object: str) -> Render:
    conversion = entry.conversion
    representation = Representation(JSON, shape_, version)
    query = {"includeObject": include_object} if include_object else {}

    def render(raw: bytes) -> bytes:
        obj: Object = orjson.loads(raw)
        if conversion is not None:
            obj = conversion.from_storage(obj)
        return orjson.dumps(shape(entry, representation, obj, query))

    return render


def protobuf_for(entry: Entry, representation: Representation) -> Render | None:
    """What turns stored JSON into a watcher's protobuf; None for watches in JSON.

    The same for all who ask alike, and it remembers the latest: an event is encoded once.
    """
    if representation.media_type != PROTOBUF:
        return None
    return _protobuf(entry, representation.shape, representation.version)


#: How many encoded events are remembered for each way of asking.
_ENCODED_EVENTS = 64


@lru_cache(maxsize=256)
def _protobuf(entry: Entry, shape_: str, version: str) -> Render:
    from coxswain.api import protobuf

    representation = Representation(JSON, shape_, version)

    @lru_cache(maxsize=_ENCODED_EVENTS)
    def render(raw: bytes) -> bytes:
        obj: Object = orjson.loads(raw)
        if obj.get("kind") == "Status":
            return protobuf.encode(obj)
        if entry.conversion is not None and obj.get("apiVersion") != entry.gvk.api_version:
            obj = entry.conversion.from_storage(obj)
        return protobuf.encode(shape(entry, representation, obj))

    return render
