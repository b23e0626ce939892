"""CONNECT: admission of what is passed on to kubelets, pods and services (exec, attach, port forwards, proxies).

Webhooks and policies see the options of the connection (``PodExecOptions`` ...), made from the query. What they change in
them goes into the query that is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.admission.request import Request
from coxswain.client.interface import UserInfo

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


class Chain(Protocol):
    """The admission chain (``request.Admission``)."""

    def mutate(self, request: Request) -> Any: ...

    def validate(self, request: Request) -> Any: ...


def _flag(values: list[str]) -> bool:
    return values[0] in _TRUE


def _first(values: list[str]) -> str:
    return values[0]


def _ports(values: list[str]) -> list[int]:
    numbers = [number for value in values for number in value.split(",")]
    return [int(number) for number in numbers if number.isascii() and number.isdigit()]


#: The options' fields and how the query says them.
_STREAMS: dict[str, Callable[[list[str]], Any]] = {
    "stdin": _flag,
    "stdout": _flag,
    "stderr": _flag,
    "tty": _flag,
    "container": _first,
}
_FIELDS: dict[str, dict[str, Callable[[list[str]], Any]]] = {
    "exec": {**_STREAMS, "command": list},
    "attach": _STREAMS,
    "portforward": {"ports": _ports},
}


async def admit_connection(
    chain: Chain,
    user: UserInfo,
    kind: GVK,
    resource: GVR,
    namespace: str,
    name: str,
    subresource: str,
    query: str,
    path: str = "",
) -> str:
    """Let admission judge a connection; the query to go on with. ``kind`` is that of its options.

    ``path`` is what a proxy is asked for. Raises ``ApiError``.
    """
    options = _options(kind, subresource, query, path)
    before = {**options}
    request = Request(user, "CONNECT", resource, subresource, namespace, name, options)
    pending = chain.mutate(request)
    if pending is not None:
        await pending
    changed = options != before
    pending = chain.validate(request)
    if pending is not None:
        await pending
    return _query(options, subresource) if changed and subresource in _FIELDS else query


def _options(kind: GVK, subresource: str, query: str, path: str) -> Object:
    options: Object = {"kind": kind.kind, "apiVersion": kind.api_version}
    fields = _FIELDS.get(subresource)
    if fields is None:
        if path:
            options["path"] = path
        return options
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        given.setdefault(name, []).append(value)
    for name, read in fields.items():
        if name in given and (value := read(given[name])):
            options[name] = value
    return options


def _query(options: Object, subresource: str) -> str:
    said: list[tuple[str, str]] = []
    for name in _FIELDS[subresource]:
        value = options.get(name)
        if isinstance(value, list):
            said += [(name, str(one)) for one in value]
        elif value:
            said.append((name, "true" if value is True else str(value)))
    return urlencode(said)
