"""Encryption providers, and the list of them that a resource has.

    value = prefix of the provider + name of the key + ":" + what the cipher made
    write: the first provider, with its first key          read: every provider whose prefix the value has

A value's ``label`` says which key it is under; a value whose label is not that of the next write is *stale*, and an
update that changes nothing else writes it anew. Labels stay in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from coxswain.apiserver.encryption.ciphers import AesCbc, AesGcm, Cipher, SecretBox, TransformError

#: What the values of all providers but identity begin with.
ENCRYPTED = b"k8s:enc:"

PREFIXES = {
    "aesgcm": b"k8s:enc:aesgcm:v1:",
    "aescbc": b"k8s:enc:aescbc:v1:",
    "secretbox": b"k8s:enc:secretbox:v1:",
}
_CIPHERS: Mapping[str, type[AesGcm] | type[AesCbc] | type[SecretBox]] = {
    "aesgcm": AesGcm,
    "aescbc": AesCbc,
    "secretbox": SecretBox,
}
_NO_KEY = {
    "aesgcm": "no matching key was found for the provided AES transformer",
    "aescbc": "no matching key was found for the provided AES transformer",
    "secretbox": "no matching key was found for the provided Secretbox transformer",
}


class Provider(Protocol):
    """One element of a resource's list. ``prefix`` is taken off before ``open`` and put on after ``seal``."""

    prefix: bytes

    @property
    def label(self) -> str:
        """The label of what is written now."""
        ...

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Raises ``TransformError``."""
        ...

    def open(self, body: bytes, context: bytes) -> tuple[bytes, str]:
        """The plain value and its label. Raises ``TransformError``."""
        ...


class Identity:
    """Values as they are; refuses to read what another provider has written."""

    prefix = b""
    label = ""

    def seal(self, plain: bytes, context: bytes) -> bytes:
        return plain

    def open(self, body: bytes, context: bytes) -> tuple[bytes, str]:
        if body.startswith(ENCRYPTED):
            raise TransformError("identity transformer tried to read encrypted data")
        return body, ""


class Keyed:
    """A provider with keys in the file: aesgcm, aescbc or secretbox."""

    def __init__(self, kind: str, keys: Sequence[tuple[str, bytes]]) -> None:
        """``keys``: names and secrets, the first for writing. Raises ``ConfigurationError``."""
        self.prefix = PREFIXES[kind]
        self._kind = kind
        self._keys: list[tuple[bytes, Cipher, str]] = []
        for name, secret in keys:
            # The name alone does not tell one key from another that took its place.
            mark = hashlib.sha256(secret).hexdigest()[:16]
            self._keys.append((f"{name}:".encode(), _CIPHERS[kind](secret), f"{kind}:{name}:{mark}"))
        self.label = self._keys[0][2]

    def seal(self, plain: bytes, context: bytes) -> bytes:
        name, cipher, _ = self._keys[0]
        return name + cipher.seal(plain, context)

    def open(self, body: bytes, context: bytes) -> tuple[bytes, str]:
        failure: TransformError | None = None
        for name, cipher, label in self._keys:
            if body.startswith(name):
                try:
                    return cipher.open(body[len(name) :], context), label
                except TransformError as error:
                    failure = failure or error
        raise failure or TransformError(_NO_KEY[self._kind])


class Transformer:
    """How the values of one resource are written and read."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.providers = tuple(providers)

    @property
    def label(self) -> str:
        """The label of what is written now."""
        return self.providers[0].label

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """The value to store. Raises ``TransformError``."""
        provider = self.providers[0]
        return provider.prefix + provider.seal(plain, context)

    def open(self, value: bytes, context: bytes) -> tuple[bytes, str]:
        """The plain value and its label. Raises ``TransformError``."""
        failure: TransformError | None = None
        for provider in self.providers:
            prefix = provider.prefix
            if not value.startswith(prefix):
                continue
            try:
                return provider.open(value[len(prefix) :], context)
            except TransformError as error:
                # Identity has no prefix: that it cannot read a value says nothing of the others.
                if prefix:
                    failure = failure or error
        raise failure or TransformError("no matching prefix found")


def all_providers(transformers: Iterable[Transformer]) -> list[Provider]:
    """Every provider, each once."""
    found = {id(one): one for transformer in transformers for one in transformer.providers}
    return list(found.values())
