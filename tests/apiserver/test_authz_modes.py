"""The chain of authorizers, ABAC policy files, the webhook, selectors in reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apiserver.asked_peer import AskedPeer
from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import GVR, SUBJECT_ACCESS_REVIEWS, Object
from coxswain.apiserver.authn import Authenticator
from coxswain.apiserver.authn.settings import WebhookSettings
from coxswain.apiserver.authz import Attributes, Authorizer, Decision
from coxswain.apiserver.authz.abac import Abac
from coxswain.apiserver.authz.reviews import Reviews
from coxswain.apiserver.authz.selectors import name_demanded, to_review
from coxswain.apiserver.authz.webhook import WebhookAuthorizer
from coxswain.apiserver.pending import Pending, decided
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client.interface import UserInfo

BOB = UserInfo("bob", ("devs", "system:authenticated"))
ADA = UserInfo("ada", ("system:authenticated",))
STRANGER = UserInfo("system:anonymous", ("system:unauthenticated",))


def pods(user: UserInfo, verb: str = "get", namespace: str = "projects", **more: Any) -> Attributes:
    return Attributes(user, verb, "", "v1", "pods", namespace=namespace, **more)


def path(user: UserInfo, path: str, verb: str = "get") -> Attributes:
    return Attributes(user, verb, path=path, is_resource=False)


# -- the chain


class Says:
    """An authorizer with one answer."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def authorize(self, attributes: Attributes) -> Decision:
        return self.decision

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Any], str]:
        return [], self.decision.error


def chain(*decisions: Decision, **lookups: Any) -> Authorizer:
    names = ("ABAC", "Webhook")[: len(decisions)]
    more: dict[str, Any] = {name: Says(d) for name, d in zip(names, decisions, strict=True)}
    return Authorizer(DictLookup(), modes=names, more=more)


def test_the_first_that_allows_or_denies_decides() -> None:
    no, yes, never = (
        Decision(False, "no idea"),
        Decision(True, "because"),
        Decision(False, "stop", denied=True),
    )
    assert chain(no, yes).authorize(pods(BOB)) == yes
    assert chain(never, yes).authorize(pods(BOB)) == never
    assert chain(yes, never).authorize(pods(BOB)) == yes


def test_reasons_of_all_are_told() -> None:
    decision = chain(Decision(False, "one"), Decision(False, "two", error="lost")).authorize(pods(BOB))
    assert decision == Decision(False, "one\ntwo", error="lost")


def test_always_allow_and_deny() -> None:
    assert Authorizer(DictLookup(), modes=["AlwaysAllow"]).authorize(pods(STRANGER)).allowed
    denied = Authorizer(DictLookup(), modes=["AlwaysDeny"])
    assert denied.authorize(pods(BOB)) == Decision(False, "Everything is forbidden.")
    assert denied.authorize(pods(UserInfo("root", ("system:masters",)))).allowed


# -- ABAC

POLICIES = """
# what is allowed here
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"ada","namespace":"*","resource":"*","apiGroup":"*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"bob","namespace":"projects","resource":"pods","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"devs","nonResourcePath":"/logs/*","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"*","nonResourcePath":"/version"}}
{"user":"old","resource":"services"}
"""


@pytest.fixture
def abac(tmp_path: Path) -> Abac:
    file = tmp_path / "policy.jsonl"
    file.write_text(POLICIES)
    return Abac.load(file)


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        (pods(ADA, "delete"), True),
        (path(ADA, "/metrics"), False),
        (pods(BOB), True),
        (pods(BOB, "delete"), False),
        (pods(BOB, namespace="other"), False),
        (Attributes(BOB, "get", "apps", "v1", "pods", namespace="projects"), False),
        (path(BOB, "/logs/kubelet"), True),
        (path(BOB, "/logs/kubelet", "post"), False),
        (path(BOB, "/logger"), False),
        (path(BOB, "/version"), True),
        (path(STRANGER, "/version"), False),
        (pods(STRANGER), False),
        (Attributes(UserInfo("old"), "create", "", "v1", "services", namespace="x"), True),
        (Attributes(UserInfo("old"), "create", "", "v1", "pods", namespace="x"), False),
    ],
)
def test_abac_policies(abac: Abac, question: Attributes, allowed: bool) -> None:
    assert abac.authorize(question).allowed is allowed


def test_abac_rules_are_listed(abac: Abac) -> None:
    rules, why = abac.rules(BOB, "projects")
    assert why == ""
    assert [str(rule) for rule in rules] == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list" "watch"]}',
        '{NonResourceURLs:["/logs/*"], Verbs:["get" "list" "watch"]}',
        '{NonResourceURLs:["/version"], Verbs:["*"]}',
    ]


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"apiVersion":"v2"}', '{"user":1}', '{"user":"a","readonly":"yes"}']
)
def test_a_bad_policy_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "policy.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        Abac.load(file)


# -- the webhook


def webhook(*statuses: Object | Exception, **more: Any) -> tuple[WebhookAuthorizer, AskedPeer]:
    peer = AskedPeer(*statuses)
    return WebhookAuthorizer(WebhookSettings(**more), peer), peer  # type: ignore[arg-type]


