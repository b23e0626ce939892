"""The house rules, checked: import contracts, sizes, the compiled core, no clock but ours."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for path in (ROOT / "src").rglob("*.py") if "_generated" not in path.parts)
NATIVE = sorted((ROOT / "src" / "_native").glob("*.pyx"))

#: Rooms that run under virtual time.
_TIMED_ROOMS = ("apiserver", "client", "controllers", "kubelet", "scheduler", "store")
#: Runs in a process of its own, outside of any loop of ours.
_OUTSIDE = "kubelet/runtime/process/shim.py"
_REAL_TIME = re.compile(
    r"\btime\.(?:time|monotonic|sleep|perf_counter)\(|\bdatetime\.(?:now|utcnow)\(|\brandom\.(?:random|choice|randint|uniform)\("
)


def test_rooms_import_only_what_they_may() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize("path", [*SOURCES, *NATIVE], ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_files_stay_readable(path: Path) -> None:
    text = path.read_text()
    if "data" not in path.stem and "tables" not in path.stem:
        assert text.count("\n") <= 800, "split it by concern"
    assert text.lstrip().startswith(('"""', 'r"""', "# ", "#cython")) or not text.strip(), (
        "a module opens with its story"
    )


def test_tests_stay_readable() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert [path.name for path in tests if path.read_text().count("\n") > 800] == []


def test_every_kernel_is_compiled() -> None:
    assert NATIVE
    for source in NATIVE:
        module = importlib.import_module(f"coxswain._native.{source.stem}")
        assert (module.__file__ or "").endswith(".so"), f"{source.stem} runs as Python"


def test_components_take_the_time_from_their_loop() -> None:
    offences = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        if path.relative_to(ROOT / "src" / "coxswain").parts[0] in _TIMED_ROOMS
        and not path.as_posix().endswith(_OUTSIDE)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _REAL_TIME.search(line)
    ]
    assert offences == []
