"""After every step of any history, all that is kept equals the same made afresh (see ``sequences``)."""

from __future__ import annotations

import os

import pytest

from scheduler.sequences import Sequence

STEPS = 40


def play(seed: int) -> int:
    """One scenario; how many decisions it took."""
    sequence = Sequence(seed)
    told = []
    for step in range(STEPS):
        told.append(sequence.step())
        wrong = sequence.check()
        assert not wrong, f"seed {seed}, step {step} ({', '.join(told[-5:])}):\n" + "\n".join(wrong[:10])
    return sequence.decisions


@pytest.mark.parametrize("seed", range(6))
def test_a_few_histories(seed: int) -> None:
    assert play(seed) > 0


@pytest.mark.heavy
@pytest.mark.parametrize("fifty", range(20))
def test_a_thousand_histories(fifty: int) -> None:
    decisions = sum(play(seed) for seed in range(50 * fifty, 50 * fifty + 50))
    assert decisions > 500


@pytest.mark.skipif("COXSWAIN_SEQUENCE" not in os.environ, reason="COXSWAIN_SEQUENCE=seed plays one again")
def test_one_history_by_number() -> None:
    play(int(os.environ["COXSWAIN_SEQUENCE"]))