@pytest.mark.virtual
async def test_the_webhook_is_asked_once() -> None:
    authorizer, peer = webhook({"allowed": True, "reason": "it may"})
    question = pods(BOB, name="x", field_selector="spec.nodeName=n1", label_selector="a in (b,c),!d")
    with pytest.raises(Pending):
        authorizer.authorize(question)
    for _ in range(2):
        assert await decided(lambda: authorizer.authorize(question)) == Decision(True, "it may")
    assert len(peer.asked) == 1
    assert peer.asked[0]["spec"] == {
        "user": "bob",
        "groups": ["devs", "system:authenticated"],
        "resourceAttributes": {
            "namespace": "projects",
            "verb": "get",
            "version": "v1",
            "resource": "pods",
            "name": "x",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
            "labelSelector": {
                "requirements": [
                    {"key": "a", "operator": "In", "values": ["b", "c"]},
                    {"key": "d", "operator": "DoesNotExist"},
                ]
            },
        },
    }


@pytest.mark.virtual
async def test_answers_of_the_webhook_end() -> None:
    from coxswain.base import clock

    authorizer, peer = webhook(
        {"allowed": True}, {"allowed": False, "denied": True}, {"allowed": True}, cache_ttl=300.0
    )
    ask = lambda: authorizer.authorize(pods(BOB))  # noqa: E731
    assert (await decided(ask)).allowed
    await clock.sleep(301)
    assert (await decided(ask)).denied
    await clock.sleep(29)
    assert (await decided(ask)).denied
    await clock.sleep(2)
    assert (await decided(ask)).allowed
    assert len(peer.asked) == 3


@pytest.mark.virtual
async def test_a_silent_webhook_has_no_opinion() -> None:
    authorizer, _ = webhook(ResourceUnavailable("gone"), {"allowed": True})
    decision = await decided(lambda: authorizer.authorize(pods(BOB)))
    assert decision == Decision(False, error="the authorization webhook does not answer")


@pytest.mark.virtual
async def test_two_words_of_the_webhook_are_a_denial() -> None:
    authorizer, _ = webhook({"allowed": True, "denied": True})
    assert (await decided(lambda: authorizer.authorize(path(BOB, "/x")))).denied


@pytest.mark.virtual
async def test_many_who_wait_ask_once() -> None:
    import asyncio

    authorizer, peer = webhook({"allowed": True})
    answers = await asyncio.gather(*(decided(lambda: authorizer.authorize(pods(BOB))) for _ in range(20)))
    assert all(answer.allowed for answer in answers)
    assert len(peer.asked) == 1


# -- selectors


def test_the_name_that_a_selector_fixes() -> None:
    assert name_demanded("metadata.name=x") == "x"
    assert name_demanded("metadata.name=x,metadata.namespace=y") == "x"
    for text in (
        "",
        "metadata.name!=x",
        "status.phase=metadata.name",
        "metadata.name",
        "metadata.name=a/b",
        "metadata.name=..",
    ):
        assert name_demanded(text) == ""


def test_selectors_that_cannot_be_read_narrow_nothing() -> None:
    assert to_review(pods(BOB, field_selector="=\\", label_selector="a in (")) == {}


class Selective(Says):
    """Allows pods of one node only."""

    def authorize(self, attributes: Attributes) -> Decision:
        return Decision(
            attributes.field_selector == "spec.nodeName=n1" or attributes.label_selector == "a in (b)"
        )


def review(**resource: Any) -> Object:
    authorizer = Authorizer(DictLookup(), modes=["Webhook"], more={"Webhook": Selective(Decision(False))})
    spec = {"user": "bob", "resourceAttributes": {"verb": "list", "resource": "pods", **resource}}
    return Reviews(authorizer, Authenticator()).handle(SUBJECT_ACCESS_REVIEWS, {"spec": spec}, BOB)["status"]


def test_reviews_know_selectors() -> None:
    requirement = {"key": "spec.nodeName", "operator": "In", "values": ["n1"]}
    assert review(fieldSelector={"requirements": [requirement]})["allowed"]
    assert review(fieldSelector={"rawSelector": "spec.nodeName=n1"})["allowed"]
    assert review(labelSelector={"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]})[
        "allowed"
    ]
    assert not review()["allowed"]
    unknown = review(fieldSelector={"requirements": [{"key": "a", "operator": "Exists"}]})
    assert unknown["allowed"] is False
    assert "Exists" in unknown["evaluationError"]


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        (
            {"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "Exists"}]},
            "may not specified at the same time",
        ),
        (
            {},
            "when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            {"requirements": [{"key": "a", "operator": "In"}]},
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            {"requirements": [{"key": "a", "operator": "Exists", "values": ["x"]}]},
            "may not be specified when",
        ),
        ({"requirements": [{"key": "", "operator": "Exists"}]}, "must be specified"),
    ],
)
def test_selectors_of_reviews_are_checked(selector: Object, words: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        review(fieldSelector=selector)
    assert words in refused.value.message


def test_a_review_says_denied() -> None:
    authorizer = chain(Decision(False, "stop", denied=True))
    spec = {"user": "bob", "nonResourceAttributes": {"verb": "get", "path": "/x"}}
    answered = Reviews(authorizer, Authenticator()).handle(SUBJECT_ACCESS_REVIEWS, {"spec": spec}, BOB)
    assert answered["status"] == {"allowed": False, "denied": True, "reason": "stop"}


def test_rules_of_a_node_are_incomplete() -> None:
    node = UserInfo("system:node:n1", ("system:nodes",))
    gvr = GVR("authorization.k8s.io", "v1", "selfsubjectrulesreviews")
    reviews = Reviews(Authorizer(DictLookup()), Authenticator())
    status = reviews.handle(gvr, {"spec": {"namespace": "x"}}, node)["status"]
    assert status["incomplete"] is True
    assert status["evaluationError"] == "node authorizer does not support user rule resolution"
