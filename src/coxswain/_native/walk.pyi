from collections.abc import Callable
from typing import Any

class Fatal(ValueError): ...
class WrongType(ValueError): ...

class FieldPlan:
    name: str
    kind: int
    presence: int
    go_type: str
    converter: Callable[[Any], Any] | None
    zero: Any
    element: FieldPlan | None
    target: Callable[[], TypePlan] | None

class TypePlan:
    name: str
    fields: dict[str, FieldPlan]
    always: list[FieldPlan]

class Walk:
    strict: list[str]
    type_error: str | None
    keys: int
    def __init__(self, report: bool) -> None: ...
    def run(self, plan: TypePlan, obj: dict[str, Any]) -> None: ...
    def count(self, value: Any) -> None: ...

def value_name(value: Any, exact: bool) -> str: ...
def complete(plan: TypePlan, obj: dict[str, Any]) -> None: ...
def count_keys(text: bytes) -> int: ...
