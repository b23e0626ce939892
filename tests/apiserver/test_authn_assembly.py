"""What the settings put together, and which settings cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coxswain.apiserver import identity
from coxswain.apiserver.authn.settings import (
    AuthenticationSettings,
    AuthorizationSettings,
    IdentitySettings,
    OpenIdSettings,
    RequestHeaderSettings,
    ServiceAccountSettings,
    WebhookSettings,
)
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.pki import Pki
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.settings import ApiServerConfig
from coxswain.apiserver.storage import Storage
from coxswain.apiserver.waiting import WaitingPipeline
from coxswain.base.errors import ConfigurationError
from coxswain.client import kubeconfig
from coxswain.client.interface import UserInfo
from coxswain.store.memory import MemoryStore


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("keys") / "pki")


def assemble(
    keys: Pki, authentication: AuthenticationSettings, authorization: AuthorizationSettings
) -> identity.Identity:
    registry = Registry(Storage(MemoryStore()))
    registry.add_built_in()
    config = ApiServerConfig(identity=IdentitySettings(authentication, authorization))
    return identity.assemble(config, keys, registry)


def made(keys: Pki, **authentication: Any) -> identity.Identity:
    return assemble(keys, AuthenticationSettings(**authentication), AuthorizationSettings())


def modes(keys: Pki, *names: str, **more: Any) -> identity.Identity:
    return assemble(keys, AuthenticationSettings(), AuthorizationSettings(names, **more))


def test_by_default_nobody_outside_is_asked(keys: Pki) -> None:
    found = made(keys)
    assert type(found.pipeline(None)) is Pipeline  # type: ignore[arg-type]
    assert tuple(found.authorizer.modes) == ("Node", "RBAC")
    assert found.authenticator.authenticate(None, None) == UserInfo(
        "system:anonymous", ("system:unauthenticated",)
    )
    assert found.authorities == ()


async def test_who_asks_outside_has_a_patient_pipeline(keys: Pki, tmp_path: Path) -> None:
    file = tmp_path / "webhook.kubeconfig"
    kubeconfig.write(file, kubeconfig.Config("https://127.0.0.1:1/"))
    webhook = WebhookSettings(config_file=file)
    for found in (
        made(keys, webhook=webhook),
        modes(keys, "RBAC", "Webhook", webhook=webhook),
        made(keys, openid=OpenIdSettings("https://login", "cox")),
    ):
        assert type(found.pipeline(None)) is WaitingPipeline  # type: ignore[arg-type]
        await found.close()


def test_authorities_of_clients_and_proxies_are_for_tls(keys: Pki, tmp_path: Path) -> None:
    other, front = Pki(tmp_path / "other"), Pki(tmp_path / "front")
    found = made(
        keys,
        client_ca_file=other.directory / "ca.crt",
        request_header=RequestHeaderSettings(client_ca_file=front.directory / "ca.crt"),
    )
    assert [pem.strip() for pem in found.authorities] == [
        other.ca.certificate.strip(),
        front.ca.certificate.strip(),
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"client_ca_file": Path("/nowhere")},
        {"client_ca_file": Path("/dev/null")},
        {"basic_auth_file": Path("/nowhere")},
        {"configuration_file": Path("/nowhere")},
        {"openid": OpenIdSettings("http://login", "cox")},
        {"request_header": RequestHeaderSettings(client_ca_file=Path("/nowhere"))},
        {"service_accounts": ServiceAccountSettings(issuers=())},
        {"service_accounts": ServiceAccountSettings(signing_key_file=Path("/nowhere"))},
        {"service_accounts": ServiceAccountSettings(key_files=(Path("/dev/null"),))},
        {"webhook": WebhookSettings(config_file=Path("/nowhere"))},
    ],
)
def test_authentication_that_cannot_work(keys: Pki, settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        made(keys, **settings)


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ((), {}),
        (("RBAC", "Magic"), {}),
        (("RBAC", "RBAC"), {}),
        (("ABAC",), {}),
        (("RBAC",), {"policy_file": Path("/nowhere")}),
        (("Webhook",), {}),
        (("RBAC",), {"webhook": WebhookSettings(config_file=Path("/nowhere"))}),
        (("RBAC",), {"configuration_file": Path("/nowhere")}),
    ],
)
def test_authorization_that_cannot_work(keys: Pki, names: tuple[str, ...], more: Any) -> None:
    with pytest.raises(ConfigurationError):
        modes(keys, *names, **more)
