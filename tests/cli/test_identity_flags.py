"""The flags of authentication and authorization, and what they set."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from coxswain.apiserver.authn.settings import IdentitySettings
from coxswain.base.errors import ConfigurationError
from coxswain.cli.apiserver_flags import identity


def parse(*arguments: str) -> IdentitySettings:
    parser = argparse.ArgumentParser()
    identity.add(parser)
    return identity.settings(parser.parse_args(arguments))


def test_no_flags_are_the_defaults() -> None:
    assert parse() == IdentitySettings()


def test_flags_of_authentication() -> None:
    found = parse(
        "--anonymous-auth=false",
        "--service-account-issuer=https://new",
        "--service-account-issuer=https://old",
        "--service-account-key-file=a.pub",
        "--service-account-key-file=b.pub",
        "--service-account-max-token-expiration=24h",
        "--api-audiences=a,b",
        "--oidc-issuer-url=https://login",
        "--oidc-client-id=cox",
        "--oidc-required-claim=team=red=blue",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-uid-headers=X-Remote-Uid",
        "--authentication-token-webhook-config-file=w",
        "--authentication-token-webhook-cache-ttl=1m30s",
    ).authentication
    accounts = found.service_accounts
    assert not found.anonymous
    assert accounts.issuers == ("https://new", "https://old")
    assert accounts.key_files == (Path("a.pub"), Path("b.pub"))
    assert (accounts.max_expiration, accounts.audiences) == (86400.0, ("a", "b"))
    assert found.openid.required_claims == (("team", "red=blue"),)
    assert found.request_header.uid_headers == ("X-Remote-Uid",)
    assert found.webhook.cache_ttl == 90.0


def test_flags_of_authorization() -> None:
    found = parse(
        "--authorization-mode=RBAC,Webhook",
        "--authorization-webhook-config-file=w",
        "--authorization-webhook-cache-unauthorized-ttl=500ms",
    ).authorization
    assert found.modes == ("RBAC", "Webhook")
    assert (found.webhook.cache_ttl, found.webhook.refusal_ttl) == (300.0, 0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--oidc-required-claim=team",),
        ("--service-account-max-token-expiration=10m",),
        ("--authentication-config=a", "--oidc-issuer-url=https://login"),
        ("--authorization-config=a", "--authorization-mode=RBAC"),
    ],
)
def test_flags_that_exclude_each_other(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        parse(*arguments)


@pytest.mark.parametrize(
    "argument", ["--anonymous-auth=perhaps", "--authentication-token-webhook-cache-ttl=soon"]
)
def test_flags_that_are_no_values(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argument)
    assert argument.partition("=")[0] in capsys.readouterr().err
