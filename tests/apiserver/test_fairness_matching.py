"""Flow schemas: what matches what, as apiserver's ``rule.go`` has it."""

from __future__ import annotations

from typing import Any

import pytest

from coxswain.apiserver.fairness.matching import Digest, compile_schema, in_order
from coxswain.client.interface import UserInfo

JANE = UserInfo("jane", ("dev", "system:authenticated"))
ACCOUNT = UserInfo("system:serviceaccount:kube-system:dns", ("system:serviceaccounts",))
EVERY = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}


def _schema(subject: dict[str, Any], *, resources: Any = (EVERY,), paths: Any = ()) -> Any:
    rule = {"subjects": [subject], "resourceRules": list(resources), "nonResourceRules": list(paths)}
    return compile_schema({"metadata": {"name": "s"}, "spec": {"rules": [rule]}})


PODS = Digest(JANE, "get", "", "pods", "", "default")


@pytest.mark.parametrize(
    ("subject", "user", "matches"),
    [
        ({"kind": "User", "user": {"name": "jane"}}, JANE, True),
        ({"kind": "User", "user": {"name": "*"}}, JANE, True),
        ({"kind": "User", "user": {"name": "joe"}}, JANE, False),
        ({"kind": "Group", "group": {"name": "dev"}}, JANE, True),
        ({"kind": "Group", "group": {"name": "*"}}, UserInfo("x"), True),
        ({"kind": "Group", "group": {"name": "ops"}}, JANE, False),
        (
            {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}},
            ACCOUNT,
            True,
        ),
        (
            {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "dns"}},
            ACCOUNT,
            True,
        ),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube", "name": "*"}}, ACCOUNT, False),
        (
            {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "x"}},
            ACCOUNT,
            False,
        ),
        ({"kind": "Robot"}, JANE, False),
    ],
)
def test_subjects(subject: dict[str, Any], user: UserInfo, matches: bool) -> None:
    assert _schema(subject).matches(PODS._replace(user=user)) is matches


ALL = {"kind": "Group", "group": {"name": "*"}}


@pytest.mark.parametrize(
    ("rule", "digest", "matches"),
    [
        ({"verbs": ["get"]}, PODS, True),
        ({"verbs": ["list"]}, PODS, False),
        ({"apiGroups": ["apps"]}, PODS, False),
        ({"resources": ["pods"]}, PODS._replace(subresource="status"), False),
        ({"resources": ["pods/status"]}, PODS._replace(subresource="status"), True),
        ({"namespaces": ["default"]}, PODS, True),
        ({"namespaces": ["other"]}, PODS, False),
        ({"namespaces": ["default"], "clusterScope": False}, PODS._replace(namespace=""), False),
        ({"namespaces": [], "clusterScope": True}, PODS._replace(namespace=""), True),
    ],
)
def test_resource_rules(rule: dict[str, Any], digest: Digest, matches: bool) -> None:
    assert _schema(ALL, resources=[{**EVERY, **rule}]).matches(digest) is matches


@pytest.mark.parametrize(
    ("urls", "path", "matches"),
    [
        (["*"], "/version", True),
        (["/healthz"], "/healthz", True),
        (["/healthz"], "/healthz/etcd", True),
        (["/healthz"], "/healthzz", False),
        (["/apis/*"], "/apis/apps", True),
        (["/livez"], "/healthz", False),
    ],
)
def test_path_rules(urls: list[str], path: str, matches: bool) -> None:
    schema = _schema(ALL, paths=[{"verbs": ["get"], "nonResourceURLs": urls}])
    assert schema.matches(Digest(JANE, "get", path=path)) is matches
    assert not schema.matches(Digest(JANE, "post", path=path))


def test_schemas_are_tried_by_precedence_then_name() -> None:
    def named(name: str, precedence: int) -> Any:
        return compile_schema({"metadata": {"name": name}, "spec": {"matchingPrecedence": precedence}})

    ordered = in_order([named("c", 5), named("b", 5), named("a", 9)])
    assert [schema.name for schema in ordered] == ["b", "c", "a"]


def test_flows_are_told_apart_by_user_or_namespace() -> None:
    def by(method: str) -> Any:
        return compile_schema({"spec": {"distinguisherMethod": {"type": method} if method else None}})

    assert by("ByUser").flow(PODS) == "jane"
    assert by("ByNamespace").flow(PODS) == "default"
    assert by("").flow(PODS) == ""
