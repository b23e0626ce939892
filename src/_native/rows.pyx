"""One row of the node table at a time: what a pod that comes or goes changes."""
from libc.stdint cimport int32_t, int64_t

from coxswain._native.scoring cimport ask_of, count_pod
from coxswain._native.shapes cimport needs_ask, needs_table


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
    if not 0 <= row < requested.shape[1]:
        raise IndexError(row)
    if ids.shape[0]:
        needs_table(requested, requested, nonzero)
        needs_ask(ids, amounts, ask, requested.shape[0])
        count_pod(
            &requested[0, 0], &nonzero[0, 0], requested.shape[1], row, &ids[0], &amounts[0], ids.shape[0],
            ask_of(&ask[0]), sign,
        )
