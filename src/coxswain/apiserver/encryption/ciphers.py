"""The ciphers of Kubernetes' encryption providers, each with one key.

    AesGcm      nonce (12) + cipher text + tag (16); the object's storage key is authenticated, too
    AesCbc      initialization vector (16) + cipher text, padded as PKCS #7 says; not authenticated
    SecretBox   nonce (24) + XSalsa20-Poly1305
    DerivedGcm  info (32) + what AesGcm makes with HKDF-Expand(seed, info): a key for each value

``seal`` and ``open`` take the storage key (``/registry/secrets/default/token``) as ``context``. A nonce is drawn from the
operating system for each value, never from the run's own generator: it must not repeat when a run does.
"""

from __future__ import annotations

import os
from typing import Protocol

from coxswain.base.errors import ConfigurationError, CoxswainError

_GCM_NONCE = 12
_BLOCK = 16
_BOX_NONCE = 24
_INFO = 32
SEED_SIZE = 32


class TransformError(CoxswainError):
    """A value that cannot be sealed or opened; the message is Kubernetes'."""


class Cipher(Protocol):
    """One key."""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """The cipher text of ``plain``."""
        ...

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """What ``seal`` was given. Raises ``TransformError``."""
        ...


class AesGcm:
    """AES in Galois/Counter mode; the key has 16, 24 or 32 bytes."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_GCM_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _GCM_NONCE:
            raise TransformError("the stored data was shorter than the required size")
        try:
            return self._cipher.decrypt(sealed[:_GCM_NONCE], sealed[_GCM_NONCE:], context)
        except (InvalidTag, ValueError):
            raise TransformError("cipher: message authentication failed") from None


class AesCbc:
    """AES in cipher block chaining mode, kept for what was written with it."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self._algorithm = AES(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        vector = os.urandom(_BLOCK)
        padding = _BLOCK - len(plain) % _BLOCK
        encryptor = BlockCipher(self._algorithm, CBC(vector)).encryptor()
        return vector + encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        if len(sealed) < _BLOCK:
            raise TransformError("the stored data was shorter than the required size")
        vector, rest = sealed[:_BLOCK], sealed[_BLOCK:]
        if len(rest) % _BLOCK:
            raise TransformError("the stored data is not a multiple of the block size")
        decryptor = BlockCipher(self._algorithm, CBC(vector)).decryptor()
        padded = decryptor.update(rest) + decryptor.finalize()
        if not padded:
            raise TransformError("invalid PKCS7 data (empty or not padded)")
        padding = padded[-1]
        if not 0 < padding <= _BLOCK or padded[-padding:] != bytes([padding]) * padding:
            raise TransformError("invalid padding on input")
        return padded[:-padding]


class SecretBox:
    """XSalsa20 and Poly1305; the key has 32 bytes. Needs PyNaCl, which only those install who use it."""

    def __init__(self, key: bytes) -> None:
        """Raises ``ConfigurationError`` where PyNaCl is missing."""
        try:
            from nacl.secret import SecretBox as Box
        except ImportError:
            raise ConfigurationError(
                "the encryption provider secretbox needs PyNaCl: pip install 'coxswain[secretbox]'"
            ) from None
        self._box = Box(key)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return bytes(self._box.encrypt(plain, os.urandom(_BOX_NONCE)))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        if len(sealed) < _BOX_NONCE:
            raise TransformError("the stored data was shorter than the required size")
        try:
            return bytes(self._box.decrypt(sealed))
        except (CryptoError, ValueError):
            raise TransformError("output array was not large enough for encryption") from None


class DerivedGcm:
    """AES-GCM with a key of its own for each value, derived from one seed: nonces cannot run out."""

    def __init__(self, seed: bytes) -> None:
        """Raises ``TransformError`` for a seed that is too short."""
        if len(seed) < SEED_SIZE:
            raise TransformError(f"invalid seed length {len(seed)} used for key generation")
        self._seed = seed

    def seal(self, plain: bytes, context: bytes) -> bytes:
        info = os.urandom(_INFO)
        return info + AesGcm(self._derive(info)).seal(plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        if len(sealed) < _INFO:
            raise TransformError("the stored data was shorter than the required size")
        return AesGcm(self._derive(sealed[:_INFO])).open(sealed[_INFO:], context)

    def _derive(self, info: bytes) -> bytes:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

        return HKDFExpand(SHA256(), 32, info).derive(self._seed)
