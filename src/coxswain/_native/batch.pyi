from numpy import int32, int64, uint8, uint64
from numpy.typing import NDArray

from coxswain._native.neighbours import Neighbours

def schedule(
    pods: int,
    allocatable: NDArray[int64],
    requested: NDArray[int64],
    nonzero: NDArray[int64],
    ids: NDArray[int32],
    amounts: NDArray[int64],
    ask: NDArray[int64],
    rejected: NDArray[uint8],
    base: NDArray[int64],
    image: NDArray[int64],
    taints: NDArray[int64],
    affinity: NDArray[int64],
    weights: NDArray[int64],
    most: bool,
    order: NDArray[int32],
    start: int,
    wanted: int,
    state: NDArray[uint64],
    rows: NDArray[int32],
    chosen: NDArray[int32],
    neighbours: Neighbours | None = None,
) -> tuple[int, int]: ...
