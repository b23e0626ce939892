"""What each controller costs for an object, as objects grow: flat, all of them.

Microseconds of CPU of the controller and its informers (see ``world``); figures of one run, all taken in the cache's
set-up. ``COXSWAIN_BENCH_OBJECTS=1000,10000,100000`` goes on to a hundred thousand, for half an hour.
"""

from __future__ import annotations

import math
import os

from benchmarks.controllers import networking, upkeep, workloads
from benchmarks.controllers.world import Case, Costs, measure, steps

CASES: dict[str, Case] = {**workloads.CASES, **networking.CASES, **upkeep.CASES}
SIZES = tuple(int(each) for each in os.environ.get("COXSWAIN_BENCH_OBJECTS", "1000,10000").split(","))
#: Counting takes another run, and what is flat so far stays so.
_MOST_COUNTED = 10_000
_Measured = dict[tuple[str, int], Costs | str]


class Reconcile:
    """By controller and number of objects."""

    params = (tuple(CASES), SIZES)
    param_names = ("controller", "objects")
    timeout = 3600
    unit = "us"

    def setup_cache(self) -> _Measured:
        """Measure everything; an assertion that fails is kept as its text, so that the others are still shown."""
        measured: _Measured = {}
        for name, case in CASES.items():
            for objects in SIZES:
                try:
                    measured[name, objects] = measure(case, objects)
                except AssertionError as error:
                    measured[name, objects] = f"{name}, {objects} objects: {error}"
        return measured

    setup_cache.timeout = 3600  # type: ignore[attr-defined]

    def track_start(self, measured: _Measured, controller: str, objects: int) -> float:
        """For each object: listing, decoding, the first reconcile and the first writes."""
        return self._costs(measured, controller, objects).start

    def track_change(self, measured: _Measured, controller: str, objects: int) -> float:
        """For each of a hundred changes: event, reconcile, writes, and the events of the writes."""
        return self._costs(measured, controller, objects).change

    def track_idle(self, measured: _Measured, controller: str, objects: int) -> float:
        """For each object and period in which nothing happens (seconds of most, one look of the periodic)."""
        return self._costs(measured, controller, objects).idle

    def track_steps(self, measured: _Measured, controller: str, objects: int) -> float:
        """Bytecodes for each change (of a periodic one, for each object and period): flat to the last, on any machine."""
        del measured
        return steps(CASES[controller], objects) if objects <= _MOST_COUNTED else math.nan

    track_steps.unit = "bytecodes"  # type: ignore[attr-defined]

    @staticmethod
    def _costs(measured: _Measured, controller: str, objects: int) -> Costs:
        found = measured[controller, objects]
        assert isinstance(found, Costs), found
        return found
