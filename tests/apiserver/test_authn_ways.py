"""Less usual ways to authenticate: passwords, bootstrap tokens, proxies, OpenID Connect, webhooks, old tokens."""

from __future__ import annotations

import base64
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from apiserver.asked_peer import AskedPeer
from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver import pki
from coxswain.apiserver.authn import Authenticator, Issuer, ServiceAccountTokens, StaticTokens
from coxswain.apiserver.authn.authenticator import Ways
from coxswain.apiserver.authn.basic import BasicPasswords
from coxswain.apiserver.authn.bootstrap_tokens import BootstrapTokens
from coxswain.apiserver.authn.certificates import Authorities, ClientCertificates
from coxswain.apiserver.authn.issuer import LEGACY_ISSUER
from coxswain.apiserver.authn.openid import OpenIdTokens, by_flags
from coxswain.apiserver.authn.provider_keys import ProviderKeys
from coxswain.apiserver.authn.proxies import RequestHeaders
from coxswain.apiserver.authn.settings import OpenIdSettings, RequestHeaderSettings, WebhookSettings
from coxswain.apiserver.authn.token_request import TokenMaker
from coxswain.apiserver.authn.webhook import WebhookTokens
from coxswain.apiserver.pending import Pending, decided
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client.interface import UserInfo


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def der(pair: pki.KeyPair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.decode())


# -- passwords


@pytest.fixture
def basic(tmp_path: Path) -> Authenticator:
    file = tmp_path / "passwords.csv"
    file.write_text('s3cret:x,jane,7,"devs,ops"\n')
    return Authenticator(ways=Ways(basic=BasicPasswords.load(file)))


def test_a_password_names_its_user(basic: Authenticator) -> None:
    user = basic.authenticate(None, f"Basic {b64('jane:s3cret:x')}")
    assert user == UserInfo("jane", ("devs", "ops", "system:authenticated"), "7")


@pytest.mark.parametrize("given", ["jane:wrong", "jane:", "joe:s3cret:x", "joe:", ":", "jane", ""])
def test_a_wrong_password_is_unauthorized(basic: Authenticator, given: str) -> None:
    with pytest.raises(errors.Unauthorized):
        basic.authenticate(None, f"Basic {b64(given)}")
    with pytest.raises(errors.Unauthorized):
        basic.authenticate(None, "Basic !!!")


def test_passwords_are_said_to_be_deprecated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "passwords.csv"
    file.write_text("hunter2,jane,7\n")
    with caplog.at_level(logging.WARNING):
        BasicPasswords.load(file)
    assert "deprecated" in caplog.text
    assert "hunter2" not in caplog.text


# -- bootstrap tokens

TOKEN = "abcdef.0123456789abcdef"


def bootstrap(**data: str) -> tuple[Authenticator, DictLookup]:
    values = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **data,
    }
    lookup = DictLookup()
    encoded = {name: b64(value) for name, value in values.items() if value}
    lookup.put(
        SECRETS, "bootstrap-token-abcdef", "kube-system", type="bootstrap.kubernetes.io/token", data=encoded
    )
    return Authenticator(ways=Ways(bootstrap=BootstrapTokens(lookup))), lookup


def test_a_bootstrap_token_names_its_groups() -> None:
    groups = "system:bootstrappers:kubeadm:default-node-token"
    authenticator, _ = bootstrap(**{"auth-extra-groups": groups, "expiration": "2999-01-01T00:00:00Z"})
    user = authenticator.authenticate(None, f"Bearer {TOKEN}")
    assert user == UserInfo(
        "system:bootstrap:abcdef", ("system:bootstrappers", groups, "system:authenticated")
    )


@pytest.mark.parametrize(
    "data",
    [
        {"token-secret": "fedcba9876543210"},
        {"token-id": "ghijkl"},
        {"usage-bootstrap-authentication": "false"},
        {"usage-bootstrap-authentication": ""},
        {"expiration": "2001-01-01T00:00:00Z"},
        {"expiration": "whenever"},
        {"auth-extra-groups": "system:masters"},
        {"auth-extra-groups": "system:bootstrappers:ok,system:masters"},
    ],
)
def test_bootstrap_tokens_that_are_no_good(data: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    authenticator, _ = bootstrap(**data)
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.Unauthorized):
        authenticator.authenticate(None, f"Bearer {TOKEN}")
    assert "0123456789abcdef" not in caplog.text


