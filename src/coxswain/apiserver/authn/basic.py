"""Basic authentication: names and passwords from a file of ``password,user,uid,"group1,group2"`` lines.

Off unless a file is named, and deprecated: passwords lie in clear text in that file and go over the wire with
every request. Kubernetes removed it in 1.19. Of passwords only digests are kept.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from pathlib import Path

from coxswain.apiserver.authn.credentials import authenticated
from coxswain.apiserver.authn.tokens import digest, read_users
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

#: Compared with where there is no such user, so that the time tells nothing.
_NOBODY = digest("")


class BasicPasswords:
    """Users by name and password."""

    def __init__(self, users: dict[str, tuple[bytes, UserInfo]]) -> None:
        """``users`` by name: the password's digest, and who it is."""
        self._users = users

    @classmethod
    def load(cls, path: Path) -> BasicPasswords:
        """Read the file and say that it is deprecated. Raises ``ConfigurationError`` that names the line."""
        log.warning(
            "--basic-auth-file is deprecated: passwords in clear text on disk and in every request; "
            "use client certificates, service account tokens or OpenID Connect instead"
        )
        users: dict[str, tuple[bytes, UserInfo]] = {}
        for password, user in read_users(path, "password"):
            if user.name in users:
                raise ConfigurationError(f"password file {path}: two passwords for user {user.name}")
            users[user.name] = digest(password), authenticated(user)
        return cls(users)

    def authenticate(self, credentials: str) -> UserInfo | None:
        """The user of what follows ``Basic`` in the header, or None."""
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        wanted, user = self._users.get(name, (_NOBODY, None))
        good = hmac.compare_digest(digest(password), wanted)
        return user if good and colon else None
