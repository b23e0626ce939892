"""Signs and verifies service account tokens (JWT, ES256/384/512 or RS256), and publishes the public keys.

One key signs; all keys verify, so that a key can be replaced without a gap, and so with issuers: the first
signs, tokens of all are good. Key ids are, as in Kubernetes, the base64url SHA-256 of the public key's DER.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.base.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey: TypeAlias = EllipticCurvePrivateKey | RSAPrivateKey
    PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey

DEFAULT_ISSUER = "https://kubernetes.default.svc"
#: The issuer of tokens that lie in secrets, of Kubernetes' old kind.
LEGACY_ISSUER = "kubernetes/serviceaccount"

_CURVES = {256: "ES256", 384: "ES384", 521: "ES512"}
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.DOTALL)
_UNCHECKED = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    algorithm: str
    public: PublicKey


class Issuer:
    """Makes and checks tokens; knows nothing of service accounts."""

    def __init__(
        self,
        private_key_pem: bytes,
        *,
        issuer: str = DEFAULT_ISSUER,
        public_keys: Sequence[bytes] = (),
        accepted: Sequence[str] = (),
        jwks_uri: str = "",
    ) -> None:
        """``public_keys`` are PEM files of keys that verify, too; ``accepted`` further issuers.

        Raises ``ConfigurationError`` when a file holds no key.
        """
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.issuer = issuer
        self.issuers = tuple(dict.fromkeys((issuer, *accepted)))
        self._jwks_uri = jwks_uri
        try:
            self._private: Any = load_pem_private_key(private_key_pem, None)
        except (ValueError, TypeError):
            raise ConfigurationError(
                "the key that signs service account tokens is no PEM private key"
            ) from None
        loaded = [self._private.public_key(), *(key for pem in public_keys for key in load_public_keys(pem))]
        keys = [_describe(public) for public in loaded]
        self._signing = keys[0]
        self._keys: dict[str, _Key] = {key.id: key for key in keys}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The compact JWT of ``claims``."""
        import jwt

        return jwt.encode(
            dict(claims), self._private, algorithm=self._signing.algorithm, headers={"kid": self._signing.id}
        )

    def is_ours(self, token: str) -> bool:
        """Whether an unverified token claims to be from one of our issuers; nothing else may be concluded."""
        issuer = claimed_issuer(token)
        return issuer in self.issuers or issuer == LEGACY_ISSUER

    def verify(self, token: str) -> Object:
        """The claims of a token with a good signature from one of our issuers; times and audiences are unchecked.

        Raises ``Unauthorized`` with the reason.
        """
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            raise errors.Unauthorized("invalid bearer token") from None
        named = self._keys.get(str(kid)) if kid else None
        # Tokens of the old kind may name no key, or one by another scheme: then every key is tried.
        for key in (named,) if named is not None else tuple(self._keys.values()):
            claims = self._verified(token, key)
            if claims is not None:
                return claims
        raise errors.Unauthorized("invalid bearer token")

    def _verified(self, token: str, key: _Key) -> Object | None:
        import jwt

        try:
            claims: Object = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=[*self.issuers, LEGACY_ISSUER],
                options=_UNCHECKED,  # type: ignore[arg-type]
            )
        except jwt.InvalidTokenError:
            return None
        return claims

    def jwks(self) -> Object:
        """The document of ``/openid/v1/jwks``: all public keys."""
        return {"keys": [_jwk(key) for key in self._keys.values()]}

    def configuration(self, server: str) -> Object:
        """The document of ``/.well-known/openid-configuration``; ``server`` is the API server's URL."""
        return {
            "issuer": self.issuer,
            "jwks_uri": self._jwks_uri or f"{server}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self._keys.values()}),
        }


def claimed_issuer(token: str) -> str:
    """Who an unverified token says it is from; "" when it is no JWT. Nothing else may be concluded."""
    import jwt

    if token.count(".") != 2:
        return ""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return ""
    return str(claims.get("iss") or "")


def load_public_keys(pem: bytes) -> list[Any]:
    """The public keys of a PEM file, which may hold public keys, private keys and certificates."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    found: list[Any] = []
    for match in _BLOCK.finditer(pem):
        block, kind = match.group(0), match.group(1)
        try:
            if kind == b"CERTIFICATE":
                found.append(x509.load_pem_x509_certificate(block).public_key())
            elif kind.endswith(b"PRIVATE KEY"):
                found.append(load_pem_private_key(block, None).public_key())
            elif kind.endswith(b"PUBLIC KEY"):
                found.append(load_pem_public_key(block))
        except (ValueError, TypeError):
            continue
    if not found:
        raise ConfigurationError("a file of service account keys holds no PEM key")
    return found


def _describe(public: PublicKey) -> _Key:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = _CURVES[public.curve.key_size] if isinstance(public, EllipticCurvePublicKey) else "RS256"
    return _Key(_base64(hashlib.sha256(der).digest()), algorithm, public)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: _Key) -> Object:
    numbers: Any = key.public.public_numbers()
    common: Object = {"use": "sig", "kid": key.id, "alg": key.algorithm}
    if key.algorithm != "RS256":
        bits: int = key.public.key_size
        x, y = (_base64(number.to_bytes((bits + 7) // 8, "big")) for number in (numbers.x, numbers.y))
        return {**common, "kty": "EC", "crv": f"P-{bits}", "x": x, "y": y}
    n, e = (
        _base64(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e)
    )
    return {**common, "kty": "RSA", "n": n, "e": e}
