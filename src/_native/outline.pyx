"""The outline of a JSON object: everything about it but the scalars that say something.

Two objects of equal outline have the same members in the same places, the same lists, and are empty in the same
fields. Whatever depends on nothing else (who owns which fields of a new object) is worked out once per outline.
Elements of lists may be known by what they say (a container by its name): members of elements that may be keys
are told as they are. Lists of scalars are, too: they may be sets.
"""

from cpython.dict cimport PyDict_Next
from cpython.object cimport PyObject

import orjson

cdef object _dumps = orjson.dumps

# Marks are numbers, so that no member's name is ever taken for one.
cdef enum:
    OPEN = 1
    CLOSE = 2
    SCALAR = 3
    NULL_VALUE = 4
    EMPTY_TEXT = 5
    ZERO_TEXT = 6    # "0": what a quantity is before anybody sets it
    ZERO = 7
    FALSE = 8


def outline(dict obj, set keys):
    """The outline of ``obj`` as a hashable tuple. ``keys``: names of members that may tell elements apart.

    Raises ``TypeError`` where a list holds what JSON cannot.
    """
    cdef list parts = []
    _object(obj, parts, keys, False)
    return tuple(parts)


cdef int _object(dict obj, list parts, set keys, bint in_list) except -1:
    cdef PyObject* key
    cdef PyObject* found
    cdef Py_ssize_t position = 0
    cdef object value
    parts.append(OPEN)
    while PyDict_Next(obj, &position, &key, &found):
        value = <object>found
        parts.append(<object>key)
        if type(value) is dict:
            _object(<dict>value, parts, keys, in_list)
        elif type(value) is list:
            _list(<list>value, parts, keys)
        elif in_list and <object>key in keys:
            parts.append(_dumps(value))
        else:
            parts.append(_mark(value))
    parts.append(CLOSE)
    return 0


cdef int _list(list values, list parts, set keys) except -1:
    cdef object value
    if not values or type(values[0]) is not dict:
        parts.append(_dumps(values))
        return 0
    parts.append(OPEN)
    for value in values:
        if type(value) is dict:
            _object(<dict>value, parts, keys, True)
        else:
            parts.append(_dumps(value))
    parts.append(CLOSE)
    return 0


cdef inline int _mark(object value) except -1:
    if type(value) is str:
        if not value:
            return EMPTY_TEXT
        return ZERO_TEXT if value == "0" else SCALAR
    if value is None:
        return NULL_VALUE
    if value is False:
        return FALSE
    return SCALAR if value else ZERO
