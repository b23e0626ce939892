"""URL paths and methods of the API, turned into verbs and names (apiserver's ``RequestInfo``).

    /api/v1/namespaces/{ns}/pods/{name}/status     GET -> get pods/status
    /apis/apps/v1/deployments                      GET -> list (or watch, with ?watch=1)
    /api/v1/watch/namespaces/{ns}/pods             GET -> watch, the older spelling

Paths repeat endlessly, so parsed ones are remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from coxswain.api.names import GVR
from coxswain.base.memo import remembered


class Route(NamedTuple):
    """A path below ``/api/<version>/`` or ``/apis/<group>/<version>/``.

    ``rest`` is what follows a subresource (the path behind ``proxy``); ``watch`` the older spelling of watches.
    """

    resource: GVR
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False


@remembered(16384)
def parse_path(path: str) -> Route | None:
    """The route of a resource's path; None for any other path (discovery among them)."""
    parts = [unquote(part) for part in path.split("/")[1:]]
    while parts and not parts[-1] and len(parts) < 7:
        parts.pop()
    if not parts:
        return None
    if parts[0] == "api" and len(parts) > 2:
        group, version, parts = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, parts = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = parts[0] == "watch" and len(parts) > 1
    if watch:
        parts = parts[1:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
        namespace, parts = parts[1], parts[2:]
    if any(not part for part in parts[:3]):
        return None
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    if len(parts) > 3 and subresource != "proxy":
        return None
    return Route(GVR(group, version, parts[0]), namespace, name, subresource, "/".join(parts[3:]), watch)


@remembered(8192)
def parse_query(text: str) -> Mapping[str, str]:
    """Query parameters; of a repeated one the first counts. Shared: not to be changed."""
    if not text:
        return {}
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=100):
        found.setdefault(name, value)
    return found


#: What a method means for what is not a resource of ours: proxies, and groups of other servers.
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WITH_NAME = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_WITHOUT_NAME = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}


def verb_of(method: str, route: Route, query: Mapping[str, str]) -> str | None:
    """The verb of a request; None when the path does not take the method."""
    if route.watch or (method == "GET" and not route.subresource and is_true(query.get("watch"))):
        return "watch" if method == "GET" else None
    if route.subresource:
        return "create" if method == "POST" else _WITH_NAME.get(method)
    return (_WITH_NAME if route.name else _WITHOUT_NAME).get(method)


def is_true(text: str | None) -> bool:
    """A boolean parameter in Go's spelling."""
    return text is not None and text not in ("0", "f", "F", "false", "FALSE", "False")
