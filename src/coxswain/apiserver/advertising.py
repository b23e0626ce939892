"""Where other machines reach this API server: as it is told, or where it listens.

A server that listens everywhere advertises the address that this machine sends from, as kube-apiserver does.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

from coxswain.base.errors import ConfigurationError

#: Nobody is there (RFC 5737): only the route matters, nothing is sent.
_ANYWHERE: Final = ("192.0.2.1", 9)


def advertised(address: str, wanted: str = "") -> str:
    """The address to publish of a server that listens on ``address``. Raises ``ConfigurationError``."""
    try:
        chosen = ipaddress.ip_address(wanted) if wanted else _of(address)
    except ValueError:
        raise ConfigurationError(f"--advertise-address {wanted!r} is no IP address") from None
    if chosen.is_unspecified:
        raise ConfigurationError(f"--advertise-address {wanted} is nowhere in particular")
    return str(chosen)


def _of(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        listening = ipaddress.ip_address(address)
    except ValueError:
        # A name, such as localhost.
        try:
            return ipaddress.ip_address(socket.gethostbyname(address))
        except OSError:
            return ipaddress.ip_address("127.0.0.1")
    return listening if not listening.is_unspecified else _outgoing()


def _outgoing() -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ANYWHERE)
            return ipaddress.ip_address(probe.getsockname()[0])
        except OSError:
            return ipaddress.ip_address("127.0.0.1")
