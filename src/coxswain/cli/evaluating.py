"""``cox scheduler evaluate``: lines of snapshots in, lines of answers out, in the same order, on every core.

    stdin --line--> worker processes (a snapshot each at a time) --line--> stdout

Workers are forked before anything heavy is imported here, so each starts like a small program. At most a few lines
for each worker are held at any time, however long the input. A short input is answered without workers.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import BinaryIO

from coxswain.base import garbage
from coxswain.base.errors import CoxswainError

#: Inputs of fewer lines are not worth the start of workers.
_FEW = 8
#: Lines that may wait for each worker.
_AHEAD = 4

Answer = tuple[bytes, bool]


def evaluate(stdin: BinaryIO, stdout: BinaryIO, processes: int = 0) -> int:
    """Answer every line; 0 if all were snapshots. ``processes``: 0 for as many as there are cores.

    Raises ``CoxswainError`` if a worker died.
    """
    lines = (line for line in stdin if line.strip())
    first = list(itertools.islice(lines, _FEW))
    processes = processes or len(os.sched_getaffinity(0))
    if len(first) < _FEW or processes == 1:
        garbage.calm()
        answers: Iterable[Answer] = map(_answer, itertools.chain(first, lines))
    else:
        answers = _spread(itertools.chain(first, lines), processes)
    status = 0
    for text, understood in answers:
        stdout.write(text)
        status = status if understood else 1
    stdout.flush()
    return status


def _spread(lines: Iterable[bytes], processes: int) -> Iterator[Answer]:
    fork = multiprocessing.get_context("fork")
    waiting: deque[Future[Answer]] = deque()
    with ProcessPoolExecutor(processes, fork, initializer=_start) as pool:
        try:
            for line in lines:
                waiting.append(pool.submit(_answer, line))
                if len(waiting) > _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise CoxswainError(
                "a process that evaluated snapshots was killed: is there enough memory?"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start() -> None:
    # Ctrl-C is for the parent, which tells the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    garbage.calm()


def _answer(line: bytes) -> Answer:
    from coxswain.scheduler import evaluate

    return evaluate.answer(line)
