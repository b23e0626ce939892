"""AuthorizationConfiguration files: authorizers in order, webhooks with conditions and failure policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coxswain.api.names import Object
from coxswain.apiserver.authz import Attributes, Decision, configuration
from coxswain.apiserver.authz.webhook import WebhookAuthorizer
from coxswain.apiserver.pending import Pending, decided
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client import kubeconfig
from coxswain.client.interface import UserInfo

FILE = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: first
  webhook:
    timeout: 3s
    authorizedTTL: 1m
    unauthorizedTTL: 500ms
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: KUBECONFIG}
    matchConditions:
    - expression: "request.user != 'root'"
    - expression: "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'shop'"
- {type: RBAC, name: rbac}
"""


class Peer:
    """A webhook with one answer."""

    def __init__(self, status: Object | Exception) -> None:
        self.status = status

    async def post(self, body: Object) -> Object:
        if isinstance(self.status, Exception):
            raise self.status
        return {**body, "status": self.status}

    async def close(self) -> None:
        pass


def load(tmp_path: Path, text: str = FILE) -> tuple[tuple[str, ...], dict[str, WebhookAuthorizer]]:
    kube = tmp_path / "webhook.kubeconfig"
    kubeconfig.write(kube, kubeconfig.Config("https://127.0.0.1:1/"))
    file = tmp_path / "authorization.yaml"
    file.write_text(text.replace("KUBECONFIG", str(kube)))
    return configuration.load(file)


def webhook(tmp_path: Path, status: Any, text: str = FILE) -> WebhookAuthorizer:
    found = load(tmp_path, text)[1]["Webhook/first"]
    found._peer = Peer(status)  # type: ignore[assignment]
    return found


def ask(user: str = "jane", namespace: str = "shop") -> Attributes:
    return Attributes(UserInfo(user), "get", "", "v1", "pods", namespace=namespace)


def test_authorizers_keep_their_order(tmp_path: Path) -> None:
    modes, webhooks = load(tmp_path)
    assert modes == ("Node", "Webhook/first", "RBAC")
    settings = webhooks["Webhook/first"]._settings
    assert (settings.timeout, settings.cache_ttl, settings.refusal_ttl) == (3.0, 60.0, 0.5)


def test_conditions_say_what_concerns_the_webhook(tmp_path: Path) -> None:
    found = webhook(tmp_path, {"allowed": True})
    assert found.authorize(ask("root")) == Decision(False)
    assert found.authorize(ask(namespace="other")) == Decision(False)
    assert found.authorize(Attributes(UserInfo("jane"), "get", path="/x", is_resource=False)) == Decision(
        False
    )
    with pytest.raises(Pending):
        found.authorize(ask())


def test_a_condition_that_cannot_be_judged_is_a_failure(tmp_path: Path) -> None:
    text = FILE.replace("request.user != 'root'", "request.extra.team[0] == 'red'")
    decision = webhook(tmp_path, {}, text).authorize(ask())
    assert decision.denied
    assert "match condition" in decision.error
    text = text.replace("failurePolicy: Deny", "failurePolicy: NoOpinion")
    assert not webhook(tmp_path, {}, text).authorize(ask()).denied


@pytest.mark.virtual
async def test_a_silent_webhook_denies_where_that_is_the_policy(tmp_path: Path) -> None:
    found = webhook(tmp_path, ResourceUnavailable("gone"))
    assert (await decided(lambda: found.authorize(ask()))).denied
    found = webhook(
        tmp_path, ResourceUnavailable("gone"), FILE.replace("failurePolicy: Deny", "failurePolicy: NoOpinion")
    )
    assert not (await decided(lambda: found.authorize(ask()))).denied


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: Auth", "kind: Other", "kind"),
        ("k8s.io/v1", "k8s.io/v7", "apiVersion"),
        ("type: RBAC", "type: Node", "authorizers[2].type"),
        ("type: RBAC", "type: ABAC", "authorizers[2].type"),
        ("name: rbac", "name: node", "authorizers[2].name"),
        ("failurePolicy: Deny", "failurePolicy: Maybe", "failurePolicy"),
        ("timeout: 3s", "timeout: 90s", "timeout"),
        ("timeout: 3s", "timeout: soon", "timeout"),
        ("type: KubeConfigFile", "type: InClusterConfig", "connectionInfo.type"),
        ("kubeConfigFile: KUBECONFIG", "kubeConfigFile: rel", "absolute"),
        ("request.user != 'root'", "request.user +", "compilation failed"),
        ("request.user != 'root'", "'text'", "must evaluate to bool"),
        (
            "subjectAccessReviewVersion: v1\n    match",
            "subjectAccessReviewVersion: v2\n    match",
            "subjectAccessReviewVersion",
        ),
        ("timeout: 3s", "timout: 3s", "timout: unknown field"),
    ],
)
def test_files_that_cannot_work(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, FILE.replace(old, new))
    assert words in str(refused.value)
