"""Nobody gets more rights than they have: by roles, bindings, impersonation, tokens, nodes or certificates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from security.attacks import ADMIN, JANE, NOBODY, Target, serving

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
ME = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


def rule(
    group: str, *resources: str, verbs: tuple[str, ...] = ("*",), names: tuple[str, ...] = ()
) -> dict[str, Any]:
    found: dict[str, Any] = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    if names:
        found["resourceNames"] = list(names)
    return found


@asynccontextmanager
async def jane_may(directory: Path, *rules: dict[str, Any], namespace: str = "") -> AsyncIterator[Target]:
    async with serving(directory) as target:
        await target.grant("jane", *rules, namespace=namespace)
        yield target


async def attempt(
    target: Target, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    return await target.send(method, path, body, token=JANE, **headers)


async def is_admin(target: Target) -> bool:
    code, _ = await attempt(target, "GET", "/api/v1/secrets")
    return code == 200


async def test_who_may_write_roles_gives_away_only_what_they_have(tmp_path: Path) -> None:
    names = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
    verbs = ("get", "create", "update", "patch")
    async with jane_may(tmp_path, rule("rbac.authorization.k8s.io", *names, verbs=verbs)) as target:
        binding = {"metadata": {"name": "x"}, "roleRef": REF, "subjects": [ME]}
        own = "of-jane"
        attempts: list[tuple[str, str, Any]] = [
            ("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "x"}, "rules": [EVERYTHING]}),
            (
                "POST",
                f"{RBAC}/namespaces/kube-system/roles",
                {"metadata": {"name": "x"}, "rules": [EVERYTHING]},
            ),
            ("POST", f"{RBAC}/clusterrolebindings", binding),
            ("POST", f"{RBAC}/namespaces/kube-system/rolebindings", binding),
            ("PUT", f"{RBAC}/clusterroles/{own}", {"metadata": {"name": own}, "rules": [EVERYTHING]}),
            (
                "POST",
                f"{RBAC}/clusterroles",
                {
                    "metadata": {"name": "x"},
                    "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
                },
            ),
            (
                "POST",
                f"{RBAC}/clusterroles",
                {"metadata": {"name": "x"}, "rules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}]},
            ),
        ]
        for method, path, body in attempts:
            code, answer = await attempt(target, method, path, body)
            assert code == 403, (path, answer)
        patch = [{"op": "add", "path": "/rules/-", "value": EVERYTHING}]
        for content_type, change in (
            ("application/json-patch+json", patch),
            ("application/merge-patch+json", {"rules": [EVERYTHING]}),
            ("application/strategic-merge-patch+json", {"rules": [EVERYTHING]}),
            (
                "application/apply-patch+yaml",
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": own},
                    "rules": [EVERYTHING],
                },
            ),
        ):
            path = f"{RBAC}/clusterroles/{own}"
            if "apply" in content_type:
                path += "?fieldManager=x&force=true"
            code, answer = await attempt(target, "PATCH", path, change, Content_Type=content_type)
            assert code == 403, (content_type, answer)
        subjects = {"subjects": [ME, {**ME, "name": "mallory"}]}
        code, _ = await attempt(
            target,
            "PATCH",
            f"{RBAC}/clusterrolebindings/cluster-admin",
            subjects,
            Content_Type="application/merge-patch+json",
        )
        assert code == 403
        assert not await is_admin(target)


async def test_escalate_and_bind_are_rights_of_their_own(tmp_path: Path) -> None:
    rules = (
        rule("rbac.authorization.k8s.io", "clusterroles", "clusterrolebindings", verbs=("create",)),
        rule("rbac.authorization.k8s.io", "clusterroles", verbs=("bind",), names=("view",)),
    )
    async with jane_may(tmp_path, *rules) as target:
        binding = {"metadata": {"name": "v"}, "roleRef": {**REF, "name": "view"}, "subjects": [ME]}
        code, _ = await attempt(target, "POST", f"{RBAC}/clusterrolebindings", binding)
        assert code == 201
        binding = {"metadata": {"name": "e"}, "roleRef": {**REF, "name": "edit"}, "subjects": [ME]}
        code, _ = await attempt(target, "POST", f"{RBAC}/clusterrolebindings", binding)
        assert code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Impersonate_User": "admin"},
        {"Impersonate_User": "jane", "Impersonate_Group": "system:masters"},
        {"Impersonate_User": "system:serviceaccount:kube-system:admin"},
        {"Impersonate_User": "system:node:n1", "Impersonate_Group": "system:nodes"},
        {"Impersonate_User": "jane", "Impersonate_Uid": "1"},
        {"Impersonate_User": "jane", "Impersonate_Extra_Scopes": "all"},
        {"IMPERSONATE_USER": "admin"},
        {"impersonate_user": "admin"},
    ],
)
async def test_nobody_is_somebody_else_unasked(tmp_path: Path, headers: dict[str, str]) -> None:
    async with serving(tmp_path) as target:
        for path in ("/api/v1/secrets", "/version", "/api"):
            code, _ = await attempt(target, "GET", path, **headers)
            assert code == 403, path


async def test_impersonation_without_a_user_is_no_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        code, _ = await attempt(target, "GET", "/version", Impersonate_Group="system:masters")
        assert code == 400
        assert not await is_admin(target)


async def test_who_may_be_one_may_not_be_another(tmp_path: Path) -> None:
    async with jane_may(tmp_path, rule("", "users", verbs=("impersonate",), names=("bob",))) as target:
        code, _ = await attempt(target, "GET", "/version", Impersonate_User="bob")
        assert code == 200
        for headers in (
            {"Impersonate_User": "admin"},
            {"Impersonate_User": "bob", "Impersonate_Group": "system:masters"},
            {"Impersonate_User": "system:serviceaccount:default:bob"},
        ):
            code, _ = await attempt(target, "GET", "/version", **headers)
            assert code == 403, headers


async def test_rights_end_with_the_impersonated(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        code, _ = await target.send("GET", "/api/v1/secrets", token=ADMIN, Impersonate_User="jane")
        assert code == 403


async def test_tokens_of_service_accounts_need_their_own_right(tmp_path: Path) -> None:
    async with jane_may(tmp_path, rule("", "serviceaccounts", "pods"), namespace="default") as target:
        await target.must(
            "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}}
        )
        await target.must(
            "POST", "/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": "root"}}
        )
        for namespace, name in (("default", "robot"), ("kube-system", "root")):
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
            code, _ = await attempt(target, "POST", path, {"spec": {}})
            assert code == 403, path


async def test_a_token_is_of_its_own_account_and_audience_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        await target.must(
            "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}}
        )
        path = "/api/v1/namespaces/default/serviceaccounts/robot/token"
        own = (await target.must("POST", path, {"spec": {}}))["status"]["token"]
        foreign = (await target.must("POST", path, {"spec": {"audiences": ["vault"]}}))["status"]["token"]
        code, answer = await target.send("GET", "/api/v1/secrets", token=own)
        assert code == 403
        assert "system:serviceaccount:default:robot" in answer["message"]
        assert (await target.send("GET", "/version", token=foreign))[0] == 401
        for path in ("/openid/v1/jwks", "/.well-known/openid-configuration"):
            assert (await target.send("GET", path, token=own))[0] == 200
            assert (await target.send("GET", path, token=NOBODY))[0] == 403
        head, claims, signature = own.split(".")
        for forged in (
            f"{head}.{claims}.",
            f"{head}.{claims}.{'A' * len(signature)}",
            f"{head}.{claims}",
            f"{own}x",
            own[:-4],
        ):
            assert (await target.send("GET", "/version", token=forged))[0] == 401
        await target.must("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
        await target.must(
            "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}}
        )
        assert (await target.send("GET", "/version", token=own))[0] == 401


async def test_a_node_stays_in_its_place(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        who = {"token": ADMIN, "Impersonate_User": "system:node:n1", "Impersonate_Group": "system:nodes"}
        for name in ("n1", "n2"):
            await target.must("POST", "/api/v1/nodes", {"metadata": {"name": name}})
        await target.must("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
        pod = {"spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "i"}]}}
        await target.must("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "yours"}, **pod})
        merge = "application/merge-patch+json"
        attempts: list[tuple[str, str, Any]] = [
            ("GET", "/api/v1/namespaces/default/secrets/s", None),
            ("GET", "/api/v1/secrets", None),
            ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Ds", None),
            ("GET", "/api/v1/pods", None),
            ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", None),
            ("GET", "/api/v1/namespaces/default/pods/yours", None),
            ("GET", "/api/v1/nodes", None),
            ("GET", "/api/v1/nodes/n2", None),
            ("GET", "/api/v1/nodes?watch=1", None),
            ("DELETE", "/api/v1/nodes/n2", None),
            ("DELETE", "/api/v1/nodes/n1", None),
            ("PATCH", "/api/v1/nodes/n2", {"metadata": {"labels": {"a": "b"}}}),
            ("PATCH", "/api/v1/nodes/n2/status", {"status": {}}),
            ("PATCH", "/api/v1/nodes/n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            (
                "PATCH",
                "/api/v1/nodes/n1",
                {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}},
            ),
            ("PATCH", "/api/v1/namespaces/default/pods/yours/status", {"status": {"phase": "Failed"}}),
            ("DELETE", "/api/v1/namespaces/default/pods/yours", None),
            ("POST", "/api/v1/namespaces/default/pods", {"metadata": {"name": "free"}, "spec": pod["spec"]}),
            ("POST", "/api/v1/namespaces/default/pods/yours/eviction", {"metadata": {"name": "yours"}}),
            ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {}}),
            ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2", None),
            (
                "POST",
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
                {"metadata": {"name": "n2"}},
            ),
            ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", None),
            ("GET", "/api/v1/nodes/n1/proxy/pods", None),
            ("POST", f"{RBAC}/clusterrolebindings", {"metadata": {"name": "x"}, "roleRef": REF}),
        ]
        for method, path, body in attempts:
            more = {"Content_Type": merge} if method == "PATCH" else {}
            code, answer = await target.send(method, path, body, **who, **more)
            assert code == 403, (method, path, code, answer)
        code, _ = await target.send("GET", "/api/v1/nodes/n1", **who)
        assert code == 200
        code, _ = await target.send("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", **who)
        assert code == 200


async def test_a_name_in_a_selector_narrows_what_is_shown(tmp_path: Path) -> None:
    one = rule("", "configmaps", verbs=("list", "watch", "deletecollection"), names=("mine",))
    async with jane_may(tmp_path, one, namespace="default") as target:
        base = "/api/v1/namespaces/default/configmaps"
        for name in ("mine", "yours"):
            await target.must("POST", base, {"metadata": {"name": name}})
        code, answer = await attempt(target, "GET", f"{base}?fieldSelector=metadata.name%3Dmine")
        assert (code, [i["metadata"]["name"] for i in answer["items"]]) == (200, ["mine"])
        for query in (
            "",
            "?fieldSelector=metadata.name%3Dyours",
            "?fieldSelector=metadata.name!%3Dmine",
            "?fieldSelector=metadata.name%3Dmine&fieldSelector=metadata.name%3Dyours",
            "?fieldSelector=metadata.name%3D%3Dyours",
            "?labelSelector=metadata.name%3Dmine",
            "?fieldselector=metadata.name%3Dmine",
        ):
            code, answer = await attempt(target, "GET", f"{base}{query}")
            shown = [i["metadata"]["name"] for i in answer.get("items", ())]
            assert code == 403 or shown == ["mine"], query
        code, _ = await attempt(target, "DELETE", base)
        assert code == 403
        code, _ = await attempt(target, "DELETE", f"{base}?fieldSelector=metadata.name%3Dmine")
        assert code == 200
        left = await target.must("GET", base)
        assert "yours" in [item["metadata"]["name"] for item in left["items"]]


async def test_rights_on_an_object_are_none_on_its_subresources(tmp_path: Path) -> None:
    async with jane_may(tmp_path, rule("", "pods", "nodes", "namespaces", verbs=("*",))) as target:
        for method, path in (
            ("GET", "/api/v1/namespaces/default/pods/x/log"),
            ("POST", "/api/v1/namespaces/default/pods/x/exec"),
            ("GET", "/api/v1/namespaces/default/pods/x/exec"),
            ("GET", "/api/v1/namespaces/default/pods/x/proxy/"),
            ("POST", "/api/v1/namespaces/default/pods/x/eviction"),
            ("POST", "/api/v1/namespaces/default/pods/x/binding"),
            ("PUT", "/api/v1/namespaces/default/pods/x/status"),
            ("PUT", "/api/v1/namespaces/default/pods/x/ephemeralcontainers"),
            ("GET", "/api/v1/nodes/x/proxy/logs"),
            ("PUT", "/api/v1/namespaces/default/finalize"),
        ):
            code, _ = await attempt(target, method, path, b"{}" if method != "GET" else None)
            assert code == 403, path


async def test_own_certificate_requests_are_not_approved_by_oneself(tmp_path: Path) -> None:
    group = "certificates.k8s.io"
    async with jane_may(
        tmp_path, rule(group, "certificatesigningrequests", verbs=("create", "get", "update"))
    ) as target:
        for path in ("approval", "status"):
            code, _ = await attempt(
                target, "PUT", f"/apis/{group}/v1/certificatesigningrequests/mine/{path}", b"{}"
            )
            assert code == 403


async def test_reviews_of_others_need_the_right(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        for group, resource in (
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
            ("authorization.k8s.io", "namespaces/default/localsubjectaccessreviews"),
        ):
            code, _ = await target.send("POST", f"/apis/{group}/v1/{resource}", b"{}", token=NOBODY)
            assert code == 403


@pytest.mark.parametrize("subresource", ["exec", "attach", "portforward"])
async def test_to_read_is_not_enough_to_run(tmp_path: Path, subresource: str) -> None:
    rules = rule("", f"pods/{subresource}", "pods/log", verbs=("get",))
    async with jane_may(tmp_path, rules) as target:
        path = f"/api/v1/namespaces/default/pods/x/{subresource}?command=id"
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
        code, answer = await attempt(target, "GET", path, **upgrade)
        assert (code, f'cannot create resource "pods/{subresource}"' in answer["message"]) == (403, True)


async def test_aggregated_roles_give_no_more_than_their_writer_has(tmp_path: Path) -> None:
    verbs = ("get", "create", "update", "patch")
    async with jane_may(tmp_path, rule("rbac.authorization.k8s.io", "clusterroles", verbs=verbs)) as target:
        label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
        role = {"metadata": {"name": "x", "labels": label}, "rules": [rule("", "secrets", verbs=("get",))]}
        assert (await attempt(target, "POST", f"{RBAC}/clusterroles", role))[0] == 403
        code, _ = await attempt(
            target,
            "PATCH",
            f"{RBAC}/clusterroles/view",
            {"rules": [EVERYTHING]},
            Content_Type="application/merge-patch+json",
        )
        assert code == 403
