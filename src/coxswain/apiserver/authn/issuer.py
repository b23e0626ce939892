"""Signs and verifies service account tokens (JWT, ES256 or RS256), and publishes the public keys.

The first key signs; all keys verify, so that a key can be replaced without a gap. Key ids are, as in
Kubernetes, the base64url SHA-256 of the public key's DER.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from coxswain.api import errors
from coxswain.api.names import Object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    PrivateKey: TypeAlias = EllipticCurvePrivateKey | RSAPrivateKey
    PublicKey: TypeAlias = EllipticCurvePublicKey | RSAPublicKey

DEFAULT_ISSUER = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True)
class _Key:
    id: str
    algorithm: str
    public: PublicKey


class Issuer:
    """Makes and checks tokens; knows nothing of service accounts."""

    def __init__(
        self, private_key_pem: bytes, *, issuer: str = DEFAULT_ISSUER, public_keys: Sequence[bytes] = ()
    ) -> None:
        """``public_keys`` are PEM files of former keys whose tokens are still good."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

        self.issuer = issuer
        self._private: Any = load_pem_private_key(private_key_pem, None)
        loaded: list[Any] = [self._private.public_key(), *(load_pem_public_key(pem) for pem in public_keys)]
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
        """Whether an unverified token claims to be from this issuer; nothing else may be concluded."""
        import jwt

        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return False
        return bool(claims.get("iss") == self.issuer)

    def verify(self, token: str) -> Object:
        """The claims of a token with a good signature from this issuer; times and audiences are unchecked.

        Raises ``Unauthorized`` with the reason.
        """
        import jwt

        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid") or self._signing.id))
            if key is None:
                raise errors.Unauthorized("invalid bearer token")
            claims: Object = jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                issuer=self.issuer,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError:
            raise errors.Unauthorized("invalid bearer token") from None
        return claims

    def jwks(self) -> Object:
        """The document of ``/openid/v1/jwks``: all public keys."""
        return {"keys": [_jwk(key) for key in self._keys.values()]}

    def configuration(self, server: str) -> Object:
        """The document of ``/.well-known/openid-configuration``; ``server`` is the API server's URL."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{server}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key.algorithm for key in self._keys.values()}),
        }


def _describe(public: PublicKey) -> _Key:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = "ES256" if isinstance(public, EllipticCurvePublicKey) else "RS256"
    return _Key(_base64(hashlib.sha256(der).digest()), algorithm, public)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: _Key) -> Object:
    numbers: Any = key.public.public_numbers()
    common: Object = {"use": "sig", "kid": key.id, "alg": key.algorithm}
    if key.algorithm == "ES256":
        x, y = (_base64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        return {**common, "kty": "EC", "crv": "P-256", "x": x, "y": y}
    n, e = (
        _base64(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e)
    )
    return {**common, "kty": "RSA", "n": n, "e": e}
