"""Every controller ends in the same state, with a fault at any one of its calls.

``make test`` tries each scenario without a fault and with a few; ``pytest -m heavy`` with each kind at each call.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from controllers.faultbench import KINDS, Fault, Scenario, outcome
from controllers.scenarios import SCENARIOS
from coxswain.base import loop
from coxswain.controllers import registry

_FEW = 5
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def _live(work: Coroutine[Any, Any, tuple[list[str], int]]) -> tuple[list[str], int]:
    return loop.run(work, seed=1)


def _differences(calm: list[str], found: list[str]) -> str:
    lost = [f"- {line}" for line in calm if line not in found]
    return "\n".join(lost + [f"+ {line}" for line in found if line not in calm])


def _check(scenario: Scenario, faults: list[Fault], calm: list[str]) -> None:
    for fault in faults:
        found, _ = _live(outcome(scenario, fault))
        assert found == calm, f"{scenario.name} with {fault}:\n{_differences(calm, found)}"


@pytest.mark.parametrize("name", _BY_NAME)
def test_a_fault_now_and_then_changes_nothing(name: str) -> None:
    scenario = _BY_NAME[name]
    calm, calls = _live(outcome(scenario))
    assert calls > 0
    places = range(0, calls, max(1, calls // _FEW))
    _check(scenario, [Fault(KINDS[at % len(KINDS)], at) for at in places], calm)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", _BY_NAME)
def test_a_fault_at_any_call_changes_nothing(name: str, kind: str) -> None:
    scenario = _BY_NAME[name]
    calm, calls = _live(outcome(scenario))
    _check(scenario, [Fault(kind, at) for at in range(calls)], calm)


def test_every_controller_has_its_scenario() -> None:
    covered = {name for scenario in SCENARIOS for name in registry.select(scenario.controllers)}
    tested_elsewhere = {
        "local-path-provisioner-controller",  # touches the disk: test_localpath
        "persistentvolume-expander-controller",  # writes nothing but events: test_expand
        "certificatesigningrequest-signing-controller",  # needs keys: test_certificates
        "certificatesigningrequest-approving-controller",
        "certificatesigningrequest-cleaner-controller",
        "serviceaccount-token-controller",  # needs a key: test_account_tokens
    }
    assert set(registry.names()) == covered | tested_elsewhere