def test_a_bootstrap_token_ends_with_its_secret() -> None:
    authenticator, lookup = bootstrap()
    assert authenticator.authenticate(None, f"Bearer {TOKEN}")
    lookup.put(SECRETS, "bootstrap-token-abcdef", "kube-system", type="Opaque", data={})
    with pytest.raises(errors.Unauthorized):
        authenticator.authenticate(None, f"Bearer {TOKEN}")
    lookup.drop(SECRETS, "bootstrap-token-abcdef", "kube-system")
    with pytest.raises(errors.Unauthorized):
        authenticator.authenticate(None, f"Bearer {TOKEN}")


# -- proxies


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.Pki(tmp_path_factory.mktemp("own") / "pki")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.Pki(tmp_path_factory.mktemp("front") / "pki")


@pytest.fixture
def proxied(own: pki.Pki, front: pki.Pki) -> Authenticator:
    settings = RequestHeaderSettings(allowed_names=("front-proxy",), uid_headers=("X-Remote-Uid",))
    ways = Ways(
        certificates=ClientCertificates(Authorities(own.ca.certificate)),
        proxies=RequestHeaders(Authorities(front.ca.certificate), settings),
    )
    return Authenticator(ways=ways)


HEADERS = [
    (b"x-remote-user", b"jane"),
    (b"x-remote-uid", b"7"),
    (b"x-remote-group", b"devs"),
    (b"x-remote-group", b"ops"),
    (b"x-remote-extra-acme.com%2fscope", b"a"),
    (b"x-remote-extra-acme.com%2fscope", b"b"),
]


def test_a_trusted_proxy_says_who_asks(proxied: Authenticator, front: pki.Pki) -> None:
    user = proxied.authenticate(der(front.client("proxy", "front-proxy")), None, HEADERS)
    assert user is not None
    assert (user.name, user.uid, user.groups) == ("jane", "7", ("devs", "ops", "system:authenticated"))
    assert user.extra == {"acme.com/scope": ("a", "b")}


def test_headers_of_others_mean_nothing(proxied: Authenticator, own: pki.Pki, front: pki.Pki) -> None:
    root = [(b"x-remote-user", b"root"), (b"x-remote-group", b"system:masters")]
    admin = proxied.authenticate(der(own.client("u", "jack")), None, root)
    assert admin is not None
    assert (admin.name, admin.groups) == ("jack", ("system:authenticated",))
    anonymous = proxied.authenticate(None, None, root)
    assert anonymous is not None
    assert anonymous.name == "system:anonymous"
    with pytest.raises(errors.Unauthorized):
        proxied.authenticate(der(front.client("other", "mallory")), None, root)


def test_a_proxys_certificate_is_no_users(proxied: Authenticator, front: pki.Pki) -> None:
    with pytest.raises(errors.Unauthorized):
        proxied.authenticate(der(front.client("m", "root", ("system:masters",))), None, [])


# -- service accounts: rotation, other issuers, tokens in secrets


def accounts(issuer: Issuer, lookup: DictLookup) -> ServiceAccountTokens:
    lookup.put(SERVICE_ACCOUNTS, "robot", "shop")
    return ServiceAccountTokens(issuer, lookup)


def test_keys_and_issuers_rotate(own: pki.Pki, front: pki.Pki) -> None:
    lookup = DictLookup()
    old = accounts(Issuer(own.service_account_key(), issuer="https://old"), lookup)
    account = lookup.get(SERVICE_ACCOUNTS, "shop", "robot")
    assert account is not None
    token = TokenMaker(old, lookup).create(account, {})["status"]["token"]
    public = (own.directory / "sa.pub").read_bytes()
    new = Issuer(
        front.service_account_key(), issuer="https://new", accepted=["https://old"], public_keys=[public]
    )
    assert ServiceAccountTokens(new, lookup).authenticate(token) is not None
    strict = Issuer(front.service_account_key(), issuer="https://new", public_keys=[public])
    assert ServiceAccountTokens(strict, lookup).authenticate(token) is None
    assert len(new.jwks()["keys"]) == 2


