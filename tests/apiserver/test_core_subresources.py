"""Scale, binding, eviction, status, resize, ephemeral containers, logs, and what is not there."""

from __future__ import annotations

import pytest

from apiserver.core_support import DEPLOYMENTS, PODS, Cluster, cluster, deployment, pod
from coxswain.api import errors
from coxswain.api.names import BINDINGS, GVR, NAMESPACES
from coxswain.client.interface import MERGE_PATCH, NOTHING, STRATEGIC_MERGE_PATCH

BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")


@pytest.mark.virtual
async def test_scale_shows_and_changes_replicas() -> None:
    async with cluster() as c:
        await c.do("create", DEPLOYMENTS, body=deployment("d"))
        scale = await c.do("get", DEPLOYMENTS, "d", subresource="scale")
        assert scale["kind"] == "Scale" and scale["status"] == {"replicas": 0, "selector": "app=web"}
        scale["spec"]["replicas"] = 6
        changed = await c.do("update", DEPLOYMENTS, "d", scale, subresource="scale")
        assert changed["spec"]["replicas"] == 6
        patched = await c.do(
            "patch",
            DEPLOYMENTS,
            "d",
            {"spec": {"replicas": 3}},
            subresource="scale",
            content_type=MERGE_PATCH,
        )
        assert patched["spec"]["replicas"] == 3
        assert (await c.do("get", DEPLOYMENTS, "d"))["spec"]["replicas"] == 3
        with pytest.raises(errors.Conflict):
            await c.do("update", DEPLOYMENTS, "d", scale, subresource="scale")
        with pytest.raises(errors.Invalid, match="must be greater than or equal to 0"):
            await c.do(
                "patch",
                DEPLOYMENTS,
                "d",
                {"spec": {"replicas": -1}},
                subresource="scale",
                content_type=MERGE_PATCH,
            )


@pytest.mark.virtual
async def test_status_changes_only_the_status() -> None:
    async with cluster() as c:
        made = await c.do("create", DEPLOYMENTS, body=deployment("d"))
        patch = {"spec": {"replicas": 9}, "status": {"replicas": 4, "observedGeneration": 1}}
        changed = await c.do("patch", DEPLOYMENTS, "d", patch, subresource="status", content_type=MERGE_PATCH)
        assert changed["status"]["replicas"] == 4
        assert changed["spec"] == made["spec"]
        assert changed["metadata"]["generation"] == 1
        through_main = await c.do(
            "patch", DEPLOYMENTS, "d", {"status": {"replicas": 8}}, content_type=MERGE_PATCH
        )
        assert through_main["status"]["replicas"] == 4


def _binding(name: str, node: str = "n1", **metadata: str) -> dict[str, object]:
    return {"metadata": {"name": name, **metadata}, "target": {"kind": "Node", "name": node}}


@pytest.mark.virtual
@pytest.mark.parametrize("legacy", [False, True])
async def test_binding_puts_a_pod_on_a_node_once(legacy: bool) -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        if legacy:
            status = await c.do("create", BINDINGS, body=_binding("p"))
        else:
            status = await c.do("create", PODS, "p", _binding("p"), subresource="binding")
        assert status["status"] == "Success"
        bound = await c.do("get", PODS, "p")
        assert bound["spec"]["nodeName"] == "n1"
        (condition,) = bound["status"]["conditions"]
        assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
        with pytest.raises(errors.Conflict, match='pod p is already assigned to node "n1"'):
            await c.do("create", PODS, "p", _binding("p", "n2"), subresource="binding")


@pytest.mark.virtual
async def test_labels_of_a_binding_become_labels_of_the_pod() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        binding = {**_binding("p"), "metadata": {"name": "p", "labels": {"zone": "a"}}}
        await c.do("create", PODS, "p", binding, subresource="binding")
        own = (await c.do("get", PODS, "p"))["metadata"]["labels"]
        assert own == {**pod("p")["metadata"].get("labels", {}), "zone": "a"}
        found = await c.do("list", PODS, query={"labelSelector": "zone=a"})
        assert [each["metadata"]["name"] for each in found["items"]] == ["p"]


