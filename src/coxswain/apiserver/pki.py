"""The cluster's keys and certificates, made at first start and kept in ``<data dir>/pki`` (0700, files 0600).

    ca.crt ca.key                   the authority that signs everything below; ten years
    apiserver.crt apiserver.key     what the API server shows (HTTPS and gRPC)
    <client>.crt <client>.key       admin, scheduler, controller-manager, node clients, on demand
    sa.key sa.pub                   signs service account tokens

All keys are ECDSA P-256: made in a fraction of a millisecond, and a handshake costs the server a twentieth
of RSA-2048's. A certificate is reused at the next start unless it expires within 30 days, was signed by
another authority, or lacks a name that it now needs; then it is made anew. Files are written to a temporary
name in the same directory and renamed, so a crash leaves either the old file or the new one.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from coxswain.base import clock
from coxswain.base.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

YEAR = timedelta(days=365)
CA_LIFETIME = 10 * YEAR
LIFETIME = YEAR
#: A certificate that ends sooner than this is replaced at start.
RENEW_BEFORE = timedelta(days=30)
#: Certificates begin this much in the past, for clients whose clocks are behind.
BACKDATE = timedelta(minutes=5)

SERVING_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
SERVING_ADDRESSES = ("127.0.0.1", "::1", "10.96.0.1")

MASTERS = "system:masters"
NODES = "system:nodes"

GRPC_EXTENSION = "coxswain.dev/grpc"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its key lie, and their PEM."""

    certificate_file: Path
    key_file: Path
    certificate: bytes
    key: bytes


