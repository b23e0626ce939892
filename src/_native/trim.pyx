"""A JSON text without the members that nobody asks for: what is left is parsed in a fraction of the time.

``Shape`` says what is kept. ``trim`` gives the text of it, ``pick`` the objects, of which those that are written alike
may be one. A text that is not as expected comes back as it is. Names are compared as they are written: one that is
escaped is not found, and its member dropped. Invariant: every read is checked against the end of the text, and what
is written is at most a quarter longer than what was read.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from orjson import loads

from coxswain._native.jsontext cimport Span, Text, is_named, next_key, skip_blank, skip_value

cdef enum:
    MEMBERS = 32
    # How members are kept.
    OWN = 0
    ALIKE = 1
    EACH_ALIKE = 2
    # What is longer is hardly alike, and would fill the memory.
    LONGEST_ALIKE = 2048
    # Lists in lists. No parser that we use goes deeper, and the stack has an end.
    DEEPEST = 1024


cdef struct Output:
    char* data
    Py_ssize_t size
    int depth       # in lists


cdef class Shape:
    """Members by name: kept whole (None), or only what their own shape keeps of the object, or of each in a list.

    Of the members named in ``alike`` the values, of those in ``each_alike`` the values in their lists are often equal.
    """

    cdef list names
    cdef list shapes
    # The names as ``pick`` gives them, and how each is kept.
    cdef list keys
    cdef int kept[MEMBERS]
    cdef const char* texts[MEMBERS]
    cdef Py_ssize_t sizes[MEMBERS]
    cdef int count

    def __init__(self, dict members, alike=(), each_alike=()):
        if len(members) > MEMBERS:
            raise ValueError(f"a shape has at most {MEMBERS} members, not {len(members)}")
        for shape in members.values():
            if shape is not None and not isinstance(shape, Shape):
                raise TypeError(f"a member is kept by a Shape or whole, not by {shape!r}")
        self.names = [name.encode() for name in members]
        self.shapes = list(members.values())
        self.keys = [intern(name) for name in members]
        self.count = 0
        cdef bytes encoded
        for index, name in enumerate(members):
            self.kept[index] = ALIKE if name in alike else EACH_ALIKE if name in each_alike else OWN
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


cdef class Memory:
    """Values by how they are written. It forgets everything when it has ``most``: only what is shared is lost."""

    cdef dict values
    cdef Py_ssize_t most

    def __init__(self, Py_ssize_t most):
        self.values = {}
        self.most = most

    def __len__(self):
        return len(self.values)

    cdef object get(self, const char* data, Py_ssize_t size):
        """The value of this text. Raises ValueError."""
        cdef bytes text = PyBytes_FromStringAndSize(data, size)
        if size > LONGEST_ALIKE:
            return loads(text)
        value = self.values.get(text)
        if value is None:
            value = loads(text)
            if len(self.values) >= self.most:
                self.values.clear()
            self.values[text] = value
        return value


def pick(bytes raw not None, Shape shape not None, Memory memory not None):
    """What ``shape`` keeps of the JSON object ``raw``, parsed; None if it is no JSON object.

    What the shape calls alike comes out of ``memory``: it is shared, and nobody may change it.
    """
    cdef Text text
    cdef Output out
    text.data, text.size = PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)
    cdef Py_ssize_t at = skip_blank(&text, 0)
    if at >= text.size or text.data[at] != c'{':
        return None
    out.depth = 0
    out.data = <char*>malloc(2 * text.size)
    if out.data == NULL:
        raise MemoryError
    try:
        found = _pick_object(&text, &at, shape, memory, &out)
        return found if skip_blank(&text, at) == text.size else None
    except ValueError:
        return None
    finally:
        free(out.data)


cdef dict _pick_object(const Text* text, Py_ssize_t* at, Shape shape, Memory memory, Output* out):
    """What is kept of the object that starts at ``at``, which moves behind it. Raises ValueError."""
    cdef Span key
    cdef Py_ssize_t place, end
    cdef int index
    cdef dict found = {}
    at[0] += 1
    while True:
        place = next_key(text, at[0], &key)
        if place < 0:
            raise ValueError
        if place == 0:
            at[0] = key.end
            return found
        index = shape.find(text, &key)
        if index < 0:
            end = skip_value(text, place)
            if end <= place:
                raise ValueError
            place = end
        else:
            value = _pick_value(text, &place, <Shape>shape.shapes[index], shape.kept[index], memory, out)
            found[shape.keys[index]] = value
        at[0] = place


cdef object _pick_value(
    const Text* text, Py_ssize_t* at, Shape shape, int kept, Memory memory, Output* out
):
    """What is kept of the value that starts at ``at``, which moves behind it. Raises ValueError."""
    cdef Py_ssize_t end, start = at[0]
    if start >= text.size:
        raise ValueError
    cdef char byte = text.data[start]
    if kept == EACH_ALIKE and byte == c'[':
        return _pick_list(text, at, shape, ALIKE, memory, out)
    if kept != OWN:
        out.size = 0
        end = _kept(text, start, shape, out)
        if end <= start:
            raise ValueError
        at[0] = end
        return memory.get(out.data, out.size)
    if shape is not None and byte == c'{':
        return _pick_object(text, at, shape, memory, out)
    if shape is not None and byte == c'[':
        return _pick_list(text, at, shape, OWN, memory, out)
    end = skip_value(text, start)
    if end <= start:
        raise ValueError
    at[0] = end
    return _parsed(text.data + start, end - start)


cdef list _pick_list(
    const Text* text, Py_ssize_t* at, Shape shape, int kept, Memory memory, Output* out
):
    cdef list found = []
    cdef Py_ssize_t place = skip_blank(text, at[0] + 1)
    out.depth += 1
    if out.depth > DEEPEST:
        raise ValueError
    while place < text.size:
        if text.data[place] == c']':
            out.depth -= 1
            at[0] = place + 1
            return found
        if text.data[place] == c',':
            place = skip_blank(text, place + 1)
            continue
        found.append(_pick_value(text, &place, shape, kept, memory, out))
        place = skip_blank(text, place)
    raise ValueError


cdef inline object _parsed(const char* data, Py_ssize_t size):
    """A value by its text; most are plain strings."""
    if size >= 2 and data[0] == c'"' and memchr(data, c'\\', size) == NULL:
        return PyUnicode_DecodeUTF8(data + 1, size - 2, NULL)
    if size == 4 and memcmp(data, b"true", 4) == 0:
        return True
    if size == 5 and memcmp(data, b"false", 5) == 0:
        return False
    return loads(PyBytes_FromStringAndSize(data, size))


def trim(bytes raw not None, Shape shape not None):
    """``raw``, a JSON object, with only what ``shape`` keeps; ``raw`` itself if it is no JSON object."""
    cdef Text text
    cdef Output out
    text.data, text.size = PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)
    out.size = out.depth = 0
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
    out.depth += 1
    if out.depth > DEEPEST:
        return -1
    _put(out, c'[')
    at = skip_blank(text, at + 1)
    while at < text.size:
        if text.data[at] == c']':
            out.depth -= 1
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
