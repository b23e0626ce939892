"""Issues certificates with the cluster's authority (kube-controller-manager's permissive signing policy).

A certificate has the request's subject, key and alternative names, and the usages that the API object asks for;
of the request's other extensions nothing is taken over, and it is never an authority itself. It begins five
minutes ago, for those whose clocks are behind, and never outlives the authority.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

from coxswain.base.errors import ConfigurationError
from coxswain.controllers.certificates.requests import Unfit

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

BACKDATE = timedelta(minutes=5)
#: A certificate shorter than this ends as late as it was asked for, in spite of its early begin.
_SHORT = timedelta(hours=8)
_SHORTEST = timedelta(minutes=10)

_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}


class Authority:
    """A certificate and the key that signs with it."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        """PEM of both. Raises ``ConfigurationError``."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            self._certificate = x509.load_pem_x509_certificate(certificate)
            loaded = load_pem_private_key(key, None)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"the cluster's signing certificate or key: {error}") from None
        if loaded.public_key() != self._certificate.public_key():
            raise ConfigurationError("the cluster's signing key does not belong to its certificate")
        self._key = cast("CertificateIssuerPrivateKeyTypes", loaded)

    @classmethod
    def read(cls, certificate_file: str, key_file: str) -> Authority:
        """The authority of two PEM files. Raises ``ConfigurationError``."""
        try:
            return cls(Path(certificate_file).read_bytes(), Path(key_file).read_bytes())
        except OSError as error:
            raise ConfigurationError(f"cluster signing file {error.filename}: {error.strerror}") from None

    def sign(
        self,
        asked: x509.CertificateSigningRequest,
        usages: Sequence[str],
        lifetime: timedelta,
        now: float,
    ) -> bytes:
        """A certificate (PEM) for what was ``asked``, ending ``lifetime`` from ``now``. Raises ``Unfit``."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        if not asked.is_signature_valid:
            raise Unfit("unable to verify certificate request signature")
        moment = datetime.fromtimestamp(now, UTC).replace(microsecond=0)
        if moment >= self._certificate.not_valid_after_utc:
            raise Unfit(f"the signer has expired: NotAfter={self._certificate.not_valid_after_utc}")
        end = moment + (lifetime if lifetime < _SHORT else lifetime - BACKDATE)
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._certificate.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - BACKDATE)
            .not_valid_after(min(end, self._certificate.not_valid_after_utc))
        )
        for extension, critical in self._extensions(asked, usages):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, _hash_for(self._key)).public_bytes(Encoding.PEM)

    def _extensions(
        self, asked: x509.CertificateSigningRequest, usages: Sequence[str]
    ) -> list[tuple[x509.ExtensionType, bool]]:
        from cryptography import x509

        key_usage, purposes = _usages(usages)
        found: list[tuple[x509.ExtensionType, bool]] = []
        if key_usage is not None:
            found.append((key_usage, True))
        if purposes:
            found.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in purposes]), False))
        found.append((x509.BasicConstraints(ca=False, path_length=None), True))
        own = self._key.public_key()
        found.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(own), False))
        try:
            names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return found
        empty_subject = not list(asked.subject)
        return [*found, (x509.SubjectAlternativeName(list(names)), empty_subject)]


def lifetime_of(expiration_seconds: int | None, longest: timedelta) -> timedelta:
    """How long a certificate is to live: as asked, between ten minutes and ``longest``."""
    if expiration_seconds is None:
        return longest
    return min(longest, max(_SHORTEST, timedelta(seconds=expiration_seconds)))


def _usages(usages: Sequence[str]) -> tuple[x509.KeyUsage | None, list[str]]:
    """The key usage (None without any) and the object identifiers of the purposes, sorted, each once."""
    from cryptography import x509

    unknown = [usage for usage in usages if usage not in _USAGES and usage not in _PURPOSES]
    if unknown:
        quoted = " ".join(f'"{usage}"' for usage in unknown)
        raise Unfit(f"unrecognized usage values: [{quoted}]")
    purposes = sorted({_PURPOSES[usage] for usage in usages if usage in _PURPOSES})
    chosen = {_USAGES[usage] for usage in usages if usage in _USAGES}
    if not chosen:
        return None, purposes
    # What limits the use of an agreement means nothing where there is none.
    if "key_agreement" not in chosen:
        chosen -= {"encipher_only", "decipher_only"}
    flags = {name: name in chosen for name in set(_USAGES.values())}
    return x509.KeyUsage(**flags), purposes


def _hash_for(key: CertificateIssuerPrivateKeyTypes) -> hashes.SHA256 | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
