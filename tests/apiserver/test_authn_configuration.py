"""AuthenticationConfiguration files: providers, claims by name and by CEL, where one may be anonymous."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coxswain.apiserver.authn import configuration
from coxswain.apiserver.authn.authenticator import Authenticator, Ways
from coxswain.apiserver.authn.openid import ClaimError
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

FILE = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://login.example.com
    discoveryURL: https://discovery.example.com/x
    audiences: [cluster, other]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - {claim: hd, requiredValue: example.com}
  - {expression: "claims.exp - claims.nbf <= 86400", message: at most a day}
  claimMappings:
    username: {expression: "'login:' + claims.sub"}
    groups: {expression: "claims.roles.split(',')"}
    uid: {claim: uid}
    extra:
    - {key: example.com/tenant, valueExpression: claims.tenant}
  userValidationRules:
  - {expression: "!user.username.startsWith('login:system:')", message: reserved}
  - {expression: "user.groups.all(g, g != 'masters')"}
- issuer: {url: "https://second.example.com", audiences: [cluster]}
  claimMappings:
    username: {claim: email, prefix: ""}
    groups: {claim: groups, prefix: "g:"}
anonymous:
  enabled: true
  conditions: [{path: /livez}, {path: /healthz}]
"""
CLAIMS: dict[str, Any] = {
    "sub": "jane",
    "hd": "example.com",
    "exp": 86400,
    "nbf": 0,
    "roles": "devs,ops",
    "uid": "7",
    "tenant": ["a", "b"],
}


def load(tmp_path: Path, text: str) -> configuration.AuthenticationConfiguration:
    file = tmp_path / "authentication.yaml"
    file.write_text(text)
    return configuration.load(file)


def test_claims_are_mapped_by_expressions(tmp_path: Path) -> None:
    found = load(tmp_path, FILE)
    first = found.providers[0]
    assert first.discovery_url == "https://discovery.example.com/x"
    assert first.provider.audiences == ("cluster", "other")
    user = first.provider.to_user(CLAIMS)
    assert user == UserInfo("login:jane", ("devs", "ops"), "7", {"example.com/tenant": ("a", "b")})


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"hd": "elsewhere.com"}, "required claim hd"),
        ({"exp": 86401}, "at most a day"),
        ({"sub": "system:x"}, "reserved"),
        ({"roles": "masters"}, "user validation expression"),
        ({"sub": 7}, "username"),
        ({"uid": None}, "uid is not a string"),
        ({"tenant": {"a": 1}}, "extra"),
        ({"roles": 1}, "groups"),
    ],
)
def test_claims_that_make_no_user(tmp_path: Path, claims: dict[str, Any], words: str) -> None:
    with pytest.raises(ClaimError, match=words):
        load(tmp_path, FILE).providers[0].provider.to_user(CLAIMS | claims)


def test_claims_are_mapped_by_name(tmp_path: Path) -> None:
    to_user = load(tmp_path, FILE).providers[1].provider.to_user
    assert to_user({"email": "j@x", "groups": ["a"]}) == UserInfo("j@x", ("g:a",))
    with pytest.raises(ClaimError, match="email not verified"):
        to_user({"email": "j@x", "email_verified": False})


def test_anonymous_in_some_places_only(tmp_path: Path) -> None:
    found = load(tmp_path, FILE)
    assert (found.anonymous, found.paths) == (True, ("/livez", "/healthz"))
    authenticator = Authenticator(ways=Ways(anonymous_paths=found.paths))
    assert authenticator.authenticate(None, None, (), b"/livez?verbose") is not None
    assert authenticator.authenticate(None, None, (), b"/version") is None
    assert authenticator.authenticate(None, None, (), b"/livez/x") is None


BASE = """
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer: {url: "https://a", audiences: [x]}
  claimMappings: {username: {claim: sub, prefix: ""}}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: AuthenticationConfiguration", "kind: Other", "kind"),
        ("config.k8s.io/v1", "config.k8s.io/v9", "apiVersion"),
        ("https://a", "http://a", "issuer.url: URL scheme must be https"),
        ("audiences: [x]", "audiences: []", "audiences"),
        ("audiences: [x]", "audiences: [x, y]", "audienceMatchPolicy must be MatchAny"),
        ('{claim: sub, prefix: ""}', "{claim: sub}", "prefix is required when claim is set"),
        ('{claim: sub, prefix: ""}', '{claim: sub, expression: "claims.sub"}', "not both"),
        ('{claim: sub, prefix: ""}', '{expression: "claims.sub +"}', "compilation failed"),
        ('{claim: sub, prefix: ""}', '{expression: "claims.email"}', "claims.email_verified must be used"),
        ("claimMappings:", "claimMapping: {}\n  claimMappings:", "claimMapping: unknown field"),
        ("jwt:", "jwt: 7\nx:", "x: unknown field"),
    ],
)
def test_files_that_cannot_work(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert load(tmp_path, BASE).providers[0].provider.issuer == "https://a"
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, BASE.replace(old, new))
    assert words in str(refused.value)
