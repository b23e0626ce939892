from numpy import int32, int64, uint8
from numpy.typing import NDArray

def fit(
    allocatable: NDArray[int64],
    requested: NDArray[int64],
    ids: NDArray[int32],
    amounts: NDArray[int64],
    rows: NDArray[int32],
    out: NDArray[uint8],
) -> None: ...
def first_rejection(
    codes: NDArray[uint8], plugin: int, rows: NDArray[int32], by: NDArray[uint8], code: NDArray[uint8]
) -> None: ...
