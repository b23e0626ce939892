from numpy import int32, int64, uint8
from numpy.typing import NDArray

#: kind (0 apart, 1 near, 2 skew, 3 spread, 4 pull), look [node], hold [node], counts [domain], present [domain]
#: (of skew; else empty), gain, skew, itself, at_least, by_node (spread over nodes themselves).
Counter = tuple[int, NDArray[int32], NDArray[int32], NDArray[int64], NDArray[uint8], int, int, int, int, bool]

class Neighbours:
    def __init__(
        self,
        counters: list[Counter],
        every_key: bool,
        first_anywhere: bool,
        spread_weight: int,
        pull_weight: int,
    ) -> None: ...
