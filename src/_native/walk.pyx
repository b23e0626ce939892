"""Checks and cleans a decoded JSON tree against compiled plans, in place, in one pass.

A ``TypePlan`` is an object type, a ``FieldPlan`` one of its fields (or the values of an array or map). The rules
are those of Go's decoder and encoder: see ``coxswain.api.fieldcheck``, which makes the plans and has the words.
Nothing here knows any particular type. Invariant: a tree that passed keeps only known, well-typed fields.
"""

from cpython.dict cimport PyDict_GetItem, PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject

# Kinds of values; fieldcheck.KINDS has the same numbers.
cdef enum:
    STRING = 0
    BOOLEAN = 1
    INT32 = 2
    INT64 = 3
    NUMBER = 4
    CONVERTED = 5   # a scalar that a Python function checks and rewrites (time, quantity, bytes ...)
    RAW = 6         # free-form JSON, kept as it is
    REF = 7
    ARRAY = 8
    MAP = 9

# What encoding does with a field; fieldcheck.PRESENCE has the same numbers.
cdef enum:
    POINTER = 0
    VALUE = 1
    ALWAYS = 2
    NULLABLE = 3

cdef enum:
    MAX_STRICT = 100

# How a frame prints in a path.
cdef enum:
    AT_FIELD = 0
    AT_KEY = 1
    AT_INDEX = 2

cdef struct Frame:
    Frame* parent
    PyObject* name      # borrowed: the key's str
    PyObject* owner     # borrowed: the struct's name, for AT_FIELD
    Py_ssize_t index
    int mode


class Fatal(ValueError):
    """Decoding cannot go on; the text is the whole message."""


class WrongType(ValueError):
    """Raised by a converter: the text is the JSON value's name, ``args[1]`` Go's type."""


cdef class FieldPlan:
    """One field: ``kind`` and ``presence`` as numbered above; ``converter(value) -> value`` for CONVERTED."""

    cdef public str name
    cdef public int kind
    cdef public int presence
    cdef public str go_type
    cdef public object converter
    cdef public object zero        # what NUMBER, STRING ... are when absent
    cdef public FieldPlan element
    cdef public object target      # () -> TypePlan, called once
    cdef TypePlan _plan

    cdef inline TypePlan plan(self):
        if self._plan is None:
            self._plan = self.target()
        return self._plan


cdef class TypePlan:
    """An object type: its fields by JSON name and those that encoding always writes."""

    cdef public str name
    cdef public dict fields
    cdef public list always


cdef class Walk:
    """One pass over one object; ``strict`` are the messages about unknown fields, ``keys`` all keys seen."""

    cdef public list strict
    cdef public str type_error
    cdef public Py_ssize_t keys
    cdef bint report

    def __init__(self, bint report):
        self.report = report
        self.strict = []
        self.type_error = None
        self.keys = 0

    def run(self, TypePlan plan, dict obj):
        """Check and clean ``obj`` as ``plan``."""
        self._object(plan, obj, NULL)

    def count(self, object value):
        """Only count the keys below ``value``."""
        self._count(value)

    cdef int _object(self, TypePlan plan, dict obj, Frame* parent) except -1:
        cdef PyObject* key
        cdef PyObject* value
        cdef PyObject* found
        cdef Py_ssize_t position = 0
        cdef Frame frame
        cdef FieldPlan field
        cdef object old
        cdef object new
        cdef list drops = None
        frame.parent = parent
        frame.owner = <PyObject*>plan.name
        frame.mode = AT_FIELD
        frame.index = 0
        self.keys += PyDict_Size(obj)
        while PyDict_Next(obj, &position, &key, &value):
            frame.name = key
            found = PyDict_GetItem(plan.fields, <object>key)
            if found == NULL:
                self._unknown(&frame, parent)
                self._count(<object>value)
                if drops is None:
                    drops = []
                drops.append(<object>key)
                continue
            field = <FieldPlan>found
            old = <object>value
            if old is None:
                if drops is None:
                    drops = []
                drops.append(<object>key)
                continue
            new = self._value(field, old, &frame)
            if new is not old:
                # An existing key: the dict does not change its shape under the iteration.
                obj[<object>key] = new
            if (field.presence == VALUE and not new) or (
                field.presence == ALWAYS and (field.kind == ARRAY or field.kind == MAP) and not new
            ) or new is None:
                if drops is None:
                    drops = []
                drops.append(<object>key)
        if drops is not None:
            for old in drops:
                del obj[old]
        return 0

    cdef object _value(self, FieldPlan field, object value, Frame* frame):
        cdef int kind = field.kind
        cdef type cls = type(value)
        if kind == STRING:
            if cls is not str:
                self._wrong(value, field, frame)
        elif kind == REF:
            if cls is dict:
                self._object(field.plan(), <dict>value, frame)
            else:
                self._wrong(value, field, frame)
        elif kind == ARRAY:
            if cls is list:
                self._array(field.element, <list>value, frame)
            else:
                self._wrong(value, field, frame)
        elif kind == MAP:
            if cls is dict:
                self._map(field.element, <dict>value, frame)
            else:
                self._wrong(value, field, frame)
        elif kind == INT32:
            if cls is not int or not -2147483648 <= value <= 2147483647:
                self._wrong(value, field, frame)
        elif kind == INT64:
            if cls is not int or not -9223372036854775808 <= value <= 9223372036854775807:
                self._wrong(value, field, frame)
        elif kind == BOOLEAN:
            if cls is not bool:
                self._wrong(value, field, frame)
        elif kind == NUMBER:
            if cls is not int and cls is not float:
                self._wrong(value, field, frame)
        elif kind == CONVERTED:
            if cls is dict or cls is list:
                self._count(value)
            try:
                return field.converter(value)
            except WrongType as error:
                raise Fatal(self._text(error.args[0], error.args[1], frame)) from None
        else:
            self._count(value)
        return value

    cdef int _array(self, FieldPlan element, list values, Frame* parent) except -1:
        cdef Py_ssize_t index
        cdef Frame frame
        cdef object old
        cdef object new
        frame.parent = parent
        frame.name = NULL
        frame.owner = NULL
        frame.mode = AT_INDEX
        for index in range(PyList_GET_SIZE(values)):
            old = <object>PyList_GET_ITEM(values, index)
            frame.index = index
            if old is None:
                # Go leaves the element's zero value.
                new = _zero(element)
            else:
                new = self._value(element, old, &frame)
            if new is not old:
                values[index] = new
        return 0

    cdef int _map(self, FieldPlan element, dict values, Frame* parent) except -1:
        cdef PyObject* key
        cdef PyObject* value
        cdef Py_ssize_t position = 0
        cdef Frame frame
        cdef object old
        cdef object new
        frame.parent = parent
        frame.owner = NULL
        frame.index = 0
        frame.mode = AT_KEY
        self.keys += PyDict_Size(values)
        while PyDict_Next(values, &position, &key, &value):
            frame.name = key
            old = <object>value
            if old is None:
                new = _zero(element)
            else:
                new = self._value(element, old, &frame)
            if new is not old:
                values[<object>key] = new
        return 0

    cdef int _count(self, object value) except -1:
        """Counts the keys of what is kept or dropped unread (duplicates show as a missing key)."""
        cdef object inner
        if type(value) is dict:
            self.keys += PyDict_Size(value)
            for inner in (<dict>value).values():
                if type(inner) is dict or type(inner) is list:
                    self._count(inner)
        elif type(value) is list:
            for inner in <list>value:
                if type(inner) is dict or type(inner) is list:
                    self._count(inner)
        return 0

    cdef int _unknown(self, Frame* frame, Frame* parent) except -1:
        cdef str message
        if not self.report or len(self.strict) >= MAX_STRICT:
            return 0
        path = _path(parent)
        name = <object>frame.name
        message = f"{path}.{name}" if path else name
        self.strict.append(message)
        return 0

    cdef int _wrong(self, object value, FieldPlan field, Frame* frame) except -1:
        if self.type_error is None:
            self.type_error = self._text(value_name(value, field.kind == INT32 or field.kind == INT64),
                                         field.go_type, frame)
        return 0

    cdef str _text(self, str value, str go_type, Frame* frame):
        """Go's UnmarshalTypeError: the innermost struct, and the fields on the way without keys or indexes."""
        cdef list names = []
        cdef str owner = None
        while frame != NULL:
            if frame.mode == AT_FIELD:
                names.append(<object>frame.name)
                if owner is None:
                    owner = <str>frame.owner
            frame = frame.parent
        names.reverse()
        if owner is None:
            return f"json: cannot unmarshal {value} into Go value of type {go_type}"
        joined = ".".join(names)
        return f"json: cannot unmarshal {value} into Go struct field {owner}.{joined} of type {go_type}"


