"""The table of what covers which conformance entry is complete, and made from the tests themselves."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from conformance.excepted import EXCEPTED
from conformance.table import SCOPE, coverings, markdown, read_entries

FACTS = Path(os.environ.get("COXSWAIN_FACTS", "facts")) / "conformance-1.36.txt"
needs_facts = pytest.mark.skipif(not FACTS.is_file(), reason="needs the published facts in COXSWAIN_FACTS")

MODULE = """
AREA = "[sig-apps] Job "

@pytest.mark.virtual
@pytest.mark.conformance(f"{AREA}should run", "[sig-apps] Pod " + "should stop", note="in part")
async def test_some(): ...

CASES = [pytest.param(1, marks=pytest.mark.conformance("[sig-apps] Set should count"))]

@pytest.mark.parametrize("case", CASES)
def test_other(case): ...
"""


def test_markers_are_read_from_the_sources(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(MODULE)
    found, other = coverings(tmp_path / "tests")
    assert (other.entries, other.test) == (("[sig-apps] Set should count",), "tests/test_it.py::test_other")
    assert found.entries == ("[sig-apps] Job should run", "[sig-apps] Pod should stop")
    assert (found.test, found.note) == ("tests/test_it.py::test_some", "in part")
    entries = ["[sig-apps] Job should run", "[sig-apps] Job should end", "[sig-node] Pods should be"]
    assert markdown(entries, [found], {"[sig-apps] Job should end": "no end"}).splitlines() == [
        "1 of 2 entries have a test.",
        "",
        "| entry | test | note |",
        "|---|---|---|",
        "| [sig-apps] Job should run | `tests/test_it.py::test_some` | in part |",
        "| [sig-apps] Job should end | none | no end |",
    ]


def test_no_test_names_an_entry_twice() -> None:
    for each in coverings():
        assert each.entries and max(Counter(each.entries).values()) == 1, each.test


@needs_facts
def test_what_markers_name_is_there() -> None:
    known = set(read_entries(FACTS))
    unknown = {entry for each in coverings() for entry in each.entries if entry not in known}
    assert not unknown | (EXCEPTED.keys() - known)


@needs_facts
def test_every_entry_in_scope_has_a_test_or_a_reason_why_not() -> None:
    covered = {entry for each in coverings() for entry in each.entries}
    wanted = {entry for entry in read_entries(FACTS) if SCOPE.match(entry)}
    assert wanted == wanted & (covered | EXCEPTED.keys())
    assert not covered & EXCEPTED.keys()
