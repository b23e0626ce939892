"""Flags of authentication and authorization, under Kubernetes' names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from coxswain.base.errors import ConfigurationError

if TYPE_CHECKING:
    from coxswain.apiserver.authn.settings import (
        AuthenticationSettings,
        AuthorizationSettings,
        IdentitySettings,
        OpenIdSettings,
        RequestHeaderSettings,
        ServiceAccountSettings,
        WebhookSettings,
    )

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    _authentication(parser.add_argument_group("authentication"))
    _service_accounts(parser.add_argument_group("service account tokens"))
    _openid(parser.add_argument_group("OpenID Connect"))
    _request_header(parser.add_argument_group("authenticating proxies"))
    _authorization(parser.add_argument_group("authorization"))


def _authentication(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--anonymous-auth",
        type=_switch,
        default=True,
        metavar="true|false",
        help="requests without credentials are system:anonymous; RBAC shows them health and version (default true)",
    )
    group.add_argument(
        "--client-ca-file", type=Path, metavar="FILE", help="more authorities of client certificates (PEM)"
    )
    group.add_argument(
        "--basic-auth-file",
        type=Path,
        metavar="FILE",
        help='deprecated (passwords in clear text): CSV of password,user,uid,"group1,group2"',
    )
    group.add_argument(
        "--enable-bootstrap-token-auth",
        type=_switch,
        default=True,
        metavar="true|false",
        help="tokens of secrets bootstrap.kubernetes.io/token in kube-system authenticate (default true)",
    )
    group.add_argument(
        "--authentication-config", type=Path, metavar="FILE", help="AuthenticationConfiguration, not --oidc-*"
    )
    group.add_argument(
        "--authentication-token-webhook-config-file",
        type=Path,
        metavar="KUBECONFIG",
        help="server that reviews tokens which nobody here knows",
    )
    group.add_argument(
        "--authentication-token-webhook-version",
        choices=("v1", "v1beta1"),
        default="v1",
        help="of the TokenReview that is sent (default v1)",
    )
    group.add_argument(
        "--authentication-token-webhook-cache-ttl",
        type=_duration,
        default=120.0,
        metavar="TIME",
        help="how long its answers are remembered (default 2m)",
    )


def _service_accounts(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--service-account-issuer",
        action="append",
        default=None,
        metavar="URL",
        help="issuer of tokens; of several the first signs (default https://kubernetes.default.svc)",
    )
    group.add_argument(
        "--service-account-key-file",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="keys that verify tokens, too (PEM); may be given several times",
    )
    group.add_argument(
        "--service-account-signing-key-file",
        type=Path,
        metavar="FILE",
        help="private key that signs tokens (default: DATA_DIR/pki/sa.key)",
    )
    group.add_argument(
        "--api-audiences",
        type=_names,
        default=(),
        metavar="A,B",
        help="audiences of this server (the issuers)",
    )
    group.add_argument(
        "--service-account-jwks-uri", default="", metavar="URL", help="where public keys are found"
    )
    group.add_argument(
        "--service-account-max-token-expiration",
        type=_duration,
        default=0.0,
        metavar="TIME",
        help="longest life of a token that is asked for (default: what is asked for)",
    )
    group.add_argument(
        "--service-account-extend-token-expiration",
        type=_switch,
        default=True,
        metavar="true|false",
        help="tokens of the kubelet's old kind live a year (default true)",
    )


def _openid(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--oidc-issuer-url", default="", metavar="URL", help="provider; its URL is https")
    group.add_argument("--oidc-client-id", default="", metavar="ID", help="audience that tokens must have")
    group.add_argument(
        "--oidc-ca-file", type=Path, metavar="FILE", help="who signs the provider's certificate"
    )
    group.add_argument("--oidc-username-claim", default="sub", metavar="CLAIM", help="default sub")
    group.add_argument(
        "--oidc-username-prefix",
        default=None,
        metavar="TEXT",
        help="default ISSUER# but for email; - is none",
    )
    group.add_argument(
        "--oidc-groups-claim", default="", metavar="CLAIM", help="claim with the user's groups"
    )
    group.add_argument("--oidc-groups-prefix", default="", metavar="TEXT", help="before every group")
    group.add_argument(
        "--oidc-required-claim",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="may be given several times",
    )
    group.add_argument(
        "--oidc-signing-algs", type=_names, default=("RS256",), metavar="A,B", help="default RS256"
    )


def _request_header(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--requestheader-client-ca-file",
        type=Path,
        metavar="FILE",
        help="who signs the certificates of proxies whose headers say who asks",
    )
    group.add_argument(
        "--requestheader-allowed-names",
        type=_names,
        default=(),
        metavar="A,B",
        help="their common names (any)",
    )
    for what, default in (
        ("username-headers", "X-Remote-User"),
        ("uid-headers", ""),
        ("group-headers", "X-Remote-Group"),
        ("extra-headers-prefix", "X-Remote-Extra-"),
    ):
        shown = f"default {default}" if default else "default: none"
        group.add_argument(
            f"--requestheader-{what}", type=_names, default=_names(default), metavar="A,B", help=shown
        )


def _authorization(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--authorization-mode",
        type=_names,
        default=None,
        metavar="A,B",
        help="Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny; asked in this order (default Node,RBAC)",
    )
    group.add_argument(
        "--authorization-config",
        type=Path,
        metavar="FILE",
        help="AuthorizationConfiguration, not the flags below",
    )
    group.add_argument(
        "--authorization-policy-file",
        type=Path,
        metavar="FILE",
        help="policies of mode ABAC, one JSON a line",
    )
    group.add_argument(
        "--authorization-webhook-config-file", type=Path, metavar="KUBECONFIG", help="server of mode Webhook"
    )
    group.add_argument(
        "--authorization-webhook-version", choices=("v1", "v1beta1"), default="v1", help="default v1"
    )
    for kind, default, shown in (("authorized", 300.0, "5m"), ("unauthorized", 30.0, "30s")):
        group.add_argument(
            f"--authorization-webhook-cache-{kind}-ttl",
            type=_duration,
            default=default,
            metavar="TIME",
            help=f"default {shown}",
        )


def settings(args: argparse.Namespace) -> IdentitySettings:
    """What the flags say. Raises ``ConfigurationError``."""
    from coxswain.apiserver.authn.settings import IdentitySettings

    return IdentitySettings(_authentication_of(args), _authorization_of(args))


def _authentication_of(args: argparse.Namespace) -> AuthenticationSettings:
    from coxswain.apiserver.authn.settings import AuthenticationSettings, WebhookSettings

    if args.authentication_config is not None and args.oidc_issuer_url:
        raise ConfigurationError("--authentication-config and --oidc-issuer-url exclude each other")
    return AuthenticationSettings(
        anonymous=args.anonymous_auth,
        client_ca_file=args.client_ca_file,
        basic_auth_file=args.basic_auth_file,
        bootstrap_tokens=args.enable_bootstrap_token_auth,
        service_accounts=_service_accounts_of(args),
        openid=_openid_of(args),
        configuration_file=args.authentication_config,
        request_header=_request_header_of(args),
        webhook=WebhookSettings(
            config_file=args.authentication_token_webhook_config_file,
            version=args.authentication_token_webhook_version,
            cache_ttl=args.authentication_token_webhook_cache_ttl,
        ),
    )


def _service_accounts_of(args: argparse.Namespace) -> ServiceAccountSettings:
    from coxswain.apiserver.authn.settings import ServiceAccountSettings

    longest = args.service_account_max_token_expiration
    if longest and not 3600 <= longest <= 1 << 32:
        raise ConfigurationError("--service-account-max-token-expiration has to be from 1h to 2^32 seconds")
    return ServiceAccountSettings(
        issuers=tuple(args.service_account_issuer or ServiceAccountSettings().issuers),
        key_files=tuple(args.service_account_key_file),
        signing_key_file=args.service_account_signing_key_file,
        audiences=args.api_audiences,
        jwks_uri=args.service_account_jwks_uri,
        max_expiration=longest,
        extend_expiration=args.service_account_extend_token_expiration,
    )


def _openid_of(args: argparse.Namespace) -> OpenIdSettings:
    from coxswain.apiserver.authn.settings import OpenIdSettings

    required: list[tuple[str, str]] = []
    for text in args.oidc_required_claim:
        claim, equals, value = text.partition("=")
        if not equals or not claim:
            raise ConfigurationError(f"--oidc-required-claim {text}: want KEY=VALUE")
        required.append((claim, value))
    return OpenIdSettings(
        issuer_url=args.oidc_issuer_url,
        client_id=args.oidc_client_id,
        ca_file=args.oidc_ca_file,
        username_claim=args.oidc_username_claim,
        username_prefix=args.oidc_username_prefix,
        groups_claim=args.oidc_groups_claim,
        groups_prefix=args.oidc_groups_prefix,
        required_claims=tuple(required),
        signing_algorithms=args.oidc_signing_algs,
    )


def _request_header_of(args: argparse.Namespace) -> RequestHeaderSettings:
    from coxswain.apiserver.authn.settings import RequestHeaderSettings

    return RequestHeaderSettings(
        client_ca_file=args.requestheader_client_ca_file,
        allowed_names=args.requestheader_allowed_names,
        username_headers=args.requestheader_username_headers,
        uid_headers=args.requestheader_uid_headers,
        group_headers=args.requestheader_group_headers,
        extra_prefixes=args.requestheader_extra_headers_prefix,
    )


def _authorization_of(args: argparse.Namespace) -> AuthorizationSettings:
    from coxswain.apiserver.authn.settings import AuthorizationSettings

    if args.authorization_config is not None and (
        args.authorization_mode or args.authorization_policy_file or args.authorization_webhook_config_file
    ):
        raise ConfigurationError("--authorization-config excludes the other flags of authorization")
    return AuthorizationSettings(
        args.authorization_mode or AuthorizationSettings().modes,
        args.authorization_policy_file,
        _authorization_webhook(args),
        args.authorization_config,
    )


def _authorization_webhook(args: argparse.Namespace) -> WebhookSettings:
    from coxswain.apiserver.authn.settings import WebhookSettings

    return WebhookSettings(
        config_file=args.authorization_webhook_config_file,
        version=args.authorization_webhook_version,
        cache_ttl=args.authorization_webhook_cache_authorized_ttl,
        refusal_ttl=args.authorization_webhook_cache_unauthorized_ttl,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _switch(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _duration(text: str) -> float:
    """Seconds of Go's spelling: ``90s``, ``1h30m``; a bare number is seconds."""
    import re

    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 90s or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
