"""Kubernetes' own CEL libraries: quantities, URLs, addresses and networks, semantic versions, named formats.

Functions by name in ``FUNCTIONS``; where several kinds share a name (``isLessThan`` of quantities and versions) the
first argument decides.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from coxswain.api import stringformats as formats
from coxswain.api.cel.values import (
    NOTHING,
    Cidr,
    EvaluationError,
    NamedFormat,
    Optional,
    Semver,
    Url,
    is_number,
    overload,
)
from coxswain.api.fields import quote as quoted
from coxswain.api.quantity import NANO, Quantity, QuantityError
from coxswain.api.validation import formats as names


def _need(kind: Any, value: Any) -> None:
    if not isinstance(value, kind):
        raise overload(value)


def _succeeds(make: Callable[..., Any]) -> Callable[..., bool]:
    def check(value: Any, *more: Any) -> bool:
        _need(str, value)
        try:
            make(value, *more)
        except EvaluationError:
            return False
        return True

    return check


# -- quantities


def to_quantity(value: Any) -> Quantity:
    """``quantity("1Gi")``."""
    _need(str, value)
    try:
        return Quantity.parse(value)
    except QuantityError as error:
        raise EvaluationError(str(error)) from None


def _as_quantity(value: Any) -> Quantity:
    return Quantity.of(value) if is_number(value) else value


def _as_integer(value: Any) -> int:
    _need(Quantity, value)
    if value.nano % NANO or not -(2**63) <= value.nano // NANO < 2**63:
        raise EvaluationError("cannot convert value to integer")
    return int(value.nano // NANO)


def _compare(left: Any, right: Any) -> int:
    _need((Quantity, Semver), left)
    _need(type(left), right)
    return int(left > right) - int(left < right)


# -- URLs


def to_url(value: Any) -> Url:
    """``url("https://...")``: an absolute URI or an absolute path."""
    _need(str, value)
    if not formats.uri(value):
        why = "invalid URI for request" if value else "empty url"
        raise EvaluationError(f"URL parse error during conversion from string: parse {quoted(value)}: {why}")
    return Url(urlsplit(value))


def _host(url: Any) -> str:
    _need(Url, url)
    return str(url.parts.netloc.rpartition("@")[2])


def _hostname(url: Any) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


# -- addresses


def to_ip(value: Any) -> Any:
    """``ip("10.0.0.1")``, or the address of a network."""
    if isinstance(value, Cidr):
        return value.address
    _need(str, value)
    try:
        made = ipaddress.ip_address(value)
    except ValueError:
        why = f"ParseAddr({quoted(value)}): unable to parse IP"
        raise EvaluationError(
            f"IP Address {quoted(value)} parse error during conversion from string: {why}"
        ) from None
    if "%" in value:
        raise EvaluationError(f"IP address {quoted(value)} with zone value is not allowed")
    if getattr(made, "ipv4_mapped", None) is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {quoted(value)} is not allowed")
    return made


def to_cidr(value: Any) -> Cidr:
    """``cidr("10.0.0.0/8")``."""
    _need(str, value)
    start = "network address parse error during conversion from string"
    address, slash, length = value.partition("/")
    if not slash:
        raise EvaluationError(f"{start}: netip.ParsePrefix({quoted(value)}): no '/'")
    try:
        if not length.isascii() or not length.isdigit() or (length[0] == "0" and len(length) > 1):
            raise ValueError(value)
        made = Cidr(ipaddress.ip_address(address), ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise EvaluationError(
            f"{start}: netip.ParsePrefix({quoted(value)}): bad address or prefix length"
        ) from None
    if "%" in value:
        raise EvaluationError(
            f"{start}: netip.ParsePrefix({quoted(value)}): IPv6 zones cannot be present in a prefix"
        )
    if getattr(made.address, "ipv4_mapped", None) is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {quoted(value)} is not allowed")
    return made


def _in_network(network: Any, other: Any) -> bool:
    _need(Cidr, network)
    other = to_ip(other) if isinstance(other, str) else other
    return bool(other.version == network.network.version and other in network.network)


def _within(network: Any, other: Any) -> bool:
    _need(Cidr, network)
    inner = (to_cidr(other) if isinstance(other, str) else other).network
    return bool(inner.version == network.network.version and inner.subnet_of(network.network))


def _global_unicast(address: Any) -> bool:
    broadcast = address.version == 4 and int(address) == 2**32 - 1
    others = address.is_loopback or address.is_unspecified or address.is_multicast or _link_local(address)
    return not (others or broadcast)


def _link_local(address: Any) -> bool:
    return bool(address.is_link_local and not address.is_multicast)


def _link_local_multicast(address: Any) -> bool:
    packed = address.packed
    if address.version == 4:
        return bool(packed[:3] == bytes((224, 0, 0)))
    return bool(packed[0] == 0xFF and packed[1] & 0x0F == 2)


# -- semantic versions

_SEMVER: Final = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?:-([0-9A-Za-z.-]+))?(?:\+([0-9A-Za-z.-]+))?"
)


def to_semver(value: Any, normalize: Any = False) -> Semver:
    """``semver("1.2.3-rc.1")``; with ``normalize`` also ``v1.2`` and ``01.2.3``."""
    _need(str, value)
    _need(bool, normalize)
    text = _normalized(value) if normalize else value
    found = _SEMVER.fullmatch(text)
    parts = found[4].split(".") if found is not None and found[4] else []
    numeric = [part for part in parts if part.isdigit()]
    if found is None or "" in parts or any(len(part) > 1 and part[0] == "0" for part in numeric):
        raise EvaluationError(_semver_problem(text))
    rank = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)
    return Semver((int(found[1]), int(found[2]), int(found[3])), rank or ((2, 0, ""),))


def _semver_problem(text: str) -> str:
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    parts[2] = re.split(r"[-+]", parts[2])[0]
    for name, part in zip(("Major", "Minor", "Patch"), parts, strict=True):
        if not part.isdigit():
            return f"Invalid character(s) found in {name.lower()} number {quoted(part)}"
        if len(part) > 1 and part[0] == "0":
            return f"{name} number must not contain leading zeroes {quoted(part)}"
    return f"Invalid character(s) found in prerelease or build meta data of {quoted(text)}"


def _normalized(value: str) -> str:
    parts = value.removeprefix("v").split(".", 2)
    for position, part in enumerate(parts):
        if len(part) > 1:
            short = part.lstrip("0")
            parts[position] = short if short[:1].isdigit() else f"0{short}"
    if len(parts) < 3:
        if "+" in parts[-1] or "-" in parts[-1]:
            raise EvaluationError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _number(position: int) -> Callable[[Any], int]:
    def get(value: Any) -> int:
        _need(Semver, value)
        return int(value.numbers[position])

    return get


# -- named formats


def _prefix(check: Callable[[str], Any]) -> Callable[[str], list[str]]:
    """A name that more may be appended to: it may end with a dash."""
    return lambda text: list(check(f"{text[:-1]}a" if text.endswith("-") else text))


def _known(name: str, complaint: str) -> Callable[[str], list[str]]:
    check = formats.KNOWN[name]
    return lambda text: [] if check(text) else [complaint]


def _uri(text: str) -> list[str]:
    if formats.uri(text):
        return []
    return [f"parse {quoted(text)}: {'invalid URI for request' if text else 'empty url'}"]


def _plain(check: Callable[[str], Any]) -> Callable[[str], list[str]]:
    return lambda text: list(check(text))


NAMED: Final[Mapping[str, NamedFormat]] = {
    name: NamedFormat(shown, check, size)
    for name, shown, check, size in (
        ("dns1123Label", "DNS1123Label", _plain(names.dns_label), 30),
        ("dns1123Subdomain", "DNS1123Subdomain", _plain(names.dns_subdomain), 60),
        ("dns1035Label", "DNS1035Label", _plain(names.dns_1035_label), 30),
        ("qualifiedName", "QualifiedName", _plain(names.qualified_name), 60),
        ("dns1123LabelPrefix", "DNS1123LabelPrefix", _prefix(names.dns_label), 30),
        ("dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", _prefix(names.dns_subdomain), 60),
        ("dns1035LabelPrefix", "DNS1035LabelPrefix", _prefix(names.dns_1035_label), 30),
        ("labelValue", "LabelValue", _plain(names.label_value), 40),
        ("uri", "URI", _uri, 1103),
        ("uuid", "uuid", _known("uuid", "does not match the UUID format"), 77),
        ("byte", "byte", _known("byte", "invalid base64"), 84),
        ("date", "date", _known("date", "invalid date"), 92),
        ("datetime", "datetime", _known("datetime", "invalid datetime"), 92),
    )
}


def _named(name: Any) -> Optional:
    found = NAMED.get(name)
    return NOTHING if found is None else Optional(True, found)


def _validate(named: Any, text: Any) -> Optional:
    _need(NamedFormat, named)
    _need(str, text)
    found = named.check(text)
    return Optional(True, found) if found else NOTHING


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "quantity": to_quantity,
    "isQuantity": _succeeds(to_quantity),
    "isInteger": lambda value: not value.nano % NANO and -(2**63) <= value.nano // NANO < 2**63,
    "asInteger": _as_integer,
    "asApproximateFloat": lambda value: value.nano / NANO,
    "sign": lambda value: value.sign(),
    "add": lambda value, other: value + _as_quantity(other),
    "sub": lambda value, other: value - _as_quantity(other),
    "isLessThan": lambda left, right: _compare(left, right) < 0,
    "isGreaterThan": lambda left, right: _compare(left, right) > 0,
    "compareTo": _compare,
    "url": to_url,
    "isURL": _succeeds(to_url),
    "getScheme": lambda url: url.parts.scheme,
    "getHost": _host,
    "getHostname": _hostname,
    "getPort": lambda url: str(url.parts.port if url.parts.port is not None else ""),
    "getEscapedPath": lambda url: quote(url.parts.path, safe="/%:@!$&'()*+,;=-._~"),
    "getQuery": lambda url: parse_qs(url.parts.query, keep_blank_values=True),
    "ip": to_ip,
    "isIP": _succeeds(to_ip),
    "ip.isCanonical": lambda value: str(to_ip(value)) == value,
    "family": lambda address: address.version,
    "isLoopback": lambda address: address.is_loopback,
    "isUnspecified": lambda address: address.is_unspecified,
    "isGlobalUnicast": _global_unicast,
    "isLinkLocalUnicast": _link_local,
    "isLinkLocalMulticast": _link_local_multicast,
    "cidr": to_cidr,
    "isCIDR": _succeeds(to_cidr),
    "containsIP": _in_network,
    "containsCIDR": _within,
    "masked": lambda network: Cidr(network.network.network_address, network.network),
    "prefixLength": lambda network: network.network.prefixlen,
    "semver": to_semver,
    "isSemver": _succeeds(to_semver),
    "major": _number(0),
    "minor": _number(1),
    "patch": _number(2),
    "format.named": _named,
    "validate": _validate,
    **{f"format.{name}": (lambda found=found: found) for name, found in NAMED.items()},
}
