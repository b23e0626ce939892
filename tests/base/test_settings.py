"""Settings: text converts, groups nest, mistakes are named."""

from dataclasses import dataclass, field

import pytest

from coxswain.base import settings
from coxswain.base.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Inner:
    limit: int = 3


@dataclass(frozen=True, slots=True)
class Outer:
    name: str = ""
    ratio: float | None = None
    active: bool = False
    inner: Inner = field(default_factory=Inner)


def test_text_becomes_the_fields_type() -> None:
    read = settings.read(Outer, {"name": "5", "ratio": "0.5", "active": "yes", "inner": {"limit": "7"}})
    assert read == Outer(name="5", ratio=0.5, active=True, inner=Inner(7))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nmae": "x"}, "setting nmae is not known; did you mean name?"),
        ({"inner": {"limit": "many"}}, "setting inner.limit: 'many' is not a int"),
        ({"active": "perhaps"}, "setting active: 'perhaps' is not a bool"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        settings.read(Outer, values)
