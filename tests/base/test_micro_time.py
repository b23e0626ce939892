"""Times of microseconds are written as datetime writes them."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from coxswain.base import clock


@given(st.floats(-2e9, 4e9))
@example(0.9999996)
@example(-0.4)
@example(-1.99999999)
@example(1763712000.123456)
def test_a_time_is_written_as_datetime_writes_it(seconds: float) -> None:
    expected = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert clock.format_micro_time(seconds) == expected
