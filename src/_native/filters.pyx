"""Filters over the node table: numbers in, rejection codes out.

Every kernel takes ``rows`` (the nodes to look at) and writes ``out[i]`` for ``rows[i]``.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t

from coxswain._native.resources cimport fit_code
from coxswain._native.shapes cimport needs


def fit(
    const int64_t[:, ::1] allocatable,  # IN  [resource, node]
    const int64_t[:, ::1] requested,  # IN  [resource, node]
    const int32_t[::1] ids,  # IN  resources that the pod asks for
    const int64_t[::1] amounts,  # IN  how much of each, > 0
    const int32_t[::1] rows,  # IN
    uint8_t[::1] out,  # OUT 0 fits, 1 not now, 2 never
):
    """NodeResourcesFit."""
    cdef Py_ssize_t i, stride = allocatable.shape[1], count = ids.shape[0]
    if rows.shape[0] == 0 or count == 0:
        return
    needs(out.shape[0], rows.shape[0])
    needs(amounts.shape[0], count)
    if requested.shape[1] != stride:
        raise IndexError("what is requested differs from what is allocatable in shape")
    for i in range(count):
        if not 0 <= ids[i] < min(allocatable.shape[0], requested.shape[0]):
            raise IndexError(f"resource {ids[i]} of {allocatable.shape[0]}")
    with nogil:
        for i in range(rows.shape[0]):
            out[i] = fit_code(
                &allocatable[0, 0], &requested[0, 0], stride, rows[i], &ids[0], &amounts[0], count
            )


def first_rejection(
    const uint8_t[::1] codes,  # IN  codes of one plugin, of `rows`
    uint8_t plugin,  # IN  its number, 1-based
    const int32_t[::1] rows,  # IN
    uint8_t[::1] by,  # IN/OUT [node] number of the plugin that rejected first; 0 none yet
    uint8_t[::1] code,  # IN/OUT [node] that plugin's code
):
    """Fold one plugin's codes into the verdict: the plugin of the smallest number wins, in whatever order."""
    cdef Py_ssize_t i
    cdef int32_t row
    needs(rows.shape[0], codes.shape[0])
    needs(code.shape[0], by.shape[0])
    with nogil:
        for i in range(codes.shape[0]):
            row = rows[i]
            if codes[i] != 0 and (by[row] == 0 or plugin < by[row]):
                by[row] = plugin
                code[row] = codes[i]
