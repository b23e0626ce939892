"""Who asks: client certificates, bearer tokens (file, service accounts), impersonation, anonymous.

Authenticator(tokens=..., service_accounts=...).authenticate(der, authorization) -> UserInfo
impersonated(headers, user, authorizer.authorize) -> UserInfo | None
TokenMaker(accounts, lookup).create(service_account, token_request) -> TokenRequest
Issuer(pem).jwks() / .configuration(server_url)
"""

from coxswain.apiserver.authn.authenticator import Authenticator
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.authn.service_accounts import ServiceAccountTokens
from coxswain.apiserver.authn.tokens import StaticTokens

__all__ = ["Authenticator", "Issuer", "ServiceAccountTokens", "StaticTokens"]
