"""How pods of host processes get their addresses.

    bridge    root and iproute2: a network namespace for each pod, joined to a bridge by a veth pair; the host
              reaches every pod address directly, and many pods may use one port
    loopback  otherwise: an address of 127.64.0.0/10 each. The pod's processes share the host's network: a
              server must bind to its own address (``$(POD_IP)`` through the downward API)

``choose`` decides once, at start; what was decided is part of the runtime's version string. Pods with
``hostNetwork`` have the host's addresses under both.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from coxswain.kubelet.runtime.interface import RuntimeFailure

log = logging.getLogger(__name__)

DEFAULT_CIDR = "10.244.0.0/24"
_PROBE = "cox-probe-"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A pod's place in the network: its address, and the namespace its processes enter (or none)."""

    ip: str
    netns: str = ""


class Network(Protocol):
    """Both verbs may be repeated."""

    name: str

    async def attach(self, identifier: str, used: Iterable[str]) -> Attachment:
        """An address that is not among ``used``. Raises ``RuntimeFailure``."""
        ...

    async def detach(self, identifier: str) -> None: ...

    async def close(self) -> None:
        """No pod is left: take away what they shared."""
        ...


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class LoopbackNetwork:
    """Addresses of 127.64.0.0/10; every node of a machine takes them from its own block of 4,094."""

    name = "loopback"

    def __init__(self, directory: str) -> None:
        block = int(_hash(directory)[:4], 16) % 1023 + 1
        self._base = int(ipaddress.ip_address("127.64.0.0")) + block * 4096

    async def attach(self, identifier: str, used: Iterable[str]) -> Attachment:
        taken = set(used)
        for offset in range(1, 4095):
            ip = str(ipaddress.ip_address(self._base + offset))
            if ip not in taken:
                return Attachment(ip)
        raise RuntimeFailure("no loopback address is free", "FailedCreatePodSandBox")

    async def detach(self, identifier: str) -> None:
        return None

    async def close(self) -> None:
        return None


class BridgeNetwork:
    """Namespaces on a bridge. ``cidr`` is the node's podCIDR; its first address is the bridge's."""

    name = "bridge"

    def __init__(self, directory: str, cidr: str = DEFAULT_CIDR) -> None:
        self._tag = _hash(directory)[:8]
        self._bridge = f"cox-{self._tag}"
        self._ready = False
        self.cidr = ipaddress.ip_network(cidr, strict=False)

    def use_cidr(self, cidr: str) -> None:
        """The node was given this range; applies until the first pod is attached."""
        if not self._ready:
            self.cidr = ipaddress.ip_network(cidr, strict=False)

    async def prepare(self) -> None:
        """Make the bridge, unless it is there. Raises ``RuntimeFailure`` if the range is in use elsewhere."""
        if self._ready:
            return
        routes = await _run("ip", "-4", "route", "show", "exact", str(self.cidr))
        if routes.strip() and f"dev {self._bridge}" not in routes:
            raise RuntimeFailure(f"another interface has the pod range {self.cidr}", "NetworkNotReady")
        if not _exists(f"/sys/class/net/{self._bridge}"):
            gateway = f"{next(self.cidr.hosts())}/{self.cidr.prefixlen}"
            await _batch(
                f"link add {self._bridge} type bridge",
                f"addr add {gateway} dev {self._bridge}",
                f"link set {self._bridge} up",
            )
        self._ready = True

    async def attach(self, identifier: str, used: Iterable[str]) -> Attachment:
        await self.prepare()
        taken = set(used)
        hosts = self.cidr.hosts()
        gateway = next(hosts)
        ip = next((str(host) for host in hosts if str(host) not in taken), "")
        if not ip:
            raise RuntimeFailure(f"no address of {self.cidr} is free", "FailedCreatePodSandBox")
        space, veth = self._names(identifier)
        await self.detach(identifier)
        await _batch(
            f"netns add {space}",
            f"link add {veth} type veth peer name eth0 address {_hardware_address(ip)} netns {space}",
            f"link set {veth} master {self._bridge} up",
        )
        await _batch(
            "link set lo up",
            f"addr add {ip}/{self.cidr.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {gateway}",
            netns=space,
        )
        return Attachment(ip, f"/run/netns/{space}")

    async def detach(self, identifier: str) -> None:
        space, veth = self._names(identifier)
        if _exists(f"/sys/class/net/{veth}"):
            await _run("ip", "link", "del", veth, check=False)
        if _exists(f"/run/netns/{space}"):
            await _run("ip", "netns", "del", space, check=False)

    async def sweep(self, identifiers: Iterable[str]) -> None:
        """Take away what was made for sandboxes that are not among these: a crash came before their record."""
        kept = {self._names(identifier)[0] for identifier in identifiers}
        for space in _namespaces(f"cox-{self._tag}-"):
            if space not in kept:
                await self.detach(space.rpartition("-")[2])
        for probe in _namespaces(_PROBE):
            if not _exists(f"/proc/{probe.removeprefix(_PROBE)}"):
                await _run("ip", "netns", "del", probe, check=False)

    async def close(self) -> None:
        if _exists(f"/sys/class/net/{self._bridge}"):
            await _run("ip", "link", "del", self._bridge, check=False)
        self._ready = False

    def _names(self, identifier: str) -> tuple[str, str]:
        # An interface's name has at most 15 letters.
        return f"cox-{self._tag}-{identifier[:12]}", f"cox{identifier[:11]}"


def _hardware_address(ip: str) -> str:
    """Made from the IP address: whoever still knows an address's last owner reaches the next one, too."""
    return "0a:58:" + ":".join(f"{number:02x}" for number in ipaddress.IPv4Address(ip).packed)


async def choose(directory: str, wanted: str, cidr: str) -> Network:
    """The best network that works here. ``wanted``: auto, bridge (raises where impossible) or loopback."""
    if wanted == "loopback":
        return LoopbackNetwork(directory)
    bridge = BridgeNetwork(directory, cidr or DEFAULT_CIDR)
    try:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise RuntimeFailure("pod networks need root and iproute2 (the ip command)", "NetworkNotReady")
        probe = f"{_PROBE}{os.getpid()}"
        await _run("ip", "netns", "add", probe)
        await _run("ip", "netns", "del", probe)
    except RuntimeFailure as error:
        if wanted == "bridge":
            raise
        log.info("pods get loopback addresses: %s", error)
        return LoopbackNetwork(directory)
    return bridge


async def _batch(*commands: str, netns: str = "") -> None:
    """Run several ``ip`` commands in one process, inside ``netns`` if given."""
    inside = ("-n", netns) if netns else ()
    await _run("ip", *inside, "-batch", "-", text="\n".join(commands) + "\n")


async def _run(*command: str, text: str = "", check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate(text.encode() if text else None)
    except asyncio.CancelledError:
        await process.wait()  # a matter of milliseconds; whoever cleans up must find all that it made
        raise
    if process.returncode and check:
        words = err.decode(errors="replace").strip()
        raise RuntimeFailure(f"{' '.join(command)}: {words}", "NetworkNotReady")
    return out.decode(errors="replace")


def _namespaces(prefix: str) -> list[str]:
    """Named network namespaces of this machine that begin so."""
    try:
        return [name for name in os.listdir("/run/netns") if name.startswith(prefix)]
    except FileNotFoundError:
        return []


def _exists(path: str) -> bool:
    return os.path.exists(path)
