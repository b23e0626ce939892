"""What one credential proved: shared by the ways to authenticate."""

from __future__ import annotations

from typing import NamedTuple

from coxswain.client.interface import UserInfo

AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ANONYMOUS = UserInfo("system:anonymous", (UNAUTHENTICATED,))

#: The ``extra`` entry that names the certificate or token in audit events.
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"


class Identity(NamedTuple):
    """A user, and the audiences for which the credential is good (empty: any)."""

    user: UserInfo
    audiences: tuple[str, ...] = ()


def authenticated(user: UserInfo) -> UserInfo:
    """``user`` with the group that every authenticated user is in, at the end."""
    if AUTHENTICATED in user.groups or user.name == ANONYMOUS.name:
        return user
    return UserInfo(user.name, (*user.groups, AUTHENTICATED), user.uid, user.extra)
