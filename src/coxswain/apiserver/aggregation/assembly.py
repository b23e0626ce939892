"""The aggregation layer of a server, put together from the settings."""

from __future__ import annotations

from coxswain.apiserver.aggregation.controller import Aggregator, request_header_data
from coxswain.apiserver.kubelet_client import KubeletClient
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.pki import Pki
from coxswain.apiserver.settings import ApiServerConfig
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo


def aggregator(
    config: ApiServerConfig, pki: Pki, pipeline: Pipeline, user: UserInfo, client: KubeletClient
) -> Aggregator:
    """Extension servers are shown the certificate of the settings, or one of the cluster's front-proxy authority.

    What they have to believe goes into a ConfigMap for them. Raises ``ConfigurationError``.
    """
    settings = config.aggregation
    headers = config.identity.authentication.request_header
    given = (settings.proxy_client_cert_file, settings.proxy_client_key_file)
    if given[0] is not None and given[1] is not None:
        certificate = (given[0], given[1])
        for path in certificate:
            if not path.is_file():
                raise ConfigurationError(
                    f"{path} is no file: --proxy-client-cert-file, --proxy-client-key-file"
                )
        own, names = b"", headers.allowed_names
    elif given == (None, None):
        authority, pair = pki.front_proxy()
        certificate = (pair.certificate_file, pair.key_file)
        own, names = authority.certificate, ("front-proxy-client",)
    else:
        raise ConfigurationError("--proxy-client-cert-file and --proxy-client-key-file go together")
    known = headers.client_ca_file.read_bytes() if headers.client_ca_file is not None else b""
    data = request_header_data(own or known, names) if own or known else None
    return Aggregator(pipeline, user, client, certificate, settings, request_header=data)
