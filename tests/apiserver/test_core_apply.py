"""Server-side apply through the whole pipeline: what is owned, normalised, refused, and left alone."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.core_support import CONFIGMAPS, DEPLOYMENTS, Cluster, cluster, configmap, deployment
from coxswain.api import errors
from coxswain.api.names import GVR, Object

APPLY = "application/apply-patch+yaml"
HPA_V1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")
HPA_V2 = GVR("autoscaling", "v2", "horizontalpodautoscalers")
SERVICES = GVR("", "v1", "services")


async def apply(c: Cluster, resource: GVR, obj: Object, manager: str = "m", **options: Any) -> Object:
    name = options.pop("name", None) or obj["metadata"]["name"]
    return await c.do("patch", resource, name, obj, content_type=APPLY, fieldManager=manager, **options)


def owned_by(obj: Object, manager: str) -> Object:
    for entry in obj["metadata"]["managedFields"]:
        if entry["manager"] == manager:
            return entry["fieldsV1"]
    return {}


async def test_zero_values_that_were_given_are_owned_and_not_stored() -> None:
    async with cluster() as c:
        obj = deployment("d")
        obj["spec"]["paused"] = False
        made = await apply(c, DEPLOYMENTS, obj)
        assert "paused" not in made["spec"]
        assert owned_by(made, "m")["f:spec"]["f:paused"] == {}
        again = await apply(c, DEPLOYMENTS, obj)
        assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_what_is_merged_is_written_canonically() -> None:
    async with cluster() as c:
        obj = deployment("d")
        container = obj["spec"]["template"]["spec"]["containers"][0]
        container["resources"] = {"requests": {"cpu": "0.1", "memory": 1048576}}
        made = await apply(c, DEPLOYMENTS, obj)
        found = made["spec"]["template"]["spec"]["containers"][0]
        assert found["resources"]["requests"] == {"cpu": "100m", "memory": "1048576"}
        assert found["terminationMessagePath"] == "/dev/termination-log"


async def test_a_null_takes_a_field_back_to_its_default() -> None:
    async with cluster() as c:
        await apply(c, DEPLOYMENTS, deployment("d", 3))
        obj = deployment("d")
        obj["spec"]["replicas"] = None
        assert (await apply(c, DEPLOYMENTS, obj))["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foo": 1}, ".spec.foo: field not declared in schema"),
        ({"replicas": "2"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"paused": 1}, ".spec.paused: expected boolean, got &{1}"),
        ({"template": []}, ".spec.template: expected map, got &{[]}"),
        (
            {"strategy": {"type": 5}},
            ".spec.strategy.type: expected string, got &value.valueUnstructured{Value:5}",
        ),
        (
            {"replicas": True, "paused": "x"},
            (
                "errors:\n  .spec.replicas: expected numeric (int or float), got bool\n"
                "  .spec.paused: expected boolean, got &{x}"
            ),
        ),
    ],
)
async def test_configurations_that_do_not_fit_the_type(change: Object, message: str) -> None:
    async with cluster() as c:
        obj = deployment("d")
        obj["spec"].update(change)
        with pytest.raises(errors.BadRequest) as failure:
            await apply(c, DEPLOYMENTS, obj)
        assert failure.value.message == (
            f"failed to create typed patch object (/d; apps/v1, Kind=Deployment): {message}"
        )


async def test_configurations_of_another_version_are_refused() -> None:
    async with cluster() as c:
        obj = {**deployment("d"), "apiVersion": "apps/v1beta1"}
        with pytest.raises(errors.BadRequest, match="Incorrect version specified in apply patch"):
            await apply(c, DEPLOYMENTS, obj)
        for missing, words in (
            ("apiVersion", "patch version: , expected: apps/v1"),
            ("kind", "no corresponding type"),
        ):
            obj = {name: value for name, value in deployment("d").items() if name != missing}
            with pytest.raises(errors.BadRequest, match=words):
                await apply(c, DEPLOYMENTS, obj)


async def test_keys_given_twice_are_refused_or_told() -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: '1'\n  a: '2'\n"
    async with cluster() as c:
        options = {"content_type": APPLY, "fieldManager": "m"}
        with pytest.raises(errors.BadRequest, match="error strict decoding patch"):
            await c.do("patch", CONFIGMAPS, "c", body, fieldValidation="Strict", **options)
        made = await c.do("patch", CONFIGMAPS, "c", body, fieldValidation="Warn", **options)
        assert made["data"] == {"a": "2"}


async def test_a_resource_version_in_the_configuration_must_be_the_newest() -> None:
    async with cluster() as c:
        made = await apply(c, CONFIGMAPS, configmap("c", a="1"))
        obj = configmap("c", a="2")
        obj["metadata"]["resourceVersion"] = "1"
        with pytest.raises(errors.Conflict, match="the object has been modified"):
            await apply(c, CONFIGMAPS, obj)
        obj["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        assert (await apply(c, CONFIGMAPS, obj))["data"] == {"a": "2"}


async def test_shared_fields_stay_until_nobody_applies_them() -> None:
    async with cluster() as c:
        await apply(c, CONFIGMAPS, configmap("c", a="1", b="1"), "one")
        await apply(c, CONFIGMAPS, configmap("c", a="1"), "two")
        kept = await apply(c, CONFIGMAPS, configmap("c"), "one")
        assert kept["data"] == {"a": "1"}
        gone = await apply(c, CONFIGMAPS, configmap("c"), "two")
        assert "data" not in gone


async def test_managed_fields_can_be_reset_and_start_anew() -> None:
    async with cluster() as c:
        await apply(c, CONFIGMAPS, configmap("c", a="1"), "one")
        reset = await c.do(
            "patch",
            CONFIGMAPS,
            "c",
            [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}],
            content_type="application/json-patch+json",
        )
        assert "managedFields" not in reset["metadata"]
        with pytest.raises(errors.Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.a'):
            await apply(c, CONFIGMAPS, configmap("c", a="2"), "two")
        taken = await apply(c, CONFIGMAPS, configmap("c", a="2"), "two", force="true")
        assert owned_by(taken, "two") == {"f:data": {"f:a": {}}}


async def test_elements_that_are_there_twice_are_replaced_by_the_applied_one() -> None:
    async with cluster() as c:
        obj = deployment("d")
        container = obj["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "2"},
            {"name": "A", "value": "3"},
        ]
        await c.do("create", DEPLOYMENTS, body=obj, fieldManager="old")
        other = deployment("d")
        other["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "C", "value": "4"}]
        kept = await apply(c, DEPLOYMENTS, other, force="true")
        env = kept["spec"]["template"]["spec"]["containers"][0]["env"]
        assert [each["name"] for each in env] == ["A", "B", "A", "C"]
        other["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "5"}]
        one = await apply(c, DEPLOYMENTS, other, force="true")
        env = one["spec"]["template"]["spec"]["containers"][0]["env"]
        assert env == [{"name": "A", "value": "5"}, {"name": "B", "value": "2"}]


async def test_ports_are_told_apart_with_their_default_protocol() -> None:
    async with cluster() as c:
        ports = [{"name": "w", "port": 80}, {"name": "d", "port": 80, "protocol": "UDP"}]
        obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
        made = await apply(c, SERVICES, obj)
        assert sorted(owned_by(made, "m")["f:spec"]["f:ports"]) == [
            'k:{"port":80,"protocol":"TCP"}',
            'k:{"port":80,"protocol":"UDP"}',
        ]
        del obj["spec"]["ports"][1]
        assert [port["name"] for port in (await apply(c, SERVICES, obj))["spec"]["ports"]] == ["w"]


async def test_replicas_can_be_applied_to_zero_through_scale() -> None:
    async with cluster() as c:
        await apply(c, DEPLOYMENTS, deployment("d"))
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "d"},
            "spec": {"replicas": 0},
        }
        await apply(c, DEPLOYMENTS, body, "hpa", subresource="scale", force="true")
        found = await c.do("get", DEPLOYMENTS, "d")
        assert found["spec"]["replicas"] == 0
        assert owned_by(found, "hpa") == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in owned_by(found, "m")["f:spec"]


def autoscaler(version: str, **spec: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5, **spec},
    }


def cpu(percent: int) -> list[Object]:
    goal = {"type": "Utilization", "averageUtilization": percent}
    return [{"type": "Resource", "resource": {"name": "cpu", "target": goal}}]


async def test_a_change_in_one_version_takes_the_fields_of_another() -> None:
    async with cluster() as c:
        await apply(c, HPA_V2, autoscaler("v2", metrics=cpu(50)), "two")
        with pytest.raises(errors.Conflict, match=r'conflict with "two": \.spec\.metrics'):
            await apply(c, HPA_V1, autoscaler("v1", targetCPUUtilizationPercentage=60), "one")
        taken = await apply(
            c, HPA_V1, autoscaler("v1", targetCPUUtilizationPercentage=60), "one", force="true"
        )
        assert taken["spec"]["targetCPUUtilizationPercentage"] == 60
        assert "f:metrics" not in owned_by(taken, "two")["f:spec"]
        assert (await c.do("get", HPA_V2, "h"))["spec"]["metrics"] == cpu(60)


async def test_what_cannot_be_converted_is_refused_in_words() -> None:
    async with cluster() as c:
        await apply(c, HPA_V1, autoscaler("v1"), "one")
        with pytest.raises(errors.Invalid, match="must specify a metric source type"):
            await apply(c, HPA_V2, autoscaler("v2", metrics=[None]), "two", force="true")


async def test_a_manager_may_go_on_in_another_version() -> None:
    async with cluster() as c:
        await apply(c, HPA_V1, autoscaler("v1", targetCPUUtilizationPercentage=60, minReplicas=2))
        now = await apply(c, HPA_V2, autoscaler("v2", metrics=cpu(60)))
        assert [entry["apiVersion"] for entry in now["metadata"]["managedFields"]] == ["autoscaling/v2"]
        assert now["spec"]["metrics"] == cpu(60)
        assert now["spec"]["minReplicas"] == 1


async def test_owners_in_a_version_that_is_not_served_go() -> None:
    async with cluster() as c:
        obj = configmap("c", a="1")
        obj["metadata"]["managedFields"] = [
            {
                "manager": "old",
                "operation": "Update",
                "apiVersion": "v0",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"f:data": {"f:a": {}}},
            }
        ]
        await c.do("create", CONFIGMAPS, body=obj, fieldManager="new")
        found = await apply(c, CONFIGMAPS, configmap("c", b="1"), "m")
        assert [entry["manager"] for entry in found["metadata"]["managedFields"]] == ["m", "new"]
