"""The shapes of names, keys, ports, addresses and amounts, with Kubernetes' words for what is wrong.

A check takes the value and returns its complaints (an empty tuple when it is fine), as apimachinery
``util/validation`` does. Results for text are cached: the same few names and keys come again and again.
``report`` turns complaints into field errors.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from coxswain.api.fields import Errors, invalid
from coxswain.base.memo import remembered

Complaints: TypeAlias = tuple[str, ...]
Check: TypeAlias = Callable[[str], Complaints]

EMPTY = "must be non-empty"
IMMUTABLE = "field is immutable"
NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
PORT_RANGE = "must be between 1 and 65535, inclusive"
ID_RANGE = "must be between 0 and 2147483647, inclusive"
FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"
_WILDCARD = r"\*\." + _SUBDOMAIN


def report(complaints: Complaints, path: str, value: Any, errors: Errors) -> None:
    """Append an ``Invalid`` for each complaint."""
    for complaint in complaints:
        errors.append(invalid(path, value, complaint))


def too_long(limit: int) -> str:
    """The complaint about more than ``limit`` bytes."""
    return f"must be no more than {limit} bytes"


def _regex(message: str, pattern: str, *examples: str) -> str:
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _shape(pattern: str, limit: int, message: str, *examples: str) -> Check:
    """A check for at most ``limit`` bytes (0: no limit) that match ``pattern``."""
    matches = re.compile(pattern).fullmatch
    wrong = _regex(message, pattern, *examples)
    long = too_long(limit)

    @remembered(8192)
    def check(value: str) -> Complaints:
        complaints: Complaints = ()
        if limit and len(value.encode()) > limit:
            complaints = (long,)
        return complaints if matches(value) else (*complaints, wrong)

    return check


_SUBDOMAIN_WORDS = (
    "must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)

dns_label = _shape(
    _LABEL,
    63,
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    "my-name",
    "123-abc",
)
dns_subdomain = _shape(_SUBDOMAIN, 253, f"a lowercase RFC 1123 subdomain {_SUBDOMAIN_WORDS}", "example.com")
dns_subdomain_underscore = _shape(
    _SUBDOMAIN_UNDERSCORE,
    253,
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character",
    "example.com",
)
dns_1035_label = _shape(
    _LABEL_1035,
    63,
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character",
    "my-name",
    "abc-123",
)
wildcard_subdomain = _shape(
    _WILDCARD,
    253,
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
    "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
    "*.example.com",
)
label_value = _shape(
    _LABEL_VALUE,
    63,
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    "MyValue",
    "my_value",
    "12345",
)
http_header_name = _shape(
    _HEADER, 0, "a valid HTTP header must consist of alphanumeric characters or '-'", "X-Header-Name"
)
percent = _shape(
    _PERCENT, 0, "a valid percent string must be a numeric string followed by an ending '%'", "1%", "93%"
)
_config_key_shape = _shape(
    _CONFIG_KEY,
    253,
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "key.name",
    "KEY_NAME",
    "key-name",
)

_qualified_matches = re.compile(_QUALIFIED).fullmatch
_QUALIFIED_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character"
)
_QUALIFIED_WRONG = _regex(_QUALIFIED_WORDS, _QUALIFIED, "MyName", "my.name", "123-abc")


@remembered(8192)
def qualified_name(value: str) -> Complaints:
    """``name`` or ``prefix/name``: keys of labels and annotations, resource and condition names."""
    parts = value.split("/")
    complaints: Complaints = ()
    if len(parts) == 2:
        if not parts[0]:
            complaints = (f"prefix part {EMPTY}",)
        else:
            complaints = tuple(f"prefix part {text}" for text in dns_subdomain(parts[0]))
    elif len(parts) > 2:
        wrong = (
            _QUALIFIED_WRONG + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
        return (f"a qualified name {wrong}",)
    name = parts[-1]
    if not name:
        complaints = (*complaints, f"name part {EMPTY}")
    elif len(name.encode()) > 63:
        complaints = (*complaints, f"name part {too_long(63)}")
    if not _qualified_matches(name):
        complaints = (*complaints, f"name part {_QUALIFIED_WRONG}")
    return complaints


@remembered(8192)
def config_key(value: str) -> Complaints:
    """A key of a ConfigMap or Secret, which becomes a file's name."""
    complaints = _config_key_shape(value)
    if value == ".":
        return (*complaints, "must not be '.'")
    if value == "..":
        return (*complaints, "must not be '..'")
    if value.startswith(".."):
        return (*complaints, "must not start with '..'")
    return complaints


@remembered(2048)
def env_name(value: str) -> Complaints:
    """The name of an environment variable (the relaxed rule: printable ASCII without ``=``)."""
    if value and all(" " <= char <= "~" and char != "=" for char in value):
        return ()
    if not value:
        return ("environment variable name " + EMPTY,)
    return (
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
    )