class Pki:
    """The keys below one directory. Every method finds what is there or makes it."""

    def __init__(self, directory: Path, authority: str = "coxswain-ca") -> None:
        """``authority`` names who signs. Raises ``ConfigurationError`` when ``directory`` cannot be used."""
        self.directory = directory
        self._name = authority
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(f"key directory {directory}: {error.strerror}") from None
        self.ca = self._authority()
        self._ca_certificate = _load_certificate(self.ca.certificate)
        self._ca_key = _load_key(self.ca.key)

    def serving(self, names: Iterable[str] = ()) -> KeyPair:
        """The API server's certificate, good for the usual names, this host's, and ``names``."""
        wanted = [*SERVING_ADDRESSES, *SERVING_NAMES, socket.gethostname(), *names]
        return self._issued("apiserver", "kube-apiserver", (), list(dict.fromkeys(filter(None, wanted))))

    def client(self, file_name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate that authenticates as ``user`` in ``groups``."""
        return self._issued(file_name, user, groups, ())

    def admin(self) -> KeyPair:
        """The administrator: user ``kubernetes-admin`` in ``system:masters``."""
        return self.client("admin", "kubernetes-admin", (MASTERS,))

    def scheduler(self) -> KeyPair:
        """The user that the bootstrap roles know as the scheduler."""
        return self.client("scheduler", "system:kube-scheduler")

    def controller_manager(self) -> KeyPair:
        """The user that the bootstrap roles know as the controller manager."""
        return self.client("controller-manager", "system:kube-controller-manager")

    def node(self, name: str) -> KeyPair:
        """A node's agent: ``system:node:NAME`` in ``system:nodes``."""
        return self.client(f"node-{name}", f"system:node:{name}", (NODES,))

    def kubelet_serving(self, name: str, addresses: Iterable[str]) -> KeyPair:
        """The certificate of a node agent's own server, good for the node's name and ``addresses``."""
        return self._issued(f"kubelet-{name}", f"system:node:{name}", (NODES,), [name, *addresses])

    def front_proxy(self) -> tuple[KeyPair, KeyPair]:
        """Who signs certificates of front proxies, an authority of its own, and this API server's as one.

        Whoever shows a certificate of that authority is believed to know who its user is: so it signs no other.
        """
        own = Pki(self.directory / "front-proxy", "front-proxy-ca")
        return own.ca, own.client("front-proxy-client", "front-proxy-client")

    def service_account_key(self) -> bytes:
        """The PEM of the private key that signs service account tokens; its public half is ``sa.pub``."""
        path = self.directory / "sa.key"
        if not path.exists():
            key = _new_key()
            write_secret(self.directory / "sa.pub", _public_pem(key))
            write_secret(path, _private_pem(key))
        return path.read_bytes()

    def _authority(self) -> KeyPair:
        pair = self._read("ca")
        if pair is not None and not _expires_soon(_load_certificate(pair.certificate)):
            return pair
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        key = _new_key()
        name = _subject(self._name, ())
        builder = (
            _builder(name, name, key.public_key(), CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return self._write("ca", key, builder.sign(key, hashes.SHA256()))

    def _issued(self, file_name: str, user: str, groups: Sequence[str], names: Sequence[str]) -> KeyPair:
        pair = self._read(file_name)
        if pair is not None and self._still_good(pair, user, groups, names):
            return pair
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import ExtendedKeyUsageOID

        key = _new_key()
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(_subject(user, groups), self._ca_certificate.subject, key.public_key(), LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._ca_key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        return self._write(file_name, key, builder.sign(self._ca_key, hashes.SHA256()))

    def _still_good(self, pair: KeyPair, user: str, groups: Sequence[str], names: Sequence[str]) -> bool:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        certificate = _load_certificate(pair.certificate)
        if _expires_soon(certificate) or certificate.subject != _subject(user, groups):
            return False
        try:
            certificate.verify_directly_issued_by(self._ca_certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        if not names:
            return True
        known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return all(_general_name(name) in known for name in names)

    def _read(self, file_name: str) -> KeyPair | None:
        certificate, key = self._paths(file_name)
        if not (certificate.exists() and key.exists()):
            return None
        return KeyPair(certificate, key, certificate.read_bytes(), key.read_bytes())

    def _write(self, file_name: str, key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> KeyPair:
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate_file, key_file = self._paths(file_name)
        pem, key_pem = certificate.public_bytes(Encoding.PEM), _private_pem(key)
        write_secret(key_file, key_pem)
        write_secret(certificate_file, pem)
        return KeyPair(certificate_file, key_file, pem, key_pem)

    def _paths(self, file_name: str) -> tuple[Path, Path]:
        if "/" in file_name or file_name.startswith("."):
            raise ConfigurationError(f"{file_name!r} cannot be the name of a certificate's file")
        return self.directory / f"{file_name}.crt", self.directory / f"{file_name}.key"


def server_context(serving: KeyPair, client_ca: KeyPair, more: Iterable[bytes] = ()) -> ssl.SSLContext:
    """TLS for the HTTPS door: client certificates are asked for, verified when shown, not demanded.

    ``more`` are further authorities of clients, PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(serving.certificate_file, serving.key_file)
    for authority in (client_ca.certificate, *more):
        context.load_verify_locations(cadata=authority.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(ca: bytes, client: KeyPair | None = None) -> ssl.SSLContext:
    """TLS for a client that trusts ``ca`` (PEM) and shows ``client``."""
    context = ssl.create_default_context(cadata=ca.decode())
    if client is not None:
        context.load_cert_chain(client.certificate_file, client.key_file)
    return context


def write_kubeconfig(
    path: Path,
    *,
    server: str,
    ca: bytes,
    client: KeyPair | None = None,
    token: str = "",
    user: str = "admin",
    grpc_address: str = "",
    namespace: str = "",
) -> None:
    """A kubeconfig with everything embedded, mode 0600.

    ``server`` is the URL; ``grpc_address`` (``host:port``) goes into the cluster's extension
    ``coxswain.dev/grpc``, which other clients ignore.
    """
    import orjson

    cluster: dict[str, Any] = {"server": server, "certificate-authority-data": _base64(ca)}
    if grpc_address:
        cluster["extensions"] = [{"name": GRPC_EXTENSION, "extension": {"address": grpc_address}}]
    credentials: dict[str, Any] = {}
    if client is not None:
        credentials["client-certificate-data"] = _base64(client.certificate)
        credentials["client-key-data"] = _base64(client.key)
    if token:
        credentials["token"] = token
    context: dict[str, Any] = {"cluster": "coxswain", "user": user}
    if namespace:
        context["namespace"] = namespace
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "coxswain", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "coxswain", "context": context}],
        "current-context": "coxswain",
        "preferences": {},
    }
    # JSON is YAML, and needs no YAML writer at start.
    write_secret(path, orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now(), UTC)


def _expires_soon(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - _now() < RENEW_BEFORE


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _load_key(pem: bytes) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return cast("EllipticCurvePrivateKey", load_pem_private_key(pem, None))


def _load_certificate(pem: bytes) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem)


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: Any, lifetime: timedelta
) -> x509.CertificateBuilder:
    from cryptography import x509

    now = _now()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
