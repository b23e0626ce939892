"""Which addresses a cluster's pods get, so that several clusters can share a machine.

The first of 10.244.0.0/16 ... 10.254.0.0/16 that neither another running cluster holds nor an interface of
this machine has addresses of. The choice is kept in DATA_DIR/run/pod-range and made again the same way as
long as it is free; a lock file, held while the cluster runs, keeps two that start at one time apart.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
from pathlib import Path

CANDIDATES = tuple(f"10.{second}.0.0/16" for second in range(244, 255))


class PodRange:
    """A claim; ``cidr`` is what it got. ``release`` it at the end (the process's end does, too)."""

    def __init__(self, run_dir: Path) -> None:
        self._note = run_dir / "pod-range"
        self._lock_fd = -1
        self.cidr = self._choose()
        self._note.write_text(f"{self.cidr}\n")

    def _choose(self) -> str:
        kept = self._note.read_text().strip() if self._note.exists() else ""
        if kept in CANDIDATES and self._claim(kept):
            return kept  # an interface with its addresses is our own bridge, left by a crash
        taken = _ranges_of_interfaces()
        for cidr in CANDIDATES:
            if cidr not in taken and self._claim(cidr):
                return cidr
        return CANDIDATES[0]  # the node's events will say what is in the way

    def _claim(self, cidr: str) -> bool:
        name = f"coxswain-{os.getuid()}-pods-{cidr.split('.')[1]}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock_fd = os.open(Path(tempfile.gettempdir()) / name, flags, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_fd)
            return False
        self._lock_fd = lock_fd
        return True

    def release(self) -> None:
        """Let others have the range. Idempotent."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _ranges_of_interfaces() -> set[str]:
    """The candidates of which this machine has an address already."""
    try:
        shown = subprocess.run(("ip", "-4", "-o", "addr"), capture_output=True, text=True, check=False).stdout
    except OSError:
        return set()  # without iproute2 pods get loopback addresses
    return {f"10.{second}.0.0/16" for second in re.findall(r"inet 10\.(\d+)\.", shown)}
