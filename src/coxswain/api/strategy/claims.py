"""Resource claims: what drivers said of devices goes with their allocation (``dropDeallocatedStatusDevices``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coxswain.api.names import Object


def results_of(status: Object) -> Sequence[Object]:
    """The devices that a claim's status has allocated."""
    return ((status.get("allocation") or {}).get("devices") or {}).get("results") or ()


def device_identity(device: Object) -> tuple[Any, Any, Any]:
    """What tells devices apart: driver, pool, name."""
    return device.get("driver"), device.get("pool"), device.get("device")


def update_claim_status(new: Object, old: Object) -> None:
    """Forget what was said of devices that are allocated no longer."""
    status = new.get("status") or {}
    released = {device_identity(each) for each in results_of(old.get("status") or {})}
    released -= {device_identity(each) for each in results_of(status)}
    if released and status.get("devices"):
        kept = [each for each in status["devices"] if device_identity(each) not in released]
        if kept:
            status["devices"] = kept
        else:
            del status["devices"]