def test_longest_life_of_tokens(own: pki.Pki) -> None:
    lookup = DictLookup()
    tokens = accounts(Issuer(own.service_account_key()), lookup)
    account = lookup.get(SERVICE_ACCOUNTS, "shop", "robot")
    assert account is not None
    warnings: list[str] = []
    maker = TokenMaker(tokens, lookup, max_seconds=7200)
    answer = maker.create(account, {"spec": {"expirationSeconds": 90000}}, warnings)
    assert answer["spec"]["expirationSeconds"] == 7200
    assert warnings == ["requested expiration of 90000 seconds shortened to 7200 seconds"]


def legacy(issuer: Issuer, lookup: DictLookup, **secret: Any) -> str:
    claims = {
        "iss": LEGACY_ISSUER,
        "sub": "system:serviceaccount:shop:robot",
        "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/secret.name": "robot-token",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": "uid-robot",
    }
    token = issuer.sign(claims)
    lookup.put(SECRETS, "robot-token", "shop", data={"token": b64(token)}, **secret)
    return token


def test_tokens_in_secrets_are_good_while_the_secret_holds_them(own: pki.Pki) -> None:
    lookup, issuer = DictLookup(), Issuer(own.service_account_key())
    tokens = accounts(issuer, lookup)
    token = legacy(issuer, lookup)
    found = tokens.authenticate(token)
    assert found is not None
    assert found.user.name == "system:serviceaccount:shop:robot"
    lookup.put(SECRETS, "robot-token", "shop", data={"token": b64("another")})
    with pytest.raises(errors.Unauthorized):
        tokens.authenticate(token)
    marked = {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}
    token = legacy(issuer, lookup, metadata=marked)
    with pytest.raises(errors.Unauthorized):
        tokens.authenticate(token)
    lookup.drop(SECRETS, "robot-token", "shop")
    with pytest.raises(errors.Unauthorized):
        tokens.authenticate(token)


def test_a_key_file_may_hold_certificates_and_private_keys(own: pki.Pki, front: pki.Pki) -> None:
    mixed = own.admin().certificate + front.service_account_key()
    assert len(Issuer(own.service_account_key(), public_keys=[mixed]).jwks()["keys"]) == 3
    with pytest.raises(ConfigurationError):
        Issuer(own.service_account_key(), public_keys=[b"nothing"])
    with pytest.raises(ConfigurationError):
        Issuer(b"nothing")


# -- audiences


def test_tokens_without_audience_are_for_this_server_only(tmp_path: Path) -> None:
    static = StaticTokens({"t": UserInfo("jane")})
    authenticator = Authenticator(tokens=static, audiences=("api",))
    assert authenticator.review("t").audiences == ("api",)
    assert authenticator.review("t", ("api", "vault")).audiences == ("api",)
    with pytest.raises(errors.Unauthorized, match="invalid bearer token"):
        authenticator.review("t", ("vault",))


# -- OpenID Connect

ISSUER = "https://login.example.com"


class Login:
    """A provider: its keys, and what it was asked for."""

    def __init__(self, key: bytes) -> None:
        self.signer = Issuer(key, issuer=ISSUER)
        self.documents: dict[str, Object | Exception] = {
            f"{ISSUER}/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"},
            f"{ISSUER}/keys": self.signer.jwks(),
        }
        self.asked: list[str] = []

    async def get(self, url: str) -> Object:
        self.asked.append(url)
        found = self.documents[url]
        if isinstance(found, Exception):
            raise found
        return found

    async def close(self) -> None:
        pass

    def token(self, **claims: Any) -> str:
        usual = {"iss": ISSUER, "aud": "cox", "sub": "jane", "exp": int(clock.now()) + 600}
        return self.signer.sign({k: v for k, v in (usual | claims).items() if v is not None})


@pytest.fixture
def login(own: pki.Pki) -> Login:
    return Login(own.service_account_key())


