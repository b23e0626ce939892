"""What flags hold, and what is said of a value that they cannot hold."""

from __future__ import annotations

import argparse
import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def count(text: str) -> int:
    """A number of things, one at least."""
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def port(text: str) -> int:
    """A TCP port; 0 (any that is free) and -1 (none) mean what the flag says."""
    number = _whole(text)
    if not -1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port: it must be between 0 and 65535")
    return number


def seconds(text: str) -> float:
    """A time: a number of seconds, or as Kubernetes' flags have it: 15s, 1m30s, 8760h0m0s."""
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0.0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: seconds, or such as 1m30s, are expected")
    return found


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
