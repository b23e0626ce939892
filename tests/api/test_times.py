"""Times: what is taken as it was written is what parsing and writing it would give."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coxswain.api import gotime

_near = st.from_regex(r"\A[0-3]\d{3}-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d(\.\d{5,7})?(Z|[+-]\d\d:\d\d)\Z")


@given(_near, st.sampled_from([gotime.RFC3339, gotime.RFC3339_MICRO]))
@example("2024-02-29T00:00:00Z", gotime.RFC3339)
@example("2023-02-29T00:00:00Z", gotime.RFC3339)
@example("2023-04-31T00:00:00.000000Z", gotime.RFC3339_MICRO)
@example("2023-12-30T23:59:59.000000Z", gotime.RFC3339_MICRO)
@example("2023-12-30T23:59:59.000000Z", gotime.RFC3339)
@example("0001-01-01T00:00:00Z", gotime.RFC3339)
def test_the_short_way_agrees_with_the_long_one(text: str, layout: str) -> None:
    try:
        moment = gotime.parse(text, layout)
    except gotime.TimeError as error:
        with pytest.raises(gotime.TimeError) as short:
            gotime.canonical(text, layout)
        assert str(short.value) == str(error)
        return
    written = moment.micro_text() if layout == gotime.RFC3339_MICRO else moment.seconds_text()
    assert gotime.canonical(text, layout) == written


def test_the_zero_time_is_null() -> None:
    assert gotime.canonical("0001-01-01T00:00:00Z", gotime.RFC3339) is None
