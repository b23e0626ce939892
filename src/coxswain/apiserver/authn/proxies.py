"""Requests that an authenticating proxy passes on: its certificate says that its headers are to be believed.

Such a proxy (an aggregating API server, a gateway) shows a certificate of the front-proxy authority with one of
the allowed names; the headers ``X-Remote-User``, ``-Uid``, ``-Group`` and ``-Extra-*`` then say who asks. From
anybody else those headers mean nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from urllib.parse import unquote

from coxswain.apiserver.authn.certificates import Authorities, ClientCertificates
from coxswain.apiserver.authn.credentials import authenticated
from coxswain.apiserver.authn.settings import RequestHeaderSettings
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)


class RequestHeaders:
    """Users by the headers of a trusted proxy."""

    def __init__(self, authorities: Authorities, settings: RequestHeaderSettings) -> None:
        self._certificates = ClientCertificates(authorities)
        self._allowed = frozenset(settings.allowed_names)
        self._users = _names(settings.username_headers)
        self._uids = _names(settings.uid_headers)
        self._groups = _names(settings.group_headers)
        self._prefixes = _names(settings.extra_prefixes)

    def authenticate(self, der: bytes, fields: Sequence[tuple[bytes, bytes]]) -> UserInfo | None:
        """Who asks through the proxy; None when nobody is named, or when this is no proxy of ours."""
        if not self._certificates.issued(der):
            return None
        name = _first(fields, self._users)
        if not name:
            return None
        proxy = self._certificates.common_name(der)
        if self._allowed and proxy not in self._allowed:
            log.warning("a proxy with the certificate of %r is not in the list of allowed names", proxy)
            return None
        groups = [group for header in self._groups for group in _all(fields, header) if group]
        uid = _first(fields, self._uids)
        return authenticated(UserInfo(name, tuple(groups), uid, self._extra(fields)))

    def _extra(self, fields: Sequence[tuple[bytes, bytes]]) -> dict[str, tuple[str, ...]]:
        extra: dict[str, tuple[str, ...]] = {}
        for prefix in self._prefixes:
            for key, value in fields:
                if key.startswith(prefix) and len(key) > len(prefix):
                    name = unquote(key[len(prefix) :].decode("utf-8", "replace"))
                    extra[name] = (*extra.get(name, ()), value.decode("utf-8", "replace"))
        return extra


def _names(headers: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(header.strip().lower().encode() for header in headers)


def _all(fields: Sequence[tuple[bytes, bytes]], header: bytes) -> list[str]:
    return [value.decode("utf-8", "replace") for key, value in fields if key == header]


def _first(fields: Sequence[tuple[bytes, bytes]], headers: Iterable[bytes]) -> str:
    for header in headers:
        for value in _all(fields, header):
            if value:
                return value
    return ""
