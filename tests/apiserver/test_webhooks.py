"""Admission webhooks, asked over real HTTPS."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from apiserver.core_support import CONFIGMAPS, DEPLOYMENTS, PODS, Cluster, cluster, configmap, deployment, pod
from apiserver.webhook_server import WebhookServer, patched, raw, webhook_server
from coxswain.api import errors
from coxswain.api.names import ENDPOINTS, GVR, NAMESPACES, SERVICES, Object
from coxswain.apiserver.admission.webhooks.client import Target
from coxswain.apiserver.admission.webhooks.hooks import MUTATING, VALIDATING
from coxswain.apiserver.audit.annotations import CURRENT
from coxswain.apiserver.verbs import writing
from coxswain.base import clock
from coxswain.base.metrics import exposition

HPA_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")
HPA_V2 = GVR("autoscaling", "v2", "horizontalpodautoscalers")

ALLOW: dict[str, Any] = {"allowed": True}


@asynccontextmanager
async def world(tmp_path: Path, *names: str) -> AsyncIterator[tuple[Cluster, WebhookServer]]:
    async with webhook_server(tmp_path, *names) as server, cluster() as running:
        yield running, server


def rule(resource: str = "configmaps", group: str = "", *operations: str, **more: Any) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": list(operations or ("CREATE",)),
        "resources": [resource],
        **more,
    }


def hook(name: str, client: Object, **more: Any) -> Object:
    return {
        "name": name,
        "clientConfig": client,
        "rules": [rule()],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        **more,
    }


async def configure(running: Cluster, resource: GVR, *hooks: Object, name: str = "conf") -> None:
    kind = "MutatingWebhookConfiguration" if resource == MUTATING else "ValidatingWebhookConfiguration"
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "webhooks": list(hooks),
    }
    await running.do("create", resource, body=body, namespace="")


async def overwrite(running: Cluster, resource: GVR, obj: Object) -> None:
    """Store what the API would refuse by now."""
    entry = running.core.registry.get(resource)
    assert entry is not None
    await writing.commit(running.core, entry, obj, int(obj["metadata"].pop("resourceVersion")))


def add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


async def test_nothing_waits_while_nothing_is_configured(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        chain: Any = running.core.admission
        steps = chain._steps
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        names = {type(step.__self__).__name__ for step in steps["CREATE", CONFIGMAPS, ""][1]}
        assert "ValidatingAdmissionWebhook" not in names
        await configure(running, VALIDATING, hook("a.b.c", server.on("/v", lambda review: ALLOW)))
        await running.do("create", CONFIGMAPS, body=configmap("b"))
        assert len(server.asked) == 1
        await running.do("create", PODS, body=pod("p"))
        names = {type(step.__self__).__name__ for step in steps["CREATE", PODS, ""][1]}
        assert "ValidatingAdmissionWebhook" not in names
        await running.do("delete", VALIDATING, "conf", namespace="")
        await running.do("create", CONFIGMAPS, body=configmap("c"))
        assert len(server.asked) == 1


async def test_the_review_says_everything(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        rules = [rule("configmaps", "", "CREATE", "UPDATE", "DELETE")]
        await configure(running, VALIDATING, hook("a.b.c", client, rules=rules))
        await running.do("create", CONFIGMAPS, body=configmap("a", x="1"))
        await running.do("update", CONFIGMAPS, "a", configmap("a", x="2"), dryRun="All")
        await running.do("delete", CONFIGMAPS, "a")
        created, updated, deleted = server.reviews("/v")
        kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
        resource = {"group": "", "version": "v1", "resource": "configmaps"}
        assert created["kind"] == created["requestKind"] == kind
        assert created["resource"] == created["requestResource"] == resource
        assert (created["name"], created["namespace"], created["operation"]) == ("a", "default", "CREATE")
        assert (
            created["userInfo"]["username"] == "admin" and "system:masters" in created["userInfo"]["groups"]
        )
        assert created["oldObject"] is None and created["dryRun"] is False
        assert created["object"]["data"] == {"x": "1"} and created["object"]["metadata"]["uid"]
        assert created["options"]["kind"] == "CreateOptions" and len(created["uid"]) == 36
        assert updated["dryRun"] is True and updated["oldObject"]["data"] == {"x": "1"}
        assert deleted["object"] is None and deleted["oldObject"]["data"] == {"x": "1"}
        assert deleted["operation"] == "DELETE" and deleted["options"]["kind"] == "DeleteOptions"
        assert deleted["kind"] == kind


async def test_a_refusal_is_the_webhooks_word(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        refusal: dict[str, Any] = {"allowed": False}
        await configure(running, VALIDATING, hook("no.b.c", server.on("/v", lambda review: refusal)))

        async def message() -> errors.ApiError:
            with pytest.raises(errors.ApiError) as raised:
                await running.do("create", CONFIGMAPS, body=configmap("a"))
            return raised.value

        said = await message()
        assert said.message == 'admission webhook "no.b.c" denied the request without explanation'
        assert said.code == 400
        refusal["status"] = {"reason": "Forbidden", "code": 403}
        said = await message()
        assert said.message == 'admission webhook "no.b.c" denied the request: Forbidden'
        refusal["status"] = {"message": "not today", "code": 418, "details": {"causes": [{"field": "x"}]}}
        said = await message()
        assert said.message == 'admission webhook "no.b.c" denied the request: not today'
        assert said.code == 418 and said.details == {"causes": [{"field": "x"}]}


async def test_warnings_and_patches_reach_the_object_and_the_client(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        answer = {**patched(add("/metadata/labels", {"by": "hook"})), "warnings": ["look out"]}
        await configure(running, MUTATING, hook("m.b.c", server.on("/m", lambda review: answer)))
        seen = server.on("/v", lambda review: ALLOW)
        await configure(running, VALIDATING, hook("v.b.c", seen))
        made = await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert made["metadata"]["labels"] == {"by": "hook"}
        assert server.reviews("/v")[0]["object"]["metadata"]["labels"] == {"by": "hook"}


async def test_what_a_patch_made_gets_defaults(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        sidecar = {"name": "side", "image": "side:1"}
        answer = patched(add("/spec/containers/-", sidecar))
        client = server.on("/m", lambda review: answer)
        await configure(running, MUTATING, hook("m.b.c", client, rules=[rule("pods")]))
        for name in ("a", "b"):
            made = await running.do("create", PODS, body=pod(name))
            side = made["spec"]["containers"][1]
            assert side["imagePullPolicy"] == "IfNotPresent" and side["terminationMessagePath"]


async def test_identical_creates_are_asked_about_each_time(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        count = iter(range(10))
        answer = lambda review: patched(add("/metadata/labels/number", str(next(count))))  # noqa: E731
        client = server.on("/m", answer)
        await configure(running, MUTATING, hook("m.b.c", client, rules=[rule("pods")]))
        body = pod("x")
        del body["metadata"]["name"]
        body["metadata"]["generateName"] = "x-"
        made = [await running.do("create", PODS, body=body) for _ in range(5)]
        assert [one["metadata"]["labels"]["number"] for one in made] == list("01234")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw("200 OK", b"garbage"), "couldn't get version/kind; json parse error: "),
        (raw("200 OK", b'{"kind":"Pod","apiVersion":"v1"}'), 'no kind "Pod" is registered for version "v1"'),
        (
            raw("500 Oops", b"boom"),
            'an error on the server ("boom") has prevented the request from succeeding',
        ),
        (raw("404 No", b""), "the server could not find the requested resource"),
        (None, ": EOF"),
    ],
)
async def test_bad_answers_fail_closed(tmp_path: Path, answer: Any, words: str) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: answer)
        await configure(running, VALIDATING, hook("v.b.c", client))
        with pytest.raises(errors.InternalError) as raised:
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        start = 'Internal error occurred: failed calling webhook "v.b.c": failed to call webhook: '
        assert raised.value.message.startswith(start)
        assert words in raised.value.message


def _reviewed(uid: Any = None, version: str = "admission.k8s.io/v1", **response: Any) -> Any:
    def answer(review: dict[str, Any]) -> bytes:
        own = review["request"]["uid"] if uid is None else uid
        body = {"kind": "AdmissionReview", "apiVersion": version, "response": {"uid": own, **response}}
        return raw("200 OK", orjson.dumps(body))

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_reviewed("other", allowed=True), 'expected response.uid="'),
        (
            _reviewed(version="admission.k8s.io/v2", allowed=True),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v2, Kind=",
        ),
        (_reviewed(allowed=True, patch="e30="), "webhook returned response.patch but not response.patchType"),
        (
            _reviewed(allowed=True, patchType="JSONPatch"),
            "webhook returned response.patchType but not response.patch",
        ),
        (lambda review: raw("200 OK", b'{"kind":"AdmissionReview"}'), "webhook response was absent"),
    ],
)
async def test_answers_that_break_the_contract(tmp_path: Path, answer: Any, words: str) -> None:
    async with world(tmp_path) as (running, server):
        await configure(running, MUTATING, hook("m.b.c", server.on("/m", answer)))
        with pytest.raises(errors.InternalError) as raised:
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        start = 'Internal error occurred: failed calling webhook "m.b.c": received invalid webhook response: '
        assert raised.value.message.startswith(start)
        assert words in raised.value.message


@pytest.mark.parametrize(
    "patch",
    [
        b"nonsense",
        b'[{"op": "remove", "path": "/not/there"}]',
        b'[{"op": "replace", "path": "/metadata", "value": 7}]',
        b'[{"op": "replace", "path": "/data", "value": {"x": {"no": "string"}}}]',
    ],
)
async def test_patches_that_do_not_fit(tmp_path: Path, patch: bytes) -> None:
    async with world(tmp_path) as (running, server):
        answer = {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        # Not even Ignore helps: the webhook was reached, and what it said makes no sense.
        await configure(
            running, MUTATING, hook("m.b.c", server.on("/m", lambda review: answer), failurePolicy="Ignore")
        )
        with pytest.raises(errors.InternalError, match=r"^Internal error occurred: "):
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert (await running.call("get", CONFIGMAPS, "a")).code == 404


async def test_a_webhook_cannot_move_objects_or_spoil_managed_fields(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        change = {"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}
        await configure(running, MUTATING, hook("m.b.c", server.on("/m", lambda review: patched(change))))
        with pytest.raises(errors.BadRequest, match="the namespace of the provided object does not match"):
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        server.on("/m", lambda review: patched({"op": "remove", "path": "/metadata/namespace"}))
        made = await running.do("create", CONFIGMAPS, body=configmap("a", x="1"))
        assert made["metadata"]["namespace"] == "default"
        spoilt = add("/metadata/managedFields", [{"manager": "m", "operation": "Nonsense"}])
        server.on("/m", lambda review: patched(spoilt))
        made = await running.do("create", CONFIGMAPS, body=configmap("b", x="1"))
        assert [one["operation"] for one in made["metadata"]["managedFields"]] == ["Update"]


async def test_a_deletion_cannot_be_patched(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/m", lambda review: patched(add("/metadata/labels", {})))
        await configure(running, MUTATING, hook("m.b.c", client, rules=[rule("configmaps", "", "DELETE")]))
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        with pytest.raises(
            errors.InternalError, match="attempted to modify the object, which is not supported"
        ):
            await running.do("delete", CONFIGMAPS, "a")


async def test_failing_open(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        for resource, path in ((MUTATING, "/m"), (VALIDATING, "/v")):
            client = server.on(path, lambda review: None)
            await configure(running, resource, hook("x.b.c", client, failurePolicy="Ignore"))
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert [path for path, _ in server.asked] == ["/m", "/v"]


async def test_what_webhooks_did_is_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        refusing = server.on("/v", lambda review: {"allowed": False, "status": {"code": 418}})
        await configure(running, VALIDATING, hook("counted.b.c", refusing))
        broken = server.on("/m", lambda review: None)
        await configure(running, MUTATING, hook("open.b.c", broken, failurePolicy="Ignore"))
        await running.call("create", CONFIGMAPS, body=configmap("a"))
        text = exposition().decode()
        start = 'apiserver_admission_webhook_rejection_count{error_type="no_error",name="counted.b.c"'
        assert f'{start},operation="CREATE",rejection_code="418",type="validating"}} 1.0' in text
        assert 'webhook_fail_open_count{name="open.b.c",type="admit"} 1.0' in text
        assert 'rejected="true",type="validating"' in text


async def test_nobody_listens(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = {"url": "https://127.0.0.1:9/x", "caBundle": server.ca}
        await configure(running, VALIDATING, hook("v.b.c", client))
        with pytest.raises(errors.InternalError) as raised:
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert raised.value.message == (
            'Internal error occurred: failed calling webhook "v.b.c": failed to call webhook: '
            'Post "https://127.0.0.1:9/x?timeout=5s": dial tcp 127.0.0.1:9: connect: connection refused'
        )


async def test_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    async with world(tmp_path / "one") as (running, server), webhook_server(tmp_path / "two") as other:
        client = {**server.on("/v", lambda review: ALLOW), "caBundle": other.ca}
        await configure(running, VALIDATING, hook("v.b.c", client))
        with pytest.raises(errors.InternalError, match="certificate signed by unknown authority"):
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert not server.asked


async def test_a_service_is_verified_by_its_name_and_reached_at_its_endpoints(tmp_path: Path) -> None:
    async with world(tmp_path, "hook.default.svc") as (running, server):
        server.on("/v", lambda review: ALLOW)
        client = {
            "service": {"namespace": "default", "name": "hook", "path": "/v"},
            "caBundle": server.ca,
        }
        await configure(running, VALIDATING, hook("v.b.c", client))

        async def complaint() -> str:
            with pytest.raises(errors.InternalError) as raised:
                await running.do("create", CONFIGMAPS, body=configmap("a"))
            return raised.value.message.rpartition(": ")[2]

        assert await complaint() == 'service "hook" not found'
        service = {"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 80, "name": "web"}]}}
        await running.do("create", SERVICES, body=service)
        assert await complaint() == 'no service port 443 found for service "hook"'
        service["spec"] = {"ports": [{"port": 443, "name": "web"}]}
        await running.do("update", SERVICES, "hook", {**service, "spec": {**service["spec"]}})
        address = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "web", "port": server.port}]}
        endpoints = {"metadata": {"name": "hook"}, "subsets": []}
        await running.do("create", ENDPOINTS, body=endpoints)
        assert await complaint() == 'no endpoints available for service "hook"'
        stored = await running.do("get", ENDPOINTS, "hook")
        await overwrite(running, ENDPOINTS, {**stored, "subsets": [address]})
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert server.hosts == ["hook.default.svc:443"]


async def test_connections_are_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        await configure(running, VALIDATING, hook("v.b.c", server.on("/v", lambda review: ALLOW)))
        for number in range(5):
            await running.do("create", CONFIGMAPS, body=configmap(f"a{number}"))
        assert len(server.asked) == 5 and server.connections == 1


async def test_validating_webhooks_are_all_asked_at_one_time(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        server.answers["/hang"] = lambda review: {"allowed": False, "status": {"message": "slow"}}
        hanging = {"url": f"https://127.0.0.1:{server.port}/hang", "caBundle": server.ca}

        def release(review: dict[str, Any]) -> dict[str, Any]:
            server.hang.set()
            return {"allowed": False, "status": {"message": "quick"}}

        await configure(running, VALIDATING, hook("a.b.c", hanging), hook("b.b.c", server.on("/v", release)))
        with pytest.raises(errors.ApiError, match=r'"a\.b\.c" denied the request: slow'):
            await running.do("create", CONFIGMAPS, body=configmap("a"))


async def test_reinvocation(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        first = server.on("/first", lambda review: ALLOW)
        once = server.on("/once", lambda review: ALLOW)

        def label(review: dict[str, Any]) -> dict[str, Any]:
            return patched(add("/metadata/labels", {"late": "yes"}))

        await configure(
            running,
            MUTATING,
            hook("first.b.c", first, reinvocationPolicy="IfNeeded"),
            hook("once.b.c", once),
            hook("late.b.c", server.on("/late", label), reinvocationPolicy="IfNeeded"),
        )
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert [path for path, _ in server.asked] == ["/first", "/once", "/late", "/first"]
        assert server.reviews("/first")[1]["object"]["metadata"]["labels"] == {"late": "yes"}


async def test_what_a_webhook_adds_is_completed_by_the_other_plugins(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        limits = [{"type": "Container", "defaultRequest": {"cpu": "100m"}, "default": {"cpu": "1"}}]
        ranges = GVR("", "v1", "limitranges")
        await running.do("create", ranges, body={"metadata": {"name": "l"}, "spec": {"limits": limits}})
        client = server.on(
            "/m", lambda review: patched(add("/spec/containers/-", {"name": "side", "image": "s"}))
        )
        await configure(running, MUTATING, hook("m.b.c", client, rules=[rule("pods")]))
        made = await running.do("create", PODS, body=pod("a"))
        side = made["spec"]["containers"][1]
        assert side["resources"] == {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}
        assert len(made["spec"]["containers"]) == 2 and len(server.asked) == 1


async def test_no_second_round_where_nothing_changed(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        same = server.on("/m", lambda review: patched({"op": "test", "path": "/kind", "value": "ConfigMap"}))
        await configure(
            running,
            MUTATING,
            hook("one.b.c", same, reinvocationPolicy="IfNeeded"),
            hook("two.b.c", same, reinvocationPolicy="IfNeeded"),
        )
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert len(server.asked) == 2


async def test_selectors(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        chosen = {"matchLabels": {"watched": "yes"}}
        await configure(running, VALIDATING, hook("ns.b.c", client, namespaceSelector=chosen), name="ns")
        await configure(
            running,
            VALIDATING,
            hook(
                "obj.b.c", client, objectSelector=chosen, rules=[rule("configmaps", "", "CREATE", "UPDATE")]
            ),
            name="obj",
        )
        await running.do("create", CONFIGMAPS, body=configmap("plain"))
        assert not server.asked
        watched = {"metadata": {"name": "watched", "labels": {"watched": "yes"}}}
        await running.do("create", NAMESPACES, body=watched)
        await running.do("create", CONFIGMAPS, body=configmap("a"), namespace="watched")
        assert len(server.asked) == 1
        labelled = configmap("b")
        labelled["metadata"]["labels"] = {"watched": "yes"}
        await running.do("create", CONFIGMAPS, body=labelled)
        assert len(server.asked) == 2
        # The old object counts too: taking the label off does not hide the change.
        await running.do("update", CONFIGMAPS, "b", configmap("b"))
        assert len(server.asked) == 3
        await running.do("update", CONFIGMAPS, "b", configmap("b", x="y"))
        assert len(server.asked) == 3


async def test_namespaces_are_selected_by_their_own_labels(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        chosen = {"matchLabels": {"watched": "yes"}}
        rules = [rule("namespaces", "", "CREATE", "DELETE")]
        await configure(running, VALIDATING, hook("ns.b.c", client, namespaceSelector=chosen, rules=rules))
        await running.do("create", NAMESPACES, body={"metadata": {"name": "a"}})
        await running.do("create", NAMESPACES, body={"metadata": {"name": "b", "labels": {"watched": "yes"}}})
        await running.do("delete", NAMESPACES, "b")
        assert [one["operation"] for one in server.reviews("/v")] == ["CREATE", "DELETE"]
        assert [one["namespace"] for one in server.reviews("/v")] == ["b", "b"]


async def test_equivalent_versions_are_converted(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        change = {"op": "replace", "path": "/spec/maxReplicas", "value": 9}
        client = server.on("/m", lambda review: patched(change))
        rules = [rule("horizontalpodautoscalers", "autoscaling")]
        await configure(running, MUTATING, hook("m.b.c", client, rules=rules))
        metric = {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        }
        spec = {
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
            "maxReplicas": 3,
            "metrics": [metric],
        }
        made = await running.do("create", HPA_V2, body={"metadata": {"name": "web"}, "spec": spec})
        (seen,) = server.reviews("/m")
        assert seen["kind"]["version"] == "v1" and seen["requestKind"]["version"] == "v2"
        assert seen["object"]["spec"]["targetCPUUtilizationPercentage"] == 50
        assert made["apiVersion"] == "autoscaling/v2" and made["spec"]["maxReplicas"] == 9
        assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
        await running.do("delete", MUTATING, "conf", namespace="")
        await configure(running, MUTATING, hook("m.b.c", client, rules=rules, matchPolicy="Exact"))
        await running.do("create", HPA_V2, body={"metadata": {"name": "web2"}, "spec": spec})
        assert len(server.asked) == 1
        await running.do(
            "create", HPA_V1, body={"metadata": {"name": "web3"}, "spec": {**spec, "metrics": None}}
        )
        assert len(server.asked) == 2


async def test_scope_and_stars(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
        await configure(
            running, VALIDATING, hook("v.b.c", client, rules=[{**everything, "scope": "Cluster"}])
        )
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert not server.asked
        await running.do("create", NAMESPACES, body={"metadata": {"name": "a"}})
        assert len(server.asked) == 1
        # Configurations of admission are exempt, or nobody could mend them.
        await running.do("delete", VALIDATING, "conf", namespace="")
        assert len(server.asked) == 1


async def test_a_scale_is_shown_as_such(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        change = {"op": "replace", "path": "/spec/replicas", "value": 4}
        client = server.on("/m", lambda review: patched(change))
        await configure(
            running, MUTATING, hook("m.b.c", client, rules=[rule("deployments/scale", "apps", "UPDATE")])
        )
        await running.do("create", DEPLOYMENTS, body=deployment("web", 2))
        patch = {"spec": {"replicas": 3}}
        scaled = await running.do(
            "patch",
            DEPLOYMENTS,
            "web",
            patch,
            subresource="scale",
            content_type="application/merge-patch+json",
        )
        (seen,) = server.reviews("/m")
        assert seen["kind"]["kind"] == "Scale" and seen["subResource"] == "scale"
        assert seen["object"]["spec"]["replicas"] == 3 and seen["oldObject"]["spec"]["replicas"] == 2
        assert scaled["spec"]["replicas"] == 4


async def test_subresources_are_matched_by_name(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: {"allowed": False, "status": {"message": "stay"}})
        await configure(running, VALIDATING, hook("v.b.c", client, rules=[rule("pods/eviction", "")]))
        await running.do("create", PODS, body=pod("a"))
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
        with pytest.raises(errors.ApiError, match="denied the request: stay"):
            await running.do("create", PODS, "a", eviction, subresource="eviction")
        assert server.reviews("/v")[0]["kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}


async def test_dry_run_needs_webhooks_without_side_effects(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        body = hook("v.b.c", client, sideEffects="NoneOnDryRun")
        await configure(running, VALIDATING, body)
        await running.do("create", CONFIGMAPS, body=configmap("a"), dryRun="All")
        assert server.reviews("/v")[0]["dryRun"] is True
        config = await running.do("get", VALIDATING, "conf", namespace="")
        # Only older configurations can still say so.
        config["webhooks"][0]["sideEffects"] = "Some"
        await overwrite(running, VALIDATING, config)
        with pytest.raises(
            errors.BadRequest, match=r'^admission webhook "v\.b\.c" does not support dry run$'
        ):
            await running.do("create", CONFIGMAPS, body=configmap("a"), dryRun="All")


async def test_match_conditions(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        conditions = [
            {"name": "not-nobody", "expression": "request.userInfo.username != 'nobody'"},
            {"name": "named", "expression": "object.metadata.name.startsWith('a')"},
        ]
        await configure(running, VALIDATING, hook("v.b.c", client, matchConditions=conditions))
        await running.do("create", CONFIGMAPS, body=configmap("b"))
        assert not server.asked
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert len(server.asked) == 1


async def test_match_conditions_may_ask_the_authorizer(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        check = "!authorizer.group('').resource('secrets').check('delete').allowed()"
        conditions = [{"name": "weak", "expression": check}]
        await configure(running, VALIDATING, hook("v.b.c", client, matchConditions=conditions))
        await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert not server.asked


class Hanging:
    """A caller that never gets an answer."""

    async def __call__(self, target: Target, body: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def close(self) -> None:
        pass


@pytest.mark.virtual
async def test_a_webhook_that_hangs_is_given_up() -> None:
    async with cluster(caller=Hanging()) as running:
        client = {"url": "https://hook.example/x?a=b"}
        await configure(running, VALIDATING, hook("v.b.c", client, timeoutSeconds=3))
        start = clock.now()
        with pytest.raises(errors.InternalError) as raised:
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert raised.value.message == (
            'Internal error occurred: failed calling webhook "v.b.c": failed to call webhook: '
            'Post "https://hook.example/x?a=b&timeout=3s": context deadline exceeded'
        )
        assert clock.now() - start == pytest.approx(3, abs=0.1)
        await running.do("delete", VALIDATING, "conf", namespace="")
        await configure(running, MUTATING, hook("v.b.c", client, timeoutSeconds=3, failurePolicy="Ignore"))
        await running.do("create", CONFIGMAPS, body=configmap("a"))


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_match_conditions_that_fail(tmp_path: Path, policy: str) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on("/v", lambda review: ALLOW)
        conditions = [{"name": "labelled", "expression": "object.metadata.labels.x == 'y'"}]
        await configure(
            running, VALIDATING, hook("v.b.c", client, matchConditions=conditions, failurePolicy=policy)
        )
        answer = await running.call("create", CONFIGMAPS, body=configmap("a"))
        assert not server.asked
        if policy == "Ignore":
            assert answer.code == 201
        else:
            status = orjson.loads(answer.body)
            assert status["code"] == 403
            assert "resulted in error: no such key: labels" in status["message"]


async def test_the_older_review_is_spoken_where_it_comes_first(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        client = server.on(
            "/m", lambda review: {"allowed": True, "patch": patched(add("/data", {"a": "b"}))["patch"]}
        )
        await configure(running, MUTATING, hook("m.b.c", client, admissionReviewVersions=["v1beta1", "v1"]))
        made = await running.do("create", CONFIGMAPS, body=configmap("a"))
        assert server.asked[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"
        assert made["data"] == {"a": "b"}


async def test_updates_that_lose_a_race_are_asked_about_again(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        await running.do("create", CONFIGMAPS, body=configmap("a", x="0"))
        client = server.on("/v", lambda review: ALLOW)
        await configure(running, VALIDATING, hook("v.b.c", client, rules=[rule("configmaps", "", "UPDATE")]))
        bodies = [configmap("a", x=str(number)) for number in range(1, 4)]
        await asyncio.gather(*(running.do("update", CONFIGMAPS, "a", body) for body in bodies))
        assert len(server.asked) >= 3


async def test_what_admission_notes_is_audited(tmp_path: Path) -> None:
    async with world(tmp_path) as (running, server):
        answer = {**patched(add("/metadata/labels", {"a": "b"})), "auditAnnotations": {"why": "because"}}
        await configure(running, MUTATING, hook("m.b.c", server.on("/m", lambda review: answer)))
        broken = server.on("/v", lambda review: None)
        await configure(running, VALIDATING, hook("v.b.c", broken, failurePolicy="Ignore"))
        noted: dict[str, str] = {}
        token = CURRENT.set(noted)
        try:
            await running.do("create", CONFIGMAPS, body=configmap("a"))
        finally:
            CURRENT.reset(token)
        assert noted == {
            "m.b.c/why": "because",
            "mutation.webhook.admission.k8s.io/round_0_index_0": (
                '{"configuration":"conf","webhook":"m.b.c","mutated":true}'
            ),
            "failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "v.b.c",
        }
