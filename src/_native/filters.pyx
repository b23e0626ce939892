"""Filters over the node table: numbers in, rejection codes out.

Every kernel takes ``rows`` (the nodes to look at) and writes ``out[i]`` for ``rows[i]``.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t

from coxswain._native.resources cimport fit_code


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
    with nogil:
        for i in range(rows.shape[0]):
            out[i] = fit_code(
                &allocatable[0, 0], &requested[0, 0], stride, rows[i], &ids[0], &amounts[0], count
            )


def first_rejection(
    const uint8_t[::1] codes,  # IN  codes of one plugin
    uint8_t plugin,  # IN  its number, 1-based
    uint8_t[::1] by,  # IN/OUT number of the plugin that rejected first; 0 none yet
    uint8_t[::1] code,  # IN/OUT that plugin's code
):
    """Fold one plugin's codes into the verdict: the plugin of the smallest number wins, in whatever order."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(codes.shape[0]):
            if codes[i] != 0 and (by[i] == 0 or plugin < by[i]):
                by[i] = plugin
                code[i] = codes[i]
