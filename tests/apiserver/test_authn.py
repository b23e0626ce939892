"""Who asks: certificates, token files, service account tokens, impersonation, anonymous."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from coxswain.apiserver import pki
from coxswain.apiserver.authn import Authenticator, Issuer, ServiceAccountTokens, StaticTokens
from coxswain.apiserver.authn.impersonation import impersonated
from coxswain.apiserver.authn.token_request import TokenMaker
from coxswain.apiserver.authz import Attributes, Decision
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.Pki(tmp_path_factory.mktemp("data") / "pki")


class Accounts:
    """A cluster with one service account, one pod and an issuer."""

    def __init__(self, key: bytes) -> None:
        self.lookup = DictLookup()
        self.account = self.lookup.put(SERVICE_ACCOUNTS, "robot", "shop")
        self.lookup.put(PODS, "web", "shop", spec={"serviceAccountName": "robot", "nodeName": "n1"})
        self.lookup.put(NODES, "n1")
        self.lookup.put(SECRETS, "s", "shop")
        self.tokens = ServiceAccountTokens(Issuer(key), self.lookup)
        self.maker = TokenMaker(self.tokens, self.lookup)
        self.authenticator = Authenticator(service_accounts=self.tokens)

    def token(self, **spec: object) -> str:
        made = self.maker.create(self.account, {"spec": spec})
        return str(made["status"]["token"])

    def user(self, token: str) -> UserInfo | None:
        return self.authenticator.authenticate(None, f"Bearer {token}")


@pytest.fixture
def accounts(keys: pki.Pki) -> Accounts:
    return Accounts(keys.service_account_key())


def test_certificate_names_user_and_groups(keys: pki.Pki) -> None:
    der = ssl.PEM_cert_to_DER_cert(keys.node("n1").certificate.decode())
    user = Authenticator().authenticate(der, None)
    assert user is not None
    assert user.name == "system:node:n1"
    assert user.groups == ("system:nodes", "system:authenticated")
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")


def test_certificate_is_refused_once_it_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    der = ssl.PEM_cert_to_DER_cert(pki.Pki(tmp_path).admin().certificate.decode())
    authenticator = Authenticator()
    assert authenticator.authenticate(der, None) is not None
    later = clock.now() + 366 * 24 * 3600
    monkeypatch.setattr(clock, "now", lambda: later)
    with pytest.raises(errors.Unauthorized):
        authenticator.authenticate(der, None)


def test_garbage_certificate_is_unauthorized() -> None:
    with pytest.raises(errors.Unauthorized):
        Authenticator().authenticate(b"not a certificate", None)


def test_no_credentials_are_anonymous() -> None:
    user = Authenticator().authenticate(None, None)
    assert user == UserInfo("system:anonymous", ("system:unauthenticated",))
    assert Authenticator(anonymous=False).authenticate(None, "Basic abc") is None


def test_token_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('secret,admin,1,"system:masters,devs"\nother,jane,2\n')
    authenticator = Authenticator(tokens=StaticTokens.load(path))
    admin = authenticator.authenticate(None, "Bearer secret")
    assert admin == UserInfo("admin", ("system:masters", "devs", "system:authenticated"), "1")
    jane = authenticator.authenticate(None, "bearer other")
    assert jane is not None
    assert jane.groups == ("system:authenticated",)
    with pytest.raises(errors.Unauthorized) as refused:
        authenticator.authenticate(None, "Bearer wrong")
    assert refused.value.message == "Unauthorized"


def test_only_tokens_of_the_file_say_for_good_who_asks(keys: pki.Pki, accounts: Accounts) -> None:
    users = {"secret": UserInfo("admin")}
    authenticator = Authenticator(tokens=StaticTokens(users), service_accounts=accounts.tokens)
    der = ssl.PEM_cert_to_DER_cert(keys.node("n1").certificate.decode())
    assert authenticator.lasting(None, "bearer secret") == authenticator.authenticate(None, "bearer secret")
    for nobody in ("", "Bearer ", "Bearer wrong", "Basic secret", f"Bearer {accounts.token()}"):
        assert authenticator.lasting(None, nobody) is None
    assert authenticator.lasting(der, "Bearer secret") is None


@pytest.mark.parametrize("line", ["only,two", ",name,uid", "token,,uid"])
def test_token_file_says_which_line_is_bad(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(f"a,b,c\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        StaticTokens.load(path)


def test_missing_token_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        StaticTokens.load(tmp_path / "none")


def test_service_account_token_identifies_the_account(accounts: Accounts) -> None:
    user = accounts.user(accounts.token())
    assert user is not None
    assert user.name == "system:serviceaccount:shop:robot"
    assert user.uid == "uid-robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")


def test_token_request_answers_as_kubernetes(accounts: Accounts) -> None:
    made = accounts.maker.create(accounts.account, {"spec": {"expirationSeconds": 600}})
    assert made["spec"] == {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 600}
    assert made["metadata"]["name"] == "robot"
    claims = accounts.tokens.issuer.verify(made["status"]["token"])
    assert claims["exp"] - claims["iat"] == 600
    assert claims["sub"] == "system:serviceaccount:shop:robot"
    assert claims["kubernetes.io"] == {
        "namespace": "shop",
        "serviceaccount": {"name": "robot", "uid": "uid-robot"},
    }


@pytest.mark.parametrize(
    ("seconds", "words"), [(599, "less than 10 minutes"), (2**32 + 1, "larger than 2^32 seconds")]
)
def test_token_request_bounds_its_duration(accounts: Accounts, seconds: int, words: str) -> None:
    with pytest.raises(errors.Invalid, match=words.replace("^", r"\^")):
        accounts.token(expirationSeconds=seconds)


def test_token_bound_to_a_pod_ends_with_the_pod(accounts: Accounts) -> None:
    token = accounts.token(boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "web"})
    user = accounts.user(token)
    assert user is not None
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)
    accounts.lookup.drop(PODS, "web", "shop")
    with pytest.raises(errors.Unauthorized):
        accounts.user(token)


@pytest.mark.parametrize(("kind", "name"), [("Secret", "s"), ("Node", "n1")])
def test_token_bound_to_other_kinds(accounts: Accounts, kind: str, name: str) -> None:
    token = accounts.token(boundObjectRef={"kind": kind, "apiVersion": "v1", "name": name})
    assert accounts.user(token) is not None
    accounts.lookup.put(
        SECRETS if kind == "Secret" else NODES, name, "shop" * (kind == "Secret"), metadata={"uid": "x"}
    )
    with pytest.raises(errors.Unauthorized):
        accounts.user(token)


def test_token_cannot_be_bound_to_a_stranger(accounts: Accounts) -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    with pytest.raises(errors.NotFound, match='pods "none" not found'):
        accounts.token(boundObjectRef={**pod, "name": "none"})
    with pytest.raises(errors.Conflict, match=r"the UID in the bound object reference \(other\)"):
        accounts.token(boundObjectRef={**pod, "uid": "other"})
    with pytest.raises(errors.BadRequest, match="cannot bind token to object of type"):
        accounts.token(boundObjectRef={"kind": "Service", "apiVersion": "v1", "name": "x"})
    accounts.lookup.put(PODS, "web", "shop", spec={"serviceAccountName": "other"})
    with pytest.raises(errors.BadRequest, match="different serviceaccount name"):
        accounts.token(boundObjectRef=pod)


def test_token_request_must_not_name_another_account(accounts: Accounts) -> None:
    with pytest.raises(errors.BadRequest):
        accounts.maker.create(accounts.account, {"metadata": {"name": "other"}})
    with pytest.raises(errors.BadRequest):
        accounts.maker.create(accounts.account, {"metadata": {"namespace": "other"}})


def test_agents_token_lives_a_year_and_warns(accounts: Accounts) -> None:
    pod = {"kind": "Pod", "apiVersion": "v1", "name": "web"}
    claims = accounts.tokens.issuer.verify(accounts.token(expirationSeconds=3607, boundObjectRef=pod))
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] == claims["iat"] + 3607


def test_deleted_account_ends_its_tokens(accounts: Accounts) -> None:
    token = accounts.token()
    assert accounts.user(token) is not None
    accounts.lookup.put(SERVICE_ACCOUNTS, "robot", "shop", metadata={"uid": "reborn"})
    with pytest.raises(errors.Unauthorized):
        accounts.user(token)


@pytest.mark.virtual
async def test_token_expires_with_a_minute_of_leeway(tmp_path: Path) -> None:
    accounts = Accounts(pki.Pki(tmp_path).service_account_key())
    token = accounts.token(expirationSeconds=600)
    await clock.sleep(650)
    assert accounts.user(token) is not None
    await clock.sleep(20)
    with pytest.raises(errors.Unauthorized):
        accounts.user(token)


def test_token_for_another_audience_is_refused(accounts: Accounts) -> None:
    token = accounts.token(audiences=["vault"])
    with pytest.raises(errors.Unauthorized):
        accounts.user(token)
    assert accounts.authenticator.review(token, ("vault", "other")).audiences == ("vault",)
    with pytest.raises(errors.Unauthorized, match="invalid for the target audiences"):
        accounts.authenticator.review(token)


def test_token_of_another_key_or_without_signature_is_refused(accounts: Accounts, tmp_path: Path) -> None:
    import jwt

    other = Accounts(pki.Pki(tmp_path).service_account_key())
    with pytest.raises(errors.Unauthorized):
        accounts.user(other.token())
    claims = jwt.decode(accounts.token(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none")
    with pytest.raises(errors.Unauthorized):
        accounts.user(unsigned)
    kid = accounts.tokens.issuer.jwks()["keys"][0]["kid"]
    public = (tmp_path / "sa.pub").read_bytes()
    import base64
    import hashlib
    import hmac

    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    import orjson

    signed = part(orjson.dumps({"alg": "HS256", "kid": kid})) + b"." + part(orjson.dumps(claims))
    confused = signed + b"." + part(hmac.digest(public, signed, hashlib.sha256))
    with pytest.raises(errors.Unauthorized):
        accounts.user(confused.decode())


def test_foreign_and_malformed_jwts_are_invalid(accounts: Accounts) -> None:
    for token in ("a.b.c", "x", accounts.tokens.issuer.sign({"iss": "https://elsewhere"})):
        with pytest.raises(errors.Unauthorized, match="invalid bearer token"):
            accounts.authenticator.review(token)
    issuer = accounts.tokens.issuer
    with pytest.raises(errors.Unauthorized):
        accounts.authenticator.review(issuer.sign({"iss": issuer.issuer, "sub": "x"}))


def test_former_key_still_verifies_and_is_published(
    accounts: Accounts, tmp_path: Path, keys: pki.Pki
) -> None:
    newer = pki.Pki(tmp_path)
    issuer = Issuer(newer.service_account_key(), public_keys=[(keys.directory / "sa.pub").read_bytes()])
    assert issuer.verify(accounts.token())["sub"] == "system:serviceaccount:shop:robot"
    published = issuer.jwks()["keys"]
    assert [key["alg"] for key in published] == ["ES256", "ES256"]
    assert (
        issuer.configuration("https://127.0.0.1:6443")["jwks_uri"] == "https://127.0.0.1:6443/openid/v1/jwks"
    )


def test_rsa_keys_work_too() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    issuer = Issuer(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert issuer.verify(issuer.sign({"iss": issuer.issuer, "a": 1}))["a"] == 1
    assert issuer.jwks()["keys"][0]["kty"] == "RSA"


def _allow(attributes: Attributes) -> Decision:
    return Decision(True)


def test_impersonation_completes_groups() -> None:
    me = UserInfo("admin")
    assert impersonated([("Accept", "x")], me, _allow) is None
    jane = impersonated([("Impersonate-User", "jane")], me, _allow)
    assert jane == UserInfo("jane", ("system:authenticated",))
    robot = impersonated([("Impersonate-User", "system:serviceaccount:a:b")], me, _allow)
    assert robot is not None
    assert robot.groups == ("system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated")
    nobody = impersonated([("Impersonate-User", "system:anonymous")], me, _allow)
    assert nobody is not None
    assert nobody.groups == ("system:unauthenticated",)


def test_impersonation_asks_for_every_part() -> None:
    asked: list[tuple[str, str, str, str]] = []

    def authorize(attributes: Attributes) -> Decision:
        asked.append((attributes.group, attributes.resource, attributes.subresource, attributes.name))
        return Decision(True)

    headers = [
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "devs"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-scopes%2Fone", "view"),
    ]
    jane = impersonated(headers, UserInfo("admin"), authorize)
    assert jane == UserInfo("jane", ("devs", "ops", "system:authenticated"), "7", {"scopes/one": ("view",)})
    assert asked == [
        ("", "users", "", "jane"),
        ("", "groups", "", "devs"),
        ("", "groups", "", "ops"),
        ("authentication.k8s.io", "userextras", "scopes/one", "view"),
        ("authentication.k8s.io", "uids", "", "7"),
    ]


def test_impersonation_refused() -> None:
    def refuse(attributes: Attributes) -> Decision:
        return Decision(False)

    with pytest.raises(errors.Forbidden) as refused:
        impersonated([("Impersonate-User", "root")], UserInfo("jane"), refuse)
    assert refused.value.message == (
        'users "root" is forbidden: User "jane" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )
    with pytest.raises(errors.BadRequest, match="without impersonating a user"):
        impersonated([("Impersonate-Group", "devs")], UserInfo("jane"), _allow)