@remembered(2048)
def port_name(value: str) -> Complaints:
    """The name of a container's port (IANA service name)."""
    out: list[str] = []
    if len(value.encode()) > 15:
        out.append(too_long(15))
    if not re.fullmatch("[-a-z0-9]+", value):
        out.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        out.append("must contain at least one letter (a-z)")
    if "--" in value:
        out.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        out.append("must not begin or end with a hyphen")
    return tuple(out)


def path_segment(value: str) -> Complaints:
    """A name that only has to fit in a URL's path: RBAC objects and custom names."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    if "/" not in value and "%" not in value:
        return ()
    return tuple(f"may not contain '{char}'" for char in "/%" if char in value)


def port_number(path: str, value: Any, errors: Errors) -> None:
    """A port between 1 and 65535."""
    if not 1 <= value <= 65535:
        errors.append(invalid(path, value, PORT_RANGE))


def port_or_name(path: str, value: Any, errors: Errors) -> None:
    """A port by number or by name (IntOrString)."""
    if isinstance(value, str):
        report(port_name(value), path, value, errors)
    else:
        port_number(path, 0 if value is None else value, errors)


def nonnegative(path: str, value: Any, errors: Errors) -> None:
    """An integer of at least 0; absent is fine."""
    if value is not None and value < 0:
        errors.append(invalid(path, value, NEGATIVE))


def user_or_group_id(path: str, value: Any, errors: Errors) -> None:
    """A user's or group's number."""
    if value is not None and not 0 <= value <= 2147483647:
        errors.append(invalid(path, value, ID_RANGE))


def file_mode(path: str, value: Any, errors: Errors) -> None:
    """Permission bits; absent is fine."""
    if value is not None and not 0 <= value <= 0o777:
        errors.append(invalid(path, value, FILE_MODE))


@remembered(4096)
def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address as Kubernetes reads it: leading zeros are tolerated, zones are not."""
    try:
        if ":" in text:
            return None if "%" in text else ipaddress.IPv6Address(text)
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", text):
            return None
        return ipaddress.IPv4Address(".".join(str(int(part)) for part in text.split(".")))
    except ValueError:
        return None


def ip(path: str, text: str, errors: Errors) -> bool:
    """An IPv4 or IPv6 address; whether it is one."""
    if parse_ip(text) is None:
        errors.append(invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))
        return False
    return True


@remembered(4096)
def parse_cidr(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network of ``10.0.0.0/8`` (host bits are ignored), or None."""
    address, slash, bits = text.partition("/")
    if not slash or not re.fullmatch("[0-9]{1,3}", bits) or parse_ip(address) is None:
        return None
    try:
        return ipaddress.ip_network(f"{parse_ip(address)}/{int(bits)}", strict=False)
    except ValueError:
        return None


def cidr(path: str, text: str, errors: Errors) -> bool:
    """A network in CIDR notation; whether it is one."""
    if parse_cidr(text) is None:
        errors.append(invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"))
        return False
    return True


def ip_families(addresses: list[str]) -> set[int]:
    """The versions (4, 6) among the valid ones of ``addresses``."""
    return {parsed.version for text in addresses if (parsed := parse_ip(text)) is not None}


def relative_path(path: str, value: str, errors: Errors) -> None:
    """A relative path without ``..``."""
    if value.startswith("/"):
        errors.append(invalid(path, value, "must be a relative path"))
    no_backsteps(path, value, errors)


def no_backsteps(path: str, value: str, errors: Errors) -> None:
    """A path without ``..`` elements."""
    if ".." in value and ".." in value.split("/"):
        errors.append(invalid(path, value, "must not contain '..'"))


def local_path(path: str, value: str, errors: Errors) -> None:
    """A relative path that neither contains nor starts with ``..``."""
    relative_path(path, value, errors)
    if value.startswith("..") and not value.startswith("../") and ".." not in value.split("/"):
        errors.append(invalid(path, value, "must not start with '..'"))


def int_or_percent(path: str, value: Any, errors: Errors) -> None:
    """A non-negative number, or a percentage as text."""
    if isinstance(value, str):
        report(percent(value), path, value, errors)
    else:
        nonnegative(path, value, errors)


def percent_value(value: Any) -> int | None:
    """The number of ``"25%"``; None for anything else."""
    if isinstance(value, str) and not percent(value):
        return int(value[:-1])
    return None


def not_over_100_percent(path: str, value: Any, errors: Errors) -> None:
    """A percentage of at most 100."""
    number = percent_value(value)
    if number is not None and number > 100:
        errors.append(invalid(path, value, "must not be greater than 100%"))
