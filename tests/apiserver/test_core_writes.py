"""Create, update, patch and delete through the pipeline."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.core_support import (
    CONFIGMAPS,
    DEPLOYMENTS,
    NOBODY,
    PODS,
    Cluster,
    cluster,
    configmap,
    deployment,
    pod,
)
from coxswain.api import errors
from coxswain.api.names import NAMESPACES, Object
from coxswain.client.interface import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH


@pytest.mark.virtual
async def test_a_created_object_has_what_only_the_server_sets() -> None:
    async with cluster() as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a", x="1"))
        meta = made["metadata"]
        assert meta["namespace"] == "default"
        assert meta["uid"] and meta["creationTimestamp"].endswith("Z")
        assert int(meta["resourceVersion"]) > 0
        assert meta["managedFields"][0]["operation"] == "Update"
        assert await c.do("get", CONFIGMAPS, "a") == made


@pytest.mark.virtual
async def test_a_second_object_of_the_same_name_is_refused() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        with pytest.raises(errors.AlreadyExists, match='configmaps "a" already exists'):
            await c.do("create", CONFIGMAPS, body=configmap("a"))


@pytest.mark.virtual
async def test_names_are_generated_and_differ() -> None:
    async with cluster() as c:
        body = {"metadata": {"generateName": "x-"}}
        made = [await c.do("create", CONFIGMAPS, body=body) for _ in range(20)]
        names = {obj["metadata"]["name"] for obj in made}
        assert len(names) == 20
        assert all(name.startswith("x-") and len(name) == 7 for name in names)


@pytest.mark.virtual
async def test_dry_run_answers_and_stores_nothing() -> None:
    async with cluster() as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a"), dryRun="All")
        assert made["metadata"]["uid"]
        with pytest.raises(errors.NotFound):
            await c.do("get", CONFIGMAPS, "a")


@pytest.mark.virtual
async def test_permission_is_asked_before_anything_else() -> None:
    async with cluster() as c:
        with pytest.raises(errors.Forbidden, match='User "nobody" cannot get resource "configmaps"'):
            await c.do("get", CONFIGMAPS, "missing", user=NOBODY)


@pytest.mark.virtual
async def test_a_foreign_namespace_in_the_body_is_refused() -> None:
    async with cluster() as c:
        body = configmap("a")
        body["metadata"]["namespace"] = "other"
        with pytest.raises(errors.BadRequest, match="does not match the namespace sent on the request"):
            await c.do("create", CONFIGMAPS, body=body)


@pytest.mark.virtual
async def test_an_update_without_changes_writes_nothing() -> None:
    async with cluster() as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a", x="1"))
        again = await c.do("update", CONFIGMAPS, "a", made)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


@pytest.mark.virtual
async def test_an_update_of_an_old_revision_is_a_conflict() -> None:
    async with cluster() as c:
        old = await c.do("create", CONFIGMAPS, body=configmap("a", x="1"))
        await c.do("update", CONFIGMAPS, "a", configmap("a", x="2"))
        old["data"]["x"] = "3"
        with pytest.raises(errors.Conflict, match="the object has been modified"):
            await c.do("update", CONFIGMAPS, "a", old)
        assert (await c.do("get", CONFIGMAPS, "a"))["data"] == {"x": "2"}


@pytest.mark.virtual
async def test_an_update_of_another_uid_is_a_conflict() -> None:
    async with cluster() as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a"))
        made["metadata"]["uid"] = "other"
        with pytest.raises(errors.Conflict, match="Precondition failed: UID"):
            await c.do("update", CONFIGMAPS, "a", made)


@pytest.mark.virtual
async def test_leases_must_say_which_revision_they_replace() -> None:
    from coxswain.api.names import LEASES

    async with cluster() as c:
        lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}
        made = await c.do("update", LEASES, "l", lease)
        assert made["spec"]["holderIdentity"] == "a"
        with pytest.raises(errors.Invalid, match="must be specified for an update"):
            await c.do("update", LEASES, "l", lease)


@pytest.mark.virtual
async def test_concurrent_patches_all_count() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        patches = [{"data": {f"k{i}": str(i)}} for i in range(25)]
        await asyncio.gather(
            *(c.do("patch", CONFIGMAPS, "a", body, content_type=MERGE_PATCH) for body in patches)
        )
        assert len((await c.do("get", CONFIGMAPS, "a"))["data"]) == 25


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (MERGE_PATCH, {"spec": {"replicas": 5}}),
        (STRATEGIC_MERGE_PATCH, {"spec": {"replicas": 5}}),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/replicas", "value": 5}]),
    ],
)
async def test_each_kind_of_patch_changes_the_object(kind: str, body: object) -> None:
    async with cluster() as c:
        await c.do("create", DEPLOYMENTS, body=deployment("d"))
        patched = await c.do("patch", DEPLOYMENTS, "d", body, content_type=kind)
        assert patched["spec"]["replicas"] == 5
        assert patched["metadata"]["generation"] == 2


@pytest.mark.virtual
async def test_apply_creates_then_updates_and_owns_fields() -> None:
    async with cluster() as c:
        body = deployment("d")
        made = await c.call("patch", DEPLOYMENTS, "d", body, content_type=APPLY_PATCH, fieldManager="me")
        assert made.code == 201
        again = await c.call("patch", DEPLOYMENTS, "d", body, content_type=APPLY_PATCH, fieldManager="me")
        assert again.code == 200
        assert again.object() == made.object()
        body["spec"]["replicas"] = 7
        with pytest.raises(errors.Conflict, match="Apply failed with 1 conflict"):
            await c.do("patch", DEPLOYMENTS, "d", body, content_type=APPLY_PATCH, fieldManager="you")
        forced = await c.do(
            "patch", DEPLOYMENTS, "d", body, content_type=APPLY_PATCH, fieldManager="you", force="true"
        )
        assert forced["spec"]["replicas"] == 7


@pytest.mark.virtual
async def test_a_patch_needs_a_known_media_type() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        answer = await c.call("patch", CONFIGMAPS, "a", {}, content_type="application/json")
        assert answer.code == 415


@pytest.mark.virtual
async def test_unknown_fields_are_refused_or_told() -> None:
    async with cluster() as c:
        body = {**configmap("a"), "extra": 1}
        with pytest.raises(errors.BadRequest, match='unknown field "extra"'):
            await c.do("create", CONFIGMAPS, body=body, fieldValidation="Strict")
        made = await c.do("create", CONFIGMAPS, body=body)
        assert "extra" not in made


@pytest.mark.virtual
async def test_deletion_waits_for_finalizers() -> None:
    async with cluster() as c:
        body = configmap("a")
        body["metadata"]["finalizers"] = ["example.com/x"]
        await c.do("create", CONFIGMAPS, body=body)
        marked = await c.do("delete", CONFIGMAPS, "a")
        assert marked["metadata"]["deletionTimestamp"]
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
        again = await c.do("delete", CONFIGMAPS, "a")
        assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
        await c.do("patch", CONFIGMAPS, "a", {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
        with pytest.raises(errors.NotFound):
            await c.do("get", CONFIGMAPS, "a")


@pytest.mark.virtual
async def test_an_immediate_deletion_answers_with_a_status() -> None:
    async with cluster() as c:
        made = await c.do("create", CONFIGMAPS, body=configmap("a"))
        status = await c.do("delete", CONFIGMAPS, "a")
        assert status["status"] == "Success"
        assert status["details"]["uid"] == made["metadata"]["uid"]


@pytest.mark.virtual
async def test_deletion_preconditions_must_hold() -> None:
    async with cluster() as c:
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        with pytest.raises(errors.Conflict, match="the UID in the precondition"):
            await c.do("delete", CONFIGMAPS, "a", {"preconditions": {"uid": "no"}})
        with pytest.raises(errors.Conflict, match="the ResourceVersion in the precondition"):
            await c.do("delete", CONFIGMAPS, "a", {"preconditions": {"resourceVersion": "1"}})


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")]
)
async def test_propagation_works_through_finalizers(policy: str, finalizer: str) -> None:
    async with cluster() as c:
        await c.do("create", DEPLOYMENTS, body=deployment("d"))
        marked = await c.do("delete", DEPLOYMENTS, "d", {"propagationPolicy": policy})
        assert marked["metadata"]["finalizers"] == [finalizer]


async def _bound_pod(c: Cluster, name: str) -> Object:
    await c.do("create", PODS, body=pod(name))
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}}
    await c.do("create", PODS, name, binding, subresource="binding")
    return await c.do("get", PODS, name)


@pytest.mark.virtual
async def test_a_running_pod_gets_time_to_end_and_never_more() -> None:
    async with cluster() as c:
        await _bound_pod(c, "p")
        first = await c.do("delete", PODS, "p")
        assert first["metadata"]["deletionGracePeriodSeconds"] == 30
        longer = await c.do("delete", PODS, "p", gracePeriodSeconds="60")
        assert longer["metadata"]["deletionGracePeriodSeconds"] == 30
        shorter = await c.do("delete", PODS, "p", gracePeriodSeconds="5")
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        assert shorter["metadata"]["deletionTimestamp"] < first["metadata"]["deletionTimestamp"]
        await c.do("delete", PODS, "p", gracePeriodSeconds="0")
        with pytest.raises(errors.NotFound):
            await c.do("get", PODS, "p")


@pytest.mark.virtual
async def test_a_pod_that_nothing_runs_goes_at_once() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        gone = await c.do("delete", PODS, "p")
        assert gone["kind"] == "Pod"
        with pytest.raises(errors.NotFound):
            await c.do("get", PODS, "p")


@pytest.mark.virtual
async def test_a_namespace_terminates_and_takes_nothing_new() -> None:
    async with cluster() as c:
        await c.do("create", NAMESPACES, body={"metadata": {"name": "n"}})
        marked = await c.do("delete", NAMESPACES, "n")
        assert marked["status"]["phase"] == "Terminating"
        with pytest.raises(errors.Forbidden, match="because it is being terminated"):
            await c.do("create", CONFIGMAPS, body=configmap("a"), namespace="n")
        marked["spec"]["finalizers"] = []
        await c.do("update", NAMESPACES, "n", marked, subresource="finalize")
        with pytest.raises(errors.NotFound):
            await c.do("get", NAMESPACES, "n")


@pytest.mark.virtual
async def test_a_collection_is_deleted_by_selector() -> None:
    async with cluster() as c:
        for i in range(6):
            body = configmap(f"c{i}")
            body["metadata"]["labels"] = {"par": "even" if i % 2 == 0 else "odd"}
            await c.do("create", CONFIGMAPS, body=body)
        deleted = await c.do("deletecollection", CONFIGMAPS, labelSelector="par=even")
        assert len(deleted["items"]) == 3
        left = await c.do("list", CONFIGMAPS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["c1", "c3", "c5"]


@pytest.mark.virtual
async def test_a_bug_is_answered_with_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster() as c:

        def broken(request: object) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(c.core.admission, "mutate", broken)
        answer = await c.call("create", CONFIGMAPS, body=configmap("a"))
        assert answer.code == 500
        assert b"secret detail" not in answer.body
        assert "a bug answered" in caplog.text


@pytest.mark.virtual
async def test_a_patch_that_breaks_a_type_is_invalid() -> None:
    async with cluster() as c:
        await c.do("create", DEPLOYMENTS, body=deployment("d"))
        body = {"spec": {"replicas": "x"}}
        with pytest.raises(errors.Invalid, match=r"patch: Invalid value: .*json: cannot unmarshal string"):
            await c.do("patch", DEPLOYMENTS, "d", body, content_type=MERGE_PATCH)


@pytest.mark.virtual
async def test_creating_by_apply_needs_the_permission_to_create() -> None:
    from coxswain.api.names import ROLE_BINDINGS, ROLES

    async with cluster() as c:
        rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch", "get"]}
        await c.do("create", ROLES, body={"metadata": {"name": "r"}, "rules": [rule]})
        subject = {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"}
        role = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
        await c.do(
            "create", ROLE_BINDINGS, body={"metadata": {"name": "b"}, "subjects": [subject], "roleRef": role}
        )
        with pytest.raises(errors.Forbidden, match='cannot create resource "configmaps"'):
            await c.do(
                "patch",
                CONFIGMAPS,
                "a",
                configmap("a"),
                user=NOBODY,
                content_type=APPLY_PATCH,
                fieldManager="m",
            )


@pytest.mark.virtual
async def test_events_expire_an_hour_after_their_last_write() -> None:
    from coxswain.api.names import EVENTS
    from coxswain.apiserver.expiry import Expiry
    from coxswain.base import clock

    async with cluster() as c:
        entry = c.core.registry.get(EVENTS)
        assert entry is not None
        expiry = Expiry(c.core.storage, entry)
        about = {"kind": "Pod", "namespace": "default", "name": "p"}
        for name in ("old", "fresh"):
            await c.do("create", EVENTS, body={"metadata": {"name": name}, "involvedObject": about})
        assert await expiry.sweep() == 0
        await clock.sleep(1800)
        await c.do("patch", EVENTS, "fresh", {"message": "again"}, content_type=MERGE_PATCH)
        await clock.sleep(1800)
        assert await expiry.sweep() == 1
        left = await c.do("list", EVENTS)
        assert [item["metadata"]["name"] for item in left["items"]] == ["fresh"]
