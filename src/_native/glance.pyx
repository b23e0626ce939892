"""A glance at a pod's JSON: who it is, and the text of everything else that a scheduler reads.

Pods of one kind have the same text there, so whoever has parsed one of them knows all. Members may come in any
order. Where the text is not quite as expected (escapes in a name, a pod that is being deleted, no JSON at all) the
answer is None, and the caller decodes the whole. Invariant: every read is checked against the end of the text.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcpy

from coxswain._native.jsontext cimport Span, Text, is_named, next_member, skip_blank


cdef inline bint _opens(const Text* text, const Span* value) noexcept nogil:
    return text.data[value.start] == c'{'


cdef object _text(const Text* text, const Span* value):
    """A string value as it is; None if it is none, has escapes or is not UTF-8. Absent is empty."""
    if value.start == 0:
        return ""
    cdef const char* start = text.data + value.start + 1
    cdef Py_ssize_t size = value.end - value.start - 2
    if size < 0 or text.data[value.start] != c'"' or memchr(start, c'\\', size) != NULL:
        return None
    try:
        return start[:size].decode("utf-8")
    except UnicodeDecodeError:
        return None


def glance(bytes raw):
    """(namespace, name, uid, resourceVersion, nodeName, startTime, kind of pod) or None.

    The last is bytes: the texts of namespace, labels, owners, phase and nomination, and of the spec without
    ``nodeName``.
    """
    cdef Text text
    cdef Span key, value, metadata, spec, status, inner
    cdef Span namespace, name, uid, version, labels, owners, node_name, start_time, phase, nominated
    cdef Span cut, nowhere
    nowhere.start = nowhere.end = 0
    cdef Py_ssize_t at, before, i, size
    cdef char* out
    cdef bint broken = False
    text.data = PyBytes_AS_STRING(raw)
    text.size = PyBytes_GET_SIZE(raw)
    metadata = spec = status = nowhere
    namespace = name = uid = version = labels = owners = nowhere
    node_name = start_time = phase = nominated = cut = nowhere
    with nogil:
        at = skip_blank(&text, 0)
        if at >= text.size or text.data[at] != c'{':
            broken = True
        else:
            at += 1
            while True:
                at = next_member(&text, at, &key, &value)
                if at <= 0:
                    broken = at < 0
                    break
                if is_named(&text, &key, "metadata", 8):
                    metadata = value
                elif is_named(&text, &key, "spec", 4):
                    spec = value
                elif is_named(&text, &key, "status", 6):
                    status = value
        if not metadata.start or not spec.start or not _opens(&text, &metadata) or not _opens(&text, &spec):
            broken = True
        if not broken:
            at = metadata.start + 1
            while True:
                at = next_member(&text, at, &key, &value)
                if at <= 0:
                    broken = at < 0
                    break
                if is_named(&text, &key, "namespace", 9):
                    namespace = value
                elif is_named(&text, &key, "name", 4):
                    name = value
                elif is_named(&text, &key, "uid", 3):
                    uid = value
                elif is_named(&text, &key, "resourceVersion", 15):
                    version = value
                elif is_named(&text, &key, "labels", 6):
                    labels = value
                elif is_named(&text, &key, "ownerReferences", 15):
                    owners = value
                elif is_named(&text, &key, "deletionTimestamp", 17):
                    broken = True
                    break
        if not broken:
            at = before = spec.start + 1
            while True:
                at = next_member(&text, at, &key, &value)
                if at <= 0:
                    broken = at < 0
                    break
                if is_named(&text, &key, "nodeName", 8):
                    node_name = value
                    # With the comma before it, or the one after it where it comes first.
                    cut.start, cut.end = before, at
                    if before == spec.start + 1:
                        cut.end = skip_blank(&text, at)
                        if cut.end < text.size and text.data[cut.end] == c',':
                            cut.end += 1
                before = at
        if not broken and status.start and _opens(&text, &status):
            at = status.start + 1
            while True:
                at = next_member(&text, at, &key, &value)
                if at <= 0:
                    broken = at < 0
                    break
                if is_named(&text, &key, "phase", 5):
                    phase = value
                elif is_named(&text, &key, "startTime", 9):
                    start_time = value
                elif is_named(&text, &key, "nominatedNodeName", 17):
                    nominated = value
    if broken or not name.start:
        return None
    if not cut.start:
        cut.start = cut.end = spec.end
    cdef Span[7] parts
    parts[0], parts[1], parts[2], parts[3], parts[4] = namespace, labels, owners, phase, nominated
    parts[5].start, parts[5].end = spec.start, cut.start
    parts[6].start, parts[6].end = cut.end, spec.end
    size = 5
    for i in range(7):
        if parts[i].start:
            size += parts[i].end - parts[i].start
    kind = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(kind)
    for i in range(7):
        if parts[i].start:
            memcpy(out, text.data + parts[i].start, parts[i].end - parts[i].start)
            out += parts[i].end - parts[i].start
        if i < 5:
            # JSON has no such byte: texts of different parts are never taken for each other.
            out[0] = 0
            out += 1
    found = (
        _text(&text, &namespace), _text(&text, &name), _text(&text, &uid), _text(&text, &version),
        _text(&text, &node_name), _text(&text, &start_time), kind,
    )
    return None if None in found else found
