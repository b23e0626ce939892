"""``Impersonate-*`` headers: acting as somebody else, where one may.

    impersonated(headers, user, authorize, request) -> the user to act as, or None where no header asks for it

There are two ways to be allowed (apiserver ``endpoints/filters/impersonation``). Constrained: the verb
``impersonate-on:MODE:VERB`` on what the request itself is about, and ``impersonate:MODE`` on who is to be; MODE is
associated-node (a service account whose pod runs there), arbitrary-node, serviceaccount or user-info. Legacy: the
verb ``impersonate`` on users, groups, serviceaccounts, uids, userextras/KEY, for any request at all. The first way
that is open is taken; where none is, the refusal is the first one's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from coxswain.api import errors
from coxswain.apiserver.authn.credentials import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED
from coxswain.apiserver.authn.service_accounts import GROUP, PREFIX
from coxswain.apiserver.authz.attributes import Attributes, Decision, forbidden
from coxswain.client.interface import UserInfo

USER, GROUPS, UID, EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
AUTHENTICATION = "authentication.k8s.io"
NODE_PREFIX, NODES = "system:node:", "system:nodes"
MASTERS = "system:masters"
NODE_NAME = "authentication.kubernetes.io/node-name"

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)

Authorize = Callable[[Attributes], Decision]


def impersonated(
    headers: Iterable[tuple[str, str]],
    user: UserInfo,
    authorize: Authorize,
    request: Callable[[UserInfo], Attributes] | None = None,
) -> UserInfo | None:
    """The user that ``user`` asks to be, checked. ``headers`` in their order, names in any case.

    ``request`` gives what the request is about, asked by a user; without it the legacy way alone is open. Raises
    ``Forbidden`` for what it may not be, ``BadRequest`` when a user name is missing.
    """
    wanted = _read(headers)
    if wanted is None:
        return None
    first: errors.Forbidden | None = None
    for mode in _modes(wanted, user) if request is not None else ():
        assert request is not None
        try:
            return _constrained(mode, wanted, user, authorize, request(user))
        except errors.Forbidden as refusal:
            first = first or refusal
    try:
        _ask(authorize, _questions(wanted, user))
    except errors.Forbidden as refusal:
        raise first or refusal from None
    return _complete(wanted)


def _ask(authorize: Authorize, questions: Iterable[Attributes]) -> None:
    for attributes in questions:
        decision = authorize(attributes)
        if not decision.allowed:
            raise forbidden(attributes, decision.reason)


# -- constrained


def _modes(wanted: UserInfo, user: UserInfo) -> Iterable[str]:
    """The constrained modes that could apply."""
    plain = not (wanted.groups or wanted.uid or wanted.extra)
    if _node(wanted.name):
        if plain:
            account = _service_account(user.name) is not None
            if account and user.extra.get(NODE_NAME) == (_node(wanted.name),):
                yield "associated-node"
            yield "arbitrary-node"
    elif _service_account(wanted.name):
        if plain:
            yield "serviceaccount"
    else:
        yield "user-info"


def _constrained(
    mode: str, wanted: UserInfo, user: UserInfo, authorize: Authorize, request: Attributes
) -> UserInfo:
    associated = mode == "associated-node"
    if associated:
        # That it runs there has been looked at: what is asked must hold for every node.
        keys = {"authentication.kubernetes.io/associated-node-keys": tuple(sorted(user.extra))}
        user = UserInfo(user.name, user.groups, user.uid, keys)
    on = request._replace(user=user, verb=f"impersonate-on:{mode}:{request.verb}")
    _ask(authorize, (on,))
    verb = f"impersonate:{mode}"
    node = _node(wanted.name)
    if node:
        resource, name = "nodes", "*" if associated else node
        _ask(authorize, (Attributes(user, verb, AUTHENTICATION, "v1", resource, name=name),))
        return UserInfo(wanted.name, (NODES, AUTHENTICATED))
    _check_constrained(wanted, Attributes(user, verb, AUTHENTICATION, "v1", "groups"))
    _ask(authorize, _questions(wanted, user, verb, AUTHENTICATION))
    return _complete(wanted)


def _check_constrained(wanted: UserInfo, groups: Attributes) -> None:
    """What only the legacy way allows. Raises ``Forbidden``."""
    if "" in wanted.groups:
        raise forbidden(groups, "impersonating the empty string group is not allowed")
    if MASTERS in wanted.groups:
        raise forbidden(
            groups._replace(name=MASTERS), "impersonating the system:masters group is not allowed"
        )
    extras = groups._replace(resource="userextras")
    for key, values in wanted.extra.items():
        domain, slash, path = key.partition("/")
        if not (slash and path and _is_subdomain(domain.lower())):
            raise forbidden(extras, "impersonating an invalid key in extra is not allowed")
        if key != key.lower():
            raise forbidden(extras, f'impersonating a non-lowercase key in extra is not allowed: "{key}"')
        if "" in values:
            raise forbidden(extras, "impersonating the empty string value in extra is not allowed")


def _node(name: str) -> str:
    node = name[len(NODE_PREFIX) :] if name.startswith(NODE_PREFIX) else ""
    return node if _is_subdomain(node) else ""


def _is_subdomain(text: str) -> bool:
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


# -- legacy


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


def _questions(
    wanted: UserInfo, user: UserInfo, verb: str = "impersonate", group: str = ""
) -> Iterable[Attributes]:
    """What has to be allowed. ``group`` is the API group of users, groups and service accounts."""
    account = _service_account(wanted.name)
    if account:
        yield Attributes(user, verb, group, "v1", "serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes(user, verb, group, "v1", "users", name=wanted.name)
    for name in wanted.groups:
        yield Attributes(user, verb, group, "v1", "groups", name=name)
    for field, values in wanted.extra.items():
        for value in values:
            yield Attributes(user, verb, AUTHENTICATION, "v1", "userextras", field, name=value)
    if wanted.uid:
        yield Attributes(user, verb, AUTHENTICATION, "v1", "uids", name=wanted.uid)


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
