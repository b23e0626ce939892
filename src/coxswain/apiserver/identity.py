"""Who is asking and what they may do, put together from the settings.

identity = assemble(config, pki, registry)
    .authenticator  .authorizer  .reviews  .tokens  .issuer     what the server works with
    .authorities                                                more authorities of clients, for TLS
    .pipeline(core, ...)                                        one that waits for answers from outside, if need be
await identity.close()
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from coxswain.api.names import PODS
from coxswain.apiserver.asking import Peer
from coxswain.apiserver.authn.authenticator import Authenticator, OutsideTokens, Ways
from coxswain.apiserver.authn.basic import BasicPasswords
from coxswain.apiserver.authn.bootstrap_tokens import BootstrapTokens
from coxswain.apiserver.authn.certificates import Authorities, ClientCertificates
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.authn.legacy_use import LegacyTokenUse
from coxswain.apiserver.authn.proxies import RequestHeaders
from coxswain.apiserver.authn.service_accounts import ServiceAccountTokens
from coxswain.apiserver.authn.settings import (
    AuthenticationSettings,
    AuthorizationSettings,
    ServiceAccountSettings,
)
from coxswain.apiserver.authn.token_request import TokenMaker
from coxswain.apiserver.authn.tokens import StaticTokens
from coxswain.apiserver.authz.abac import Abac
from coxswain.apiserver.authz.authorizer import MODES, Authorizer, Mode
from coxswain.apiserver.authz.node_relations import PodAtRest, PodsOf
from coxswain.apiserver.authz.reviews import Reviews
from coxswain.apiserver.authz.webhook import WebhookAuthorizer
from coxswain.apiserver.kubelet_client import KubeletClient
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.pki import Pki
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.request import Core
from coxswain.apiserver.settings import ApiServerConfig
from coxswain.apiserver.waiting import WaitingPipeline
from coxswain.base.errors import ConfigurationError

if TYPE_CHECKING:
    from coxswain.apiserver.authn.provider_keys import ProviderKeys


@dataclass(slots=True)
class Identity:
    """See the module's text."""

    authenticator: Authenticator
    authorizer: Authorizer
    reviews: Reviews
    tokens: TokenMaker
    issuer: Issuer
    authorities: tuple[bytes, ...] = ()
    webhooks: tuple[WebhookAuthorizer, ...] = ()
    asks: bool = False
    legacy_use: LegacyTokenUse = field(default_factory=LegacyTokenUse)

    def pipeline(
        self, core: Core, *, kubelets: KubeletClient | None = None, shared: bool = False
    ) -> Pipeline:
        """The server's pipeline; ``shared``: others write to its store, too."""
        pipeline = self._kind_of_pipeline(shared)(core, kubelets=kubelets)
        self.legacy_use.write_through(pipeline)
        return pipeline

    def _kind_of_pipeline(self, shared: bool) -> type[Pipeline]:
        if shared:
            from coxswain.apiserver.shared.pipeline import SharedPipeline

            return SharedPipeline
        return WaitingPipeline if self.asks else Pipeline

    async def close(self) -> None:
        """Close connections to those who are asked. Idempotent."""
        await self.legacy_use.close()
        await self.authenticator.close()
        for webhook in self.webhooks:
            await webhook.close()


def assemble(config: ApiServerConfig, pki: Pki, registry: Registry) -> Identity:
    """Everything by ``config.identity``. Raises ``ConfigurationError``."""
    settings = config.identity.authentication
    lookup = registry.lookup
    issuer = _issuer(settings.service_accounts, pki)
    accounts = ServiceAccountTokens(issuer, lookup, settings.service_accounts.audiences)
    trust = _Trust(settings, pki)
    outside = _outside(settings, accounts.audiences)
    authenticator = Authenticator(
        tokens=StaticTokens.load(config.token_auth_file) if config.token_auth_file else None,
        service_accounts=accounts,
        anonymous=outside.anonymous,
        ways=Ways(
            certificates=trust.certificates,
            proxies=trust.proxies,
            basic=BasicPasswords.load(settings.basic_auth_file) if settings.basic_auth_file else None,
            bootstrap=BootstrapTokens(lookup) if settings.bootstrap_tokens else None,
            outside=outside.tokens,
            anonymous_paths=outside.paths,
        ),
    )
    modes, more = _modes(config.identity.authorization)
    authorizer = Authorizer(lookup, modes=modes, more=more, pods_of=pods_by_node(registry))
    webhooks = tuple(mode for mode in more.values() if isinstance(mode, WebhookAuthorizer))
    bounds = settings.service_accounts
    return Identity(
        authenticator,
        authorizer,
        Reviews(authorizer, authenticator),
        TokenMaker(accounts, lookup, max_seconds=bounds.max_expiration, extend=bounds.extend_expiration),
        issuer,
        trust.authorities,
        webhooks,
        bool(outside.tokens or webhooks),
        accounts.legacy_use,
    )


