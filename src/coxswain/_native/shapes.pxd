# What the kernels take for granted of their arrays, asked once a call: a mistake of the caller is an IndexError and
# not a look beyond. Rows that arrays hold (orders, samples) are the node table's word, and are not looked through.
from libc.stdint cimport int32_t, int64_t


cdef inline int needs(Py_ssize_t length, Py_ssize_t least) except -1:
    """At least so many elements."""
    if length < least:
        raise IndexError(f"{length} elements where {least} are needed")
    return 0


cdef inline int needs_table(
    const int64_t[:, ::1] allocatable, const int64_t[:, ::1] requested, const int64_t[:, ::1] nonzero
) except -1:
    """Arrays of one table: of one stride, by which all of them are indexed."""
    if requested.shape[0] != allocatable.shape[0] or requested.shape[1] != allocatable.shape[1]:
        raise IndexError("what is requested differs from what is allocatable in shape")
    if nonzero.shape[0] != 2 or nonzero.shape[1] != allocatable.shape[1]:
        raise IndexError("cpu and memory with defaults are two rows, as long as those of what is allocatable")
    return 0


cdef inline int needs_ask(
    const int32_t[::1] ids, const int64_t[::1] amounts, const int64_t[::1] ask, Py_ssize_t resources
) except -1:
    """What a template asks for, of resources that the table has."""
    cdef Py_ssize_t i
    needs(amounts.shape[0], ids.shape[0])
    needs(ask.shape[0], 4)
    for i in range(ids.shape[0]):
        if not 0 <= ids[i] < resources:
            raise IndexError(f"resource {ids[i]} of {resources}")
    return 0


cdef inline int needs_start(Py_ssize_t start, Py_ssize_t nodes) except -1:
    """A place in the order of so many nodes."""
    if not 0 <= start < nodes:
        raise IndexError(f"start {start} among {nodes} nodes")
    return 0
