"""Limits by control groups, v1 or v2, where the machine lets us make them; elsewhere there are none.

v2   /sys/fs/cgroup/coxswain-TAG/ID            cpu.max, cpu.weight, memory.max
v1   <controller>/<our own group>/coxswain-TAG/ID   cpu.cfs_quota_us, cpu.shares, memory.limit_in_bytes
"""

from __future__ import annotations

import contextlib
import os

from coxswain.kubelet.runtime.interface import Resources

ROOT = "/sys/fs/cgroup"
_PERIOD = 100_000


class Cgroups:
    """Groups of one kubelet's containers."""

    def __init__(self, tag: str, root: str = ROOT) -> None:
        self._tag = f"coxswain-{tag}"
        self._v2 = os.path.exists(f"{root}/cgroup.controllers")
        self._parents = self._find_parents(root) if os.geteuid() == 0 else {}

    @property
    def available(self) -> bool:
        """Whether limits can be set."""
        return bool(self._parents)

    def create(self, identifier: str, resources: Resources) -> list[str]:
        """Make the groups that ``resources`` need; paths for the process to join. Best effort."""
        values = self._values(resources)
        paths = []
        for controller, files in values.items():
            parent = self._parents.get(controller)
            if not files or parent is None:
                continue
            path = f"{parent}/{identifier}"
            try:
                os.makedirs(path, exist_ok=True)
                for name, value in files.items():
                    _write(f"{path}/{name}", value)
            except OSError:
                continue
            if path not in paths:
                paths.append(path)
        return paths

    def remove(self, identifier: str) -> None:
        """Take the groups away; they are empty by now."""
        for parent in set(self._parents.values()):
            with contextlib.suppress(OSError):
                os.rmdir(f"{parent}/{identifier}")

    def _values(self, resources: Resources) -> dict[str, dict[str, str]]:
        cpu: dict[str, str] = {}
        memory: dict[str, str] = {}
        shares = max(2, min(262144, resources.cpu_request_milli * 1024 // 1000))
        quota = resources.cpu_limit_milli * _PERIOD // 1000
        if self._v2:
            if resources.cpu_request_milli:
                cpu["cpu.weight"] = str(1 + (shares - 2) * 9999 // 262142)
            if quota:
                cpu["cpu.max"] = f"{max(1000, quota)} {_PERIOD}"
            if resources.memory_limit:
                memory["memory.max"] = str(resources.memory_limit)
        else:
            if resources.cpu_request_milli:
                cpu["cpu.shares"] = str(shares)
            if quota:
                cpu["cpu.cfs_quota_us"] = str(max(1000, quota))
            if resources.memory_limit:
                memory["memory.limit_in_bytes"] = str(resources.memory_limit)
        return {"cpu": cpu, "memory": memory}

    def _find_parents(self, root: str) -> dict[str, str]:
        if self._v2:
            parent = f"{root}/{self._tag}"
            try:
                os.makedirs(parent, exist_ok=True)
                _write(f"{root}/cgroup.subtree_control", "+cpu +memory")
                _write(f"{parent}/cgroup.subtree_control", "+cpu +memory")
            except OSError:
                return {}
            return {"cpu": parent, "memory": parent}
        parents: dict[str, str] = {}
        with open("/proc/self/cgroup") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                for controller in ("cpu", "memory"):
                    if controller not in controllers.split(","):
                        continue
                    own = f"{root}/{controller}{path.rstrip('/')}"
                    if os.access(own, os.W_OK):
                        parents[controller] = f"{own}/{self._tag}"
        return parents


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)
