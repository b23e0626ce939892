"""The Swagger 2.0 document in gnostic's protobuf form, which client-go asks for at ``/openapi/v2``.

Older kubectl and Go tools insist on it: they accept ``ACCEPTED`` and want ``MEDIA_TYPE`` back (the ``@`` that they ask
with is not allowed in a media type). Only the parts that our document has are written; extensions (``x-...``)
travel as YAML text, for which JSON will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Final

import orjson

from coxswain.api import openapi

ACCEPTED: Final = frozenset(
    {
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    }
)
MEDIA_TYPE: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_METHODS: Final = (
    ("get", 2),
    ("put", 3),
    ("post", 4),
    ("delete", 5),
    ("options", 6),
    ("head", 7),
    ("patch", 8),
)


@cache
def v2_protobuf() -> bytes:
    """The whole document, encoded once."""
    return encode(openapi.v2())


def encode(document: Mapping[str, Any]) -> bytes:
    """A Swagger 2.0 document as gnostic's ``Document``."""
    info = document["info"]
    paths = b"".join(_named(2, name, _path_item(item)) for name, item in document["paths"].items())
    definitions = b"".join(_named(1, name, _schema(found)) for name, found in document["definitions"].items())
    return b"".join(
        (
            _text(1, document["swagger"]),
            _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
            _bytes(8, paths),
            _bytes(9, definitions),
        )
    )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode()) if text else b""


def _texts(number: int, texts: Iterable[str]) -> bytes:
    return b"".join(_bytes(number, text.encode()) for text in texts)


def _true(number: int, value: Any) -> bytes:
    return _varint(number << 3) + b"\x01" if value else b""


def _named(number: int, name: str, value: bytes) -> bytes:
    """One entry of what is a map in JSON."""
    return _bytes(number, _text(1, name) + _bytes(2, value))


def _any(value: Any) -> bytes:
    return _bytes(2, orjson.dumps(value))


def _extensions(number: int, source: Mapping[str, Any]) -> bytes:
    return b"".join(
        _named(number, name, _any(value)) for name, value in source.items() if name.startswith("x-")
    )


def _path_item(item: Mapping[str, Any]) -> bytes:
    operations = b"".join(_bytes(number, _operation(item[name])) for name, number in _METHODS if name in item)
    return operations + _parameters(9, item.get("parameters", ())) + _extensions(10, item)


def _operation(operation: Mapping[str, Any]) -> bytes:
    responses = b"".join(_named(1, code, _response(found)) for code, found in operation["responses"].items())
    return b"".join(
        (
            _texts(1, operation.get("tags", ())),
            _text(3, operation.get("description", "")),
            _text(5, operation.get("operationId", "")),
            _texts(6, operation.get("produces", ())),
            _texts(7, operation.get("consumes", ())),
            _parameters(8, operation.get("parameters", ())),
            _bytes(9, responses),
            _texts(10, operation.get("schemes", ())),
            _extensions(13, operation),
        )
    )


def _response(response: Mapping[str, Any]) -> bytes:
    out = _text(1, response.get("description", ""))
    if "schema" in response:
        out += _bytes(2, _bytes(1, _schema(response["schema"])))
    return _bytes(1, out)


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_bytes(number, _bytes(1, _parameter(found))) for found in parameters)


def _parameter(found: Mapping[str, Any]) -> bytes:
    description, name, place = found.get("description", ""), found["name"], found["in"]
    if place == "body":
        body = _text(1, description) + _text(2, name) + _text(3, place) + _true(4, found.get("required"))
        return _bytes(1, body + _bytes(5, _schema(found["schema"])))
    head = _true(1, found.get("required")) + _text(2, place) + _text(3, description) + _text(4, name)
    if place == "path":
        return _bytes(2, _bytes(4, head + _text(5, found["type"]) + _true(19, found.get("uniqueItems"))))
    return _bytes(2, _bytes(3, head + _text(6, found["type"]) + _true(20, found.get("uniqueItems"))))


def _schema(found: Mapping[str, Any]) -> bytes:
    return b"".join(write(found[key]) for key, write in _SCHEMA if key in found) + _extensions(31, found)


def _additional(value: Any) -> bytes:
    if isinstance(value, bool):
        return _bytes(21, _true(2, value))
    return _bytes(21, _bytes(1, _schema(value)))


def _properties(value: Mapping[str, Any]) -> bytes:
    return _bytes(25, b"".join(_named(1, name, _schema(found)) for name, found in value.items()))


_SCHEMA: Final[tuple[tuple[str, Callable[[Any], bytes]], ...]] = (
    ("$ref", lambda value: _text(1, value)),
    ("format", lambda value: _text(2, value)),
    ("description", lambda value: _text(4, value)),
    ("default", lambda value: _bytes(5, _any(value))),
    ("required", lambda value: _texts(19, value)),
    ("additionalProperties", _additional),
    ("type", lambda value: _bytes(22, _texts(1, (value,)))),
    ("items", lambda value: _bytes(23, _bytes(1, _schema(value)))),
    ("properties", _properties),
)
