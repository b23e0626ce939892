"""What a CertificateSigningRequest asks for, and whether a signer of Kubernetes' own would grant it. No IO.

    kubernetes.io/kube-apiserver-client-kubelet   a node's client: O=system:nodes, CN=system:node:..., no SANs
    kubernetes.io/kubelet-serving                 a node's server: the same subject, and DNS names or addresses
    kubernetes.io/kube-apiserver-client           any client
    kubernetes.io/legacy-unknown                  anything

The cryptographic library is imported when the first request comes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING

from coxswain.api import meta
from coxswain.api.names import GVR, Object
from coxswain.base.errors import CoxswainError

if TYPE_CHECKING:
    from cryptography import x509

REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")

KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
API_CLIENT = "kubernetes.io/kube-apiserver-client"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
SIGNERS = frozenset({KUBELET_CLIENT, KUBELET_SERVING, API_CLIENT, LEGACY_UNKNOWN})

_NODES, _NODE = "system:nodes", "system:node:"
_BASE = {"digital signature"}
_RSA = {"digital signature", "key encipherment"}


class Unfit(CoxswainError):
    """A request that cannot be granted; ``str(error)`` says why, in Kubernetes' words."""


def is_decided(request: Object) -> bool:
    """Somebody approved or denied it."""
    return meta.condition(request, "Approved") is not None or meta.condition(request, "Denied") is not None


def is_to_be_signed(request: Object) -> bool:
    """Approved, not denied, not failed, and without a certificate."""
    return (
        meta.condition(request, "Approved") is not None
        and meta.condition(request, "Denied") is None
        and not meta.is_condition_true(request, "Failed")
        and not (request.get("status") or {}).get("certificate")
    )


def parse(request: Object) -> x509.CertificateSigningRequest:
    """The PKCS#10 request inside. Raises ``Unfit``."""
    from cryptography import x509

    try:
        pem = base64.b64decode(request["spec"].get("request") or "", validate=True)
        return x509.load_pem_x509_csr(pem)
    except (binascii.Error, ValueError) as error:
        raise Unfit(f'unable to parse csr "{meta.name(request)}": {error}') from None


def common_name(asked: x509.CertificateSigningRequest) -> str:
    """The subject's common name, the last one as Go takes it; empty without."""
    from cryptography.x509.oid import NameOID

    found = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def check(signer: str, asked: x509.CertificateSigningRequest, usages: Sequence[str]) -> None:
    """Whether ``signer`` may grant this. Raises ``Unfit``."""
    if signer == KUBELET_CLIENT:
        check_kubelet_client(asked, usages)
    elif signer == KUBELET_SERVING:
        _check_kubelet_serving(asked, usages)
    elif signer == API_CLIENT:
        _check_client_usages(usages)


def check_kubelet_client(asked: x509.CertificateSigningRequest, usages: Sequence[str]) -> None:
    """Whether this is the request of a node's agent for its client certificate. Raises ``Unfit``."""
    _check_organization(asked)
    for kind, names in _alternative_names(asked).items():
        if names:
            raise Unfit(f"{kind} subjectAltNames are not allowed")
    _check_node_name(asked)
    _check_usages(usages, "client auth")


def _check_kubelet_serving(asked: x509.CertificateSigningRequest, usages: Sequence[str]) -> None:
    _check_organization(asked)
    names = _alternative_names(asked)
    if not names["DNS"] and not names["IP"]:
        raise Unfit("DNS or IP subjectAltName is required")
    for kind in ("Email", "URI"):
        if names[kind]:
            raise Unfit(f"{kind} subjectAltNames are not allowed")
    _check_usages(usages, "server auth")
    _check_node_name(asked)


def _check_client_usages(usages: Sequence[str]) -> None:
    for usage in usages:
        if usage not in _RSA and usage != "client auth":
            raise Unfit(f"invalid usage for client certificate: {usage}")
    if "client auth" not in usages:
        raise Unfit("missing required usage for client certificate: client auth")


def _check_organization(asked: x509.CertificateSigningRequest) -> None:
    from cryptography.x509.oid import NameOID

    found = [str(entry.value) for entry in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if found != [_NODES]:
        raise Unfit("subject organization is not system:nodes")


def _check_node_name(asked: x509.CertificateSigningRequest) -> None:
    if not common_name(asked).startswith(_NODE):
        raise Unfit("subject common name does not begin with system:node:")


def _check_usages(usages: Sequence[str], purpose: str) -> None:
    if set(usages) not in (_BASE | {purpose}, _RSA | {purpose}):
        raise Unfit(f"usages did not match [{' '.join(sorted(_RSA | {purpose}))}]")


def _alternative_names(asked: x509.CertificateSigningRequest) -> dict[str, list[object]]:
    """The subject's alternative names by kind, in the order in which Kubernetes complains of them."""
    from cryptography import x509

    try:
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {"DNS": [], "Email": [], "IP": [], "URI": []}
    except ValueError as error:
        raise Unfit(f"unreadable subjectAltNames: {error}") from None
    return {
        "DNS": list(names.get_values_for_type(x509.DNSName)),
        "Email": list(names.get_values_for_type(x509.RFC822Name)),
        "IP": list(names.get_values_for_type(x509.IPAddress)),
        "URI": list(names.get_values_for_type(x509.UniformResourceIdentifier)),
    }
