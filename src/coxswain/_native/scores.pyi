from numpy import int32, int64
from numpy.typing import NDArray

def allocation(
    allocatable: NDArray[int64],
    nonzero: NDArray[int64],
    cpu: int,
    memory: int,
    most: bool,
    cpu_weight: int,
    memory_weight: int,
    rows: NDArray[int32],
    out: NDArray[int64],
) -> None: ...
def balanced(
    allocatable: NDArray[int64],
    requested: NDArray[int64],
    cpu: int,
    memory: int,
    rows: NDArray[int32],
    out: NDArray[int64],
) -> None: ...
def normalize(scores: NDArray[int64], reverse: bool) -> None: ...
