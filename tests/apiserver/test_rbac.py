"""RBAC: which rules reach whom, the words of refusals and grants, reviews and escalation."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    GVR,
    ROLE_BINDINGS,
    ROLES,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    Object,
)
from coxswain.apiserver.authn import Authenticator, StaticTokens
from coxswain.apiserver.authz import Attributes, Authorizer, Decision, forbidden, rbac
from coxswain.apiserver.authz.aggregation import aggregate
from coxswain.apiserver.authz.escalation import check
from coxswain.apiserver.authz.rbac import Rbac
from coxswain.apiserver.authz.reviews import Reviews
from coxswain.apiserver.authz.rules import Rule, compact, uncovered
from coxswain.client.interface import UserInfo

RULES = [
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
    {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["one"], "verbs": ["update"]},
    {"apiGroups": [""], "resources": ["*/status"], "verbs": ["patch"]},
]
JANE = UserInfo("jane", ("system:authenticated",))


def role_ref(kind: str, name: str) -> Object:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}


@pytest.fixture
def lookup() -> DictLookup:
    found = DictLookup()
    found.put(ROLES, "r", "ns", rules=RULES)
    found.put(
        ROLE_BINDINGS,
        "rb",
        "ns",
        roleRef=role_ref("Role", "r"),
        subjects=[
            {"kind": "User", "name": "jane"},
            {"kind": "Group", "name": "devs"},
            {"kind": "ServiceAccount", "name": "default", "namespace": "ns"},
        ],
    )
    found.put(
        CLUSTER_ROLES,
        "viewer",
        rules=[{"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]}],
    )
    found.put(
        CLUSTER_ROLE_BINDINGS,
        "viewers",
        roleRef=role_ref("ClusterRole", "viewer"),
        subjects=[{"kind": "Group", "name": "system:unauthenticated"}],
    )
    return found


@pytest.fixture
def authorizer(lookup: DictLookup) -> Authorizer:
    return Authorizer(lookup)


def ask(user: UserInfo, verb: str, resource: str, **more: Any) -> Attributes:
    name, _, subresource = resource.partition("/")
    return Attributes(user, verb, resource=name, subresource=subresource, **{"namespace": "ns", **more})


@pytest.mark.parametrize(
    ("verb", "resource", "more", "allowed"),
    [
        ("get", "pods", {}, True),
        ("list", "pods/log", {}, True),
        ("delete", "pods", {}, False),
        ("get", "pods/exec", {}, False),
        ("get", "pods", {"namespace": "other"}, False),
        ("get", "pods", {"namespace": ""}, False),
        ("delete", "deployments", {"group": "apps"}, True),
        ("patch", "deployments/scale", {"group": "apps"}, True),
        ("update", "configmaps", {"name": "one"}, True),
        ("update", "configmaps", {"name": "two"}, False),
        ("update", "configmaps", {}, False),
        ("patch", "nodes/status", {}, True),
        ("patch", "nodes", {}, False),
    ],
)
def test_rules(authorizer: Authorizer, verb: str, resource: str, more: dict[str, str], allowed: bool) -> None:
    question = ask(JANE, verb, resource, **more)
    assert authorizer.authorize(question).allowed is allowed
    assert authorizer.authorize(question).allowed is allowed  # and again, from what is remembered


def test_reason_names_binding_role_and_subject(authorizer: Authorizer) -> None:
    reasons = {
        user.name: authorizer.authorize(ask(user, "get", "pods")).reason
        for user in (
            JANE,
            UserInfo("joe", ("devs",)),
            UserInfo("system:serviceaccount:ns:default"),
        )
    }
    start = 'RBAC: allowed by RoleBinding "rb/ns" of Role "r" to '
    assert reasons == {
        "jane": start + 'User "jane"',
        "joe": start + 'Group "devs"',
        "system:serviceaccount:ns:default": start + 'ServiceAccount "default/ns"',
    }


def test_paths(authorizer: Authorizer) -> None:
    nobody = UserInfo("system:anonymous", ("system:unauthenticated",))

    def allowed(verb: str, path: str) -> bool:
        return authorizer.authorize(Attributes(nobody, verb, path=path, is_resource=False)).allowed

    assert allowed("get", "/healthz")
    assert allowed("get", "/api/v1")
    assert not allowed("get", "/healthz/ping")
    assert not allowed("post", "/healthz")
    assert not allowed("get", "/metrics")


def test_change_is_in_force_at_once(lookup: DictLookup, authorizer: Authorizer) -> None:
    question = ask(JANE, "delete", "pods")
    assert not authorizer.authorize(question).allowed
    lookup.put(ROLES, "r", "ns", rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    assert authorizer.authorize(question).allowed
    lookup.drop(ROLE_BINDINGS, "rb", "ns")
    assert not authorizer.authorize(question).allowed


def _remembered(rbac: Rbac) -> tuple[int, int, int]:
    """Users, and of the one with most of them shapes and namespaces."""
    users = rbac._users.values()
    return len(users), max(len(each.answers) for each in users), max(len(each.grants) for each in users)


def test_what_is_remembered_of_users_is_bounded(
    lookup: DictLookup, authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in (("USERS", 4), ("SHAPES", 8), ("NAMESPACES", 5)):
        monkeypatch.setattr(rbac, name, bound)
    for number in range(30):
        assert authorizer.authorize(ask(JANE, "list", "pods")).allowed
        assert not authorizer.authorize(ask(JANE, "list", "pods", namespace=f"ns-{number}")).allowed
        assert not authorizer.authorize(
            Attributes(JANE, "get", path=f"/p{number}", is_resource=False)
        ).allowed
        _, shapes, namespaces = _remembered(authorizer.rbac)
        assert shapes <= 8
        assert namespaces <= 5
    for number in range(30):
        assert not authorizer.authorize(ask(UserInfo(f"u-{number}"), "list", "pods")).allowed
        assert _remembered(authorizer.rbac)[0] <= 4
    assert authorizer.authorize(ask(JANE, "list", "pods")).allowed


def test_what_is_remembered_of_all_users_together_is_bounded(
    authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rbac, "ANSWERS", 20)
    for number in range(100):
        user = UserInfo(f"u-{number % 7}")
        assert not authorizer.authorize(ask(user, "list", "pods", namespace=f"ns-{number}")).allowed
        users = authorizer.rbac._users.values()
        assert sum(len(each.answers) + len(each.grants) for each in users) <= 20
    assert authorizer.authorize(ask(JANE, "list", "pods")).allowed


def test_roles_that_do_not_exist_are_not_remembered(authorizer: Authorizer) -> None:
    for number in range(10):
        assert authorizer.rbac.role_rules("Role", "ns", f"no-{number}") is None
    assert authorizer.rbac.role_rules("Role", "ns", "r")
    assert len(authorizer.rbac._rules) == 1


def test_masters_may_do_everything(authorizer: Authorizer) -> None:
    root = UserInfo("root", ("system:masters",))
    assert authorizer.authorize(ask(root, "delete", "nodes")) == Decision(True)


def test_binding_without_role_is_told_in_the_refusal(lookup: DictLookup, authorizer: Authorizer) -> None:
    lookup.drop(ROLES, "r", "ns")
    question = ask(JANE, "list", "pods")
    decision = authorizer.authorize(question)
    assert decision == Decision(False, 'RBAC: role.rbac.authorization.k8s.io "r" not found')
    assert forbidden(question, decision.reason).message == (
        'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "ns": '
        'RBAC: role.rbac.authorization.k8s.io "r" not found'
    )


def test_words_of_refusals() -> None:
    assert forbidden(ask(JANE, "get", "pods/log", name="x")).status()["message"] == (
        'pods "x" is forbidden: User "jane" cannot get resource "pods/log" in API group "" '
        'in the namespace "ns"'
    )
    nodes = Attributes(JANE, "list", resource="nodes")
    assert forbidden(nodes).message.endswith(
        'cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert forbidden(nodes).details == {"kind": "nodes"}
    path = Attributes(JANE, "get", path="/metrics", is_resource=False)
    assert forbidden(path).message == 'forbidden: User "jane" cannot get path "/metrics"'


class TestNodes:
    """What the node rules add to RBAC."""

    NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))

    @pytest.fixture
    def nodes(self, lookup: DictLookup) -> Authorizer:
        rules = [
            {
                "apiGroups": [""],
                "resources": ["nodes"],
                "verbs": ["create", "get", "list", "watch", "update"],
            },
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "verbs": ["get", "update", "create"],
            },
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        ]
        lookup.put(CLUSTER_ROLES, "system:node", rules=rules)
        return Authorizer(lookup)

    @pytest.mark.parametrize(
        ("verb", "resource", "more", "allowed"),
        [
            ("get", "nodes", {"name": "n1", "namespace": ""}, True),
            ("get", "nodes", {"name": "n2", "namespace": ""}, False),
            ("get", "nodes", {"namespace": ""}, False),
            ("watch", "nodes", {"namespace": ""}, False),
            ("watch", "nodes", {"namespace": "", "name": "n1"}, True),
            ("list", "pods", {"namespace": ""}, False),
            ("list", "pods", {"namespace": "", "field_selector": "spec.nodeName=n1"}, True),
            ("update", "pods", {"name": "x"}, False),
            (
                "update",
                "leases",
                {"name": "n1", "namespace": "kube-node-lease", "group": "coordination.k8s.io"},
                True,
            ),
            ("update", "leases", {"name": "n1", "namespace": "x", "group": "coordination.k8s.io"}, False),
        ],
    )
    def test_own_objects_only(
        self, nodes: Authorizer, verb: str, resource: str, more: dict[str, str], allowed: bool
    ) -> None:
        assert nodes.authorize(ask(self.NODE, verb, resource, **more)).allowed is allowed

    def test_role_is_not_for_others(self, nodes: Authorizer) -> None:
        assert not nodes.authorize(ask(UserInfo("mallory"), "list", "pods")).allowed
        assert not nodes.authorize(ask(UserInfo("mallory", ("system:nodes",)), "list", "pods")).allowed


class TestReviews:
    """Questions about permissions that come in as objects."""

    @pytest.fixture
    def reviews(self, authorizer: Authorizer) -> Reviews:
        tokens = StaticTokens({"secret": UserInfo("admin", ("system:masters",), "1")})
        return Reviews(authorizer, Authenticator(tokens=tokens))

    @staticmethod
    def review(kind: str, group: str = "authorization.k8s.io") -> GVR:
        return GVR(group, "v1", kind)

    def test_subject_access(self, reviews: Reviews) -> None:
        spec = {
            "user": "jane",
            "groups": [],
            "resourceAttributes": {"namespace": "ns", "verb": "list", "group": "", "resource": "pods"},
        }
        answer = reviews.handle(SUBJECT_ACCESS_REVIEWS, {"spec": spec}, JANE)
        assert answer["spec"] == {
            "user": "jane",
            "resourceAttributes": {"namespace": "ns", "verb": "list", "resource": "pods"},
        }
        assert answer["status"]["allowed"] is True
        spec["resourceAttributes"] = {"namespace": "ns", "verb": "delete", "resource": "pods"}
        assert reviews.handle(SUBJECT_ACCESS_REVIEWS, {"spec": spec}, JANE)["status"] == {"allowed": False}

    def test_self_subject_access_is_about_the_caller(self, reviews: Reviews) -> None:
        gvr = self.review("selfsubjectaccessreviews")
        spec = {"resourceAttributes": {"namespace": "ns", "verb": "get", "resource": "pods"}}
        assert reviews.handle(gvr, {"spec": spec}, JANE)["status"]["allowed"] is True
        assert reviews.handle(gvr, {"spec": spec}, UserInfo("x"))["status"]["allowed"] is False
        path = {"nonResourceAttributes": {"path": "/healthz", "verb": "get"}}
        assert reviews.handle(gvr, {"spec": path}, JANE)["status"]["allowed"] is False

    def test_malformed_access_reviews(self, reviews: Reviews) -> None:
        with pytest.raises(
            errors.Invalid, match="exactly one of nonResourceAttributes or resourceAttributes"
        ):
            reviews.handle(SUBJECT_ACCESS_REVIEWS, {"spec": {"user": "x"}}, JANE)
        with pytest.raises(errors.Invalid, match="at least one of user or group must be specified"):
            both = {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"}}
            reviews.handle(SUBJECT_ACCESS_REVIEWS, {"spec": both}, JANE)

    def test_local_subject_access_stays_in_its_namespace(self, reviews: Reviews) -> None:
        gvr = self.review("localsubjectaccessreviews")
        spec = {"user": "jane", "resourceAttributes": {"namespace": "ns", "verb": "get", "resource": "pods"}}
        assert reviews.handle(gvr, {"spec": spec}, JANE, "ns")["status"]["allowed"] is True
        with pytest.raises(errors.BadRequest, match="must match namespace: other"):
            reviews.handle(gvr, {"spec": spec}, JANE, "other")
        with pytest.raises(errors.Invalid, match="disallowed on this kind of request"):
            reviews.handle(gvr, {"spec": {"nonResourceAttributes": {"path": "/"}}}, JANE, "ns")

    def test_self_subject_rules(self, reviews: Reviews) -> None:
        gvr = self.review("selfsubjectrulesreviews")
        answer = reviews.handle(gvr, {"spec": {"namespace": "ns"}}, JANE)
        assert answer["status"]["incomplete"] is False
        assert answer["status"]["resourceRules"] == [dict(rule) for rule in RULES]
        assert answer["status"]["nonResourceRules"] == []
        with pytest.raises(errors.BadRequest):
            reviews.handle(gvr, {"spec": {}}, JANE)

    def test_self_subject(self, reviews: Reviews) -> None:
        user = UserInfo("jane", ("devs",), "7", {"scope": ("a",)})
        answer = reviews.handle(self.review("selfsubjectreviews", "authentication.k8s.io"), {}, user)
        assert answer["status"]["userInfo"] == {
            "username": "jane",
            "uid": "7",
            "groups": ["devs"],
            "extra": {"scope": ["a"]},
        }

    def test_token_review(self, reviews: Reviews) -> None:
        answer = reviews.handle(TOKEN_REVIEWS, {"spec": {"token": "garbage"}}, JANE)
        assert answer["status"] == {"user": {}, "error": "invalid bearer token"}
        answer = reviews.handle(TOKEN_REVIEWS, {"spec": {"token": "secret"}}, JANE)
        assert answer["status"]["authenticated"] is True
        assert answer["status"]["user"]["username"] == "admin"
        with pytest.raises(errors.BadRequest):
            reviews.handle(TOKEN_REVIEWS, {"spec": {}}, JANE)
        assert not reviews.handles(ROLES)


class TestEscalation:
    """Nobody grants what they do not hold."""

    def test_role_with_more_than_one_has(self, authorizer: Authorizer) -> None:
        rules = [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete", "watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
        ]
        role = {"metadata": {"name": "esc"}, "rules": rules}
        with pytest.raises(errors.Forbidden) as refused:
            check(authorizer, JANE, ROLES, "ns", role, None)
        assert refused.value.message == (
            'roles.rbac.authorization.k8s.io "esc" is forbidden: user "jane" (groups=["system:authenticated"]) '
            "is attempting to grant RBAC permissions not currently held:\n"
            '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}\n'
            '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
        )

    def test_role_with_what_one_has(self, authorizer: Authorizer) -> None:
        check(authorizer, JANE, ROLES, "ns", {"metadata": {"name": "same"}, "rules": RULES}, None)

    def test_unchanged_rules_are_not_asked_about(self, authorizer: Authorizer) -> None:
        role = {
            "metadata": {"name": "r"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
        }
        check(authorizer, JANE, ROLES, "ns", role, dict(role))

    def test_escalate_and_bind_verbs(self, lookup: DictLookup, authorizer: Authorizer) -> None:
        own = [
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["escalate", "bind"]}
        ]
        lookup.put(ROLES, "r", "ns", rules=own)
        everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
        check(authorizer, JANE, ROLES, "ns", {"metadata": {"name": "x"}, "rules": everything}, None)
        binding = {"metadata": {"name": "b"}, "roleRef": role_ref("ClusterRole", "any"), "subjects": []}
        check(authorizer, JANE, ROLE_BINDINGS, "ns", binding, None)

    def test_binding_needs_the_permissions_of_the_role(
        self, lookup: DictLookup, authorizer: Authorizer
    ) -> None:
        lookup.put(CLUSTER_ROLES, "root", rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
        binding = {"metadata": {"name": "b"}, "roleRef": role_ref("ClusterRole", "root")}
        with pytest.raises(
            errors.Forbidden, match=r'\{APIGroups:\["\*"\], Resources:\["\*"\], Verbs:\["\*"\]\}'
        ):
            check(authorizer, JANE, ROLE_BINDINGS, "ns", binding, None)
        check(authorizer, JANE, ROLE_BINDINGS, "ns", binding, dict(binding))
        check(authorizer, UserInfo("root", ("system:masters",)), ROLE_BINDINGS, "ns", binding, None)
        missing = {**binding, "roleRef": role_ref("Role", "none")}
        with pytest.raises(errors.NotFound, match=r'role\.rbac\.authorization\.k8s\.io "none" not found'):
            check(authorizer, JANE, ROLE_BINDINGS, "ns", missing, None)

    def test_aggregation_needs_everything(self, authorizer: Authorizer) -> None:
        role = {"metadata": {"name": "agg"}, "aggregationRule": {"clusterRoleSelectors": [{}]}, "rules": []}
        with pytest.raises(errors.Forbidden, match="must have cluster-admin privileges"):
            check(authorizer, JANE, CLUSTER_ROLES, "", role, None)


def test_covering() -> None:
    owned = [
        Rule(("get",), ("",), ("*/scale", "pods"), ("a", "b")),
        Rule(("*",), non_resource_urls=("/api/*",)),
    ]
    assert not uncovered(owned, [Rule(("get",), ("",), ("pods",), ("a",))])
    assert not uncovered(owned, [Rule(("get",), ("",), ("x/scale",), ("b",))])
    assert uncovered(owned, [Rule(("get",), ("",), ("pods",))])
    assert not uncovered(owned, [Rule(("post",), non_resource_urls=("/api/v1",))])
    assert uncovered(owned, [Rule(("get",), non_resource_urls=("/metrics",))])
    rest = uncovered([], [Rule(("get", "list"), ("",), ("pods", "nodes"))])
    assert [str(rule) for rule in compact(rest)] == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}',
    ]


def test_aggregation_selects_by_labels() -> None:
    def role(name: str, rules: list[Object], **labels: str) -> Object:
        return {"metadata": {"name": name, "labels": labels}, "rules": rules}

    pods = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
    nodes = {"verbs": ["get"], "apiGroups": [""], "resources": ["nodes"]}
    roles = [role("b", [pods], view="true"), role("a", [nodes, pods], view="true"), role("c", [nodes])]
    selector = {"matchLabels": {"view": "true"}}
    wanted = {"metadata": {"name": "v"}, "aggregationRule": {"clusterRoleSelectors": [selector]}}
    assert aggregate(wanted, roles) == [nodes, pods]
    assert aggregate(roles[0], roles) is None
    for operator, values, rules in (
        ("Exists", [], [nodes, pods]),
        ("DoesNotExist", [], [nodes]),
        ("In", ["true"], [nodes, pods]),
        ("NotIn", ["true"], [nodes]),
    ):
        selector = {"matchExpressions": [{"key": "view", "operator": operator, "values": values}]}
        wanted["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        assert aggregate(wanted, roles) == rules
