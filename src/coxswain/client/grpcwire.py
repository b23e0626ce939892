"""Batches of calls, answers and events as the bytes that go over gRPC, and the answers from theirs.

The messages are those of ``proto/coxswain/v1/api.proto``, field by field in order. They are written here because
calls and events come by the hundred and are alike but for a name and a body, while a message class is filled one
field at a time; and because the answers to a batch of writes are mostly one answer, many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from coxswain.api.names import GVR
from coxswain.client.interface import JSON, Answer, Answers, Call, EventType, WatchEvent


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


#: Lengths as they are written, those that are usual.
_LENGTHS: Final = [_varint(size) for size in range(4096)]


def _length(size: int) -> bytes:
    return _LENGTHS[size] if size < 4096 else _varint(size)


def _field(number: int, data: bytes) -> bytes:
    """A field of bytes or text; an empty one is left out, as proto3 has it."""
    return _varint(number << 3 | 2) + _length(len(data)) + data if data else b""


@lru_cache(maxsize=512)
def _like(verb: str, resource: GVR, subresource: str, content_type: str, accept: str) -> tuple[bytes, ...]:
    """What calls of one kind have alike, by its place: before the namespace, after the name, around the body."""
    head = (verb, resource.group, resource.version, resource.resource)
    return (
        b"".join(_field(number, text.encode()) for number, text in enumerate(head, 1)),
        _field(7, subresource.encode()),
        b"" if content_type == JSON else _field(9, content_type.encode()),
        b"" if accept == JSON else _field(11, accept.encode()),
    )


def encode_call(call: Call) -> bytes:
    """A ``Call`` message."""
    head, subresource, content_type, accept = _like(
        call.verb, call.resource, call.subresource, call.content_type, call.accept
    )
    namespace, name, body = call.namespace.encode(), call.name.encode(), call.body
    parts = [head]
    if namespace:
        parts += (b"\x2a", _length(len(namespace)), namespace)
    if name:
        parts += (b"\x32", _length(len(name)), name)
    parts.append(subresource)
    for key, value in call.query.items():
        entry = _field(1, key.encode()) + _field(2, value.encode())
        parts += (b"\x42", _length(len(entry)), entry)
    parts.append(content_type)
    if body:
        parts += (b"\x52", _length(len(body)), body)
    parts.append(accept)
    return b"".join(parts)


def encode_batch(number: int, calls: Sequence[Call]) -> bytes:
    """A ``CallBatch`` message."""
    parts = [b"\x08", _varint(number)]
    for call in calls:
        data = encode_call(call)
        parts += (b"\x12", _length(len(data)), data)
    return b"".join(parts)


def encode_answers(number: int, answers: Sequence[Answer]) -> bytes:
    """An ``AnswerBatch`` message. Answers that follow their like are written once."""
    parts = [b"\x08", _varint(number)]
    last_code, last_body, data = -1, b"", b""
    for answer in answers:
        code, body = answer.code, answer.body
        if code != last_code or body != last_body:
            last_code, last_body = code, body
            data = b"\x08" + _varint(code)
            if body:
                data += b"\x12" + _length(len(body)) + body
            data = b"\x12" + _length(len(data)) + data
        parts.append(data)
    return b"".join(parts)


#: The type of an event and the tag of its object.
_EVENT_HEADS: Final[dict[EventType, bytes]] = {
    "ADDED": b"\x08\x01\x12",
    "MODIFIED": b"\x08\x02\x12",
    "DELETED": b"\x08\x03\x12",
    "BOOKMARK": b"\x08\x04\x12",
    "ERROR": b"\x08\x05\x12",
}


def encode_events(events: Sequence[WatchEvent]) -> bytes:
    """A ``WatchBatch`` message."""
    parts: list[bytes] = []
    for event in events:
        raw = event.raw
        size = _length(len(raw))
        parts += (b"\x0a", _length(3 + len(size) + len(raw)), _EVENT_HEADS[event.type], size, raw)
    return b"".join(parts)


def batch_number(data: bytes) -> tuple[int, int]:
    """The number of an ``AnswerBatch`` and where its answers begin; (0, 0) if it does not begin with one."""
    value = shift = 0
    if data[:1] == b"\x08":
        for at in range(1, min(len(data), 11)):
            value |= (data[at] & 0x7F) << shift
            if data[at] < 0x80:
                return value, at + 1
            shift += 7
    return 0, 0


def decode_answers(data: bytes, at: int, count: int) -> Answers:
    """The answers of an ``AnswerBatch``, ``count`` of them or not. Those that are all alike are one object, many times.

    Raises ``DecodeError`` if the bytes are no such message.
    """
    from coxswain._generated import messages

    size = (len(data) - at) // count if count else 0
    if at and 2 < size < 130 and data[at] == 0x12 and data[at + 1] == size - 2:
        first = data[at : at + size]
        if data[at:] == first * count:
            answer = messages.Answer.FromString(first[2:])
            return [Answer(answer.code, answer.body)] * count
    return [Answer(answer.code, answer.body) for answer in messages.AnswerBatch.FromString(data).answers]
