"""The static token file: lines of ``token,user,uid,"group1,group2"``.

Tokens are kept as SHA-256 digests only, so that neither a memory dump nor the time of a look-up tells
anything of them.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from coxswain.apiserver.authn.credentials import Identity, authenticated
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo


class StaticTokens:
    """Users by token; what ``--token-auth-file`` names."""

    def __init__(self, users: dict[str, UserInfo]) -> None:
        """``users`` by token in clear; only digests are kept."""
        self._users = {digest(token): authenticated(user) for token, user in users.items()}

    @classmethod
    def load(cls, path: Path) -> StaticTokens:
        """Read the file. Raises ``ConfigurationError`` that names the line."""
        return cls(dict(read_users(path, "token")))

    def authenticate(self, token: str) -> Identity | None:
        """The user of ``token``, or None."""
        wanted = digest(token)
        user = self._users.get(wanted)
        return None if user is None else Identity(user)


def read_users(path: Path, secret: str) -> list[tuple[str, UserInfo]]:
    """Secrets and users of a CSV file. Raises ``ConfigurationError``. ``secret`` says what the first column is."""
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            return parse(lines, str(path), secret)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{secret} file {path}: {why}") from None


def parse(lines: Iterable[str], source: str, secret: str = "token") -> list[tuple[str, UserInfo]]:
    """Secrets and users from CSV lines; ``source`` is what errors name. No error shows a secret."""
    users: list[tuple[str, UserInfo]] = []
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or row[0].lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in row]
        where = f"{secret} file {source}, line {number}"
        if len(cells) < 3:
            raise ConfigurationError(f"{where}: want at least {secret}, user name and user uid")
        first, name, uid = cells[:3]
        if not first or not name:
            raise ConfigurationError(f"{where}: empty {secret} or user name")
        groups = tuple(g.strip() for g in cells[3].split(",") if g.strip()) if len(cells) > 3 else ()
        users.append((first, UserInfo(name, groups, uid)))
    return users


def digest(token: str) -> bytes:
    """How a token is remembered."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def same(first: str, second: str) -> bool:
    """Whether two secrets are equal, in constant time."""
    return hmac.compare_digest(first.encode(), second.encode())