class _Trust:
    """Which authorities of certificates are trusted for what."""

    def __init__(self, settings: AuthenticationSettings, pki: Pki) -> None:
        files = [_pem(path, "--client-ca-file") for path in (settings.client_ca_file,) if path is not None]
        front = settings.request_header.client_ca_file
        self.proxies: RequestHeaders | None = None
        self.certificates = ClientCertificates()
        if front is not None:
            proxies = Authorities(_pem(front, "--requestheader-client-ca-file"), str(front))
            self.proxies = RequestHeaders(proxies, settings.request_header)
            # TLS then trusts more than those who vouch for users: who signed has to be looked at.
            own = Authorities(b"\n".join([pki.ca.certificate, *files]))
            self.certificates = ClientCertificates(own)
            files.append(proxies.pem)
        self.authorities = tuple(files)


def _pem(path: Path, flag: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{flag} {path}: {error.strerror}") from None
    return Authorities(data, f"{flag} {path}").pem


def _issuer(settings: ServiceAccountSettings, pki: Pki) -> Issuer:
    signing = settings.signing_key_file
    if not settings.issuers or not all(settings.issuers):
        raise ConfigurationError("--service-account-issuer is empty")
    return Issuer(
        pki.service_account_key()
        if signing is None
        else _file(signing, "--service-account-signing-key-file"),
        issuer=settings.issuers[0],
        accepted=settings.issuers[1:],
        public_keys=[_file(path, "--service-account-key-file") for path in settings.key_files],
        jwks_uri=settings.jwks_uri,
    )


def _file(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{flag} {path}: {error.strerror}") from None


class _Outside(NamedTuple):
    """Who knows tokens elsewhere, and who may be anonymous where."""

    tokens: tuple[OutsideTokens, ...]
    anonymous: bool
    paths: tuple[str, ...] = ()


def _outside(settings: AuthenticationSettings, audiences: tuple[str, ...]) -> _Outside:
    anonymous = settings.anonymous
    paths: tuple[str, ...] = ()
    found: list[OutsideTokens] = []
    if settings.configuration_file is not None:
        from coxswain.apiserver.authn import configuration
        from coxswain.apiserver.authn.openid import OpenIdTokens

        given = configuration.load(settings.configuration_file)
        for one in given.providers:
            keys = _keys(one.provider.issuer, one.authority, one.discovery_url)
            found.append(OpenIdTokens(one.provider, keys, audiences))
        if given.anonymous is not None:
            anonymous, paths = given.anonymous, given.paths
    elif settings.openid.issuer_url:
        from coxswain.apiserver.authn.openid import OpenIdTokens, by_flags

        provider = by_flags(settings.openid)
        ca = settings.openid.ca_file
        keys = _keys(provider.issuer, _file(ca, "--oidc-ca-file") if ca else b"")
        found.append(OpenIdTokens(provider, keys, audiences))
    if settings.webhook.config_file is not None:
        from coxswain.apiserver.authn.webhook import WebhookTokens

        found.append(WebhookTokens(settings.webhook, audiences))
    return _Outside(tuple(found), anonymous, paths)


def _keys(issuer: str, ca: bytes, discovery_url: str = "") -> ProviderKeys:
    from coxswain.apiserver.authn.provider_keys import ProviderKeys
    from coxswain.client.kubeconfig import Config

    return ProviderKeys(issuer, Peer(Config(issuer, authority=ca)), discovery_url=discovery_url)


def _modes(settings: AuthorizationSettings) -> tuple[tuple[str, ...], dict[str, Mode]]:
    """The modes in their order, and the authorizers among them that need files of their own."""
    if settings.configuration_file is not None:
        from coxswain.apiserver.authz import configuration

        named, webhooks = configuration.load(settings.configuration_file)
        return named, dict(webhooks)
    modes = settings.modes
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes:
        raise ConfigurationError(
            f"--authorization-mode {','.join(unknown)}: has to be some of {', '.join(MODES)}"
        )
    if len(set(modes)) != len(modes):
        raise ConfigurationError("--authorization-mode names a mode twice")
    if (settings.policy_file is not None) != ("ABAC" in modes):
        raise ConfigurationError("authorization mode ABAC and --authorization-policy-file need each other")
    if (settings.webhook.config_file is not None) != ("Webhook" in modes):
        raise ConfigurationError(
            "authorization mode Webhook and --authorization-webhook-config-file need each other"
        )
    found: dict[str, Mode] = {}
    if settings.policy_file is not None:
        found["ABAC"] = Abac.load(settings.policy_file)
    if "Webhook" in modes:
        found["Webhook"] = WebhookAuthorizer(settings.webhook)
    return modes, found


def pods_by_node(registry: Registry) -> PodsOf:
    """The pods bound to a node, from the watch cache's index."""

    def pods_of(node: str) -> Iterable[PodAtRest]:
        entry = registry.get(PODS)
        return entry.cache.by_index(node) if entry is not None and entry.cache is not None else ()

    return pods_of