cpdef str value_name(object value, bint exact):
    """What Go calls a JSON value in an error; ``exact`` adds the digits, as it does for integers."""
    if type(value) is str:
        return "string"
    if type(value) is bool:
        return "bool"
    if type(value) is dict:
        return "object"
    if type(value) is list:
        return "array"
    return f"number {value!r}" if exact else "number"


cdef object _path(Frame* frame):
    cdef list parts = []
    while frame != NULL:
        if frame.mode == AT_INDEX:
            parts.append(f"[{frame.index}]")
        else:
            parts.append(f".{<object>frame.name}")
        frame = frame.parent
    parts.reverse()
    return "".join(parts)[1:]


cdef object _zero(FieldPlan field):
    if field.kind == REF:
        return {}
    return field.zero


def complete(TypePlan plan, dict obj):
    """Write what Go's encoder writes even when it was never set, in place."""
    _complete(plan, obj)


cdef int _complete(TypePlan plan, dict obj) except -1:
    cdef FieldPlan field
    cdef PyObject* key
    cdef PyObject* value
    cdef PyObject* found
    cdef Py_ssize_t position = 0
    for field in plan.always:
        if PyDict_GetItem(obj, field.name) == NULL:
            obj[field.name] = {} if field.kind == REF and field.presence == ALWAYS else field.zero
        elif (field.kind == ARRAY or field.kind == MAP) and not <object>PyDict_GetItem(obj, field.name):
            obj[field.name] = None
    while PyDict_Next(obj, &position, &key, &value):
        found = PyDict_GetItem(plan.fields, <object>key)
        if found != NULL:
            _complete_value(<FieldPlan>found, <object>value)
    return 0


cdef int _complete_value(FieldPlan field, object value) except -1:
    cdef object inner
    if field.kind == REF:
        if type(value) is dict:
            _complete(field.plan(), <dict>value)
    elif field.kind == ARRAY:
        if type(value) is list and field.element.kind >= REF:
            for inner in <list>value:
                _complete_value(field.element, inner)
    elif field.kind == MAP:
        if type(value) is dict and field.element.kind >= REF:
            for inner in (<dict>value).values():
                _complete_value(field.element, inner)
    return 0


def count_keys(const unsigned char[::1] text):
    """How many object keys a JSON text has (colons outside of strings); the text must be valid JSON."""
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t end = text.shape[0]
    cdef Py_ssize_t keys = 0
    cdef unsigned char char
    while position < end:
        char = text[position]
        if char == c'"':
            position += 1
            while position < end and text[position] != c'"':
                position += 2 if text[position] == c'\\' else 1
        elif char == c':':
            keys += 1
        position += 1
    return keys
