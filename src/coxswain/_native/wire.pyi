from collections.abc import Callable
from typing import Any

class WireError(ValueError): ...

class Slot:
    number: int
    name: str
    kind: int
    shape: int
    target: Callable[[], Message] | None
    to_json: Callable[[bytes], Any] | None
    from_json: Callable[[Any], bytes] | None

class Message:
    slots: list[Slot]
    def add(self, slot: Slot) -> None: ...

def decode(message: Message, data: bytes) -> dict[str, Any]: ...
def encode(message: Message, obj: dict[str, Any]) -> bytes: ...
