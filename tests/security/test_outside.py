"""Servers that are asked who somebody is and what they may do: over real connections, through every door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from coxswain.apiserver import pki
from coxswain.apiserver.authn import Issuer
from coxswain.apiserver.authn.settings import (
    AuthenticationSettings,
    AuthorizationSettings,
    IdentitySettings,
    OpenIdSettings,
    RequestHeaderSettings,
    WebhookSettings,
)
from coxswain.base import clock
from security.attacks import ADMIN, Target, serving


class Oracle:
    """Knows the token ``opaque`` of user zoe, and lets zoe see what she asks for in ``allowed``."""

    def __init__(self) -> None:
        self.allowed: set[tuple[str, str]] = set()
        self.asked: list[dict[str, Any]] = []
        self.gate: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append(review)
        if self.gate is not None:
            await self.gate.wait()
        spec = review["spec"]
        if review["kind"] == "TokenReview":
            known = spec["token"] == "opaque"
            review["status"] = {"authenticated": known, "user": {"username": "zoe"} if known else {}}
        else:
            resource = spec.get("resourceAttributes") or {
                "verb": "get",
                "resource": spec["nonResourceAttributes"]["path"],
            }
            review["status"] = {"allowed": (resource["verb"], resource["resource"]) in self.allowed}
        return web.json_response(review)


@asynccontextmanager
async def asking(directory: Path, *modes: str) -> AsyncIterator[tuple[Target, Oracle]]:
    oracle = Oracle()
    app = web.Application()
    app.router.add_post("/review", oracle.answer)
    keys = pki.Pki(directory / "oracle")
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=pki.server_context(keys.serving(), keys.ca))
    await site.start()
    port = runner.addresses[0][1]
    kubeconfig = directory / "oracle.kubeconfig"
    pki.write_kubeconfig(
        kubeconfig, server=f"https://127.0.0.1:{port}/review", ca=keys.ca.certificate, client=keys.admin()
    )
    settings = IdentitySettings(
        AuthenticationSettings(webhook=WebhookSettings(config_file=kubeconfig)),
        AuthorizationSettings(
            modes=modes,
            webhook=WebhookSettings(config_file=kubeconfig) if "Webhook" in modes else WebhookSettings(),
        ),
    )
    try:
        async with serving(directory, settings) as target:
            yield target, oracle
    finally:
        await runner.cleanup()


CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_webhook_says_who_asks_and_what_they_may_do(tmp_path: Path) -> None:
    async with asking(tmp_path, "Node", "RBAC", "Webhook") as (target, oracle):
        oracle.allowed = {
            ("get", "configmaps"),
            ("create", "configmaps"),
            ("list", "configmaps"),
            ("get", "/version"),
        }
        code, _ = await target.send("POST", CONFIGMAPS, {"metadata": {"name": "a"}}, token="opaque")
        assert code == 201
        for path in (f"{CONFIGMAPS}/a", CONFIGMAPS, "/version"):
            assert (await target.send("GET", path, token="opaque"))[0] == 200
        for path in ("/api/v1/secrets", "/metrics", f"{CONFIGMAPS}?watch=1"):
            code, answer = await target.send("GET", path, token="opaque")
            assert (code, '"zoe"' in answer["message"]) == (403, True), path
        assert (await target.send("GET", f"{CONFIGMAPS}/a", token="unknown"))[0] == 401
        asked = len(oracle.asked)
        for _ in range(3):
            assert (await target.send("GET", f"{CONFIGMAPS}/a", token="opaque"))[0] == 200
        assert len(oracle.asked) == asked
        assert all(review["spec"].get("user") != "admin" for review in oracle.asked)


async def test_reviews_ask_the_webhook_too(tmp_path: Path) -> None:
    async with asking(tmp_path, "RBAC", "Webhook") as (target, oracle):
        oracle.allowed = {("list", "pods")}
        spec = {"user": "zoe", "resourceAttributes": {"verb": "list", "resource": "pods"}}
        review = await target.must(
            "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec}
        )
        assert review["status"]["allowed"] is True
        review = await target.must(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "opaque"}}
        )
        assert review["status"]["user"]["username"] == "zoe"
        role = {
            "metadata": {"name": "x"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        }
        oracle.allowed |= {("create", "clusterroles"), ("impersonate", "users")}
        path = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
        assert (await target.send("POST", path, role, token="opaque"))[0] == 403
        oracle.allowed |= {("escalate", "clusterroles")}
        assert any(r["spec"].get("resourceAttributes", {}).get("verb") == "escalate" for r in oracle.asked)
        code, _ = await target.send("GET", "/version", token="opaque", Impersonate_User="admin2")
        assert code == 200


async def test_who_waits_for_a_webhook_holds_up_nobody(tmp_path: Path) -> None:
    async with asking(tmp_path, "RBAC") as (target, oracle):
        oracle.gate = asyncio.Event()
        waiting = [asyncio.create_task(target.send("GET", "/version", token="opaque")) for _ in range(8)]
        while not oracle.asked:
            assert await target.healthy()
        assert await target.healthy()
        assert not any(task.done() for task in waiting)
        oracle.gate.set()
        assert [code for code, _ in await asyncio.gather(*waiting)] == [200] * 8
        assert len(oracle.asked) == 1


async def test_a_webhook_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    keys = pki.Pki(tmp_path / "gone")
    kubeconfig = tmp_path / "gone.kubeconfig"
    pki.write_kubeconfig(kubeconfig, server="https://127.0.0.1:1/", ca=keys.ca.certificate)
    webhook = WebhookSettings(config_file=kubeconfig)
    settings = IdentitySettings(
        AuthenticationSettings(webhook=webhook),
        AuthorizationSettings(modes=("RBAC", "Webhook"), webhook=webhook),
    )
    async with serving(tmp_path, settings) as target:
        assert (await target.send("GET", "/version", token="opaque"))[0] == 401
        assert (await target.send("GET", "/api/v1/secrets"))[0] == 403
        assert await target.healthy()


async def test_a_proxy_is_believed_over_tls(tmp_path: Path) -> None:
    import ssl

    import aiohttp

    front = pki.Pki(tmp_path / "front")
    proxies = RequestHeaderSettings(client_ca_file=front.directory / "ca.crt", allowed_names=("front-proxy",))
    settings = IdentitySettings(AuthenticationSettings(request_header=proxies))
    async with serving(tmp_path, settings) as target:
        assert target.server.pki is not None
        await target.grant("zoe", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]})
        for pair, expected in (
            (front.client("proxy", "front-proxy"), 200),
            (front.client("other", "mallory"), 401),
            (front.client("root", "root", ("system:masters",)), 401),
            (target.server.pki.client("jack", "jack"), 403),
        ):
            context = ssl.create_default_context(cadata=target.server.pki.ca.certificate.decode())
            context.load_cert_chain(pair.certificate_file, pair.key_file)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
                url = f"{target.server.url}/api/v1/secrets"
                async with session.get(url, headers={"X-Remote-User": "zoe"}) as answer:
                    assert answer.status == expected, json.dumps(await answer.json())
        code, _ = await target.send("GET", "/api/v1/secrets", token="", X_Remote_User="zoe")
        assert code == 403
        assert (await target.send("GET", "/api/v1/secrets", token=ADMIN, X_Remote_User="zoe"))[0] == 200


async def test_a_provider_of_id_tokens_over_tls(tmp_path: Path) -> None:
    keys = pki.Pki(tmp_path / "login")
    issuer: list[Issuer] = []

    async def discovery(request: web.Request) -> web.Response:
        url = issuer[0].issuer
        return web.json_response({"issuer": url, "jwks_uri": f"{url}/keys"})

    async def jwks(request: web.Request) -> web.Response:
        return web.json_response(issuer[0].jwks())

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/keys", jwks)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=pki.server_context(keys.serving(), keys.ca)).start()
    url = f"https://localhost:{runner.addresses[0][1]}"
    issuer.append(Issuer(keys.service_account_key(), issuer=url))
    openid = OpenIdSettings(
        url,
        "cox",
        ca_file=keys.directory / "ca.crt",
        username_prefix="-",
        groups_claim="groups",
        signing_algorithms=("ES256",),
    )
    try:
        async with serving(tmp_path, IdentitySettings(AuthenticationSettings(openid=openid))) as target:
            await target.grant("zoe", {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]})
            claims = {"iss": url, "aud": "cox", "sub": "zoe", "exp": int(clock.now()) + 600}
            good = issuer[0].sign(claims)
            for _ in range(2):
                assert (await target.send("GET", "/api/v1/secrets", token=good))[0] == 200
            assert (await target.send("GET", "/api/v1/nodes", token=good))[0] == 403
            for wrong in ({"aud": "another"}, {"exp": 1}, {"sub": ""}, {"groups": 7}):
                assert (await target.send("GET", "/api/v1/secrets", token=issuer[0].sign(claims | wrong)))[
                    0
                ] == 401
    finally:
        await runner.cleanup()
