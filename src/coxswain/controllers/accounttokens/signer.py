"""Signs tokens of the old kind with the cluster's service account key."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coxswain.base.errors import ConfigurationError

_CURVES = {256: "ES256", 384: "ES384", 521: "ES512"}


class TokenSigner:
    """Holds the private key; its public half has the id by which API servers find it."""

    def __init__(self, pem: bytes) -> None:
        """``pem``: RSA or elliptic curve. Raises ``ConfigurationError``."""
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            load_pem_private_key,
        )

        try:
            self._key: Any = load_pem_private_key(pem, None)
        except (ValueError, TypeError):
            raise ConfigurationError("the service account private key is no PEM private key") from None
        public: Any = self._key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self._id = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        is_curve = isinstance(public, EllipticCurvePublicKey)
        self._algorithm = _CURVES[public.curve.key_size] if is_curve else "RS256"

    @classmethod
    def read(cls, file: str) -> TokenSigner:
        """The signer of a PEM file. Raises ``ConfigurationError``."""
        try:
            return cls(Path(file).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"service account private key {file}: {error.strerror}") from None

    def sign(self, claims: Mapping[str, str]) -> str:
        """The compact JWT of ``claims``."""
        import jwt

        return jwt.encode(dict(claims), self._key, algorithm=self._algorithm, headers={"kid": self._id})
