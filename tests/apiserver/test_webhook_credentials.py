"""As whom this server asks webhooks: of admission by a configuration's kubeconfig, of identity by their own."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.core_support import CONFIGMAPS, cluster, configmap
from apiserver.test_webhooks import configure, hook
from apiserver.webhook_server import WebhookServer, webhook_server
from coxswain.apiserver.admission.configuration import load
from coxswain.apiserver.admission.webhooks.configuration import Credentials
from coxswain.apiserver.admission.webhooks.hooks import MUTATING, VALIDATING
from coxswain.apiserver.asking import Peer
from coxswain.apiserver.pki import Pki
from coxswain.base.errors import ConfigurationError, ResourceUnavailable

CONFIGURATION = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"


def kubeconfig(path: Path, users: dict[str, dict[str, Any]], current: str = "") -> Path:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "users": [{"name": name, "user": user} for name, user in users.items()],
    }
    if current:
        content["contexts"] = [{"name": "c", "context": {"cluster": "", "user": current}}]
        content["current-context"] = "c"
    path.write_text(yaml.safe_dump(content))
    return path


def told(directory: Path, **kubeconfigs: Path) -> Path:
    """An AdmissionConfiguration that names a kubeconfig for each plugin."""
    plugins = [
        {
            "name": f"{name}AdmissionWebhook",
            "configuration": {
                "apiVersion": "apiserver.config.k8s.io/v1",
                "kind": "WebhookAdmissionConfiguration",
                "kubeConfigFile": str(path),
            },
        }
        for name, path in kubeconfigs.items()
    ]
    path = directory / "admission.yaml"
    path.write_text(CONFIGURATION + yaml.safe_dump(plugins))
    return path


@pytest.mark.parametrize(
    ("server", "user"),
    [
        ("hooks.example.com:8443", "exact"),
        ("hooks.example.com:443", "named"),
        ("other.example.com:443", "star"),
        ("other.example.com:8443", "star with port"),
        ("deep.other.example.com:443", "star"),
        ("s.ns.svc:443", "service"),
        ("[::1]:443", "six"),
        ("elsewhere.org:443", "everybody"),
    ],
)
def test_the_user_that_fits_best_asks(tmp_path: Path, server: str, user: str) -> None:
    names = {
        "hooks.example.com:8443": "exact",
        "hooks.example.com": "named",
        "*.example.com": "star",
        "*.example.com:8443": "star with port",
        "s.ns.svc": "service",
        "::1": "six",
        "*": "everybody",
    }
    path = kubeconfig(tmp_path / "k", {name: {"token": token} for name, token in names.items()})
    assert Credentials(path).of(server).token == user


def test_without_a_fit_it_is_the_current_user_or_nobody(tmp_path: Path) -> None:
    users = {"me": {"token": "mine"}, "*.a.b": {"token": "theirs"}}
    assert Credentials(kubeconfig(tmp_path / "k", users, "me")).of("x:443").token == "mine"
    nobody = Credentials(kubeconfig(tmp_path / "l", users)).of("x:443")
    assert (nobody.token, nobody.certificate) == ("", b"")


@pytest.mark.parametrize(
    ("configuration", "why"),
    [
        ({"kind": "X"}, "expected a WebhookAdmissionConfiguration"),
        ({"kubeConfigFile": "relative"}, "must be an absolute file path"),
        ({"kubeconfigFile": "/x"}, "unknown field"),
    ],
)
def test_a_configuration_that_cannot_work_says_why(tmp_path: Path, configuration: Any, why: str) -> None:
    whole = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        **configuration,
    }
    plugins = [{"name": "MutatingAdmissionWebhook", "configuration": whole}]
    path = tmp_path / "admission.yaml"
    path.write_text(CONFIGURATION + yaml.safe_dump(plugins))
    with pytest.raises(ConfigurationError, match=why):
        load(path)


async def test_each_plugin_asks_as_its_kubeconfig_says(tmp_path: Path) -> None:
    async with webhook_server(tmp_path / "hook") as server:
        client = Pki(tmp_path / "hook").client("caller", "kube-apiserver", ())
        token = tmp_path / "token"
        token.write_text("first\n")
        where = f"127.0.0.1:{server.port}"
        mutating = kubeconfig(tmp_path / "m", {where: {"tokenFile": "token", "as": "joe"}})
        certificate = {
            "client-certificate": str(client.certificate_file),
            "client-key-data": base64.b64encode(client.key).decode(),
        }
        validating = kubeconfig(
            tmp_path / "v", {"*": {**certificate, "username": "jane", "password": "secret"}}
        )
        config_file = told(tmp_path, Mutating=mutating, Validating=validating)
        async with cluster(config_file=config_file) as running:
            await _ask_both(running, server, token)
    first, judged, second, _ = server.headers
    assert (first["authorization"], second["authorization"]) == ("Bearer first", "Bearer second")
    assert first["impersonate-user"] == "joe"
    assert judged["authorization"] == "Basic amFuZTpzZWNyZXQ="
    assert "impersonate-user" not in judged
    assert server.clients == ["", "kube-apiserver", "", "kube-apiserver"]


async def _ask_both(running: Any, server: WebhookServer, token: Path) -> None:
    await configure(running, MUTATING, hook("m.b.c", server.on("/m", lambda review: {"allowed": True})))
    await configure(running, VALIDATING, hook("v.b.c", server.on("/v", lambda review: {"allowed": True})))
    await running.do("create", CONFIGMAPS, body=configmap("a"))
    token.write_text("second")
    await running.do("create", CONFIGMAPS, body=configmap("b"))


async def test_a_token_file_that_is_gone_is_the_webhooks_failure(tmp_path: Path) -> None:
    async with webhook_server(tmp_path / "hook") as server:
        path = kubeconfig(tmp_path / "m", {"*": {"tokenFile": "gone"}})
        async with cluster(config_file=told(tmp_path, Mutating=path)) as running:
            client = server.on("/m", lambda review: {"allowed": True})
            await configure(running, MUTATING, hook("m.b.c", client))
            answer = await running.call("create", CONFIGMAPS, body=configmap("a"))
            assert answer.code == 500
            assert b"gone: no such file or directory" in answer.body
        assert not server.asked


def identity_kubeconfig(path: Path, server: WebhookServer, cluster: dict[str, Any], user: Any) -> Path:
    content = {
        "clusters": [{"name": "k", "cluster": {"server": f"https://127.0.0.1:{server.port}/w", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content))
    return path


async def test_webhooks_of_identity_are_asked_with_all_that_a_kubeconfig_has(tmp_path: Path) -> None:
    async with webhook_server(tmp_path / "hook", "hooks.internal") as server:
        server.on("/w", lambda review: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        (tmp_path / "ca.crt").write_bytes(base64.b64decode(server.ca))
        trusted = {"certificate-authority": "ca.crt", "tls-server-name": "hooks.internal"}
        basic = {"username": "a", "password": "b"}
        for cluster_part, user in (
            (trusted, basic),
            ({"insecure-skip-tls-verify": True}, {"token": "T"}),
            ({"certificate-authority-data": server.ca}, {}),
        ):
            peer = Peer.of(identity_kubeconfig(tmp_path / "k", server, cluster_part, user))
            assert await peer.post({}) == {}
            await peer.close()
        said = [each.get("authorization") for each in server.headers]
        assert said == ["Basic YTpi", "Bearer T", None]
        for cluster_part in ({}, {**trusted, "tls-server-name": "others.internal"}):
            peer = Peer.of(identity_kubeconfig(tmp_path / "k", server, cluster_part, {}))
            with pytest.raises(ResourceUnavailable, match="Certificate"):
                await peer.post({})
            await peer.close()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Peer.of(identity_kubeconfig(tmp_path / "k", server, {"certificate-authority-data": "YQ=="}, {}))
