"""Service accounts, their tokens and who may do what, as conformance asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest

from conformance.whole_cluster import WORK, Whole, whole_cluster
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.errors import ApiError, Forbidden, NotFound
from coxswain.api.names import (
    CONFIGMAPS,
    GVR,
    NAMESPACES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    SUBJECT_ACCESS_REVIEWS,
    TOKEN_REVIEWS,
    Object,
)
from coxswain.client.interface import STRATEGIC_MERGE_PATCH, UserInfo

NAMED = "[sig-auth] ServiceAccounts "
MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount"
LOCAL_REVIEWS = GVR("authorization.k8s.io", "v1", "localsubjectaccessreviews")


def account(name: str, **fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}, **fields}


async def token_of(it: Whole, name: str, **spec: Any) -> Object:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return await it.create(SERVICE_ACCOUNTS, body, name=name, subresource="token")


async def review(it: Whole, token: str, *audiences: str) -> Object:
    spec: Object = {"token": token}
    if audiences:
        spec["audiences"] = list(audiences)
    found: Object = (await it.create(TOKEN_REVIEWS, {"spec": spec}))["status"]
    return found


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should create a serviceAccountToken and ensure a successful TokenReview [Conformance]"
)
async def test_a_token_is_made_for_an_account_and_reviewed(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        made = await it.create(SERVICE_ACCOUNTS, account("robot"))
        status = (await token_of(it, "robot", expirationSeconds=3600))["status"]
        assert status["expirationTimestamp"]
        found = await review(it, status["token"])
        assert found["authenticated"] and not found.get("error")
        user = found["user"]
        assert (user["username"], user["uid"]) == (f"system:serviceaccount:{WORK}:robot", meta.uid(made))
        assert set(user["groups"]) == {
            "system:serviceaccounts", f"system:serviceaccounts:{WORK}", "system:authenticated",
        }  # fmt: skip
        await it.delete(SERVICE_ACCOUNTS, "robot")
        await it.until_gone(SERVICE_ACCOUNTS, "robot")
        assert not (await review(it, status["token"])).get("authenticated")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should guarantee kube-root-ca.crt exist in any namespace [Conformance]")
async def test_the_clusters_authority_is_published_and_mended_in_every_namespace(tmp_path: Path) -> None:
    name = "kube-root-ca.crt"
    async with whole_cluster(tmp_path) as it:
        await it.create(NAMESPACES, {"metadata": {"name": "another"}})
        first = await it.until(lambda: found(it, "another"))
        assert set(first["data"]) == {"ca.crt"} and "BEGIN CERTIFICATE" in first["data"]["ca.crt"]
        await it.delete(CONFIGMAPS, name, "another")
        second = await it.until(lambda: found(it, "another"))
        assert second["data"] == first["data"] and meta.uid(second) != meta.uid(first)
        await it.patch(CONFIGMAPS, name, {"data": {"ca.crt": ""}}, "another")

        async def mended() -> bool:
            return (await it.get(CONFIGMAPS, name, "another"))["data"] == first["data"]

        await it.until(mended)


async def found(it: Whole, namespace: str) -> Object | None:
    try:
        return await it.get(CONFIGMAPS, "kube-root-ca.crt", namespace)
    except NotFound:
        return None


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mount an API token into pods [Conformance]")
async def test_a_pods_containers_find_token_authority_and_namespace(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(SERVICE_ACCOUNTS, account("robot"))
        await it.create(PODS, pod("p", serviceAccountName="robot"))
        (running,) = await it.until_pods(1, app="p")
        process = it.process("p")
        assert process.read(f"{MOUNTED}/namespace") == WORK
        published = await it.get(CONFIGMAPS, "kube-root-ca.crt")
        assert process.read(f"{MOUNTED}/ca.crt") == published["data"]["ca.crt"]
        user = (await review(it, process.read(f"{MOUNTED}/token")))["user"]
        assert user["username"] == f"system:serviceaccount:{WORK}:robot"
        assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["p"]
        assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [meta.uid(running)]


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mount projected service account token [Conformance]")
async def test_a_token_for_an_audience_is_mounted_where_the_pod_asks(tmp_path: Path) -> None:
    source = {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 6000}}
    volume = {"name": "tokens", "projected": {"sources": [source]}}
    mount = {"volumeMounts": [{"name": "tokens", "mountPath": "/tokens"}]}
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("p", volumes=[volume], container=mount))
        await it.until_pods(1, app="p")
        token = it.process("p").read("/tokens/token")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert claims["aud"] == ["vault"] and claims["exp"] - claims["iat"] == 6000
        status = await review(it, token, "vault")
        assert status["authenticated"] and status["audiences"] == ["vault"]
        assert not (await review(it, token)).get("authenticated")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should allow opting out of API token automount [Conformance]")
async def test_account_and_pod_say_whether_a_token_is_mounted_and_the_pod_has_the_last_word(
    tmp_path: Path,
) -> None:
    accounts: dict[str, bool | None] = {"mount": True, "default": None, "nomount": False}
    pods: dict[str, bool | None] = {"mount": True, "default": None, "nomount": False}
    async with whole_cluster(tmp_path) as it:
        for name in ("mount", "nomount"):
            await it.create(SERVICE_ACCOUNTS, account(name, automountServiceAccountToken=accounts[name]))
        for of_account, said in accounts.items():
            for of_pod, wish in pods.items():
                spec: Object = {"serviceAccountName": of_account}
                if wish is not None:
                    spec["automountServiceAccountToken"] = wish
                made = await it.create(PODS, pod(f"{of_account}-{of_pod}", **spec))
                mounts = made["spec"]["containers"][0].get("volumeMounts") or ()
                mounted = any(mount["mountPath"] == MOUNTED for mount in mounts)
                assert mounted == (said is not False if wish is None else wish), (of_account, of_pod)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should run through the lifecycle of a ServiceAccount [Conformance]")
async def test_an_account_is_watched_patched_listed_and_deleted_as_a_collection(tmp_path: Path) -> None:
    chosen = {"label_selector": "batch=one"}
    async with whole_cluster(tmp_path) as it, it.following(SERVICE_ACCOUNTS, **chosen) as seen:
        made = account("robot")
        made["metadata"]["labels"] = {"batch": "one"}
        await it.create(SERVICE_ACCOUNTS, made)
        await seen.until("ADDED", lambda obj: meta.name(obj) == "robot")
        patch = {"automountServiceAccountToken": False}
        await it.patch(SERVICE_ACCOUNTS, "robot", patch, kind=STRATEGIC_MERGE_PATCH)
        await seen.until("MODIFIED", lambda obj: obj["automountServiceAccountToken"] is False)
        (listed,) = await it.list(SERVICE_ACCOUNTS, "", **chosen)
        assert listed["automountServiceAccountToken"] is False
        await it.delete_collection(SERVICE_ACCOUNTS, **chosen)
        await seen.until("DELETED")
        assert await it.exists(SERVICE_ACCOUNTS, "default")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should update a ServiceAccount [Conformance]")
async def test_an_account_is_updated(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(SERVICE_ACCOUNTS, account("robot", automountServiceAccountToken=False))
        updated = await it.edit(
            SERVICE_ACCOUNTS, "robot", lambda obj: obj.update(automountServiceAccountToken=True)
        )
        assert updated["automountServiceAccountToken"] is True
        assert (await it.get(SERVICE_ACCOUNTS, "robot"))["automountServiceAccountToken"] is True


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer [Conformance]"
)
async def test_a_token_is_verified_by_what_the_issuer_publishes(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(PODS, pod("p"))
        await it.until_pods(1, app="p")
        token = it.process("p").read(f"{MOUNTED}/token")
        document = it.served("/.well-known/openid-configuration")
        assert document["response_types_supported"] == ["id_token"]
        assert document["subject_types_supported"] == ["public"]
        assert document["jwks_uri"].endswith("/openid/v1/jwks")
        key = jwt.PyJWKSet.from_dict(it.served("/openid/v1/jwks"))[jwt.get_unverified_header(token)["kid"]]
        unchecked = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(
            token,
            key,
            algorithms=document["id_token_signing_alg_values_supported"],
            issuer=document["issuer"],
            audience=document["issuer"],
            options=unchecked,
        )
        assert claims["sub"] == f"system:serviceaccount:{WORK}:default"
        for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
            attributes = {"path": path, "verb": "get"}
            spec = {"user": claims["sub"], "groups": ["system:serviceaccounts"]}
            answer = await it.create(
                SUBJECT_ACCESS_REVIEWS, {"spec": {**spec, "nonResourceAttributes": attributes}}
            )
            assert answer["status"]["allowed"], path


@pytest.mark.virtual
@pytest.mark.conformance("[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]")
async def test_reviews_tell_what_requests_then_find(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await it.create(SERVICE_ACCOUNTS, account("robot"))
        name = f"system:serviceaccount:{WORK}:robot"
        attributes = {"verb": "list", "resource": "configmaps", "namespace": WORK, "version": "v1"}
        spec = {"user": name, "resourceAttributes": attributes}
        robot = it.act_as(UserInfo(name, ("system:serviceaccounts", "system:authenticated")))

        async def reviewed() -> list[bool]:
            everywhere = await it.create(SUBJECT_ACCESS_REVIEWS, {"spec": spec}, "")
            local = {"metadata": {"namespace": WORK}, "spec": spec}
            here = await it.create(LOCAL_REVIEWS, local)
            return [everywhere["status"]["allowed"], here["status"]["allowed"]]

        assert await reviewed() == [False, False]
        with pytest.raises(Forbidden):
            await robot.list(CONFIGMAPS, WORK)
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
        await it.create(ROLES, {"metadata": {"name": "reads"}, "rules": [rule]})
        subject = {"kind": "ServiceAccount", "name": "robot", "namespace": WORK}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"}
        await it.create(
            ROLE_BINDINGS, {"metadata": {"name": "reads"}, "subjects": [subject], "roleRef": reference}
        )
        assert await reviewed() == [True, True]
        names = [meta.name(orjson.loads(raw)) for raw in (await robot.list(CONFIGMAPS, WORK)).items]
        assert names == ["kube-root-ca.crt"]
        elsewhere = {"metadata": {"namespace": "default"}, "spec": spec}
        with pytest.raises(ApiError, match="namespace"):
            await it.create(LOCAL_REVIEWS, elsewhere, "default")
