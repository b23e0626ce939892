"""One row of the node table at a time: what a pod that comes or goes changes."""
from libc.stdint cimport int32_t, int64_t


def count(
    int64_t[:, ::1] requested,  # IN/OUT [resource, node]
    int64_t[:, ::1] nonzero,  # IN/OUT [2, node]
    const int32_t[::1] ids,  # IN  resources asked for (with pods)
    const int64_t[::1] amounts,  # IN
    const int64_t[::1] ask,  # IN  [cpu, memory, cpu with defaults, memory with defaults]
    Py_ssize_t row,  # IN
    int64_t sign,  # IN  1 for a pod that comes, -1 for one that goes
):
    """Count a pod on a row."""
    cdef Py_ssize_t i
    if not 0 <= row < requested.shape[1]:
        raise IndexError(row)
    for i in range(ids.shape[0]):
        requested[ids[i], row] += sign * amounts[i]
    nonzero[0, row] += sign * ask[2]
    nonzero[1, row] += sign * ask[3]