def openid(login: Login, **more: Any) -> Authenticator:
    settings = OpenIdSettings(
        issuer_url=ISSUER, client_id="cox", signing_algorithms=("ES256",), groups_claim="groups", **more
    )
    keys = ProviderKeys(ISSUER, login)  # type: ignore[arg-type]
    return Authenticator(ways=Ways(outside=(OpenIdTokens(by_flags(settings), keys, ("api",)),)))


async def who(authenticator: Authenticator, token: str) -> UserInfo:
    user = await decided(lambda: authenticator.authenticate(None, f"Bearer {token}"))
    assert user is not None
    return user


@pytest.mark.virtual
async def test_an_id_token_names_its_user(login: Login) -> None:
    authenticator = openid(login, groups_prefix="oidc:")
    token = login.token(groups=["devs", "ops"])
    with pytest.raises(Pending):
        authenticator.authenticate(None, f"Bearer {token}")
    for _ in range(2):
        user = await who(authenticator, token)
        assert user.name == f"{ISSUER}#jane"
        assert user.groups == ("oidc:devs", "oidc:ops", "system:authenticated")
    assert len(login.asked) == 2


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("claims", "settings"),
    [
        ({"aud": "another"}, {}),
        ({"aud": None}, {}),
        ({"iss": "https://evil.example.com"}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"nbf": 99999999999}, {}),
        ({"sub": ""}, {}),
        ({"sub": 7}, {}),
        ({"groups": {"a": "b"}}, {}),
        ({"email": "j@x", "email_verified": False}, {"username_claim": "email"}),
        ({"email": "j@x", "email_verified": "true"}, {"username_claim": "email"}),
        ({}, {"required_claims": (("team", "red"),)}),
        ({"team": "blue"}, {"required_claims": (("team", "red"),)}),
    ],
)
async def test_id_tokens_that_are_no_good(login: Login, claims: Any, settings: Any) -> None:
    with pytest.raises(errors.Unauthorized) as refused:
        await who(openid(login, **settings), login.token(**claims))
    assert refused.value.message == "Unauthorized"


@pytest.mark.virtual
async def test_other_keys_and_algorithms_are_refused(login: Login, front: pki.Pki) -> None:
    import jwt

    authenticator = openid(login)
    claims = {"iss": ISSUER, "aud": "cox", "sub": "jane", "exp": int(clock.now()) + 600}
    forged = Issuer(front.service_account_key(), issuer=ISSUER).sign(claims)
    with pytest.raises(errors.Unauthorized):
        await who(authenticator, forged)
    kid = login.signer.jwks()["keys"][0]["kid"]
    for algorithm, key in (("none", ""), ("HS256", "x" * 64)):
        with pytest.raises(errors.Unauthorized):
            await who(authenticator, jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid}))


@pytest.mark.virtual
async def test_new_keys_of_the_provider_are_fetched(login: Login, front: pki.Pki) -> None:
    authenticator = openid(login)
    await who(authenticator, login.token())
    login.signer = Issuer(front.service_account_key(), issuer=ISSUER)
    login.documents[f"{ISSUER}/keys"] = login.signer.jwks()
    with pytest.raises(errors.Unauthorized):
        await who(authenticator, login.token())
    await clock.sleep(11)
    assert (await who(authenticator, login.token())).name == f"{ISSUER}#jane"


@pytest.mark.virtual
async def test_a_provider_that_does_not_answer_is_asked_again_later(login: Login) -> None:
    authenticator = openid(login)
    keys = login.documents[f"{ISSUER}/keys"]
    login.documents[f"{ISSUER}/keys"] = ResourceUnavailable("gone")
    for _ in range(3):
        with pytest.raises(errors.Unauthorized):
            await who(authenticator, login.token())
    assert len(login.asked) == 2
    login.documents[f"{ISSUER}/keys"] = keys
    await clock.sleep(11)
    await who(authenticator, login.token())


@pytest.mark.virtual
async def test_an_id_token_ends(login: Login) -> None:
    authenticator, token = openid(login, username_prefix="-"), login.token()
    assert (await who(authenticator, token)).name == "jane"
    await clock.sleep(601)
    with pytest.raises(errors.Unauthorized):
        await who(authenticator, token)


