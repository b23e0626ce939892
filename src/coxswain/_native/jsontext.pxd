"""Where things are in a JSON text, without parsing it. Positions are offsets; -1 is a text that is broken.

Invariant: every read is checked against the end of the text.
"""
from libc.string cimport memchr, memcmp


cdef struct Span:
    Py_ssize_t start   # 0: absent
    Py_ssize_t end


cdef struct Text:
    const char* data
    Py_ssize_t size


cdef inline Py_ssize_t skip_blank(const Text* text, Py_ssize_t at) noexcept nogil:
    while at < text.size and (
        text.data[at] == c' ' or text.data[at] == c'\n' or text.data[at] == c'\t' or text.data[at] == c'\r'
    ):
        at += 1
    return at


cdef inline Py_ssize_t skip_string(const Text* text, Py_ssize_t at) noexcept nogil:
    """The place after the string that starts here; -1 if it does not end."""
    cdef const char* quote
    cdef Py_ssize_t before
    at += 1
    while at < text.size:
        quote = <const char*>memchr(text.data + at, c'"', text.size - at)
        if quote == NULL:
            return -1
        at = quote - text.data
        before = at - 1
        while text.data[before] == c'\\':
            before -= 1
        at += 1
        if (at - 2 - before) % 2 == 0:
            return at
    return -1


cdef inline Py_ssize_t skip_value(const Text* text, Py_ssize_t at) noexcept nogil:
    """The place after the value that starts here; -1 if it does not end."""
    cdef Py_ssize_t depth = 0
    cdef char byte
    while at < text.size:
        byte = text.data[at]
        if byte == c'"':
            at = skip_string(text, at)
            if at < 0:
                return -1
            if depth == 0:
                return at
            continue
        if byte == c'{' or byte == c'[':
            depth += 1
        elif byte == c'}' or byte == c']':
            if depth == 0:
                return at
            depth -= 1
            if depth == 0:
                return at + 1
        elif depth == 0 and byte == c',':
            return at
        at += 1
    return -1


cdef inline Py_ssize_t next_key(const Text* text, Py_ssize_t at, Span* key) noexcept nogil:
    """The place of the next member's value, from behind its object's brace or the member before.

    0 at the object's end, which ``key.end`` then is; -1 if it is broken.
    """
    at = skip_blank(text, at)
    if at < text.size and text.data[at] == c',':
        at = skip_blank(text, at + 1)
    if at >= text.size:
        return -1
    if text.data[at] == c'}':
        key.end = at + 1
        return 0
    if text.data[at] != c'"':
        return -1
    key.start = at + 1
    at = skip_string(text, at)
    if at < 0:
        return -1
    key.end = at - 1
    at = skip_blank(text, at)
    if at >= text.size or text.data[at] != c':':
        return -1
    return skip_blank(text, at + 1)


cdef inline Py_ssize_t next_member(const Text* text, Py_ssize_t at, Span* key, Span* value) noexcept nogil:
    """The next member of an object and the place after it; 0 and -1 as ``next_key``."""
    at = next_key(text, at, key)
    if at <= 0:
        return at
    value.start = at
    at = skip_value(text, at)
    if at <= value.start:
        return -1
    value.end = at
    return at


cdef inline bint is_named(const Text* text, const Span* key, const char* name, Py_ssize_t size) noexcept nogil:
    return key.end - key.start == size and memcmp(text.data + key.start, name, size) == 0
