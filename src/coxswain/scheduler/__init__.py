"""The scheduler: from pods without a node to bindings. See README.md for the pipeline.

``run`` is imported when it is first asked for, so that ``coxswain.scheduler.evaluate`` starts without a client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coxswain.scheduler.config import SchedulerConfig

if TYPE_CHECKING:
    from coxswain.scheduler.component import Scheduler, run

__all__ = ["Scheduler", "SchedulerConfig", "run"]


def __getattr__(name: str) -> Any:
    if name in ("Scheduler", "run"):
        from coxswain.scheduler import component

        return getattr(component, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
