"""Every route and verb that discovery names, and every other path: who has no rights is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from security.attacks import ADMIN, NOBODY, Target, serving

#: What anybody may see without saying who they are (system:public-info-viewer).
PUBLIC = {"/healthz", "/livez", "/readyz", "/version"}
#: What everybody who is somebody may ask: about themselves.
SELF = {
    ("selfsubjectreviews", "create"),
    ("selfsubjectaccessreviews", "create"),
    ("selfsubjectrulesreviews", "create"),
}
#: Paths of discovery, which every authenticated user may read (system:discovery).
DISCOVERY = (
    "/api",
    "/apis",
    "/openapi",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
    "/.well-known",
    "/openid",
)

METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
#: Verbs to try at a subresource, whatever discovery says: connects and those that are not offered.
ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


async def routes(target: Target) -> list[tuple[str, str, str, str]]:
    """(method, path, resource or resource/subresource, verb) of everything that is served."""
    found: list[tuple[str, str, str, str]] = []
    lists = [("/api/v1", await target.must("GET", "/api/v1"))]
    for group in (await target.must("GET", "/apis"))["groups"]:
        for version in group["versions"]:
            base = f"/apis/{version['groupVersion']}"
            lists.append((base, await target.must("GET", base)))
    for base, served in lists:
        for resource in served["resources"]:
            found += _routes(base, resource)
    return found


def _routes(base: str, resource: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    plural, _, subresource = resource["name"].partition("/")
    where = f"{base}/namespaces/default/{plural}" if resource["namespaced"] else f"{base}/{plural}"
    if subresource:
        path = f"{where}/some/{subresource}"
        return [(method, path, resource["name"], method) for method in ALL_METHODS]
    found = []
    for verb in resource["verbs"]:
        named = verb in ("get", "update", "patch", "delete")
        path = f"{where}/some" if named else where
        if verb == "watch":
            path += "?watch=true"
        found.append((METHODS[verb], path, plural, verb))
        if resource["namespaced"] and verb in ("list", "watch"):
            everywhere = f"{base}/{plural}" + ("?watch=true" if verb == "watch" else "")
            found.append(("GET", everywhere, plural, verb))
            found.append(("GET", f"{base}/watch/{plural}", plural, "watch"))
    return found


def test_the_table_is_whole() -> None:
    one = {"name": "pods", "namespaced": True, "verbs": list(METHODS)}
    assert {verb for _, _, _, verb in _routes("/api/v1", one)} == set(METHODS)


async def test_no_route_is_open(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        account = "system:serviceaccount:default:robot"
        table = await routes(target)
        assert len(table) > 600
        open_: list[Any] = []
        for method, path, resource, verb in table:
            body = b"{}" if method in ("POST", "PUT", "PATCH") else None
            code, answer = await target.send(method, path, body)
            if code != 403 or "system:anonymous" not in answer["message"]:
                open_.append(("anonymous", method, path, code))
            code, answer = await target.send(method, path, body, token=NOBODY)
            if (resource, verb) not in SELF and code != 403:
                open_.append(("nobody", method, path, code))
            code, answer = await target.send(method, path, body, token=ADMIN, Impersonate_User=account)
            if (resource, verb) not in SELF and code != 403:
                open_.append(("account", method, path, code))
            if len(open_) > 20:
                break
        assert not open_
        assert await target.healthy()


async def test_a_wrong_token_opens_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        table = await routes(target)
        for path in [
            *sorted({path for method, path, _, _ in table if method == "GET"})[::7],
            *PUBLIC,
            "/metrics",
        ]:
            code, answer = await target.send("GET", path, token="wrong")
            assert (code, answer["message"]) == (401, "Unauthorized"), path


async def test_other_paths_are_for_whom_roles_say(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        paths = list((await target.must("GET", "/"))["paths"])
        paths += [
            "/",
            "/logs",
            "/debug/pprof",
            "/debug/flags/v",
            "/metrics/x",
            "/api/v1/",
            "/swagger.json",
            "/x",
        ]
        for path in paths:
            code, _ = await target.send("GET", path)
            assert (code == 200) is (path in PUBLIC), (path, code)
            assert code in (200, 403), (path, code)
            code, _ = await target.send("GET", path, token=NOBODY)
            assert code == 403 or path.startswith(DISCOVERY), (path, code)
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                code, _ = await target.send(method, path, b"{}")
                assert code in (403, 405), (method, path, code)


async def test_unknown_methods_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        for method in ("TRACE", "CONNECT", "PROPFIND", "OPTIONS", "HEAD"):
            for path in ("/api/v1/secrets", "/api/v1/nodes/x/proxy", "/metrics"):
                request = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
                answer = await target.raw(request)
                code = int(answer.split()[1]) if answer else 0
                assert code in (400, 403, 405), (method, path, code)
        assert await target.healthy()


@pytest.mark.parametrize("user", ["system:kube-scheduler", "system:kube-proxy"])
async def test_components_read_no_secrets(tmp_path: Path, user: str) -> None:
    async with serving(tmp_path) as target:
        for path in (
            "/api/v1/secrets",
            "/api/v1/namespaces/default/secrets",
            "/api/v1/namespaces/default/secrets/x",
        ):
            code, _ = await target.send("GET", path, token=ADMIN, Impersonate_User=user)
            assert code == 403, path
