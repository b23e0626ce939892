"""Kubernetes' protobuf form of every built-in kind, both ways, from the table ``data/protobuf.json``.

    decode(body, default_gvk) -> (object, gvk)      body is b"k8s\\0" + runtime.Unknown
    encode(obj) -> body                             an object, a list, a Status, PartialObjectMetadata ...
    frame_event("ADDED", obj) -> bytes              length, then a WatchEvent whose object is encoded as above
    decode_event(payload) -> (type, object)         what such a frame (without its length) holds

The decoded object has been through ``fieldcheck.check``: Go writes zero values on the wire, and they are dropped
here as its JSON would drop them. Messages whose JSON is one value (time, quantity, int-or-string, raw JSON) have
a pair of functions each; inlined structs are flattened. The byte work is compiled (``_native.wire``).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from importlib import resources
from typing import Any, Final

import orjson

from coxswain._native import wire
from coxswain.api import errors, fieldcheck, gotime, schema
from coxswain.api.fields import quote
from coxswain.api.names import GVK, Object, split_api_version

ENVELOPE: Final = b"k8s\x00"
_META: Final = "k8s.io.apimachinery.pkg.apis.meta.v1."
_RUNTIME: Final = "k8s.io.apimachinery.pkg.runtime."
_EXTENSIONS: Final = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."

_SCALARS: Final[Mapping[str, int]] = {"string": 0, "bytes": 1, "bool": 2, "int32": 3, "int64": 4, "double": 5}
_MESSAGE, _SPECIAL, _INLINE = 6, 7, 8
_SHAPES: Final[Mapping[str, int]] = {"": 0, "rep": 1, "map": 2, "inline": 0}


class ProtobufError(ValueError):
    """The body is not the protobuf form of its kind; ``gvk`` is what it says it is, if it came that far."""

    gvk: GVK | None = None


@cache
def _table() -> dict[str, list[list[Any]]]:
    data = resources.files("coxswain.api").joinpath("data/protobuf.json").read_bytes()
    table: dict[str, list[list[Any]]] = orjson.loads(data)
    return table


_messages: dict[str, wire.Message] = {}


def message(name: str) -> wire.Message:
    """The compiled table of a message (``k8s.io.api.core.v1.Pod``), made once; KeyError if there is none."""
    made = _messages.get(name)
    if made is None:
        rows = _table()[name]
        made = _messages[name] = wire.Message()
        for number, json_name, kind, shape in rows:
            made.add(_slot(number, json_name, kind, shape))
    return made


def _slot(number: int, json_name: str, kind: str, shape: str) -> wire.Slot:
    slot = wire.Slot()
    slot.number, slot.name, slot.shape = number, json_name, _SHAPES[shape]
    if kind in _SCALARS:
        slot.kind = _SCALARS[kind]
        if kind == "bytes":
            slot.to_json, slot.from_json = _base64_text, _base64_bytes
    elif kind in _CONVERTERS:
        slot.kind = _SPECIAL
        slot.to_json, slot.from_json = _CONVERTERS[kind]
    elif _is_list(kind):
        slot.kind = _SPECIAL
        slot.to_json, slot.from_json = partial(_list_json, kind), partial(_list_bytes, kind)
    else:
        slot.kind = _INLINE if shape == "inline" else _MESSAGE
        slot.target = partial(message, kind)
    return slot


def _is_list(name: str) -> bool:
    """Named string lists are a message around ``items`` (authentication's ExtraValue)."""
    rows = _table()[name]
    return len(rows) == 1 and rows[0][1] == "items" and rows[0][2] == "string"


def message_of(gvk: GVK) -> str | None:
    """The message of a kind; None when the tables have none."""
    kind = schema.type_of(gvk)
    if kind is not None:
        name = kind.name.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")
        return name if name in _table() else None
    name = _META + gvk.kind
    return name if gvk.group in ("", "meta.k8s.io") and name in _table() else None


def decode(body: bytes, default_gvk: GVK | None = None) -> tuple[Object, GVK]:
    """The object in an enveloped body. Raises ``ProtobufError``."""
    if not body.startswith(ENVELOPE):
        raise ProtobufError(
            f"provided data does not appear to be a protobuf message, expected prefix {list(ENVELOPE)}".replace(
                ",", ""
            )
        )
    unknown = _parse(_RUNTIME + "Unknown", body[len(ENVELOPE) :])
    meta = unknown.get("typeMeta") or {}
    group, version = split_api_version(meta.get("apiVersion", ""))
    kind = meta.get("kind", "")
    if default_gvk is not None:
        kind = kind or default_gvk.kind
        if not version:
            group, version = default_gvk.group, default_gvk.version
    gvk = GVK(group, version, kind)
    raw = base64.b64decode(unknown.get("raw", ""))
    if unknown.get("contentType") == "application/json":
        return _embedded_json(raw, gvk), gvk
    name = message_of(gvk)
    if name is None:
        error = ProtobufError(
            f"no kind {quote(kind)} is registered for version {quote(gvk.api_version)}"
            ' in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
        error.gvk = gvk
        raise error
    return _typed(_parse(name, raw), gvk), gvk


def _embedded_json(raw: bytes, gvk: GVK) -> Object:
    """An envelope may hold JSON instead."""
    try:
        obj = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtobufError(str(error)) from None
    if not isinstance(obj, dict):
        raise ProtobufError("the body is not an object")
    return _typed(obj, gvk)


def _parse(name: str, data: bytes) -> Object:
    try:
        return wire.decode(message(name), data)
    except (
        wire.WireError,
        orjson.JSONDecodeError,
        UnicodeDecodeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ProtobufError(str(error)) from None


def _typed(obj: Object, gvk: GVK) -> Object:
    """The parsed tree with what JSON would leave out dropped, and kind and apiVersion first."""
    kind = schema.type_of(gvk)
    if kind is not None:
        try:
            fieldcheck.check(obj, kind, report=False)
        except fieldcheck.DecodeError as error:
            raise ProtobufError(str(error)) from None
    return {"kind": gvk.kind, "apiVersion": gvk.api_version, **obj}


def encode(obj: Object) -> bytes:
    """``obj`` in its envelope. Raises ``NotAcceptable`` for a kind that has no protobuf form."""
    gvk = GVK.of(obj)
    name = message_of(gvk)
    if name is None:
        raise errors.NotAcceptable(
            f"object {gvk.kind} of {gvk.api_version} does not implement the protobuf marshalling interface and"
            " cannot be encoded to a protobuf message"
        )
    return _enveloped(gvk, wire.encode(message(name), obj))


def _enveloped(gvk: GVK, raw: bytes) -> bytes:
    meta = _field(1, gvk.api_version.encode()) + _field(2, gvk.kind.encode())
    return b"".join((ENVELOPE, _field(1, meta), _field(2, raw), b"\x1a\x00\x22\x00"))


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field with a number below 16."""
    size, length = len(data), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2, *length)) + data


def frame_event(event_type: str, obj: Object) -> bytes:
    """A watch event as a protobuf stream carries it: big-endian length, then a bare WatchEvent."""
    return frame_encoded_event(event_type, encode(obj))


def frame_encoded_event(event_type: str, encoded: bytes) -> bytes:
    """The same for an object that ``encode`` made bytes of (one encoding serves every watcher)."""
    event = _field(1, event_type.encode()) + _field(2, _field(1, encoded))
    return struct.pack(">I", len(event)) + event


def decode_event(payload: bytes) -> tuple[str, Object]:
    """The type and object of one frame without its length. Raises ``ProtobufError``."""
    event = _parse(_META + "WatchEvent", payload)
    return event.get("type", ""), event.get("object") or {}


def _base64_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64_bytes(text: str) -> bytes:
    return base64.b64decode(text)


def _list_json(name: str, data: bytes) -> list[Any]:
    items: list[Any] = wire.decode(message(name), data).get("items", [])
    return items


def _list_bytes(name: str, value: list[Any]) -> bytes:
    return wire.encode(message(name), {"items": value})


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _time_json(micro: bool, data: bytes) -> str | None:
    if not data:
        return None
    parts = wire.decode(message(_META + "Timestamp"), data)
    try:
        at = _EPOCH + timedelta(seconds=parts.get("seconds", 0))
    except OverflowError:
        raise wire.WireError("proto: time out of range") from None
    moment = gotime.Moment(at, max(parts.get("nanos", 0), 0) % 1_000_000_000)
    return moment.micro_text() if micro else moment.seconds_text()


def _time_bytes(micro: bool, text: str) -> bytes:
    moment = gotime.parse(text, gotime.RFC3339_MICRO if micro else gotime.RFC3339)
    since = moment.at - _EPOCH
    value = {"seconds": since.days * 86400 + since.seconds}
    if micro:
        value["nanos"] = moment.nanos
    return wire.encode(message(_META + "Timestamp"), value)


def _quantity_json(data: bytes) -> str:
    return (
        str(wire.decode(message("k8s.io.apimachinery.pkg.api.resource.Quantity"), data).get("string", "0"))
        or "0"
    )


def _quantity_bytes(value: Any) -> bytes:
    return _field(1, str(value).encode())


_INT_OR_STRING: Final = "k8s.io.apimachinery.pkg.util.intstr.IntOrString"


def _int_or_string_json(data: bytes) -> int | str:
    parts = wire.decode(message(_INT_OR_STRING), data)
    if parts.get("type", 0) == 0:
        return int(parts.get("intVal", 0))
    return str(parts.get("strVal", ""))


def _int_or_string_bytes(value: int | str) -> bytes:
    text = isinstance(value, str)
    parts = {"type": int(text), "intVal": 0 if text else value, "strVal": value if text else ""}
    return wire.encode(message(_INT_OR_STRING), parts)


def _raw_json(name: str, data: bytes) -> Any:
    fields = wire.decode(message(name), data)
    text = base64.b64decode(fields.get("raw") or fields.get("Raw") or "")
    if text.startswith(ENVELOPE):
        return decode(text)[0]
    return orjson.loads(text) if text else None


def _raw_bytes(value: Any) -> bytes:
    return _field(1, orjson.dumps(value))


_PROPS: Final = _EXTENSIONS + "JSONSchemaProps"


def _props(data: bytes) -> Object:
    """A JSONSchemaProps with its zero values dropped, as its JSON would be."""
    props = wire.decode(message(_PROPS), data)
    fieldcheck.check(
        props,
        schema.named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"),
        report=False,
    )
    return props


@cache
def _alternatives(name: str) -> wire.Message:
    """A JSONSchemaPropsOr... message whose schemas stay bytes."""
    made = wire.Message()
    for number, json_name, kind, shape in _table()[_EXTENSIONS + name]:
        slot = wire.Slot()
        slot.number, slot.name, slot.shape = number, json_name, _SHAPES[shape]
        slot.kind = _SCALARS.get(kind, _SPECIAL)
        if kind == _PROPS:
            slot.to_json, slot.from_json = _props, partial(wire.encode, message(_PROPS))
        made.add(slot)
    return made


def _or_array_json(data: bytes) -> Any:
    parts = wire.decode(_alternatives("JSONSchemaPropsOrArray"), data)
    return parts.get("jSONSchemas") or parts.get("schema")


def _or_array_bytes(value: Any) -> bytes:
    key = "jSONSchemas" if isinstance(value, list) else "schema"
    return wire.encode(_alternatives("JSONSchemaPropsOrArray"), {key: value})


def _or_bool_json(data: bytes) -> Any:
    parts = wire.decode(_alternatives("JSONSchemaPropsOrBool"), data)
    found = parts.get("schema")
    return found if found is not None else bool(parts.get("allows"))


def _or_bool_bytes(value: Any) -> bytes:
    parts = {"allows": value} if isinstance(value, bool) else {"allows": True, "schema": value}
    return wire.encode(_alternatives("JSONSchemaPropsOrBool"), parts)


def _or_strings_json(data: bytes) -> Any:
    parts = wire.decode(_alternatives("JSONSchemaPropsOrStringArray"), data)
    return parts.get("property") or parts.get("schema")


def _or_strings_bytes(value: Any) -> bytes:
    key = "property" if isinstance(value, list) else "schema"
    return wire.encode(_alternatives("JSONSchemaPropsOrStringArray"), {key: value})


_CONVERTERS: Final[Mapping[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]]] = {
    _META + "Time": (partial(_time_json, False), partial(_time_bytes, False)),
    _META + "MicroTime": (partial(_time_json, True), partial(_time_bytes, True)),
    _META + "FieldsV1": (partial(_raw_json, _META + "FieldsV1"), _raw_bytes),
    "k8s.io.apimachinery.pkg.api.resource.Quantity": (_quantity_json, _quantity_bytes),
    _INT_OR_STRING: (_int_or_string_json, _int_or_string_bytes),
    _RUNTIME + "RawExtension": (partial(_raw_json, _RUNTIME + "RawExtension"), _raw_bytes),
    _EXTENSIONS + "JSON": (partial(_raw_json, _EXTENSIONS + "JSON"), _raw_bytes),
    _EXTENSIONS + "JSONSchemaPropsOrArray": (_or_array_json, _or_array_bytes),
    _EXTENSIONS + "JSONSchemaPropsOrBool": (_or_bool_json, _or_bool_bytes),
    _EXTENSIONS + "JSONSchemaPropsOrStringArray": (_or_strings_json, _or_strings_bytes),
}
