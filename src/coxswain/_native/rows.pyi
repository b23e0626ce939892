from numpy import int32, int64
from numpy.typing import NDArray

def count(
    requested: NDArray[int64],
    nonzero: NDArray[int64],
    ids: NDArray[int32],
    amounts: NDArray[int64],
    ask: NDArray[int64],
    row: int,
    sign: int,
) -> None: ...
