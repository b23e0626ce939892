from numpy import int32, int64, uint8, uint64
from numpy.typing import NDArray

def sample(
    rejected: NDArray[uint8], order: NDArray[int32], start: int, wanted: int, rows: NDArray[int32]
) -> tuple[int, int]: ...
def choose(totals: NDArray[int64], state: NDArray[uint64]) -> int: ...
