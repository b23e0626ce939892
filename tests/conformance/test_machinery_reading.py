"""Lists, watches, discovery and flow control's endpoints do what conformance asks of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from conformance.api_operations import check_api_operations, check_status_operations
from conformance.api_server import GROUP, api_server, custom, define, definition
from conformance.whole_cluster import WORK, Follower, Whole, whole_cluster
from coxswain.api import meta
from coxswain.api.errors import Expired, NotAcceptable
from coxswain.api.names import CONFIGMAPS, GVR, Object
from coxswain.apiserver.discovery import AGGREGATED_V2
from coxswain.base import clock
from coxswain.base.tasks import Supervisor
from coxswain.client.interface import RawList

FLOWS = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS = GVR(FLOWS, "v1", "flowschemas")
LEVELS = GVR(FLOWS, "v1", "prioritylevelconfigurations")
TEMPLATES = GVR("", "v1", "podtemplates")
ACCESS = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
WATCHERS = "[sig-api-machinery] Watchers should "
CHUNKS = "[sig-api-machinery] Servers with support for API chunking should "
AGGREGATED = "[sig-api-machinery] AggregatedDiscovery should support "
FAIRNESS = "[sig-api-machinery] API priority and fairness should support "


def config_map(name: str = "one", label: str = "a", **data: str) -> Object:
    return {"metadata": {"name": name, "labels": {"watch-this": label}}, "data": data}


async def mutate(it: Whole, number: int, name: str = "one") -> str:
    """Change the config map; its version afterwards."""
    changed = await it.patch(CONFIGMAPS, name, {"data": {"mutation": str(number)}})
    return meta.resource_version(changed)


def seen(follower: Follower) -> list[tuple[str, str]]:
    """What a follower saw: types and mutations."""
    return [(kind, (obj.get("data") or {}).get("mutation", "")) for kind, obj in follower.events]


# -- watches


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{WATCHERS}observe add, update, and delete watch notifications on configmaps [Conformance]"
)
async def test_watchers_see_what_their_labels_select() -> None:
    async with (
        api_server() as it,
        it.following(CONFIGMAPS, label_selector="watch-this=a") as a,
        it.following(CONFIGMAPS, label_selector="watch-this=b") as b,
        it.following(CONFIGMAPS, label_selector="watch-this in (a,b)") as both,
    ):
        await it.create(CONFIGMAPS, config_map("one", "a"))
        await mutate(it, 1)
        await mutate(it, 2)
        await it.delete(CONFIGMAPS, "one")
        await it.create(CONFIGMAPS, config_map("two", "b"))
        await it.delete(CONFIGMAPS, "two")
        await clock.sleep(1)
        of_a = [("ADDED", ""), ("MODIFIED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
        of_b = [("ADDED", ""), ("DELETED", "")]
        assert (seen(a), seen(b), seen(both)) == (of_a, of_b, of_a + of_b)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{WATCHERS}be able to start watching from a specific resource version [Conformance]"
)
async def test_a_watch_from_a_version_shows_what_came_after_it() -> None:
    async with api_server() as it:
        await it.create(CONFIGMAPS, config_map())
        first = await mutate(it, 1)
        await mutate(it, 2)
        await it.delete(CONFIGMAPS, "one")
        assert await _from(it, first) == [("MODIFIED", "2"), ("DELETED", "2")]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{WATCHERS}be able to restart watching from the last resource version observed by the previous watch [Conformance]"
)
async def test_a_watch_goes_on_where_another_ended() -> None:
    async with api_server() as it:
        async with it.following(CONFIGMAPS, label_selector="watch-this=a") as first:
            await it.create(CONFIGMAPS, config_map())
            await mutate(it, 1)
            await first.until("MODIFIED")
        last = meta.resource_version(first.events[-1][1])
        await mutate(it, 2)
        await it.delete(CONFIGMAPS, "one")
        assert await _from(it, last) == [("MODIFIED", "2"), ("DELETED", "2")]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{WATCHERS}observe an object deletion if it stops meeting the requirements of the selector [Conformance]"
)
async def test_leaving_the_selection_looks_like_a_deletion_and_coming_back_like_a_creation() -> None:
    async with api_server() as it, it.following(CONFIGMAPS, label_selector="watch-this=a") as watcher:
        await it.create(CONFIGMAPS, config_map())
        await mutate(it, 1)
        await it.patch(CONFIGMAPS, "one", {"metadata": {"labels": {"watch-this": "other"}}})
        await mutate(it, 2)
        await it.patch(CONFIGMAPS, "one", {"metadata": {"labels": {"watch-this": "a"}}})
        await mutate(it, 3)
        await it.delete(CONFIGMAPS, "one")
        await clock.sleep(1)
        assert seen(watcher) == [
            ("ADDED", ""), ("MODIFIED", "1"), ("DELETED", "1"), ("ADDED", "2"), ("MODIFIED", "3"),
            ("DELETED", "3"),
        ]  # fmt: skip


@pytest.mark.virtual
@pytest.mark.conformance(f"{WATCHERS}receive events on concurrent watches in same order [Conformance]")
async def test_watches_from_every_version_see_the_same_order() -> None:
    async with api_server() as it:
        start = (await it.client.list(CONFIGMAPS, WORK)).resource_version
        followers: list[tuple[Follower, str]] = []
        async with Supervisor("watches") as tasks:

            def follow(version: str) -> None:
                follower = Follower(it)
                followers.append((follower, version))
                tasks.start(f"from {version}", follower.follow(CONFIGMAPS, WORK, version, {}))

            follow(start)
            for number in range(20):
                name = f"c{number % 5}"
                if await it.exists(CONFIGMAPS, name) and number % 3 == 0:
                    gone = await it.delete(CONFIGMAPS, name)
                    version = str(gone.get("metadata", {}).get("resourceVersion") or "")
                elif await it.exists(CONFIGMAPS, name):
                    version = await mutate(it, number, name)
                else:
                    version = meta.resource_version(await it.create(CONFIGMAPS, config_map(name)))
                if version:
                    follow(version)
            await clock.sleep(1)
            whole = [(kind, meta.resource_version(obj)) for kind, obj in followers[0][0].events]
            assert len(whole) == 20 and whole == sorted(whole, key=lambda each: int(each[1]))
            for follower, version in followers:
                after = [each for each in whole if int(each[1]) > int(version)]
                assert [(kind, meta.resource_version(obj)) for kind, obj in follower.events] == after


async def _from(it: Whole, version: str) -> list[tuple[str, str]]:
    """What a watch from this version shows at once."""
    follower = Follower(it)
    async with Supervisor("watch") as tasks:
        selectors = {"label_selector": "watch-this=a"}
        tasks.start("watch", follower.follow(CONFIGMAPS, WORK, version, selectors))
        await clock.sleep(1)
    return seen(follower)


# -- lists


async def pod_templates(it: Whole, count: int) -> list[str]:
    names = [f"template-{number:04d}" for number in range(count)]
    for name in names:
        spec = {"containers": [{"name": "test", "image": "test2"}]}
        await it.create(TEMPLATES, {"metadata": {"name": name}, "template": {"spec": spec}})
    return names


async def page(it: Whole, limit: int, token: str = "") -> tuple[list[str], RawList]:
    found = await it.client.list(TEMPLATES, WORK, limit=limit, continue_=token)
    return [meta.name(orjson.loads(raw)) for raw in found.items], found


@pytest.mark.virtual
@pytest.mark.conformance(f"{CHUNKS}return chunks of results for list calls [Conformance]")
async def test_a_list_comes_in_chunks_of_one_version() -> None:
    async with api_server() as it:
        names = await pod_templates(it, 40)
        for limit in (1, 7, 39, 40, 50):
            seen_names: list[str] = []
            token, version = "", ""
            while True:
                part, found = await page(it, limit, token)
                assert len(part) <= limit
                seen_names += part
                version = version or found.resource_version
                assert found.resource_version == version
                assert found.remaining == len(names) - len(seen_names)
                token = found.continue_
                if not token:
                    break
            assert seen_names == names
        everything, found = await page(it, 0)
        assert everything == names and not found.continue_


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{CHUNKS}support continue listing from the last key if the original version has been compacted away, though "
    "the list is inconsistent [Slow] [Conformance]"
)
async def test_a_list_goes_on_from_its_last_key_when_its_version_is_compacted() -> None:
    async with api_server() as it:
        names = await pod_templates(it, 40)
        first, found = await page(it, 10)
        await it.delete(TEMPLATES, names[-1])
        storage: Any = it._backend.core.storage  # type: ignore[attr-defined]
        await storage.store.compact(storage.revision)
        with pytest.raises(Expired) as expired:
            await page(it, 10, found.continue_)
        token = expired.value.status()["metadata"]["continue"]
        second, then = await page(it, 10, token)
        assert then.resource_version != found.resource_version
        rest, last = await page(it, 0, then.continue_)
        assert last.resource_version == then.resource_version
        assert first + second + rest == names[:-1]


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does "
    "not implement metadata [Conformance]"
)
async def test_a_review_cannot_be_shown_as_a_table(tmp_path: Path) -> None:
    spec = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    async with whole_cluster(tmp_path, nodes=0, controllers="") as it:
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        assert (await it.create(ACCESS, {"spec": spec}))["status"]["allowed"]
        with pytest.raises(NotAcceptable):
            await it.call("create", ACCESS, body={"spec": spec}, accept=table)
        found = await it.call("create", ACCESS, body={"spec": spec}, accept=f"{table},application/json")
        assert found["kind"] == "SelfSubjectAccessReview"


# -- discovery

EXPECTED = [
    GVR("", "v1", "namespaces"),
    GVR("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
    GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    GVR("apiregistration.k8s.io", "v1", "apiservices"),
    GVR("apps", "v1", "deployments"),
    GVR("authentication.k8s.io", "v1", "tokenreviews"),
    GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
    GVR("autoscaling", "v1", "horizontalpodautoscalers"),
    GVR("autoscaling", "v2", "horizontalpodautoscalers"),
    GVR("batch", "v1", "jobs"),
    GVR("certificates.k8s.io", "v1", "certificatesigningrequests"),
    GVR("coordination.k8s.io", "v1", "leases"),
    GVR("discovery.k8s.io", "v1", "endpointslices"),
    GVR("events.k8s.io", "v1", "events"),
    GVR("networking.k8s.io", "v1", "ingresses"),
    GVR("node.k8s.io", "v1", "runtimeclasses"),
    GVR("policy", "v1", "poddisruptionbudgets"),
    GVR("scheduling.k8s.io", "v1", "priorityclasses"),
    GVR("storage.k8s.io", "v1", "csinodes"),
]


def aggregated(it: Whole) -> set[GVR]:
    """Every resource of both aggregated documents."""
    found = set()
    for path in ("/api", "/apis"):
        document = it.served(path, AGGREGATED_V2)
        assert (document["kind"], document["apiVersion"]) == (
            "APIGroupDiscoveryList",
            "apidiscovery.k8s.io/v2",
        )
        for group in document["items"]:
            for version in group["versions"]:
                name = group["metadata"].get("name", "")
                found |= {GVR(name, version["version"], each["resource"]) for each in version["resources"]}
    return found


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{AGGREGATED}raw aggregated discovery endpoint Accept headers [Conformance]",
    f"{AGGREGATED}aggregated discovery interface [Conformance]",
)
async def test_every_built_in_resource_is_in_the_aggregated_documents() -> None:
    async with api_server() as it:
        assert set(EXPECTED) <= aggregated(it)
        for resource in EXPECTED:
            assert it.discovered(resource)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{AGGREGATED}raw aggregated discovery request for CRDs [Conformance]",
    f"{AGGREGATED}aggregated discovery interface for CRDs [Conformance]",
)
async def test_custom_resources_are_in_the_aggregated_documents() -> None:
    boats = custom("boats")
    async with api_server() as it:
        assert boats not in aggregated(it)
        await define(it, definition("boats"))
        await clock.sleep(1)
        assert boats in aggregated(it)
        assert it.discovered(boats)["kind"] == "Boat"


@pytest.mark.virtual
@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]",
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]",
)
async def test_every_group_prefers_a_version_that_it_has_with_resources_in_it() -> None:
    async with api_server() as it:
        await define(it, definition("boats", None, "v1", "v2"))
        await clock.sleep(1)
        groups = it.served("/apis")["groups"]
        assert GROUP in [group["name"] for group in groups]
        for group in groups:
            versions = [each["groupVersion"] for each in group["versions"]]
            assert group["preferredVersion"]["groupVersion"] in versions
            alone = it.served(f"/apis/{group['name']}")
            assert alone["preferredVersion"] == group["preferredVersion"]
            assert alone["versions"] == group["versions"]
            for version in versions:
                document = it.served(f"/apis/{version}")
                assert (document["groupVersion"], document["kind"]) == (version, "APIResourceList")
                assert document["resources"]


@pytest.mark.virtual
@pytest.mark.conformance("[sig-api-machinery] server version should find the server version [Conformance]")
async def test_the_server_says_its_version() -> None:
    async with api_server() as it:
        version = it.served("/version")
        assert (version["major"], re.sub(r"[^0-9]+", "", version["minor"])) == ("1", "36")
        assert version["gitVersion"].startswith("v1.36.")


# -- flow control


def flow_schema(name: str) -> Object:
    spec = {
        "matchingPrecedence": 10000,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    }
    return {"metadata": {"name": name}, "spec": spec}


def level(name: str) -> Object:
    limited = {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "make", "kind"),
    [(FLOW_SCHEMAS, flow_schema, "FlowSchema"), (LEVELS, level, "PriorityLevelConfiguration")],
    ids=["schemas", "levels"],
)
@pytest.mark.conformance(
    f"{FAIRNESS}FlowSchema API operations [Conformance]",
    f"{FAIRNESS}PriorityLevelConfiguration API operations [Conformance]",
)
async def test_flow_control_is_handled_by_its_endpoints(resource: GVR, make: Any, kind: str) -> None:
    condition = {
        "type": "Patched",
        "status": "False",
        "reason": "Test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    async with api_server() as it:
        await check_api_operations(it, resource, make, kind)
        await it.create(resource, make("one"))
        patched, updated = await check_status_operations(
            it,
            resource,
            "one",
            {"status": {"conditions": [condition]}},
            lambda obj: obj["status"]["conditions"].append({**condition, "type": "Updated"}),
        )
        assert [each["type"] for each in patched["status"]["conditions"]] == ["Patched"]
        assert [each["type"] for each in updated["status"]["conditions"]] == ["Patched", "Updated"]
