"""Admission webhooks do what conformance asks of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conformance.api_server import (
    GROUP,
    Webhooks,
    allow,
    api_server,
    custom,
    define,
    definition,
    deny,
    patch,
    thing,
)
from conformance.whole_cluster import WORK, Whole
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.errors import ApiError, InternalError, Invalid
from coxswain.api.names import CONFIGMAPS, CUSTOM_RESOURCE_DEFINITIONS, GVK, GVR, NAMESPACES, PODS, Object
from coxswain.apiserver.admission.connecting import admit_connection
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.base import clock
from coxswain.cli.cluster import ADMIN
from coxswain.client.interface import STRATEGIC_MERGE_PATCH

REGISTRATION = "admissionregistration.k8s.io"
MUTATING = GVR(REGISTRATION, "v1", "mutatingwebhookconfigurations")
VALIDATING = GVR(REGISTRATION, "v1", "validatingwebhookconfigurations")
NAMED = "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] "
BOTH = pytest.mark.parametrize("resource", [MUTATING, VALIDATING], ids=["mutating", "validating"])
EXEMPT = {"matchExpressions": [{"key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"]}]}


def rule(resource: str, *operations: str, group: str = "", versions: str = "*") -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": [versions],
        "operations": list(operations or ("CREATE",)),
        "resources": [resource],
    }


def hook(client: Object, *rules: Object, name: str = "hook.example.com", **more: Any) -> Object:
    return {
        "name": name,
        "clientConfig": client,
        "rules": list(rules) or [rule("configmaps")],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


async def configure(it: Whole, resource: GVR, *hooks: Object, name: str = "hooks") -> Object:
    made = {"metadata": {"name": name, "labels": {"of": "test"}}, "webhooks": list(hooks)}
    return await it.create(resource, made)


def config_map(name: str = "one", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def stage(number: int) -> Any:
    """Adds a key once the stage before is there: two of them have to come one after the other."""

    def answer(request: Object) -> Object:
        data = request["object"].get("data") or {}
        if f"mutation-stage-{number - 1}" in data or (number == 1 and data.get("mutation-start") == "yes"):
            return patch(("add", f"/data/mutation-stage-{number}", "yes"))
        return allow(request)

    return answer


async def refused(it: Whole, words: str, made: Object | None = None, **options: Any) -> None:
    with pytest.raises(ApiError, match=words):
        await it.create(CONFIGMAPS, made or config_map("refused"), **options)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate configmap [Conformance]")
async def test_webhooks_change_an_object_one_after_the_other() -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        hooks = [
            hook(webhooks.on(f"/{n}", stage(n)), name=f"stage-{n}.example.com", namespaceSelector=EXEMPT)
            for n in (1, 2)
        ]
        await configure(it, MUTATING, *hooks)
        made = await it.create(CONFIGMAPS, config_map(**{"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate pod and apply defaults after mutation [Conformance]")
async def test_what_a_webhook_adds_to_a_pod_gets_its_defaults() -> None:
    webhooks = Webhooks()
    init = {"name": "webhook-added-init-container", "image": "init:1"}
    async with api_server(webhooks) as it:
        client = webhooks.on("/pod", lambda request: patch(("add", "/spec/initContainers", [init])))
        await configure(it, MUTATING, hook(client, rule("pods")))
        (added,) = (await it.create(PODS, pod("p")))["spec"]["initContainers"]
        assert added["name"] == "webhook-added-init-container"
        assert added["terminationMessagePolicy"] == "File"
        assert (added["imagePullPolicy"], added["resources"]) == ("IfNotPresent", {})


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should be able to deny pod and configmap creation [Conformance]")
async def test_webhooks_refuse_what_is_created_and_changed_but_not_in_exempt_namespaces() -> None:
    webhooks = Webhooks()

    async def hangs(request: Object) -> Object:
        if request["name"] == "to-be-attached":
            return allow(request)
        await asyncio.sleep(3600)
        return allow(request)

    def judge(request: Object) -> Object:
        bad = (request["object"].get("data") or {}).get("webhook-e2e-test") == "webhook-disallow"
        return deny("the configmap contains unwanted key and value")(request) if bad else allow(request)  # type: ignore[return-value]

    async with api_server(webhooks) as it:
        rules = [rule("configmaps", "CREATE", "UPDATE")]
        await configure(
            it,
            VALIDATING,
            hook(webhooks.on("/maps", judge), *rules, name="maps.example.com", namespaceSelector=EXEMPT),
            hook(webhooks.on("/pods", deny("no such pods")), rule("pods"), name="pods.example.com"),
        )
        with pytest.raises(
            ApiError, match=r'admission webhook "pods\.example\.com" denied the request: no such pods'
        ):
            await it.create(PODS, pod("p"))
        wrong = {"webhook-e2e-test": "webhook-disallow"}
        await refused(it, "the configmap contains unwanted key and value", config_map(**wrong))
        await it.create(CONFIGMAPS, config_map("allowed", admit="this"))
        with pytest.raises(ApiError, match="unwanted"):
            await it.edit(CONFIGMAPS, "allowed", lambda obj: obj["data"].update(wrong))
        with pytest.raises(ApiError, match="unwanted"):
            await it.patch(CONFIGMAPS, "allowed", {"data": wrong}, kind=STRATEGIC_MERGE_PATCH)
        await it.create(
            NAMESPACES, {"metadata": {"name": "exempt", "labels": {"skip-webhook-admission": "yes"}}}
        )
        await it.create(CONFIGMAPS, config_map(**wrong), "exempt")
        await it.delete(VALIDATING, "hooks")
        await configure(it, VALIDATING, hook(webhooks.on("/hang", hangs), rule("pods"), timeoutSeconds=5))
        start = clock.now()
        with pytest.raises(InternalError, match="context deadline exceeded"):
            await it.create(PODS, pod("hangs"))
        assert clock.now() - start == pytest.approx(5, abs=0.1)


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should be able to deny attaching pod [Conformance]")
async def test_nobody_is_attached_against_a_webhooks_will() -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        client = webhooks.on("/attach", deny("attaching to pod 'to-be-attached-pod' is not allowed"))
        await configure(it, VALIDATING, hook(client, rule("pods/attach", "CONNECT")))
        await it.create(PODS, pod("to-be-attached-pod"))
        chain = it._backend.core.admission  # type: ignore[attr-defined]
        kind = GVK("", "v1", "PodAttachOptions")
        with pytest.raises(ApiError, match="attaching to pod 'to-be-attached-pod' is not allowed"):
            await admit_connection(chain, ADMIN, kind, PODS, WORK, "to-be-attached-pod", "attach", "stdin=1")
        (path, asked) = webhooks.asked[-1]
        assert (path, asked["operation"], asked["name"]) == ("/attach", "CONNECT", "to-be-attached-pod")


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should be able to deny custom resource creation, update and deletion [Conformance]"
)
async def test_webhooks_refuse_to_create_change_and_delete_custom_objects() -> None:
    webhooks, boats = Webhooks(), custom("boats")

    def judge(request: Object) -> Object:
        found = request["object"] or request["oldObject"]
        wrong = (found.get("data") or {}).get("webhook-e2e-test") == "webhook-disallow"
        return {"allowed": not wrong, "status": {"message": "the custom resource contains unwanted data"}}

    async with api_server(webhooks) as it:
        await define(it, definition("boats"))
        rules = [rule("boats", "CREATE", "UPDATE", "DELETE", group=GROUP)]
        await configure(it, VALIDATING, hook(webhooks.on("/custom", judge), *rules))
        wrong = {"webhook-e2e-test": "webhook-disallow"}
        with pytest.raises(ApiError, match="the custom resource contains unwanted data"):
            await it.create(boats, thing("bad", boats, data=wrong))
        await it.create(boats, thing("good", boats, data={"webhook-e2e-test": "webhook-allow"}))
        with pytest.raises(ApiError, match="unwanted data"):
            await it.edit(boats, "good", lambda obj: obj.update(data=wrong))
        await it.delete(VALIDATING, "hooks")
        await it.edit(boats, "good", lambda obj: obj.update(data=wrong))
        await configure(it, VALIDATING, hook(webhooks.on("/custom", judge), *rules))
        with pytest.raises(ApiError, match="unwanted data"):
            await it.delete(boats, "good")
        await it.delete(VALIDATING, "hooks")
        await it.delete(boats, "good")
        await it.until_gone(boats, "good")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should deny crd creation [Conformance]")
async def test_webhooks_refuse_definitions() -> None:
    webhooks = Webhooks()

    def judge(request: Object) -> Object:
        wrong = meta.labels(request["object"]).get("webhook-e2e-test") == "webhook-disallow"
        return {"allowed": not wrong, "status": {"message": "the crd contains unwanted label"}}

    async with api_server(webhooks) as it:
        rules = [rule("customresourcedefinitions", group="apiextensions.k8s.io")]
        await configure(it, VALIDATING, hook(webhooks.on("/crd", judge), *rules))
        made = definition("boats")
        made["metadata"]["labels"] = {"webhook-e2e-test": "webhook-disallow"}
        with pytest.raises(ApiError, match="the crd contains unwanted label"):
            await it.create(CUSTOM_RESOURCE_DEFINITIONS, made)
        await define(it, definition("boats"))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should unconditionally reject operations on fail closed webhook [Conformance]"
)
async def test_a_webhook_that_cannot_be_asked_refuses_everything_where_it_fails_closed() -> None:
    def broken(request: Object) -> Object:
        raise CallFailedError("connect: connection refused")

    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        chosen = {"matchLabels": {"fail-closed": "yes"}}
        client = webhooks.on("/broken", broken)
        await configure(it, VALIDATING, hook(client, failurePolicy="Fail", namespaceSelector=chosen))
        await it.create(NAMESPACES, {"metadata": {"name": "closed", "labels": {"fail-closed": "yes"}}})
        with pytest.raises(InternalError, match=r'failed calling webhook "hook\.example\.com"'):
            await it.create(CONFIGMAPS, config_map(), "closed")
        await it.create(CONFIGMAPS, config_map())


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should honor timeout [Conformance]")
async def test_a_slow_webhook_is_waited_for_as_long_as_it_says() -> None:
    webhooks = Webhooks()

    async def slow(request: Object) -> Object:
        await asyncio.sleep(5)
        return allow(request)

    async with api_server(webhooks) as it:
        client = webhooks.on("/slow", slow)
        for number, (seconds, policy, passes) in enumerate(
            ((1, "Fail", False), (1, "Ignore", True), (10, "Fail", True), (None, "Fail", True))
        ):
            timeout = {} if seconds is None else {"timeoutSeconds": seconds}
            made = await configure(it, VALIDATING, hook(client, failurePolicy=policy, **timeout))
            assert made["webhooks"][0]["timeoutSeconds"] == (seconds or 10)
            start = clock.now()
            if passes:
                await it.create(CONFIGMAPS, config_map(f"c{number}"))
            else:
                await refused(it, "context deadline exceeded")
            assert clock.now() - start == pytest.approx(min(seconds or 10, 5), abs=0.1)
            await it.delete(VALIDATING, "hooks")


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should include webhook resources in discovery documents [Conformance]")
async def test_configurations_are_in_the_discovery_documents() -> None:
    async with api_server() as it:
        for resource, kind in (
            (MUTATING, "MutatingWebhookConfiguration"),
            (VALIDATING, "ValidatingWebhookConfiguration"),
        ):
            assert it.discovered(resource)["kind"] == kind
        group = it.served(f"/apis/{REGISTRATION}")
        assert f"{REGISTRATION}/v1" in [each["groupVersion"] for each in group["versions"]]


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate custom resource [Conformance]")
async def test_webhooks_change_custom_objects_one_after_the_other() -> None:
    webhooks, boats = Webhooks(), custom("boats")
    async with api_server(webhooks) as it:
        await define(it, definition("boats"))
        hooks = [
            hook(webhooks.on(f"/{n}", stage(n)), rule("boats", group=GROUP), name=f"stage-{n}.example.com")
            for n in (1, 2)
        ]
        await configure(it, MUTATING, *hooks)
        made = await it.create(boats, thing("one", boats, data={"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate custom resource with pruning [Conformance]")
async def test_what_webhooks_add_to_custom_objects_is_pruned() -> None:
    webhooks, boats = Webhooks(), custom("boats")
    keys = {name: {"type": "string"} for name in ("mutation-start", "mutation-stage-1")}
    schema = {"type": "object", "properties": {"data": {"type": "object", "properties": keys}}}
    async with api_server(webhooks) as it:
        await define(it, definition("boats", schema))
        hooks = [
            hook(webhooks.on(f"/{n}", stage(n)), rule("boats", group=GROUP), name=f"stage-{n}.example.com")
            for n in (1, 2)
        ]
        await configure(it, MUTATING, *hooks)
        made = await it.create(boats, thing("one", boats, data={"mutation-start": "yes"}))
        assert made["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes"}


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate custom resource with different stored version [Conformance]")
async def test_custom_objects_are_changed_whichever_version_is_stored() -> None:
    webhooks, boats, newer = Webhooks(), custom("boats"), custom("boats", "v2")
    async with api_server(webhooks) as it:
        await define(it, definition("boats", None, "v1", "v2"))
        rules = [rule("boats", "CREATE", "UPDATE", group=GROUP, versions="v1")]
        await configure(it, MUTATING, hook(webhooks.on("/1", stage(1)), *rules))
        await it.create(boats, thing("one", boats, data={"mutation-start": "yes"}))

        def store_v2(obj: Object) -> None:
            for each in obj["spec"]["versions"]:
                each["storage"] = each["name"] == "v2"

        await it.edit(CUSTOM_RESOURCE_DEFINITIONS, f"boats.{GROUP}", store_v2)
        await clock.sleep(2)
        await it.patch(boats, "one", {"data": {"mutation-start": "yes", "dummy": "value"}})
        found = await it.get(newer, "one")
        assert found["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "dummy": "value"}
        made = await it.create(newer, thing("two", newer, data={"mutation-start": "yes"}))
        assert made["data"]["mutation-stage-1"] == "yes"
        assert webhooks.asked[-1][1]["kind"]["version"] == "v1"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should not be able to mutate or prevent deletion of webhook configuration objects [Conformance]"
)
async def test_webhooks_are_not_asked_about_webhooks() -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        all_rules = [
            rule(resource.resource, "CREATE", "UPDATE", "DELETE", group=REGISTRATION)
            for resource in (MUTATING, VALIDATING)
        ]
        denying = hook(webhooks.on("/deny", deny("never")), *all_rules, name="deny.example.com")
        await configure(it, VALIDATING, denying, name="deny-all")
        label = patch(("add", "/metadata/labels/mutated", "yes"))
        changing = hook(webhooks.on("/label", lambda request: label), *all_rules, name="label.example.com")
        await configure(it, MUTATING, changing, name="label-all")
        for resource in (MUTATING, VALIDATING):
            made = await configure(it, resource, hook(webhooks.on("/x", allow)), name="dummy")
            assert meta.labels(made) == {"of": "test"}
            await it.delete(resource, "dummy")
            await it.until_gone(resource, "dummy")
        assert not webhooks.asked


def judging(resource: GVR, webhooks: Webhooks) -> Object:
    """A client of a webhook whose work on config maps shows: it refuses them, or adds a key."""
    if resource == VALIDATING:
        return webhooks.on("/refuse", deny("unwanted"))
    return webhooks.on("/mark", lambda request: patch(("add", "/data", {"marked": "yes"})))


async def works(it: Whole, resource: GVR, name: str) -> bool:
    """Whether the webhook of ``judging`` is asked about a new config map."""
    try:
        made = await it.create(CONFIGMAPS, config_map(name))
    except ApiError as error:
        assert "unwanted" in str(error)
        return True
    await it.delete(CONFIGMAPS, name)
    return resource == MUTATING and made.get("data") == {"marked": "yes"}


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{NAMED}patching/updating a mutating webhook should work [Conformance]",
    f"{NAMED}patching/updating a validating webhook should work [Conformance]",
)
async def test_a_configuration_is_updated_and_patched(resource: GVR) -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        await configure(it, resource, hook(judging(resource, webhooks)))
        assert await works(it, resource, "a")
        await it.edit(
            resource, "hooks", lambda obj: obj["webhooks"][0]["rules"][0].update(operations=["UPDATE"])
        )
        assert not await works(it, resource, "b")
        change = [{"op": "replace", "path": "/webhooks/0/rules/0/operations/0", "value": "CREATE"}]
        await it.patch(resource, "hooks", change, kind="application/json-patch+json")
        assert await works(it, resource, "c")


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{NAMED}listing mutating webhooks should work [Conformance]",
    f"{NAMED}listing validating webhooks should work [Conformance]",
)
async def test_configurations_are_listed_and_deleted_as_a_collection(resource: GVR) -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        for number in range(10):
            await configure(it, resource, hook(judging(resource, webhooks)), name=f"hooks-{number}")
        assert len(await it.list(resource, label_selector="of=test")) == 10
        assert await works(it, resource, "a")
        await it.delete_collection(resource, label_selector="of=test")
        assert not await it.list(resource)
        assert not await works(it, resource, "b")


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{NAMED}should be able to create and update mutating webhook configurations with match conditions [Conformance]",
    f"{NAMED}should be able to create and update validating webhook configurations with match conditions [Conformance]",
)
async def test_match_conditions_are_set_and_changed(resource: GVR) -> None:
    webhooks = Webhooks()
    one = {"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}
    two = {"name": "expression-2", "expression": "object.metadata.namespace == 'work'"}
    async with api_server(webhooks) as it:
        made = await configure(it, resource, hook(judging(resource, webhooks), matchConditions=[one]))
        assert made["webhooks"][0]["matchConditions"] == [one]
        assert not await works(it, resource, "a")
        await it.edit(resource, "hooks", lambda obj: obj["webhooks"][0].update(matchConditions=[two]))
        assert (await it.get(resource, "hooks"))["webhooks"][0]["matchConditions"] == [two]
        assert await works(it, resource, "b")


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{NAMED}should reject mutating webhook configurations with invalid match conditions [Conformance]",
    f"{NAMED}should reject validating webhook configurations with invalid match conditions [Conformance]",
)
async def test_match_conditions_that_are_no_expressions_are_refused(resource: GVR) -> None:
    webhooks = Webhooks()
    condition = {"name": "invalid-expression-1", "expression": "... [] bad expression"}
    async with api_server(webhooks) as it:
        with pytest.raises(Invalid, match="compilation failed"):
            await configure(it, resource, hook(judging(resource, webhooks), matchConditions=[condition]))


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should mutate everything except 'skip-me' configmaps [Conformance]")
async def test_a_match_condition_lets_some_objects_by() -> None:
    webhooks = Webhooks()
    async with api_server(webhooks) as it:
        condition = {"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}
        client = webhooks.on("/1", stage(1))
        await configure(it, MUTATING, hook(client, matchConditions=[condition]))
        start = {"mutation-start": "yes"}
        assert (await it.create(CONFIGMAPS, config_map("skip-me", **start)))["data"] == start
        made = await it.create(CONFIGMAPS, config_map("mutate-me", **start))
        assert made["data"] == {**start, "mutation-stage-1": "yes"}
