"""Snapshots are answered in their order, over many processes as by one."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import orjson
import pytest

from coxswain.base.errors import CoxswainError
from coxswain.cli import evaluating


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    """What evaluates alone calms the collector of its process, which here is that of other tests."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def snapshot(number: int) -> bytes:
    """One of ``number + 1`` nodes, with a pod that fits on all."""
    nodes = [
        {
            "metadata": {"name": f"n{i}"},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}},
        }
        for i in range(number + 1)
    ]
    pending = [{"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [{"name": "c"}]}}]
    return orjson.dumps({"id": number, "nodes": nodes, "pods": [], "pending": pending}) + b"\n"


#: Python 3.12 and later warn of forks beside threads, which other tests leave and ``cox`` has not.
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@FORKS
def test_many_processes_answer_as_one_does() -> None:
    lines = [snapshot(number) for number in range(40)]
    lines[17:17] = [b"\n", b"not json\n"]
    alone, together = io.BytesIO(), io.BytesIO()
    assert evaluating.evaluate(io.BytesIO(b"".join(lines)), alone, processes=1) == 1
    assert evaluating.evaluate(io.BytesIO(b"".join(lines)), together, processes=3) == 1
    assert alone.getvalue() == together.getvalue()
    answers = [orjson.loads(line) for line in together.getvalue().splitlines()]
    assert [answer["id"] for answer in answers] == [*range(17), None, *range(17, 40)]
    assert [len(answer["results"][0]["filter"]) for answer in answers[:17]] == list(range(1, 18))


@FORKS
def test_the_death_of_a_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "_answer", _die)
    with pytest.raises(CoxswainError, match="was killed"):
        evaluating.evaluate(io.BytesIO(snapshot(1) * 20), io.BytesIO(), processes=2)


def _die(line: bytes) -> tuple[bytes, bool]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "coxswain.cli.main", "scheduler", "evaluate"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cox:
        assert cox.stdin is not None and cox.stdout is not None and cox.stderr is not None
        cox.stdout.close()
        cox.stdin.write(snapshot(200) * 12)
        cox.stdin.close()
        assert cox.stderr.read() == b""
    assert cox.returncode == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"x", "expected a JSON value"),
        (b"[]", "an object is expected, not list"),
        (b"{}", "'nodes' is missing"),
        (b'{"nodes": 5}', "nodes: a list of objects is expected"),
        (b'{"nodes": [], "pending": [1]}', "pending: a list of objects is expected"),
        (b'{"nodes": [{}]}', "'metadata' is missing"),
        (
            b'{"nodes": [{"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "much"}}}]}',
            "quantities must",
        ),
    ],
)
def test_a_line_that_is_no_snapshot_is_told_in_words(line: bytes, said: str) -> None:
    stdout = io.BytesIO()
    good = b'{"id": 7, "nodes": [], "pods": null, "comment": "any"}'
    assert evaluating.evaluate(io.BytesIO(line + b"\n" + good + b"\n"), stdout) == 1
    wrong, right = stdout.getvalue().splitlines()
    assert said in orjson.loads(wrong)["error"]
    assert b"Error" not in wrong
    assert orjson.loads(right) == {"id": 7, "results": []}
