"""The index of the stores keeps what is kept, and nothing of what was."""

from __future__ import annotations

from coxswain.store.index import RevisionIndex


def _kept(index: RevisionIndex[int]) -> int:
    """Everything that the index holds anything for."""
    tables = (index.live, index.history, index._order, index._unordered, index._superseded)
    return sum(map(len, tables))


def _keys(index: RevisionIndex[int]) -> list[str]:
    return [key for key, _ in index.scan("", "", 0)]


def test_keys_that_were_created_and_deleted_leave_nothing_though_nobody_lists() -> None:
    index: RevisionIndex[int] = RevisionIndex()
    index.put("stays", 1, 1, 1)
    revision = 1
    for _ in range(3):
        for number in range(100):
            index.put(f"key-{revision}-{number}", revision + 1, revision + 1, 0)
            index.delete(f"key-{revision}-{number}", revision + 2, 0)
            revision += 2
        index.compact(revision)
        assert _kept(index) == 1
    assert _keys(index) == ["stays"]


def test_keys_are_in_order_whatever_was_compacted_between_two_scans() -> None:
    index: RevisionIndex[int] = RevisionIndex()
    for revision, key in enumerate(("b", "d", "a"), 1):
        index.put(key, revision, revision, 0)
    assert _keys(index) == ["a", "b", "d"]
    index.delete("b", 4, 0)
    index.put("c", 5, 5, 0)
    index.compact(4)
    index.put("b", 6, 6, 0)
    index.put("0", 7, 7, 0)
    assert _keys(index) == ["0", "a", "b", "c", "d"]
    index.put("e", 8, 8, 0)
    assert _keys(index) == ["0", "a", "b", "c", "d", "e"]
