"""``Impersonate-*`` headers: acting as somebody else, where one may.

    impersonated(headers, user, authorize) -> the user to act as, or None where no header asks for it

Every requested name, group, UID and extra value needs the verb ``impersonate`` on users, groups, uids,
userextras/KEY or serviceaccounts (apiserver ``endpoints/filters/impersonation``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import unquote

from coxswain.api import errors
from coxswain.apiserver.authn.credentials import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from coxswain.apiserver.authn.service_accounts import GROUP, PREFIX
from coxswain.apiserver.authz.attributes import Attributes, Decision, forbidden
from coxswain.client.interface import UserInfo

USER, GROUPS, UID, EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"

Authorize = Callable[[Attributes], Decision]


def impersonated(headers: Iterable[tuple[str, str]], user: UserInfo, authorize: Authorize) -> UserInfo | None:
    """The user that ``user`` asks to be, checked. ``headers`` in their order, names in any case.

    Raises ``Forbidden`` for what it may not be, ``BadRequest`` when a user name is missing.
    """
    wanted = _read(headers)
    if wanted is None:
        return None
    for attributes in _questions(wanted, user):
        decision = authorize(attributes)
        if not decision.allowed:
            raise forbidden(attributes, decision.reason)
    return _complete(wanted)


def _read(headers: Iterable[tuple[str, str]]) -> UserInfo | None:
    name, uid = "", ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers:
        key = header.lower()
        if not key.startswith("impersonate-"):
            continue
        if key == USER:
            name = value
        elif key == GROUPS:
            groups.append(value)
        elif key == UID:
            uid = value
        elif key.startswith(EXTRA):
            field = unquote(key[len(EXTRA) :])
            extra[field] = (*extra.get(field, ()), value)
    if not (name or groups or uid or extra):
        return None
    if not name:
        raise errors.BadRequest(
            "requested [{}] without impersonating a user".format(
                " ".join(
                    what for what, present in (("groups", groups), ("extra", extra), ("uid", uid)) if present
                )
            )
        )
    return UserInfo(name, tuple(groups), uid, extra)


def _questions(wanted: UserInfo, user: UserInfo) -> Iterable[Attributes]:
    account = _service_account(wanted.name)
    if account:
        yield Attributes(
            user, "impersonate", "", "v1", "serviceaccounts", namespace=account[0], name=account[1]
        )
    else:
        yield Attributes(user, "impersonate", "", "v1", "users", name=wanted.name)
    for group in wanted.groups:
        yield Attributes(user, "impersonate", "", "v1", "groups", name=group)
    for field, values in wanted.extra.items():
        for value in values:
            yield Attributes(user, "impersonate", AUTHENTICATION, "v1", "userextras", field, name=value)
    if wanted.uid:
        yield Attributes(user, "impersonate", AUTHENTICATION, "v1", "uids", name=wanted.uid)


def _service_account(name: str) -> tuple[str, str] | None:
    if not name.startswith(PREFIX):
        return None
    namespace, colon, account = name[len(PREFIX) :].partition(":")
    return (namespace, account) if colon and namespace and account else None


def _complete(wanted: UserInfo) -> UserInfo:
    """The groups that go without saying: those of a service account, and (un)authenticated."""
    groups = wanted.groups
    account = _service_account(wanted.name)
    if account and not groups:
        groups = (GROUP, f"{GROUP}:{account[0]}")
    if wanted.name == ANONYMOUS.name:
        if UNAUTHENTICATED not in groups:
            groups = (*groups, UNAUTHENTICATED)
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, AUTHENTICATED)
    return UserInfo(wanted.name, groups, wanted.uid, wanted.extra)
