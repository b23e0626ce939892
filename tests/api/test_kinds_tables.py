"""Resources as discovery lists them."""

from __future__ import annotations

import base64
import hashlib

import pytest

from coxswain.api import kinds, schema
from coxswain.api.names import CONFIGMAPS, DEPLOYMENTS, EVENTS, GVK, GVR, NODES, PODS, SERVICE_ACCOUNTS


def test_pods_have_discoverys_facts() -> None:
    pods = kinds.by_gvr(PODS)
    assert pods is not None
    assert (pods.kind, pods.singular, pods.short_names, pods.categories) == ("Pod", "pod", ("po",), ("all",))
    assert pods.namespaced
    assert pods.verbs == ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    assert pods.storage_version_hash == "xPOwRZ+Yhw8="
    assert kinds.by_gvk(GVK("", "v1", "Pod")) is pods


@pytest.mark.parametrize(
    ("gvr", "name", "kind"),
    [
        (DEPLOYMENTS, "scale", GVK("autoscaling", "v1", "Scale")),
        (PODS, "eviction", GVK("policy", "v1", "Eviction")),
        (PODS, "binding", GVK("", "v1", "Binding")),
        (SERVICE_ACCOUNTS, "token", GVK("authentication.k8s.io", "v1", "TokenRequest")),
        (PODS, "status", GVK("", "v1", "Pod")),
    ],
)
def test_subresources_have_kinds_of_their_own(gvr: GVR, name: str, kind: GVK) -> None:
    resource = kinds.by_gvr(gvr)
    assert resource is not None
    below = resource.subresource(name)
    assert below is not None
    assert below.kind == kind
    assert schema.type_of(kind) is not None


def test_a_resource_without_a_subresource_says_so() -> None:
    config_maps = kinds.by_gvr(CONFIGMAPS)
    assert config_maps is not None
    assert config_maps.subresource("status") is None


def test_every_resource_has_a_type_and_a_list_type() -> None:
    for resource in kinds.resources():
        assert schema.type_of(resource.gvk) is not None, resource.gvr
        if "list" in resource.verbs:
            assert schema.type_of(resource.gvk._replace(kind=resource.list_kind)) is not None, resource.gvr


def test_the_core_group_comes_first_then_discoverys_order() -> None:
    order = list(dict.fromkeys(resource.gvr.group for resource in kinds.resources()))
    assert order == ["", *(group.name for group in kinds.groups())]


def test_a_group_with_two_versions_keeps_their_order() -> None:
    autoscaling = next(group for group in kinds.groups() if group.name == "autoscaling")
    assert (autoscaling.versions, autoscaling.preferred) == (("v2", "v1"), "v2")


def test_the_hash_is_of_the_version_that_is_stored() -> None:
    for gvr in (
        GVR("autoscaling", "v1", "horizontalpodautoscalers"),
        GVR("autoscaling", "v2", "horizontalpodautoscalers"),
    ):
        found = kinds.by_gvr(gvr)
        assert found is not None
        assert found.storage_version_hash == "qwQve8ut294="
    digest = hashlib.sha256(b"/v1/Event").digest()[:8]
    for gvr in (EVENTS, GVR("events.k8s.io", "v1", "events")):
        found = kinds.by_gvr(gvr)
        assert found is not None
        assert found.storage_version_hash == base64.b64encode(digest).decode()


def test_reviews_are_never_stored() -> None:
    review = kinds.by_gvr(GVR("authorization.k8s.io", "v1", "subjectaccessreviews"))
    assert review is not None
    assert review.storage_version_hash == ""


def test_columns_are_those_of_kubectls_tables() -> None:
    names = [column.name for column in kinds.columns(NODES) if column.priority == 0]
    assert names == ["Name", "Status", "Roles", "Age", "Version"]
    assert kinds.columns(PODS)[0].format == "name"
    assert kinds.columns(GVR("example.com", "v1", "widgets")) == ()


def test_an_unknown_resource_is_none() -> None:
    assert kinds.by_gvr(GVR("example.com", "v1", "widgets")) is None
    assert kinds.by_gvk(GVK("example.com", "v1", "Widget")) is None