@pytest.mark.virtual
async def test_binding_to_something_else_than_a_node_is_invalid() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        wrong = {**_binding("p"), "target": {"kind": "Pod", "name": "n1"}}
        with pytest.raises(errors.Invalid, match=r"target\.kind: Unsupported value"):
            await c.do("create", PODS, "p", wrong, subresource="binding")
        assert "nodeName" not in (await c.do("get", PODS, "p"))["spec"]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("labels", {"zone": "x" * 64}),
        ("labels", {"/": "a"}),
        ("labels", {"zone": "not a value"}),
        ("annotations", {"no name": "a"}),
        ("annotations", {"note": "x" * (256 * 1024)}),
    ],
)
async def test_a_binding_brings_no_metadata_that_a_pod_could_not_have(
    field: str, wrong: dict[str, str]
) -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        binding = {**_binding("p"), "metadata": {"name": "p", field: wrong}}
        with pytest.raises(errors.Invalid, match=rf"metadata\.{field}: "):
            await c.do("create", PODS, "p", binding, subresource="binding")
        assert "nodeName" not in (await c.do("get", PODS, "p"))["spec"]


@pytest.mark.virtual
async def test_a_binding_adds_no_more_annotations_than_a_pod_may_have() -> None:
    async with cluster() as c:
        made = pod("p")
        made["metadata"]["annotations"] = {"one": "x" * (200 * 1024)}
        await c.do("create", PODS, body=made)
        binding = {**_binding("p"), "metadata": {"name": "p", "annotations": {"two": "x" * (100 * 1024)}}}
        with pytest.raises(errors.Invalid, match=r"metadata\.annotations: Too long"):
            await c.do("create", PODS, "p", binding, subresource="binding")
        binding["metadata"] = {"name": "p", "annotations": {"one": "x" * (100 * 1024)}}
        await c.do("create", PODS, "p", binding, subresource="binding")
        assert (await c.do("get", PODS, "p"))["spec"]["nodeName"] == "n1"


@pytest.mark.virtual
async def test_who_wants_no_body_gets_the_code_alone() -> None:
    async with cluster() as c:
        answer = await c.call("create", PODS, body=pod("p"), accept=NOTHING)
        assert (answer.code, answer.body) == (201, b"")
        answer = await c.call("create", PODS, body=pod("p"), accept=NOTHING)
        assert answer.code == 409 and b"already exists" in answer.body


@pytest.mark.virtual
async def test_binding_another_pod_of_the_name_is_a_conflict() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        with pytest.raises(errors.Conflict, match="Precondition failed: UID"):
            await c.do("create", PODS, "p", _binding("p", uid="other"), subresource="binding")
        with pytest.raises(errors.NotFound):
            await c.do("create", PODS, "missing", _binding("missing"), subresource="binding")


async def _running(c: Cluster, name: str) -> None:
    await c.do("create", PODS, body=pod(name))
    await c.do("create", PODS, name, _binding(name), subresource="binding")
    status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await c.do("patch", PODS, name, status, subresource="status", content_type=STRATEGIC_MERGE_PATCH)


async def _budget(c: Cluster, allowed: int) -> None:
    spec = {"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1}
    await c.do("create", BUDGETS, body={"metadata": {"name": "b"}, "spec": spec})
    status = {
        "disruptionsAllowed": allowed,
        "currentHealthy": 2,
        "desiredHealthy": 1,
        "expectedPods": 2,
        "observedGeneration": 1,
    }
    await c.do("patch", BUDGETS, "b", {"status": status}, subresource="status", content_type=MERGE_PATCH)


@pytest.mark.virtual
async def test_eviction_spends_the_budget_and_stops_when_it_is_spent() -> None:
    async with cluster() as c:
        for name in ("p1", "p2"):
            await _running(c, name)
        await _budget(c, 1)
        done = await c.do("create", PODS, "p1", {"metadata": {"name": "p1"}}, subresource="eviction")
        assert done["status"] == "Success"
        assert (await c.do("get", PODS, "p1"))["metadata"]["deletionTimestamp"]
        budget = await c.do("get", BUDGETS, "b")
        assert budget["status"]["disruptionsAllowed"] == 0
        assert "p1" in budget["status"]["disruptedPods"]
        answer = await c.call("create", PODS, "p2", {"metadata": {"name": "p2"}}, subresource="eviction")
        assert answer.code == 429
        with pytest.raises(errors.TooManyRequests, match="violate the pod's disruption budget"):
            answer.object()


@pytest.mark.virtual
async def test_eviction_without_a_budget_deletes_and_says_why() -> None:
    async with cluster() as c:
        await _running(c, "p")
        body = {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 7}}
        await c.do("create", PODS, "p", body, subresource="eviction")
        gone = await c.do("get", PODS, "p")
        assert gone["metadata"]["deletionGracePeriodSeconds"] == 7
        assert "DisruptionTarget" in [one["type"] for one in gone["status"]["conditions"]]


