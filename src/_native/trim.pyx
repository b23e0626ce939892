"""A JSON text without the members that nobody asks for: what is left is parsed in a fraction of the time.

``Shape`` says what is kept. A text that is not as expected comes back as it is. Names are compared as they are
written: one that is escaped is not found, and its member dropped. Invariant: every read is checked against the end
of the text, and what is written is at most a quarter longer than what was read.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from coxswain._native.jsontext cimport Span, Text, is_named, next_key, skip_blank, skip_value

cdef enum:
    MEMBERS = 32


cdef struct Output:
    char* data
    Py_ssize_t size


cdef class Shape:
    """Members by name: kept whole (None), or only what their own shape keeps of the object, or of each in a list."""

    cdef list names
    cdef list shapes
    cdef const char* texts[MEMBERS]
    cdef Py_ssize_t sizes[MEMBERS]
    cdef int count

    def __init__(self, dict members):
        if len(members) > MEMBERS:
            raise ValueError(f"a shape has at most {MEMBERS} members, not {len(members)}")
        self.names = [name.encode() for name in members]
        self.shapes = list(members.values())
        self.count = 0
        cdef bytes encoded
        for encoded in self.names:
            self.texts[self.count] = PyBytes_AS_STRING(encoded)
            self.sizes[self.count] = PyBytes_GET_SIZE(encoded)
            self.count += 1

    cdef int find(self, const Text* text, const Span* key) noexcept:
        cdef int index
        for index in range(self.count):
            if is_named(text, key, self.texts[index], self.sizes[index]):
                return index
        return -1


def trim(bytes raw, Shape shape):
    """``raw``, a JSON object, with only what ``shape`` keeps; ``raw`` itself if it is no JSON object."""
    cdef Text text
    cdef Output out
    text.data, text.size = PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)
    out.size = 0
    cdef Py_ssize_t at = skip_blank(&text, 0)
    if at >= text.size or text.data[at] != c'{':
        return raw
    # What is missing in a broken text (a comma) is added: once a member, which has four bytes at least.
    out.data = <char*>malloc(2 * text.size)
    if out.data == NULL:
        raise MemoryError
    try:
        if _object(&text, at, shape, &out) < 0:
            return raw
        return PyBytes_FromStringAndSize(out.data, out.size)
    finally:
        free(out.data)


cdef inline void _put(Output* out, char byte) noexcept:
    out.data[out.size] = byte
    out.size += 1


cdef inline void _copy(const Text* text, Py_ssize_t start, Py_ssize_t end, Output* out) noexcept:
    memcpy(out.data + out.size, text.data + start, end - start)
    out.size += end - start


cdef Py_ssize_t _object(const Text* text, Py_ssize_t at, Shape shape, Output* out):
    """Write what is kept of the object that starts here; the place after it, -1 if it is broken."""
    cdef Span key
    cdef Py_ssize_t start
    cdef int index
    cdef bint first = True
    _put(out, c'{')
    at += 1
    while True:
        at = next_key(text, at, &key)
        if at < 0:
            return -1
        if at == 0:
            _put(out, c'}')
            return key.end
        start = at
        index = shape.find(text, &key)
        if index < 0:
            at = skip_value(text, at)
        else:
            if not first:
                _put(out, c',')
            first = False
            _copy(text, key.start - 1, key.end + 1, out)
            _put(out, c':')
            at = _kept(text, at, <Shape>shape.shapes[index], out)
        if at <= start:
            return -1


cdef Py_ssize_t _kept(const Text* text, Py_ssize_t at, Shape shape, Output* out):
    """Write what is kept of the value that starts here; the place after it, -1 if it is broken."""
    cdef Py_ssize_t end
    if at >= text.size:
        return -1
    if shape is not None and text.data[at] == c'{':
        return _object(text, at, shape, out)
    if shape is not None and text.data[at] == c'[':
        return _list(text, at, shape, out)
    end = skip_value(text, at)
    if end > at:
        _copy(text, at, end, out)
    return end


cdef Py_ssize_t _list(const Text* text, Py_ssize_t at, Shape shape, Output* out):
    cdef Py_ssize_t start
    _put(out, c'[')
    at = skip_blank(text, at + 1)
    while at < text.size:
        if text.data[at] == c']':
            _put(out, c']')
            return at + 1
        if text.data[at] == c',':
            _put(out, c',')
            at = skip_blank(text, at + 1)
            continue
        start = at
        at = _kept(text, at, shape, out)
        if at <= start:
            return -1
        at = skip_blank(text, at)
    return -1
