"""String formats that schemas may ask for, as kube-openapi's ``strfmt`` understands them.

``KNOWN`` maps a format's name, without its dashes, to its check; a format that is not here is not checked.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

_DATE_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))", re.ASCII)
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_SCALA_DURATION = re.compile(
    r"\d+\s*(nanoseconds?|nanos?|ns|microseconds?|micros?|µs|us|milliseconds?|millis?|milis?|ms|seconds?|secs?|s"
    r"|minutes?|mins?|m|hours?|hr?|h|days?|d|weeks?|wk?|w)",
    re.ASCII,
)
_EMAIL = re.compile(r"[^@\s<>()\[\],;:\\\"]+@[^@\s<>()\[\],;:\\\"]+")
_LABEL = r"[a-zA-Z0-9\u00a1-\uffff]([a-zA-Z0-9\u00a1-\uffff-]*[a-zA-Z0-9\u00a1-\uffff])?"
_HOSTNAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")


def _shape(pattern: str, flags: int = re.ASCII) -> Callable[[str], bool]:
    match = re.compile(pattern, flags).fullmatch
    return lambda text: match(text) is not None


def date(text: str) -> bool:
    """``2006-01-02``."""
    if len(text) != 10:
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def date_time(text: str) -> bool:
    """RFC 3339, with a zone."""
    day, letter, rest = text.lower().partition("t")
    found = _DATE_TIME.fullmatch(rest)
    if not letter or found is None or not date(day):
        return False
    return found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def duration(text: str) -> bool:
    """Go's ``1h30m``, or ``22 seconds``."""
    rest, seen = text.lstrip("+-") if text[:1] in "+-" else text, False
    if rest == "0":
        return True
    while rest:
        found = _DURATION.match(rest)
        if found is None or (seen and rest[0] in "+-"):
            return _SCALA_DURATION.fullmatch(text.lower()) is not None
        rest, seen = rest[found.end() :], True
    return seen


def uri(text: str) -> bool:
    """An absolute URI or an absolute path (Go's ``url.ParseRequestURI``)."""
    if not text or text[0] == " " or any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if " " in parts.netloc:
        return False
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        return False
    return bool(parts.scheme) or text.startswith("/")


def _address(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return ipaddress.ip_address(text).version == version and "%" not in text
        except ValueError:
            return False

    return check


def cidr(text: str) -> bool:
    """``10.0.0.0/8``."""
    address, slash, bits = text.partition("/")
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return bool(slash) and bits.isdigit() and "%" not in address


def byte(text: str) -> bool:
    """Base64 with its padding."""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def hostname(text: str) -> bool:
    """A host's name (RFC 1034)."""
    labels_fit = all(len(label) <= 63 for label in text.split("."))
    return len(text) <= 255 and _HOSTNAME.fullmatch(text) is not None and labels_fit


def isbn10(text: str) -> bool:
    """Ten digits with a valid check digit."""
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    total = sum((place + 1) * (10 if char == "X" else int(char)) for place, char in enumerate(digits))
    return total % 11 == 0


def isbn13(text: str) -> bool:
    """Thirteen digits with a valid check digit."""
    digits = re.sub(r"[\s-]", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    return sum(int(char) * (3 if place % 2 else 1) for place, char in enumerate(digits)) % 10 == 0


def credit_card(text: str) -> bool:
    """A card's number that passes Luhn's test."""
    digits = re.sub(r"[^0-9]+", "", text)
    shape = (
        r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
        r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})"
    )
    if not re.fullmatch(shape, digits):
        return False
    doubled = [int(char) * (2 if place % 2 else 1) for place, char in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _short_name(text: str) -> bool:
    return len(text) <= 63 and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text) is not None


def _long_name(text: str) -> bool:
    return len(text) <= 253 and all(_short_name(part) for part in text.split("."))


_HEX = "[0-9a-fA-F]"
_COLOR = r"\s*([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\s*"

KNOWN: Final[Mapping[str, Callable[[str], bool]]] = {
    "bsonobjectid": _shape(f"{_HEX}{{24}}"),
    "uri": uri,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": hostname,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": cidr,
    "mac": _shape(
        rf"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5}}(([:-]{_HEX}{{2}}){{2}})?|{_HEX}{{4}}(\.{_HEX}{{4}}){{2,3}}"
    ),
    "uuid": _shape(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid3": _shape(f"{_HEX}{{8}}-?{_HEX}{{4}}-?3{_HEX}{{3}}-?{_HEX}{{4}}-?{_HEX}{{12}}"),
    "uuid4": _shape(f"{_HEX}{{8}}-?{_HEX}{{4}}-?4{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "uuid5": _shape(f"{_HEX}{{8}}-?{_HEX}{{4}}-?5{_HEX}{{3}}-?[89abAB]{_HEX}{{3}}-?{_HEX}{{12}}"),
    "isbn": lambda text: isbn10(text) or isbn13(text),
    "isbn10": isbn10,
    "isbn13": isbn13,
    "creditcard": credit_card,
    "ssn": _shape(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _shape(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "rgbcolor": _shape(rf"rgb\({_COLOR},{_COLOR},{_COLOR}\)"),
    "byte": byte,
    "password": lambda text: True,
    "date": date,
    "duration": duration,
    "datetime": date_time,
    "k8sshortname": _short_name,
    "k8slongname": _long_name,
}


def normalized(schema_type: str, name: str) -> str:
    """The format that is checked for a type: ``name``, or "" where Kubernetes ignores it."""
    if schema_type in ("", "string"):
        return name if name.replace("-", "") in KNOWN else ""
    if schema_type == "integer":
        return name if name in ("int32", "int64") else ""
    if schema_type == "number":
        return name if name in ("float", "double") else ""
    return ""
