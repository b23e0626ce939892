"""What counting needs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_log() -> Iterator[None]:
    """Nothing is logged: records that pytest captures hold frames, and all that is in them."""
    before = logging.root.manager.disable
    logging.disable()  # also of loggers that know already that they are enabled
    yield
    logging.disable(before)
