"""Who is let in, and by what rules: the settings of authentication and authorization.

Every field is the flag of kube-apiserver with its name, unit and default; where ours differs, it says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServiceAccountSettings:
    """Tokens of service accounts."""

    issuers: tuple[str, ...] = ("https://kubernetes.default.svc",)
    """``--service-account-issuer``: the first signs, tokens of all are accepted."""
    key_files: tuple[Path, ...] = ()
    """``--service-account-key-file``: PEM files of keys that verify, beside the one that signs."""
    signing_key_file: Path | None = None
    """``--service-account-signing-key-file``: PEM of the private key; None: the data directory's own."""
    audiences: tuple[str, ...] = ()
    """``--api-audiences``: what tokens for this server are made out to; empty: the issuers."""
    jwks_uri: str = ""
    """``--service-account-jwks-uri``: where clients find the public keys; empty: at this server."""
    max_expiration: float = 0.0
    """``--service-account-max-token-expiration``, seconds; 0: no bound but the API's own."""
    extend_expiration: bool = True
    """``--service-account-extend-token-expiration``: tokens of the kubelet's old kind live a year."""


@dataclass(frozen=True, slots=True)
class OpenIdSettings:
    """One OpenID Connect provider (``--oidc-*``)."""

    issuer_url: str = ""
    client_id: str = ""
    ca_file: Path | None = None
    """PEM of who signs the provider's certificate; None: the machine's authorities."""
    username_claim: str = "sub"
    username_prefix: str | None = None
    """None: ``ISSUER#`` before every claim but email; ``-``: nothing."""
    groups_claim: str = ""
    groups_prefix: str = ""
    required_claims: tuple[tuple[str, str], ...] = ()
    signing_algorithms: tuple[str, ...] = ("RS256",)


@dataclass(frozen=True, slots=True)
class RequestHeaderSettings:
    """A proxy that authenticates for us (``--requestheader-*``)."""

    client_ca_file: Path | None = None
    """PEM of who signs the proxy's certificate; None: there is no such proxy."""
    allowed_names: tuple[str, ...] = ()
    """Common names that the proxy's certificate may have; empty: any."""
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """A server that is asked. ``config_file`` is a kubeconfig that says where it is and who we are."""

    config_file: Path | None = None
    version: str = "v1"
    """``v1`` or ``v1beta1`` of the review that is sent. Kubernetes' default is v1beta1, for old servers."""
    cache_ttl: float = 120.0
    """Seconds that a good answer is remembered."""
    refusal_ttl: float = 30.0
    """Seconds that a refusal is remembered."""
    timeout: float = 30.0
    """Seconds to wait for an answer."""


@dataclass(frozen=True, slots=True)
class AuthenticationSettings:
    """Ways to say who one is."""

    anonymous: bool = True
    """``--anonymous-auth``: requests without credentials are system:anonymous, whom RBAC shows health and version."""
    client_ca_file: Path | None = None
    """``--client-ca-file``: PEM of authorities of client certificates beside the cluster's own."""
    basic_auth_file: Path | None = None
    """``--basic-auth-file``: password,user,uid,"groups" lines. Off by default and deprecated: Kubernetes removed it."""
    bootstrap_tokens: bool = True
    """``--enable-bootstrap-token-auth``: on as kubeadm has it; without such secrets in kube-system it admits nobody."""
    service_accounts: ServiceAccountSettings = field(default_factory=ServiceAccountSettings)
    openid: OpenIdSettings = field(default_factory=OpenIdSettings)
    configuration_file: Path | None = None
    """``--authentication-config``: an AuthenticationConfiguration, instead of ``--oidc-*`` and ``--anonymous-auth``."""
    request_header: RequestHeaderSettings = field(default_factory=RequestHeaderSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)


@dataclass(frozen=True, slots=True)
class AuthorizationSettings:
    """Who may do what."""

    modes: tuple[str, ...] = ("Node", "RBAC")
    """``--authorization-mode``, asked in this order. Kubernetes' default AlwaysAllow is nobody's choice."""
    policy_file: Path | None = None
    """``--authorization-policy-file`` of mode ABAC."""
    webhook: WebhookSettings = field(default_factory=lambda: WebhookSettings(cache_ttl=300.0))
    """``--authorization-webhook-*`` of mode Webhook."""
    configuration_file: Path | None = None
    """``--authorization-config``: an AuthorizationConfiguration, instead of the modes and the webhook above."""


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Both."""

    authentication: AuthenticationSettings = field(default_factory=AuthenticationSettings)
    authorization: AuthorizationSettings = field(default_factory=AuthorizationSettings)
