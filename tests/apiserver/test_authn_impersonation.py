"""Constrained impersonation: being somebody else for some requests only."""

from __future__ import annotations

import pytest

from coxswain.api import errors
from coxswain.apiserver.authn.impersonation import impersonated
from coxswain.apiserver.authz import Attributes, Decision
from coxswain.client.interface import UserInfo

BOT = UserInfo("bot", ("system:authenticated",))
AGENT = UserInfo(
    "system:serviceaccount:kube-system:agent",
    ("system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"),
    extra={
        "authentication.kubernetes.io/node-name": ("n1",),
        "authentication.kubernetes.io/pod-name": ("p",),
    },
)


def listing(user: UserInfo) -> Attributes:
    return Attributes(user, "list", "", "v1", "pods", namespace="shop")


class Rules:
    """Allows (verb, resource, name), and remembers what it was asked."""

    def __init__(self, *allowed: tuple[str, str, str]) -> None:
        self.allowed = set(allowed)
        self.asked: list[Attributes] = []

    def __call__(self, attributes: Attributes) -> Decision:
        self.asked.append(attributes)
        return Decision((attributes.verb, attributes.resource, attributes.name) in self.allowed)


def become(rules: Rules, name: str, *more: tuple[str, str], user: UserInfo = BOT) -> UserInfo | None:
    return impersonated([("Impersonate-User", name), *more], user, rules, listing)


def test_a_user_for_one_verb() -> None:
    rules = Rules(("impersonate-on:user-info:list", "pods", ""), ("impersonate:user-info", "users", "jane"))
    assert become(rules, "jane") == UserInfo("jane", ("system:authenticated",))
    assert [(a.group, a.resource, a.namespace) for a in rules.asked] == [
        ("", "pods", "shop"),
        ("authentication.k8s.io", "users", ""),
    ]
    with pytest.raises(errors.Forbidden) as refused:
        impersonated(
            [("Impersonate-User", "jane")], BOT, rules, lambda user: listing(user)._replace(verb="delete")
        )
    assert refused.value.message == (
        'pods is forbidden: User "bot" cannot impersonate-on:user-info:delete resource "pods" in API group "" '
        'in the namespace "shop"'
    )


def test_groups_and_extra_of_a_user() -> None:
    on = ("impersonate-on:user-info:list", "pods", "")
    rules = Rules(
        on,
        ("impersonate:user-info", "users", "jane"),
        ("impersonate:user-info", "groups", "devs"),
        ("impersonate:user-info", "userextras", "a"),
    )
    found = become(rules, "jane", ("Impersonate-Group", "devs"), ("Impersonate-Extra-acme.com%2fscope", "a"))
    assert found == UserInfo("jane", ("devs", "system:authenticated"), extra={"acme.com/scope": ("a",)})


@pytest.mark.parametrize("group", ["system:masters", ""])
def test_masters_are_for_the_legacy_way_only(group: str) -> None:
    constrained = Rules(
        ("impersonate-on:user-info:list", "pods", ""),
        ("impersonate:user-info", "users", "jane"),
        ("impersonate:user-info", "groups", group),
    )
    with pytest.raises(errors.Forbidden, match="is not allowed"):
        become(constrained, "jane", ("Impersonate-Group", group))
    legacy = Rules(("impersonate", "users", "jane"), ("impersonate", "groups", group))
    assert become(legacy, "jane", ("Impersonate-Group", group)) is not None


def test_the_legacy_way_stays_open() -> None:
    assert become(Rules(("impersonate", "users", "jane")), "jane") == UserInfo(
        "jane", ("system:authenticated",)
    )


def test_a_service_account() -> None:
    rules = Rules(
        ("impersonate-on:serviceaccount:list", "pods", ""),
        ("impersonate:serviceaccount", "serviceaccounts", "robot"),
    )
    found = become(rules, "system:serviceaccount:shop:robot")
    assert found is not None
    assert found.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    with pytest.raises(errors.Forbidden):
        become(rules, "system:serviceaccount:shop:robot", ("Impersonate-Group", "system:serviceaccounts"))


def test_any_node() -> None:
    rules = Rules(
        ("impersonate-on:arbitrary-node:list", "pods", ""), ("impersonate:arbitrary-node", "nodes", "n1")
    )
    assert become(rules, "system:node:n1") == UserInfo(
        "system:node:n1", ("system:nodes", "system:authenticated")
    )
    with pytest.raises(errors.Forbidden):
        become(rules, "system:node:n2")


def test_the_node_that_one_runs_on() -> None:
    rules = Rules(
        ("impersonate-on:associated-node:list", "pods", ""), ("impersonate:associated-node", "nodes", "*")
    )
    assert become(rules, "system:node:n1", user=AGENT) is not None
    assert rules.asked[0].user.extra == {
        "authentication.kubernetes.io/associated-node-keys": (
            "authentication.kubernetes.io/node-name",
            "authentication.kubernetes.io/pod-name",
        )
    }
    with pytest.raises(errors.Forbidden):
        become(rules, "system:node:n2", user=AGENT)
    with pytest.raises(errors.Forbidden):
        become(rules, "system:node:n1")
