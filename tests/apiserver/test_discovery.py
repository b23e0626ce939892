"""Discovery documents: shapes, order, custom groups."""

from __future__ import annotations

from coxswain.api.kinds import Group, Resource
from coxswain.api.names import GVR
from coxswain.apiserver import discovery

CATALOG = discovery.Catalog.built_in()


def entries(group: str, version: str) -> dict[str, dict[str, object]]:
    document = discovery.api_resources(CATALOG, group, version)
    assert document is not None
    return {entry["name"]: entry for entry in document["resources"]}


def test_core_resources() -> None:
    document = discovery.api_resources(CATALOG, "", "v1")
    assert document is not None
    assert "apiVersion" not in document
    assert document["groupVersion"] == "v1"
    names = [entry["name"] for entry in document["resources"]]
    assert names == sorted(names)
    pods = entries("", "v1")["pods"]
    assert pods["shortNames"] == ["po"]
    assert pods["categories"] == ["all"]
    assert pods["storageVersionHash"] == "xPOwRZ+Yhw8="
    assert entries("", "v1")["pods/eviction"]["group"] == "policy"


def test_kinds_stored_in_an_older_version_say_so() -> None:
    crd = entries("apiextensions.k8s.io", "v1")["customresourcedefinitions"]
    assert crd["storageVersionHash"] == "jfWCUB31mvA="


def test_groups_and_versions() -> None:
    groups = discovery.api_groups(CATALOG)["groups"]
    assert [group["name"] for group in groups][:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]
    autoscaling = discovery.api_group(CATALOG, "autoscaling")
    assert autoscaling is not None
    assert [version["version"] for version in autoscaling["versions"]] == ["v2", "v1"]
    assert autoscaling["preferredVersion"]["groupVersion"] == "autoscaling/v2"
    assert discovery.api_group(CATALOG, "none") is None
    assert discovery.api_resources(CATALOG, "apps", "v9") is None
    assert discovery.api_versions("h:1")["serverAddressByClientCIDRs"][0]["serverAddress"] == "h:1"


def test_aggregated_says_the_same() -> None:
    core = discovery.aggregated(CATALOG, legacy=True)
    assert core["apiVersion"] == "apidiscovery.k8s.io/v2"
    (group,) = core["items"]
    assert group["metadata"] == {}
    pods = next(r for r in group["versions"][0]["resources"] if r["resource"] == "pods")
    assert pods["scope"] == "Namespaced"
    assert pods["responseKind"] == {"group": "", "version": "v1", "kind": "Pod"}
    eviction = next(s for s in pods["subresources"] if s["subresource"] == "eviction")
    assert eviction["responseKind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    named = discovery.aggregated_v2beta1(CATALOG, legacy=False)
    assert [item["metadata"]["name"] for item in named["items"]] == [group.name for group in CATALOG.groups]


def test_custom_resources_come_behind() -> None:
    boats = Resource(GVR("harbor.io", "v1", "boats"), "Boat", "boat", True, ("get",), ("bt",))
    extra = Resource(GVR("apps", "v9", "things"), "Thing", "thing", False, ("get",))
    catalog = CATALOG.with_custom(
        [Group("harbor.io", ("v1",), "v1"), Group("apps", ("v9",), "v9")], [boats, extra]
    )
    assert catalog.groups[-1].name == "harbor.io"
    apps = catalog.group("apps")
    assert apps is not None
    assert (apps.versions, apps.preferred) == (("v1", "v9"), "v1")
    document = discovery.api_resources(catalog, "harbor.io", "v1")
    assert document is not None
    assert document["resources"][0]["shortNames"] == ["bt"]
    assert discovery.api_resources(CATALOG, "harbor.io", "v1") is None
