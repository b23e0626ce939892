"""Who asks: certificates, bearer tokens of many kinds, proxies, passwords, impersonation, anonymous.

    authenticator       all ways in their order; settings: the flags
    certificates        client certificates; proxies: headers of a proxy that is trusted
    tokens, basic       files of tokens and passwords
    service_accounts    JWTs by issuer's keys; token_request makes them; bootstrap_tokens for machines that join
    openid              ID tokens of providers (provider_keys fetches, configuration reads the file)
    webhook             tokens that somebody else reviews
    impersonation       acting as somebody else

Everything is synchronous; what has to be asked outside raises ``Pending`` (see ``apiserver.pending``).
``apiserver.identity`` puts it together.
"""

from coxswain.apiserver.authn.authenticator import Authenticator
from coxswain.apiserver.authn.issuer import Issuer
from coxswain.apiserver.authn.service_accounts import ServiceAccountTokens
from coxswain.apiserver.authn.tokens import StaticTokens

__all__ = ["Authenticator", "Issuer", "ServiceAccountTokens", "StaticTokens"]