@pytest.mark.parametrize(
    "settings",
    [
        {"issuer_url": "http://login"},
        {"client_id": ""},
        {"signing_algorithms": ("none",)},
        {"signing_algorithms": ("HS256",)},
    ],
)
def test_openid_settings_that_cannot_work(settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        by_flags(OpenIdSettings(**{"issuer_url": ISSUER, "client_id": "cox", **settings}))


# -- the webhook


def webhook(*statuses: Object | Exception) -> tuple[Authenticator, AskedPeer]:
    peer = AskedPeer(*statuses)
    tokens = WebhookTokens(WebhookSettings(), ("api",), peer)  # type: ignore[arg-type]
    return Authenticator(ways=Ways(outside=(tokens,))), peer


JANE = {"username": "jane", "uid": "7", "groups": ["devs"], "extra": {"Scope": ["a"]}}


@pytest.mark.virtual
async def test_the_webhook_reviews_unknown_tokens() -> None:
    authenticator, peer = webhook({"authenticated": True, "user": JANE})
    for _ in range(2):
        user = await who(authenticator, "opaque")
        assert (user.name, user.uid, user.extra) == ("jane", "7", {"scope": ("a",)})
        assert user.groups == ("devs", "system:authenticated")
    assert [review["spec"] for review in peer.asked] == [{"token": "opaque", "audiences": ["api"]}]


@pytest.mark.virtual
@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False, "user": JANE},
        {"authenticated": "true", "user": JANE},
        {"authenticated": True},
        {"authenticated": True, "user": {"username": ""}},
        {"authenticated": True, "user": JANE, "audiences": ["another"]},
        ResourceUnavailable("gone"),
    ],
)
async def test_refusals_of_the_webhook(status: Object | Exception, caplog: pytest.LogCaptureFixture) -> None:
    authenticator, _ = webhook(status)
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.Unauthorized):
        await who(authenticator, "opaque-s3cret")
    assert "opaque-s3cret" not in caplog.text


@pytest.mark.virtual
async def test_answers_of_the_webhook_are_asked_for_again() -> None:
    authenticator, peer = webhook({"authenticated": True, "user": JANE}, {"authenticated": False})
    await who(authenticator, "opaque")
    await clock.sleep(121)
    with pytest.raises(errors.Unauthorized):
        await who(authenticator, "opaque")
    assert len(peer.asked) == 2


# -- WebSockets


def _protocols(*names: str, upgrade: bytes = b"websocket") -> list[tuple[bytes, bytes]]:
    value = ", ".join(names).encode()
    return [
        (b"connection", b"keep-alive, Upgrade"),
        (b"upgrade", upgrade),
        (b"sec-websocket-protocol", value),
    ]


def _shown(token: str) -> str:
    return "base64url.bearer.authorization.k8s.io." + base64.urlsafe_b64encode(
        token.encode()
    ).decode().rstrip("=")


def test_browsers_show_their_token_among_the_protocols() -> None:
    authenticator = Authenticator(tokens=StaticTokens({"s3cret?": UserInfo("jane")}))
    user = authenticator.authenticate(None, None, _protocols("v5.channel.k8s.io", _shown("s3cret?")))
    assert user is not None
    assert user.name == "jane"
    plain = authenticator.authenticate(None, None, _protocols("v5.channel.k8s.io"))
    assert plain is not None
    assert plain.name == "system:anonymous"
    for wrong in (
        _protocols("v5.channel.k8s.io", _shown("wrong")),
        _protocols("v5.channel.k8s.io", _shown("s3cret?") + "!"),
        _protocols(_shown("s3cret?")),
        _protocols("v5.channel.k8s.io", _shown("s3cret?"), _shown("s3cret?")),
    ):
        with pytest.raises(errors.Unauthorized):
            authenticator.authenticate(None, None, wrong)
    other = authenticator.authenticate(None, None, _protocols("x", _shown("s3cret?"), upgrade=b"SPDY/3.1"))
    assert other is not None
    assert other.name == "system:anonymous"
