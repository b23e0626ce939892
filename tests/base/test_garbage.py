"""The garbage collector stays out of the way of processes that hold much, and only of those."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from coxswain.base import garbage


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_nothing_is_collected_while_many_objects_are_made() -> None:
    with garbage.making_many(to_keep=True):
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), garbage.making_many(to_keep=False):
        raise ValueError("x")
    assert gc.isenabled()


def test_what_stays_is_left_out_of_collections_in_a_calm_process_only() -> None:
    gc.unfreeze()
    with garbage.making_many(to_keep=True):
        kept = [[number] for number in range(1000)]
    assert gc.get_freeze_count() == 0
    garbage.calm()
    before = gc.get_freeze_count()
    assert before > 1000
    with garbage.making_many(to_keep=False):
        kept += [[number] for number in range(1000)]
    assert gc.get_freeze_count() <= before
    with garbage.making_many(to_keep=True):
        kept += [[number] for number in range(1000)]
    assert gc.get_freeze_count() >= before + 1000
