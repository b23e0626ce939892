"""Devices: who gets administrative access, and who may write which part of a claim's status."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from coxswain.api.names import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GVR, NAMESPACES, Object
from coxswain.client.interface import MERGE_PATCH, UserInfo

CLAIMS = GVR("resource.k8s.io", "v1", "resourceclaims")
TEMPLATES = GVR("resource.k8s.io", "v1", "resourceclaimtemplates")
LABEL = "resource.kubernetes.io/admin-access"
NEEDS = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"
NODE = {"authentication.kubernetes.io/node-name": ("n1",)}
DRIVER = UserInfo("system:serviceaccount:default:driver", ("system:serviceaccounts",), extra=NODE)
FAR = UserInfo("system:serviceaccount:default:driver", extra={**NODE, next(iter(NODE)): ("n2",)})
JANE = UserInfo("jane")


def request(name: str, **more: Any) -> Object:
    return {"name": name, "exactly": {"deviceClassName": "c", **more}}


def claim(name: str, *requests: Object) -> Object:
    spec = {"devices": {"requests": list(requests) or [request("r")]}}
    return {"metadata": {"name": name}, "spec": spec}


def result(device: str, **more: Any) -> Object:
    return {"request": "r", "driver": "d.example.com", "pool": "p", "device": device, **more}


def said(device: str, driver: str = "d.example.com", **more: Any) -> Object:
    return {"driver": driver, "pool": "p", "device": device, **more}


def allocated(*results: Object, node: str = "n1") -> Object:
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    selector = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"devices": {"results": list(results)}, "nodeSelector": selector}


async def label(c: Cluster, value: str) -> None:
    body = {"metadata": {"labels": {LABEL: value}}}
    await c.do("patch", NAMESPACES, "default", body, content_type=MERGE_PATCH)


async def allow(c: Cluster, name: str, *rules: Object) -> None:
    made = [{"apiGroups": ["resource.k8s.io"], **rule} for rule in rules]
    await c.do("create", CLUSTER_ROLES, body={"metadata": {"name": name}, "rules": made}, namespace="")
    kind = "ServiceAccount" if name == "driver" else "User"
    subject = (
        {"kind": kind, "name": name, "namespace": "default"}
        if name == "driver"
        else {
            "kind": kind,
            "name": name,
            "apiGroup": "rbac.authorization.k8s.io",
        }
    )
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await c.do("create", CLUSTER_ROLE_BINDINGS, body=binding, namespace="")


async def causes(c: Cluster, *arguments: Any, **options: Any) -> list[tuple[str, str]]:
    answer = await c.call(*arguments, **options)
    if answer.code < 300:
        return []
    assert answer.code == 422, answer.body
    return [(each["field"], each["message"]) for each in orjson.loads(answer.body)["details"]["causes"]]


async def write(
    c: Cluster, status: Object, user: UserInfo = ADMIN, verb: str = "update"
) -> list[tuple[str, str]]:
    obj = await c.do("get", CLAIMS, "a")
    return await causes(
        c,
        verb,
        CLAIMS,
        "a",
        {**obj, "status": status} if verb == "update" else {"status": status},
        subresource="status",
        user=user,
        content_type="application/json" if verb == "update" else MERGE_PATCH,
    )


async def test_administrative_access_is_the_namespaces_to_give() -> None:
    wanted = claim("a", request("r"), request("s", adminAccess=True))
    template = {"metadata": {"name": "t"}, "spec": {"spec": wanted["spec"]}}
    refused = [("spec.devices.requests[1].adminAccess", f"Forbidden: {NEEDS}")]
    async with cluster() as c:
        assert await causes(c, "create", CLAIMS, body=copy.deepcopy(wanted)) == refused
        assert await causes(c, "create", TEMPLATES, body=copy.deepcopy(template)) == refused
        assert await causes(c, "create", CLAIMS, body=claim("b", request("r", adminAccess=False))) == []
        await label(c, "yes")
        assert await causes(c, "create", CLAIMS, body=copy.deepcopy(wanted)) == refused
        await label(c, "true")
        assert await causes(c, "create", CLAIMS, body=wanted) == []
        assert await causes(c, "create", TEMPLATES, body=template) == []
        await label(c, "false")
        # What is there stays, and what else is wrong is told, too.
        kept = await c.do("get", CLAIMS, "a")
        kept["metadata"]["labels"] = {"x": "y"}
        assert await causes(c, "update", CLAIMS, "a", kept) == []
        bad = claim("c", request("Bad", adminAccess=True))
        assert [field for field, _ in await causes(c, "create", CLAIMS, body=bad)] == [
            "spec.devices.requests[0].adminAccess",
            "spec.devices.requests[0].name",
        ]


async def test_allocations_with_administrative_access_need_the_label_too() -> None:
    async with cluster() as c:
        await c.do("create", CLAIMS, body=claim("a"))
        granted = {"allocation": allocated(result("x"), result("y", adminAccess=True))}
        assert await write(c, granted) == [
            ("status.allocation.devices.results[1].adminAccess", f"Forbidden: {NEEDS}")
        ]
        await label(c, "true")
        assert await write(c, granted) == []
        await label(c, "false")
        assert await write(c, {**granted, "devices": [said("x")]}) == []


async def test_who_allocates_needs_the_binding_permission() -> None:
    status = {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims", "resourceclaims/status"]}
    async with cluster() as c:
        await c.do("create", CLAIMS, body=claim("a"))
        await allow(c, "jane", {**status, "verbs": ["get", "update", "patch"]})
        for verb in ("update", "patch"):
            why = (
                "Forbidden: changing status.allocation or status.reservedFor requires "
                f'resource="resourceclaims/binding", verb="{verb}" permission: resourceclaims.resource.k8s.io '
                f'is forbidden: User "jane" cannot {verb} resource "resourceclaims/binding" in API group '
                '"resource.k8s.io" at the cluster scope'
            )
            assert await write(c, {"allocation": allocated(result("x"))}, JANE, verb) == [("status", why)]
        assert await write(c, {}, JANE) == []
        await allow(
            c,
            "joe",
            {**status, "verbs": ["get", "update"]},
            {"resources": ["resourceclaims/binding"], "verbs": ["update"]},
        )
        assert await write(c, {"allocation": allocated(result("x"))}, UserInfo("joe")) == []
        assert len(await write(c, {"allocation": allocated(result("x"))}, UserInfo("joe"))) == 0


async def test_drivers_write_of_their_own_devices_on_their_own_node() -> None:
    rules = (
        {"resources": ["resourceclaims", "resourceclaims/status"], "verbs": ["get", "update", "patch"]},
        {
            "resources": ["resourceclaims/driver"],
            "resourceNames": ["d.example.com"],
            "verbs": ["associated-node:update"],
        },
    )
    binding = {"allocation": allocated(result("x"), result("y", driver="e.example.com"))}
    async with cluster() as c:
        await c.do("create", CLAIMS, body=claim("a"))
        assert await write(c, binding) == []
        await allow(c, "driver", *rules)
        mine = {**binding, "devices": [said("x", data={"a": 1})]}
        (refused,) = await write(c, mine, FAR)
        assert refused[0] == "status.devices"
        assert 'verb="[arbitrary-node:update]" permission: ' in refused[1]
        assert 'resourceclaims.resource.k8s.io "d.example.com" is forbidden' in refused[1]
        assert await write(c, mine, DRIVER) == []
        # Another verb, another driver, and what another driver said: not theirs.
        (refused,) = await write(c, {"devices": [said("x", data={"a": 2})]}, DRIVER, "patch")
        assert 'verb="[associated-node:patch arbitrary-node:patch]"' in refused[1]
        both = {**mine, "devices": [*mine["devices"], said("y", "e.example.com")]}
        assert len(await write(c, both, DRIVER)) == 1
        assert await write(c, both) == []
        assert len(await write(c, mine, DRIVER)) == 1
        assert await write(c, {**both, "devices": both["devices"][1:]}, DRIVER) == []


@pytest.mark.parametrize("node", ["", "n2"])
async def test_a_claim_that_is_for_no_single_node_is_nobodys_own(node: str) -> None:
    allocation = allocated(result("x"), node=node or "n1")
    if not node:
        del allocation["nodeSelector"]
    async with cluster() as c:
        await c.do("create", CLAIMS, body=claim("a"))
        assert await write(c, {"allocation": allocation}) == []
        await allow(
            c,
            "driver",
            {"resources": ["resourceclaims", "resourceclaims/status"], "verbs": ["get", "update"]},
            {"resources": ["resourceclaims/driver"], "verbs": ["associated-node:update"]},
        )
        assert len(await write(c, {"allocation": allocation, "devices": [said("x")]}, DRIVER)) == 1


async def test_what_was_said_of_devices_goes_with_their_allocation() -> None:
    async with cluster() as c:
        await c.do("create", CLAIMS, body=claim("a"))
        both = {"allocation": allocated(result("x"), result("y")), "devices": [said("x"), said("y")]}
        assert await write(c, both) == []
        await allow(
            c,
            "jane",
            {
                "resources": ["resourceclaims", "resourceclaims/status", "resourceclaims/binding"],
                "verbs": ["*"],
            },
        )
        assert await write(c, {"devices": both["devices"]}, JANE) == []
        assert "devices" not in ((await c.do("get", CLAIMS, "a")).get("status") or {})
