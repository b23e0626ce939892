"""Protobuf bytes to JSON trees and back, driven by tables of slots.

A ``Message`` knows its ``Slot``s by number; a slot names the JSON key and how its value is written. What is one
JSON value but a message on the wire (a time, a quantity) is left to a Python function. Unknown fields are
skipped; strings that are not UTF-8 get U+FFFD. Invariant: every read is checked against the end of its frame.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

# Kinds of slots; coxswain.api.protobuf has the same numbers.
cdef enum:
    STRING = 0
    BYTES = 1
    BOOL = 2
    INT32 = 3
    INT64 = 4
    DOUBLE = 5
    MESSAGE = 6
    SPECIAL = 7
    INLINE = 8

cdef enum:
    SINGLE = 0
    REPEATED = 1
    MAPPED = 2

cdef enum:
    MAX_DEPTH = 200


class WireError(ValueError):
    """The bytes are not the message, or the value does not fit it."""


cdef class Slot:
    """One field of a message. ``to_json(bytes)`` and ``from_json(value) -> bytes`` are for SPECIAL and BYTES."""

    cdef public uint64_t number
    cdef public str name
    cdef public int kind
    cdef public int shape
    cdef public object target     # () -> Message, called once
    cdef public object to_json
    cdef public object from_json
    cdef Message _message

    cdef inline Message message(self):
        if self._message is None:
            self._message = self.target()
        return self._message


cdef class Message:
    """A message: its slots in order of their numbers."""

    cdef public list slots
    cdef dict _by_number

    def __init__(self):
        self.slots = []
        self._by_number = {}

    def add(self, Slot slot):
        """One more slot."""
        self.slots.append(slot)
        self._by_number[slot.number] = slot


cdef struct Reader:
    const unsigned char* data
    Py_ssize_t at
    Py_ssize_t end


cdef uint64_t _varint(Reader* reader) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef unsigned char byte
    while True:
        if reader.at >= reader.end:
            raise WireError("unexpected EOF")
        if shift >= 70:
            raise WireError("proto: integer overflow")
        byte = reader.data[reader.at]
        reader.at += 1
        if shift < 64:
            value |= (<uint64_t>(byte & 0x7F)) << shift
        if byte < 0x80:
            return value
        shift += 7


cdef Py_ssize_t _length(Reader* reader) except -1:
    cdef uint64_t size = _varint(reader)
    if size > <uint64_t>(reader.end - reader.at):
        raise WireError("unexpected EOF")
    return <Py_ssize_t>size


cdef int _skip(Reader* reader, int wire) except -1:
    cdef Py_ssize_t size
    if wire == 0:
        _varint(reader)
        return 0
    if wire == 1:
        size = 8
    elif wire == 5:
        size = 4
    elif wire == 2:
        size = _length(reader)
    else:
        raise WireError(f"proto: illegal wireType {wire}")
    if size > reader.end - reader.at:
        raise WireError("unexpected EOF")
    reader.at += size
    return 0


def decode(Message message, bytes data):
    """The JSON tree of ``data``."""
    cdef Reader reader
    cdef dict out = {}
    reader.data = <const unsigned char*>PyBytes_AS_STRING(data)
    reader.at = 0
    reader.end = PyBytes_GET_SIZE(data)
    _read_message(message, &reader, out, 0)
    return out


cdef int _read_message(Message message, Reader* reader, dict out, int depth) except -1:
    cdef uint64_t tag
    cdef int wire
    cdef Slot slot
    cdef object found
    if depth > MAX_DEPTH:
        raise WireError("exceeded max depth")
    while reader.at < reader.end:
        tag = _varint(reader)
        wire = <int>(tag & 7)
        if tag >> 3 == 0:
            raise WireError("proto: illegal tag 0")
        found = message._by_number.get(tag >> 3)
        if found is None:
            _skip(reader, wire)
            continue
        slot = <Slot>found
        if slot.shape == MAPPED:
            _read_entry(slot, reader, wire, out, depth)
        elif slot.shape == REPEATED:
            _read_repeated(slot, reader, wire, out, depth)
        elif slot.kind == INLINE:
            _read_inline(slot, reader, wire, out, depth)
        else:
            out[slot.name] = _read_value(slot, reader, wire, depth)
    return 0


cdef int _read_inline(Slot slot, Reader* reader, int wire, dict out, int depth) except -1:
    cdef Reader inner
    _expect(slot, wire, 2)
    inner.data = reader.data
    inner.end = _length(reader)
    inner.at = reader.at
    inner.end += inner.at
    reader.at = inner.end
    _read_message(slot.message(), &inner, out, depth + 1)
    return 0


cdef int _read_repeated(Slot slot, Reader* reader, int wire, dict out, int depth) except -1:
    cdef list values = out.get(slot.name)
    cdef Reader inner
    if values is None:
        values = out[slot.name] = []
    if wire == 2 and (slot.kind == INT32 or slot.kind == INT64 or slot.kind == BOOL or slot.kind == DOUBLE):
        inner.data = reader.data
        inner.end = _length(reader)
        inner.at = reader.at
        inner.end += inner.at
        reader.at = inner.end
        while inner.at < inner.end:
            values.append(_read_value(slot, &inner, 1 if slot.kind == DOUBLE else 0, depth))
        return 0
    values.append(_read_value(slot, reader, wire, depth))
    return 0


cdef int _read_entry(Slot slot, Reader* reader, int wire, dict out, int depth) except -1:
    cdef dict entries = out.get(slot.name)
    cdef Reader inner
    cdef uint64_t tag
    cdef object key = ""
    cdef object value = None
    if entries is None:
        entries = out[slot.name] = {}
    _expect(slot, wire, 2)
    inner.data = reader.data
    inner.end = _length(reader)
    inner.at = reader.at
    inner.end += inner.at
    reader.at = inner.end
    while inner.at < inner.end:
        tag = _varint(&inner)
        if tag == 10:
            key = _text(&inner)
        elif tag >> 3 == 2:
            value = _read_value(slot, &inner, <int>(tag & 7), depth)
        else:
            _skip(&inner, <int>(tag & 7))
    entries[key] = value
    return 0


cdef int _expect(Slot slot, int wire, int wanted) except -1:
    if wire != wanted:
        raise WireError(f"proto: wrong wireType = {wire} for field {slot.name}")
    return 0


cdef object _text(Reader* reader):
    cdef Py_ssize_t size = _length(reader)
    cdef object text = PyUnicode_DecodeUTF8(<char*>reader.data + reader.at, size, "replace")
    reader.at += size
    return text


cdef object _read_value(Slot slot, Reader* reader, int wire, int depth):
    cdef int kind = slot.kind
    cdef Py_ssize_t size
    cdef Reader inner
    cdef dict below
    cdef double number
    if kind == BOOL:
        _expect(slot, wire, 0)
        return _varint(reader) != 0
    if kind == INT32:
        _expect(slot, wire, 0)
        return <int32_t>(<uint32_t>_varint(reader))
    if kind == INT64:
        _expect(slot, wire, 0)
        return <int64_t>_varint(reader)
    if kind == DOUBLE:
        _expect(slot, wire, 1)
        if reader.end - reader.at < 8:
            raise WireError("unexpected EOF")
        memcpy(&number, reader.data + reader.at, 8)
        reader.at += 8
        return number
    _expect(slot, wire, 2)
    if kind == STRING:
        return _text(reader)
    size = _length(reader)
    if kind == MESSAGE:
        inner.data = reader.data
        inner.at = reader.at
        inner.end = reader.at + size
        reader.at = inner.end
        below = {}
        _read_message(slot.message(), &inner, below, depth + 1)
        return below
    payload = PyBytes_FromStringAndSize(<char*>reader.data + reader.at, size)
    reader.at += size
    return slot.to_json(payload)


def encode(Message message, dict obj):
    """The bytes of a JSON tree: what is null or unknown to the message is left out."""
    cdef bytearray out = bytearray()
    _write_message(message, obj, out, 0)
    return bytes(out)


cdef int _write_varint(bytearray out, uint64_t value) except -1:
    while value >= 0x80:
        out.append(<unsigned char>(value & 0x7F) | 0x80)
        value >>= 7
    out.append(<unsigned char>value)
    return 0


cdef int _write_bytes(bytearray out, uint64_t number, object data) except -1:
    _write_varint(out, (number << 3) | 2)
    _write_varint(out, len(data))
    out += data
    return 0


cdef int _write_message(Message message, dict obj, bytearray out, int depth) except -1:
    cdef Slot slot
    cdef bytearray inner
    cdef object value
    if depth > MAX_DEPTH:
        raise WireError("exceeded max depth")
    for slot in message.slots:
        if slot.kind == INLINE:
            inner = bytearray()
            _write_message(slot.message(), obj, inner, depth + 1)
            if inner:
                _write_bytes(out, slot.number, inner)
            continue
        value = obj.get(slot.name)
        if value is None:
            continue
        if slot.shape == REPEATED:
            for element in <list?>value:
                _write_value(slot, slot.number, element, out, depth)
        elif slot.shape == MAPPED:
            for key, element in (<dict?>value).items():
                inner = bytearray()
                _write_bytes(inner, 1, PyUnicode_AsUTF8String(key))
                if element is not None:
                    _write_value(slot, 2, element, inner, depth)
                _write_bytes(out, slot.number, inner)
        else:
            _write_value(slot, slot.number, value, out, depth)
    return 0


cdef int _write_value(Slot slot, uint64_t number, object value, bytearray out, int depth) except -1:
    cdef int kind = slot.kind
    cdef bytearray inner
    cdef double real
    if kind == STRING:
        _write_bytes(out, number, PyUnicode_AsUTF8String(value))
    elif kind == MESSAGE:
        inner = bytearray()
        if value is not None:
            _write_message(slot.message(), <dict?>value, inner, depth + 1)
        _write_bytes(out, number, inner)
    elif kind == BOOL:
        _write_varint(out, number << 3)
        out.append(1 if value else 0)
    elif kind == INT32 or kind == INT64:
        _write_varint(out, number << 3)
        _write_varint(out, <uint64_t><int64_t>value)
    elif kind == DOUBLE:
        real = value
        _write_varint(out, (number << 3) | 1)
        out += (<char*>&real)[:8]
    else:
        _write_bytes(out, number, slot.from_json(value))
    return 0
