"""The file of ``--authentication-config``: an AuthenticationConfiguration, read once at start.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AuthenticationConfiguration
    jwt:
    - issuer: {url: https://login.example.com, audiences: [cluster]}
      claimValidationRules: [{expression: "claims.exp - claims.nbf <= 86400", message: at most a day}]
      claimMappings:
        username: {expression: "'login:' + claims.sub"}
        groups: {claim: groups, prefix: "login:"}
      userValidationRules: [{expression: "!user.username.startsWith('system:')"}]
    anonymous: {enabled: true, conditions: [{path: /livez}]}

Claims are mapped by name or by CEL, as Kubernetes' structured authentication has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from coxswain.api.names import Object
from coxswain.apiserver import configfiles
from coxswain.apiserver.authn.openid import ALGORITHMS, ClaimError, Claims, Provider, strings, username
from coxswain.apiserver.configfiles import Reader
from coxswain.client.interface import UserInfo

FLAG = "--authentication-config"
VERSIONS = (
    "apiserver.config.k8s.io/v1",
    "apiserver.config.k8s.io/v1beta1",
    "apiserver.config.k8s.io/v1alpha1",
)
#: Providers at most, as Kubernetes.
PROVIDERS = 64

_EMAIL = re.compile(r"""claims\s*(\.\s*email\b|\[\s*["']email["']\s*\])""")
_VERIFIED = re.compile(r"""claims\s*(\.\s*\??\s*email_verified\b|\[\s*\??\s*["']email_verified["']\s*\])""")

Value = Callable[[Claims], Any]


@dataclass(frozen=True, slots=True)
class Issuing:
    """A provider, and how to reach it: authorities in PEM (empty: the machine's), discovery where it is elsewhere."""

    provider: Provider
    authority: bytes
    discovery_url: str


class AuthenticationConfiguration(NamedTuple):
    """What the file says. ``anonymous`` is None where it says nothing of it; no ``paths`` are all."""

    providers: tuple[Issuing, ...]
    anonymous: bool | None
    paths: tuple[str, ...]


def load(path: Path) -> AuthenticationConfiguration:
    """Read the file. Raises ``ConfigurationError`` that names the field."""
    return _Reader(FLAG, path).read(configfiles.read(path, FLAG))


class _Reader(Reader):
    """Turns the document into settings."""

    def read(self, found: Any) -> AuthenticationConfiguration:
        self._typed(found, "AuthenticationConfiguration", VERSIONS, ("jwt", "anonymous"))
        providers = found.get("jwt") or []
        if not isinstance(providers, list) or len(providers) > PROVIDERS:
            raise self._fail("jwt", f"has to be a list of at most {PROVIDERS}")
        issuing = tuple(self._provider(jwt, f"jwt[{i}]") for i, jwt in enumerate(providers))
        urls = [one.provider.issuer for one in issuing]
        if len(set(urls)) != len(urls):
            raise self._fail("jwt", "two providers have the same issuer url")
        anonymous = found.get("anonymous")
        if anonymous is None:
            return AuthenticationConfiguration(issuing, None, ())
        self._known(anonymous, "anonymous", ("enabled", "conditions"))
        paths = tuple(
            str(self._map(c, f"anonymous.conditions[{i}]").get("path") or "")
            for i, c in enumerate(anonymous.get("conditions") or ())
        )
        if paths and not anonymous.get("enabled"):
            raise self._fail(
                "anonymous.conditions", "enabled should be set to true when conditions are defined"
            )
        return AuthenticationConfiguration(issuing, bool(anonymous.get("enabled")), paths)

    def _provider(self, jwt: Any, at: str) -> Issuing:
        self._known(jwt, at, ("issuer", "claimValidationRules", "claimMappings", "userValidationRules"))
        issuer = self._known(
            jwt.get("issuer"),
            f"{at}.issuer",
            (
                "url",
                "discoveryURL",
                "certificateAuthority",
                "audiences",
                "audienceMatchPolicy",
                "egressSelectorType",
            ),
        )
        url, discovery = str(issuer.get("url") or ""), str(issuer.get("discoveryURL") or "")
        for name, value in (("url", url), ("discoveryURL", discovery)):
            if (value or name == "url") and not value.startswith("https://"):
                raise self._fail(f"{at}.issuer.{name}", "URL scheme must be https")
        audiences = tuple(map(str, issuer.get("audiences") or ()))
        if not audiences or "" in audiences:
            raise self._fail(f"{at}.issuer.audiences", f"at least one {at}.issuer.audiences is required")
        if len(audiences) > 1 and issuer.get("audienceMatchPolicy") != "MatchAny":
            why = "audienceMatchPolicy must be MatchAny for multiple audiences"
            raise self._fail(f"{at}.issuer.audienceMatchPolicy", why)
        to_user = self._to_user(jwt, at)
        authority = str(issuer.get("certificateAuthority") or "").encode()
        provider = Provider(url, audiences, to_user, tuple(sorted(ALGORITHMS)))
        return Issuing(provider, authority, discovery)

    def _to_user(self, jwt: Object, at: str) -> Callable[[Claims], UserInfo]:
        rules = [
            self._claim_rule(rule, f"{at}.claimValidationRules[{i}]")
            for i, rule in enumerate(jwt.get("claimValidationRules") or ())
        ]
        mappings = self._known(
            jwt.get("claimMappings"), f"{at}.claimMappings", ("username", "groups", "uid", "extra")
        )
        name = self._username(mappings.get("username"), f"{at}.claimMappings.username")
        self._check_email(jwt, at)
        groups = self._groups(mappings.get("groups") or {}, f"{at}.claimMappings.groups")
        uid = self._uid(mappings.get("uid") or {}, f"{at}.claimMappings.uid")
        extra = [
            self._extra(one, f"{at}.claimMappings.extra[{i}]")
            for i, one in enumerate(mappings.get("extra") or ())
        ]
        users = [
            self._user_rule(rule, f"{at}.userValidationRules[{i}]")
            for i, rule in enumerate(jwt.get("userValidationRules") or ())
        ]

        def to_user(claims: Claims) -> UserInfo:
            for rule in rules:
                rule(claims)
            more = {key: values for key, of in extra if (values := of(claims))}
            user = UserInfo(name(claims), groups(claims), uid(claims), more)
            if not user.name:
                raise ClaimError("username claim value is empty")
            for check in users:
                check(user)
            return user

        return to_user

    def _expression(self, text: Any, field: str, variable: str) -> Value:
        """A CEL expression over one variable; what fails at run time is a ``ClaimError``."""
        from coxswain.api.cel import DYN, CelError, EvaluationError, compile_expression

        try:
            program = compile_expression(str(text), {variable: DYN})
        except CelError as error:
            raise self._fail(field, f"compilation failed: {error}") from None

        def evaluate(given: Any) -> Any:
            try:
                return program.run({variable: given})
            except EvaluationError as error:
                raise ClaimError(f"expression of {field} failed: {error}") from None

        return evaluate

    def _claim_rule(self, rule: Any, at: str) -> Callable[[Claims], None]:
        self._known(rule, at, ("claim", "requiredValue", "expression", "message"))
        claim, wanted, text = rule.get("claim"), rule.get("requiredValue"), rule.get("expression")
        if bool(claim) == bool(text):
            raise self._fail(at, "claim and expression can't both be set, one is required")
        if claim:

            def by_name(claims: Claims) -> None:
                if claims.get(claim) != (wanted or ""):
                    raise ClaimError(f"validation expression failed: required claim {claim}")

            return by_name
        program, message = self._expression(text, f"{at}.expression", "claims"), rule.get("message")

        def by_expression(claims: Claims) -> None:
            if program(claims) is not True:
                raise ClaimError(f"validation expression '{text}' failed: {message or 'not true'}")

        return by_expression

    def _user_rule(self, rule: Any, at: str) -> Callable[[UserInfo], None]:
        self._known(rule, at, ("expression", "message"))
        text, message = rule.get("expression"), rule.get("message")
        program = self._expression(text, f"{at}.expression", "user")

        def check(user: UserInfo) -> None:
            shown = {
                "username": user.name,
                "uid": user.uid,
                "groups": list(user.groups),
                "extra": {key: list(values) for key, values in user.extra.items()},
            }
            if program(shown) is not True:
                raise ClaimError(f"user validation expression '{text}' failed: {message or 'not true'}")

        return check

    def _username(self, mapping: Any, at: str) -> Callable[[Claims], str]:
        self._known(mapping, at, ("claim", "prefix", "expression"))
        claim, prefix, text = mapping.get("claim"), mapping.get("prefix"), mapping.get("expression")
        if bool(claim) == bool(text):
            raise self._fail(at, "claim or expression is required, and not both")
        if claim:
            if prefix is None:
                raise self._fail(
                    f"{at}.prefix", "prefix is required when claim is set. It can be set to an empty string"
                )
            return lambda claims: str(prefix) + username(claims, claim)
        if prefix is not None:
            raise self._fail(f"{at}.prefix", "prefix can't be set when expression is set")
        program = self._expression(text, f"{at}.expression", "claims")

        def by_expression(claims: Claims) -> str:
            value = program(claims)
            if not isinstance(value, str):
                raise ClaimError("username expression did not give a string")
            return value

        return by_expression

    def _check_email(self, jwt: Object, at: str) -> None:
        """Who is known by an email has to have it verified (as Kubernetes demands of expressions)."""
        mappings = jwt["claimMappings"]
        name = str(mappings["username"].get("expression") or "")
        if not _EMAIL.search(name):
            return
        texts = [name, *(str(one.get("valueExpression")) for one in mappings.get("extra") or ())]
        texts += [str(rule.get("expression")) for rule in jwt.get("claimValidationRules") or ()]
        if not any(_VERIFIED.search(text) for text in texts):
            raise self._fail(
                f"{at}.claimMappings.username.expression",
                "claims.email_verified must be used in claimMappings.username.expression or "
                "claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is "
                "used in claimMappings.username.expression",
            )

    def _groups(self, mapping: Any, at: str) -> Callable[[Claims], tuple[str, ...]]:
        self._known(mapping, at, ("claim", "prefix", "expression"))
        claim, prefix, text = mapping.get("claim"), mapping.get("prefix"), mapping.get("expression")
        if claim and text:
            raise self._fail(at, "claim and expression can't both be set")
        if claim:
            if prefix is None:
                raise self._fail(
                    f"{at}.prefix", "prefix is required when claim is set. It can be set to an empty string"
                )
            return lambda claims: tuple(str(prefix) + group for group in strings(claims, claim))
        if text:
            program = self._expression(text, f"{at}.expression", "claims")
            return lambda claims: _texts(program(claims), "groups")
        return lambda claims: ()

    def _uid(self, mapping: Any, at: str) -> Callable[[Claims], str]:
        self._known(mapping, at, ("claim", "expression"))
        claim, text = mapping.get("claim"), mapping.get("expression")
        if claim and text:
            raise self._fail(at, "claim and expression can't both be set")
        if not claim and not text:
            return lambda claims: ""
        of = (
            self._expression(text, f"{at}.expression", "claims") if text else lambda claims: claims.get(claim)
        )

        def uid(claims: Claims) -> str:
            value = of(claims)
            if not isinstance(value, str):
                raise ClaimError("uid is not a string")
            return value

        return uid

    def _extra(self, mapping: Any, at: str) -> tuple[str, Callable[[Claims], tuple[str, ...]]]:
        self._known(mapping, at, ("key", "valueExpression"))
        key = str(mapping.get("key") or "")
        domain, slash, _ = key.partition("/")
        if not slash or key != key.lower():
            raise self._fail(
                f"{at}.key", 'must be a domain-prefixed path in lower case (such as "acme.io/foo")'
            )
        if any(domain == own or domain.endswith(f".{own}") for own in ("kubernetes.io", "k8s.io")):
            raise self._fail(f"{at}.key", "k8s.io and kubernetes.io are reserved for Kubernetes")
        program = self._expression(mapping.get("valueExpression"), f"{at}.valueExpression", "claims")
        return key, lambda claims: _texts(program(claims), "extra")


def _texts(value: Any, what: str) -> tuple[str, ...]:
    """Strings of a result: a string, a list of strings, or nothing."""
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
        raise ClaimError(f"expression of {what} gave neither a string nor a list of strings")
    return tuple(one for one in values if one)
