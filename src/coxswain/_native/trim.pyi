from __future__ import annotations

from collections.abc import Collection
from typing import Any

class Shape:
    def __init__(
        self,
        members: dict[str, Shape | None],
        alike: Collection[str] = (),
        each_alike: Collection[str] = (),
    ) -> None: ...

class Memory:
    def __init__(self, most: int) -> None: ...
    def __len__(self) -> int: ...

def pick(raw: bytes, shape: Shape, memory: Memory) -> dict[str, Any] | None: ...
def trim(raw: bytes, shape: Shape) -> bytes: ...