@pytest.mark.virtual
async def test_ephemeral_containers_are_added_and_stay() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
        changed = await c.do(
            "patch", PODS, "p", patch, subresource="ephemeralcontainers", content_type=STRATEGIC_MERGE_PATCH
        )
        assert [one["name"] for one in changed["spec"]["ephemeralContainers"]] == ["debug"]
        changed["spec"]["ephemeralContainers"] = []
        with pytest.raises(errors.Invalid, match="may not be removed"):
            await c.do("update", PODS, "p", changed, subresource="ephemeralcontainers")


@pytest.mark.virtual
async def test_resize_changes_resources_only() -> None:
    async with cluster() as c:
        small = pod("p")
        small["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
        await c.do("create", PODS, body=small)
        wanted = {"name": "c", "image": "other", "resources": {"requests": {"cpu": "200m"}}}
        patch = {"spec": {"containers": [wanted]}}
        answer = await c.call(
            "patch", PODS, "p", patch, subresource="resize", content_type=STRATEGIC_MERGE_PATCH
        )
        container = answer.object()["spec"]["containers"][0]
        assert container["resources"] == {"requests": {"cpu": "200m"}}
        assert container["image"] == "nginx:1.21"
        await c.do("create", PODS, body=pod("careless"))
        with pytest.raises(errors.Invalid, match="Pod QOS Class may not change as a result of resizing"):
            await c.do(
                "patch", PODS, "careless", patch, subresource="resize", content_type=STRATEGIC_MERGE_PATCH
            )


@pytest.mark.virtual
async def test_paths_that_lead_nowhere() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("p"))
        assert (await c.call("get", PODS, "p", subresource="frob")).code == 404
        assert (await c.call("list", GVR("", "v1", "frobs"))).code == 404
        assert (await c.call("create", PODS, body=pod("q"), namespace="")).code == 405
        assert (await c.call("get", BINDINGS, "x")).code == 404
        assert (await c.call("list", BINDINGS)).code == 405
        assert (await c.call("create", DEPLOYMENTS, "d", {}, subresource="scale")).code == 405


@pytest.mark.virtual
async def test_finalize_refuses_names_that_are_no_finalizers() -> None:
    async with cluster() as c:
        namespace = await c.do("create", NAMESPACES, body={"metadata": {"name": "a"}})
        namespace["spec"]["finalizers"] = ["Zürich"]
        with pytest.raises(errors.Invalid, match="neither a standard finalizer name nor"):
            await c.do("update", NAMESPACES, "a", namespace, subresource="finalize")


@pytest.mark.virtual
async def test_finalize_takes_labels_and_annotations_too_but_no_status() -> None:
    async with cluster() as c:
        namespace = await c.do("create", NAMESPACES, body={"metadata": {"name": "a"}})
        namespace["spec"]["finalizers"].append("example.com/f")
        namespace["metadata"]["annotations"] = {"x": "y"}
        namespace["status"] = {"phase": "Terminating"}
        found = await c.do("update", NAMESPACES, "a", namespace, subresource="finalize")
        assert found["spec"]["finalizers"] == ["kubernetes", "example.com/f"]
        assert found["metadata"]["annotations"] == {"x": "y"}
        assert found["status"] == {"phase": "Active"}


@pytest.mark.virtual
async def test_a_binding_to_what_cannot_be_a_node_is_refused() -> None:
    async with cluster() as c:
        await c.do("create", PODS, body=pod("a"))
        with pytest.raises(errors.Invalid, match=r"target\.name: Invalid value"):
            await c.do("create", PODS, "a", _binding("a", node="Zürich"), subresource="binding")


async def test_a_scale_is_shown_as_a_table() -> None:
    async with cluster() as c:
        await c.do("create", DEPLOYMENTS, body=deployment("d", 0))
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        table = await c.do("get", DEPLOYMENTS, "d", subresource="scale", accept=accept)
        assert [column["name"] for column in table["columnDefinitions"]] == [
            "Name",
            "Desired",
            "Available",
            "Age",
        ]
        assert table["rows"][0]["cells"][:3] == ["d", 0, 0]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
