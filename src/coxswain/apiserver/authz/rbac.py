"""RBAC over the watch cache: which rules bind whom.

    bindings --index by subject--> those of one user --roles--> rules --first that matches--> reason

Everything is computed on demand and dropped when any role or binding changes (``Lookup.on_change``), so a
change is in force for the next request. For a known user and shape of request the answer is one dictionary
look-up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from coxswain.api.fields import aggregate, quote
from coxswain.api.names import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR, ROLE_BINDINGS, ROLES, Object
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.rules import Rule, rules_of
from coxswain.apiserver.lookup import Lookup
from coxswain.client.interface import UserInfo

#: Users (by name and groups) and shapes of request a user, that are remembered at most.
USERS = 4096
SHAPES = 4096
#: Namespaces in which it is remembered what a user may do.
NAMESPACES = 1024
#: Answers and namespaces that are remembered of all users together (about 100 MB).
ANSWERS = 262_144

_Key = TypeVar("_Key")
_Known = TypeVar("_Known")

_SOURCES = (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)

#: (verb, group, resource, subresource, namespace)
Shape = tuple[str, str, str, str, str]


class Grant(NamedTuple):
    """One rule as it reached a user; ``reason`` is what an allowed review reports."""

    rule: Rule
    reason: str


class _Bound(NamedTuple):
    binding: Object
    subject: Object


class _Answer(NamedTuple):
    """Of one shape: the grants that match, up to the first that does not ask for names."""

    named: tuple[tuple[tuple[str, ...], Decision], ...]
    otherwise: Decision


class _User:
    """What is known of one user in one generation of roles and bindings."""

    __slots__ = ("answers", "grants")

    def __init__(self) -> None:
        self.answers: dict[Shape, _Answer] = {}
        self.grants: dict[str, tuple[list[Grant], list[str]]] = {}


class Rbac:
    """Answers for users by the roles and bindings that ``lookup`` has now."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._stale = True
        for source in _SOURCES:
            lookup.on_change(source, self._changed)
        self._users: dict[tuple[str, tuple[str, ...]], _User] = {}
        self._kept = 0
        self._index: dict[str, dict[tuple[str, str], list[Object]]] | None = None
        self._rules: dict[tuple[str, str, str], tuple[Rule, ...]] = {}

    def authorize(self, attributes: Attributes) -> Decision:
        """Whether a rule allows it; the reason of a refusal names roles that bindings miss."""
        user = self._user(attributes.user)
        if not attributes.is_resource:
            return self._path(user, attributes)
        shape = (
            attributes.verb,
            attributes.group,
            attributes.resource,
            attributes.subresource,
            attributes.namespace,
        )
        answer = user.answers.get(shape)
        if answer is None:
            answer = self._resolve(user, attributes)
            self._remember(user.answers, shape, answer, SHAPES)
        for names, decision in answer.named:
            if attributes.name in names:
                return decision
        return answer.otherwise

    def grants(self, user: UserInfo, namespace: str) -> tuple[list[Grant], list[str]]:
        """All rules that bind ``user`` in ``namespace`` (cluster-wide ones first), and what went wrong."""
        return self._grants(self._user(user), user, namespace)

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]:
        """The rules alone, and what went wrong ("": nothing): what a SelfSubjectRulesReview lists."""
        grants, problems = self.grants(user, namespace)
        return [grant.rule for grant in grants], aggregate(problems)

    def role_rules(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a Role or ClusterRole, or None where it does not exist."""
        self._refresh()
        key = (kind, namespace if kind == "Role" else "", name)
        rules = self._rules.get(key)
        if rules is None:
            gvr = ROLES if kind == "Role" else CLUSTER_ROLES
            role = self._lookup.get(gvr, key[1], name)
            if role is None:
                return None  # not remembered: anybody may ask for any name
            rules = self._rules[key] = rules_of(role)
        return rules

    def _changed(self) -> None:
        self._stale = True

    def _refresh(self) -> None:
        if self._stale:
            self._stale = False
            self._forget()
            self._rules.clear()
            self._index = None

    def _user(self, info: UserInfo) -> _User:
        self._refresh()
        key = (info.name, info.groups)
        user = self._users.get(key)
        if user is None:
            if len(self._users) >= USERS:
                self._forget()
            user = self._users[key] = _User()
        return user

    def _path(self, user: _User, attributes: Attributes) -> Decision:
        shape = (attributes.verb, attributes.path, "", "", "")
        answer = user.answers.get(shape)
        if answer is None:
            grants, problems = self._grants(user, attributes.user, "")
            decision = _refusal(problems)
            for rule, reason in grants:
                if rule.matches_path(attributes.verb, attributes.path):
                    decision = Decision(True, reason)
                    break
            answer = _Answer((), decision)
            self._remember(user.answers, shape, answer, SHAPES)
        return answer.otherwise

    def _resolve(self, user: _User, attributes: Attributes) -> _Answer:
        grants, problems = self._grants(user, attributes.user, attributes.namespace)
        named: list[tuple[tuple[str, ...], Decision]] = []
        for rule, reason in grants:
            if rule.matches_resource(
                attributes.verb, attributes.group, attributes.resource, attributes.subresource
            ):
                decision = Decision(True, reason)
                if not rule.resource_names:
                    return _Answer(tuple(named), decision)
                named.append((rule.resource_names, decision))
        return _Answer(tuple(named), _refusal(problems))

    def _grants(self, user: _User, info: UserInfo, namespace: str) -> tuple[list[Grant], list[str]]:
        known = user.grants.get(namespace)
        if known is None:
            problems: list[str] = []
            grants = list(self._collect(info, "", CLUSTER_ROLE_BINDINGS, problems))
            if namespace:
                grants += self._collect(info, namespace, ROLE_BINDINGS, problems)
            known = (grants, problems)
            self._remember(user.grants, namespace, known, NAMESPACES)
        return known

    def _remember(self, table: dict[_Key, _Known], key: _Key, known: _Known, most: int) -> None:
        """Keep ``known``: what is asked for comes and goes (namespaces, users) while roles stay as they are."""
        self._kept += 1
        if self._kept > ANSWERS:
            self._forget()
        elif len(table) >= most:
            table.clear()
        table[key] = known

    def _forget(self) -> None:
        self._users.clear()
        self._kept = 0

    def _collect(self, user: UserInfo, namespace: str, gvr: GVR, problems: list[str]) -> Iterator[Grant]:
        for binding, subject in self._bound(user, namespace):
            ref = binding.get("roleRef") or {}
            kind, role = str(ref.get("kind") or ""), str(ref.get("name") or "")
            rules = self.role_rules(kind, namespace, role)
            if rules is None:
                problems.append(f"{kind.lower()}.rbac.authorization.k8s.io {quote(role)} not found")
                continue
            reason = _reason(gvr, binding, kind, role, subject, namespace)
            for rule in rules:
                yield Grant(rule, reason)

    def _bound(self, user: UserInfo, namespace: str) -> list[_Bound]:
        """The bindings of ``namespace`` ("": cluster-wide) that name the user, in the order of their names."""
        index = self._indexed().get(namespace)
        if not index:
            return []
        found: dict[str, _Bound] = {}
        for key in _subject_keys(user):
            for binding in index.get(key, ()):
                name = binding["metadata"]["name"]
                if name not in found:
                    found[name] = _Bound(binding, _first_subject(binding, user, namespace))
        return [found[name] for name in sorted(found)]

    def _indexed(self) -> dict[str, dict[tuple[str, str], list[Object]]]:
        if self._index is None:
            index: dict[str, dict[tuple[str, str], list[Object]]] = defaultdict(lambda: defaultdict(list))
            for gvr in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
                for binding in self._lookup.list(gvr):
                    namespace = (binding["metadata"].get("namespace") or "") if gvr is ROLE_BINDINGS else ""
                    for subject in binding.get("subjects") or ():
                        index[namespace][_subject_key(subject, namespace)].append(binding)
            self._index = index
        return self._index


def _subject_key(subject: Object, namespace: str) -> tuple[str, str]:
    kind, name = str(subject.get("kind") or ""), str(subject.get("name") or "")
    if kind == "ServiceAccount":
        return "User", f"system:serviceaccount:{subject.get('namespace') or namespace}:{name}"
    return kind, name


def _subject_keys(user: UserInfo) -> Iterator[tuple[str, str]]:
    yield "User", user.name
    for group in user.groups:
        yield "Group", group


def _first_subject(binding: Object, user: UserInfo, namespace: str) -> Object:
    keys = set(_subject_keys(user))
    subjects: Sequence[Object] = binding.get("subjects") or ()
    return next(subject for subject in subjects if _subject_key(subject, namespace) in keys)


def _reason(gvr: GVR, binding: Object, kind: str, role: str, subject: Object, namespace: str) -> str:
    name = binding["metadata"]["name"]
    if gvr is ROLE_BINDINGS:
        source = f"RoleBinding {quote(f'{name}/{namespace}')}"
    else:
        source = f"ClusterRoleBinding {quote(name)}"
    who = str(subject.get("name") or "")
    if subject.get("kind") == "ServiceAccount":
        who = f"{who}/{subject.get('namespace') or namespace}"
    return f"RBAC: allowed by {source} of {kind} {quote(role)} to {subject['kind']} {quote(who)}"


def _refusal(problems: Sequence[str]) -> Decision:
    if not problems:
        return Decision(False)
    return Decision(False, f"RBAC: {aggregate(problems)}")
