"""``make sanitize`` runs what it says: every compiled module watches its accesses, and a bad one is reported."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from coxswain import _native

pytestmark = pytest.mark.skipif(
    os.environ.get("COXSWAIN_SANITIZE") != "1", reason="for `make sanitize`, which sets COXSWAIN_SANITIZE=1"
)

#: A table of three nodes is asked for its fourth.
_PAST_THE_END = """
import numpy
from coxswain._native import filters

nodes = numpy.ones((1, 3), numpy.int64)
ids, amounts, rows = numpy.zeros(1, numpy.int32), numpy.ones(1, numpy.int64), numpy.array([3], numpy.int32)
filters.fit(nodes, nodes, ids, amounts, rows, numpy.zeros(1, numpy.uint8))
"""


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(_native.__path__)])
def test_every_module_is_built_with_sanitizers(name: str) -> None:
    path = Path(str(importlib.import_module(f"coxswain._native.{name}").__file__))
    code = path.read_bytes()
    assert path.suffix == ".so"
    assert "sanitize" in path.parts
    assert b"__asan_report_load" in code
    assert b"__ubsan_handle" in code


def test_a_read_past_the_end_of_an_array_ends_the_process(tmp_path: Path) -> None:
    report = tmp_path / "report"
    options = os.environ["ASAN_OPTIONS"] + f":log_path={report}"
    env = {**os.environ, "ASAN_OPTIONS": options}
    ended = subprocess.run([sys.executable, "-c", _PAST_THE_END], env=env, capture_output=True, check=False)
    assert ended.returncode < 0
    said = "".join(path.read_text() for path in tmp_path.glob("report.*"))
    assert "heap-buffer-overflow" in said
    assert "resources.pxd" in said
